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
        {"experiment/x.yaml": GLOBAL + "defaults: [override /aug: distort]\ntrainer:\n  epochs: 2\n"},
        "experiment=x",
        "aug.warmup_epochs=2: no image would be distorted, as the run has only 2 epochs; lower it or raise "
        "trainer.epochs (conf/experiment/x.yaml:4)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "optimizer:\n  nesterov: true\n"},
        "experiment=x",
        "optimizer.nesterov=true needs a momentum; set optimizer.momentum=0.9 (conf/experiment/x.yaml:3)",
    ),
    (
        {"experiment/x.yaml": GLOBAL + "data:\n  validation: 60000\n"},
        "experiment=x",
        "data.validation=60000: the training set has only 60000 images; hold out fewer (conf/experiment/x.yaml:3)",
    ),
]


@pytest.mark.parametrize(("files", "typed", "answer"), MISTAKES, ids=[row[2][:60] for row in MISTAKES])
def test_values_that_do_not_fit_together_are_reported(
    command: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes], typed: str, answer: str
) -> None:
    assert_answered(command, monkeypatch, files, typed, answer)


@pytest.mark.parametrize("schedule", ["step", "constant", "cosine", "onecycle"])
def test_trainer_epochs_overrides_the_schedules_length(schedule: str) -> None:
    config = load_config([f"schedule={schedule}", "trainer.epochs=30"])
    assert rules.run_length(config) == 30
    function = build.schedule(config.schedule, 30)
    if schedule in ("cosine", "onecycle"):
        assert function(29) < 0.05 < function(20)


@pytest.mark.parametrize(
    ("epochs", "warning"),
    [
        (1, "trainer.epochs=1 ends training in phase 1 of 5 of the schedule, which has 20 epochs"),
        (5, "trainer.epochs=5 ends training in phase 2 of 5 of the schedule, which has 20 epochs"),
        (6, "trainer.epochs=6 ends training in phase 3 of 5 of the schedule, which has 20 epochs"),
        (12, "trainer.epochs=12 ends training in phase 4 of 5 of the schedule, which has 20 epochs"),
        (13, None),  # in the last
        (20, None),
        (21, "trainer.epochs=21 keeps the last phase's factor, 0.08, after the schedule's 20 epochs"),
    ],
)
def test_epochs_that_do_not_fit_the_phases_are_warned_of(epochs: int, warning: str | None) -> None:
    found = [message for _, message in rules.config_warnings(load_config([f"trainer.epochs={epochs}"]))]
    assert found == ([warning] if warning else [])
    assert not list(rules.config_warnings(load_config([])))


def test_stored_config_of_an_earlier_version_is_parsed() -> None:
    config = load_config([])
    content = config.model_dump(mode="json")
    del content["tracker"]
    assert rules.parse_config(content) == config
    assert "tracker" not in content
    del content["model"]
    with pytest.raises(ValidationError):
        rules.parse_config(content)


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
    assert "checkpoint.*, logger, tracker, data.root, data.bad_files, device" in text
