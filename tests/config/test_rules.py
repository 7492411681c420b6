"""What must fit together, warnings, what resuming may change, and configurations of earlier versions."""

import pytest
from pydantic import ValidationError

from conftest import Command
from digitnet.config import rules
from digitnet.config.compose import load_config
from digitnet.experiment import build
from mistakes import GLOBAL, Mistake, assert_answered

MISTAKES: list[Mistake] = [
    (
        {"experiment/x.yaml": GLOBAL + "optimizer:\n  nesterov: true\n"},
        "experiment=x",
        "optimizer.nesterov=true needs a momentum; set optimizer.momentum=0.9 (conf/experiment/x.yaml:3)",
    ),
    *(
        (
            {},
            f"tracker=mlflow tracker.mlflow.uri={uri}",
            f"tracker.mlflow.uri={uri}: should begin with http://, https:// or sqlite:///",
        )
        for uri in ("127.0.0.1:5000", "foo://bar", "./mlruns")
    ),
    *(
        (
            {},
            f"tracker=mlflow tracker.mlflow.uri={uri}",
            "tracker.mlflow.uri: has a user or a password, which would be written into the run's files;\n"
            "leave it out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_URI",
        )
        for uri in ("http://bob:secret@127.0.0.1:5000", "postgresql+psycopg://bob@there/runs")
    ),
    (
        {"experiment/x.yaml": GLOBAL + "data:\n  validation: 60000\n"},
        "experiment=x",
        "data.validation=60000: the training set has only 60000 images; hold out fewer (conf/experiment/x.yaml:3)",
    ),
    (
        {},
        "schedule=trapezoid schedule.decay_fraction=0.95",
        "schedule.warmup_fraction=0.1 and schedule.decay_fraction=0.95: together more than 1; lower one",
    ),
]


@pytest.mark.parametrize(("files", "typed", "answer"), MISTAKES, ids=[row[2][:60] for row in MISTAKES])
def test_values_that_do_not_fit_together_are_reported(
    command: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes], typed: str, answer: str
) -> None:
    assert_answered(command, monkeypatch, files, typed, answer)


@pytest.mark.parametrize("schedule", ["step", "constant", "cosine", "onecycle", "trapezoid"])
def test_trainer_epochs_overrides_the_schedules_length(schedule: str) -> None:
    config = load_config([f"schedule={schedule}", "trainer.epochs=30"])
    assert rules.run_length(config) == 30
    function = build.schedule(config.schedule, 30)
    if schedule in ("cosine", "onecycle", "trapezoid"):
        assert function(29) < 0.1 < function(20)


@pytest.mark.parametrize(
    ("epochs", "note"),
    [
        (1, "trainer.epochs=1 is less than the schedule's 20: it ends in phase 1 of 5"),
        (5, "trainer.epochs=5 is less than the schedule's 20: it ends in phase 2 of 5"),
        (6, "trainer.epochs=6 is less than the schedule's 20: it ends in phase 3 of 5"),
        (12, "trainer.epochs=12 is less than the schedule's 20: it ends in phase 4 of 5"),
        (13, None),  # in the last
        (20, None),
        (21, "trainer.epochs=21: the schedule's last factor, 0.08, stays after epoch 20"),
    ],
)
def test_epochs_that_do_not_fit_the_phases_are_noted(epochs: int, note: str | None) -> None:
    found = [message for _, message in rules.config_notes(load_config([f"trainer.epochs={epochs}"]))]
    assert found == ([note] if note else [])
    assert not list(rules.config_notes(load_config([])))
    assert note is None or len(f"note: {note}") < 80  # one line of a terminal


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (2, 1), (3, 2), (20, 2)])
def test_warmup_leaves_an_epoch_with_distortions(epochs: int, warmup: int) -> None:
    config = load_config(["aug=distort", "schedule=constant", f"trainer.epochs={epochs}"])
    assert rules.warmup_epochs(config) == warmup
    notes = dict(rules.config_notes(config))
    only = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    expected = f"aug.warmup_epochs=2 is cut to {warmup}: the run has {only}" if warmup < 2 else None
    assert notes.get("aug.warmup_epochs") == expected
    assert rules.warmup_epochs(load_config([])) == 0


def test_stored_config_of_an_earlier_version_is_parsed() -> None:
    config = load_config([])
    content = config.model_dump(mode="json")
    del content["tracker"], content["loss"], content["debug"]
    assert rules.parse_config(content) == config
    assert "tracker" not in content
    assert rules.parse_config({**content, "tracker": {"name": "none"}}) == config  # before there were any
    del content["logger"]["preview"]
    assert rules.parse_config(content) == config
    del content["model"]
    with pytest.raises(ValidationError):
        rules.parse_config(content)


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "https://there/runs", "sqlite:///runs.db", "postgresql://there/runs", "databricks"]
)
def test_uri_of_a_tracking_server_or_a_database_is_accepted(uri: str) -> None:
    tracker = load_config(["tracker=mlflow", f"tracker.mlflow.uri={uri}"]).tracker
    assert tracker.mlflow is not None
    assert tracker.mlflow.uri == uri


def test_steps_without_a_tracker_and_epochs_of_a_debug_run_are_noted_or_not() -> None:
    note = ("tracker.every_steps", "tracker.every_steps=5: has no effect without a tracker")
    assert note in rules.config_notes(load_config(["tracker.every_steps=5"]))
    assert note not in rules.config_notes(load_config(["tracker=trackio", "tracker.every_steps=5"]))
    assert [key for key, _ in rules.config_notes(load_config(["trainer.epochs=3"]))] == ["trainer.epochs"]
    assert list(rules.config_notes(load_config(["trainer.epochs=3", "debug=fast"]))) == []


def test_destination_of_a_tracker_is_one_that_the_configuration_names() -> None:
    def named(*overrides: str) -> str | None:
        return rules.named_destination(load_config(overrides).tracker.model_dump())

    every = "tracker=[tensorboard,mlflow,wandb,trackio]"
    assert named() is None
    assert named(every, "tracker.wandb.entity=us", "tracker.trackio.space=us/here") is None  # with one's own account
    assert named(every, "tracker.mlflow.uri=http://127.0.0.1:9") == "tracker.mlflow.uri=http://127.0.0.1:9"
    assert named(every, "tracker.tensorboard.folder=there") == "tracker.tensorboard.folder=there"


def test_changeable_and_unchangeable_keys_are_all_keys() -> None:
    config = load_config([])
    fixed = rules.unchangeable_values(config)
    assert {"model.name", "optimizer.lr", "schedule.phases", "seed", "trainer.batch_size", "data.name"} <= set(fixed)
    assert not {"trainer.epochs", "checkpoint.keep", "device.name", "logger.pictures", "data.root"} & set(fixed)
    assert rules.is_changeable("checkpoint")
    assert rules.is_changeable("checkpoint.keep")
    assert not rules.is_changeable("trainer")
    assert not rules.is_changeable("trainer.epochs_more")


def test_text_about_changeable_keys_names_them_all() -> None:
    text = rules.changeable_keys_text()
    assert text.startswith("trainer.epochs, trainer.threads, ")
    assert "checkpoint.*, logger, tracker, data.root, data.bad_files, data.links, device" in text


def test_runs_from_before_a_key_are_read_with_the_value_that_behaves_as_then() -> None:
    content = load_config(["trainer.clip_norm=1"]).model_dump()
    del content["trainer"]["clip_norm"]
    assert rules.parse_config(content).trainer.clip_norm is None
    assert "clip_norm" not in content["trainer"]
