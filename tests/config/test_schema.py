"""Every option of every group composes, passes the schema and builds what it names."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Generator

from conftest import CHECKOUT
from digitnet.config import rules, schema
from digitnet.config.compose import load_config
from digitnet.data import load_digits
from digitnet.data.sizes import TRAINING_IMAGES
from digitnet.errors import ConfigError
from digitnet.experiment import build
from digitnet.models import AllConv, FastNet, LeNet5

CONF = CHECKOUT / "conf"
# Of sweeps, tests/sweep has tests.
OPTIONS = sorted(f"{p.parent.name}={p.stem}" for p in CONF.glob("*/*.yaml") if p.parent.name != "sweep")
NEEDED = {
    "model=custom": [
        "model.target=torch.nn:Conv2d",
        "model.kwargs={in_channels: 1, out_channels: 10, kernel_size: 28}",
    ],
    "data=folder": ["data.root=images"],
}

# One epoch, and distortions from the third on.
NEVER_DISTORTED = [("fast99", "aug=distort"), ("lenet5_distort", "schedule=onecycle1")]


@pytest.mark.parametrize("option", OPTIONS)
def test_option(option: str) -> None:
    config = load_config([option, *NEEDED.get(option, [])])
    model = build.model(config.model, 10, Generator())
    assert model(torch.rand(2, 1, 28, 28)).shape[0] == 2
    build.optimizer(config.optimizer, model)
    epochs = rules.run_length(config)
    schedule = build.schedule(config.schedule, epochs)
    assert all(0 < schedule(epoch) <= 1 for epoch in range(epochs))
    augment = build.augment(config.aug, Generator())
    assert augment is None or augment(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_says_what_it_is(path: Path) -> None:
    first, second = [*path.read_text().splitlines(), ""][:2]
    assert (second if first == "# @package _global_" else first).startswith("# ")


def test_the_defaults_are_the_notebooks_part_one() -> None:
    default, preset = load_config([]), load_config(["experiment=lenet5"])
    assert default == preset
    assert rules.run_length(default) == 20
    schedule = build.schedule(default.schedule, 20)
    assert [schedule(epoch) for epoch in (0, 2, 5, 8, 12)] == [1.0, 0.8, 0.4, 0.2, 0.08]
    assert (default.optimizer.lr, default.trainer.batch_size, default.data.validation) == (1.0, 32, "test")


def test_the_presets() -> None:
    rmsprop, distort, allconv = (
        load_config([f"experiment={name}"]) for name in ("lenet5_rmsprop", "lenet5_distort", "allconv")
    )
    assert rmsprop.optimizer.model_dump() == {
        "name": "rmsprop", "lr": 0.001, "alpha": 0.9, "eps": 1e-6, "momentum": 0.0, "weight_decay": 0.0
    }  # fmt: skip
    assert [rules.run_length(config) for config in (rmsprop, distort, allconv)] == [25, 25, 12]
    assert (rmsprop.aug.name, distort.aug.name) == ("none", "distort")
    assert distort.aug.model_dump().items() >= {"rotation_deg": 25.0, "shift": 0.1, "warmup_epochs": 2}.items()
    assert (allconv.model.name, allconv.model.final_relu) == ("allconv", False)
    assert all(config.data.validation == "test" for config in (rmsprop, distort, allconv))


def test_the_command_line_has_the_last_word() -> None:
    config = load_config(["experiment=allconv", "optimizer.lr=0.5", "trainer.batch_size=7", "seed=3"])
    assert (config.optimizer.lr, config.trainer.batch_size, config.seed) == (0.5, 7, 3)


@pytest.mark.parametrize("schedule", ["step", "constant", "cosine", "onecycle"])
def test_trainer_epochs_overrides_the_length(schedule: str) -> None:
    config = load_config([f"schedule={schedule}", "trainer.epochs=30"])
    assert rules.run_length(config) == 30
    function = build.schedule(config.schedule, 30)
    if schedule in ("cosine", "onecycle"):
        assert function(29) < 0.05 < function(20)


def test_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIGITNET_DATA")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert load_config(["data=mnist"]).data.model_dump()["root"] == "~/.cache/digitnet"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert load_config(["data=auto"]).data.model_dump()["root"] == "/cache/digitnet"
    monkeypatch.setenv("DIGITNET_DATA", "/data")
    assert load_config(["data=kmnist"]).data.model_dump()["root"] == "/data"


def test_options_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    (tmp_path / "mine" / "optimizer" / "slow.yaml").write_text("defaults: [sgd, _self_]\nlr: 0.001\n")
    assert load_config(["optimizer=slow"], config_dir=str(tmp_path / "mine")).optimizer.lr == 0.001


def test_no_defaults_in_the_schema() -> None:
    groups = [value for value in vars(schema).values() if isinstance(value, type) and issubclass(value, schema.Group)]
    assert len(groups) > 20
    assert all(field.is_required() for group in groups for field in group.model_fields.values())


@pytest.mark.parametrize("preset", sorted(path.stem for path in CONF.glob("experiment/*.yaml")))
@pytest.mark.parametrize("option", [option for option in OPTIONS if not option.startswith("experiment")])
def test_the_command_line_outdoes_every_preset(preset: str, option: str) -> None:
    overrides = [f"experiment={preset}", option, *NEEDED.get(option, [])]
    if (preset, option) in NEVER_DISTORTED:
        with pytest.raises(
            ConfigError, match=r"aug\.warmup_epochs=2: no image would be distorted, as the run has only 1"
        ):
            load_config(overrides)
        overrides.append("aug.warmup_epochs=0")
    load_config(overrides)


@pytest.mark.parametrize(
    ("function", "option"), [(LeNet5, "model=lenet5"), (AllConv, "model=allconv"), (FastNet, "model=fastnet")]
)
def test_networks_from_python_are_those_of_the_configs(function: Callable[..., object], option: str) -> None:
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    config = load_config([option]).model.model_dump(exclude={"name"})
    assert {name: defaults[name] for name in config} == config


def test_the_yaml_parses_as_plain_yaml() -> None:
    for path in CONF.rglob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text()), dict)


@pytest.mark.parametrize(
    ("kind", "supported"), [("cuda", "torch.cuda.is_bf16_supported"), ("mps", "torch.backends.mps.is_macos_or_newer")]
)
def test_a_device_without_the_precision(monkeypatch: pytest.MonkeyPatch, kind: str, supported: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: kind == "cuda")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: kind == "mps")
    monkeypatch.setattr(supported, lambda *_, **__: False)
    with pytest.raises(ConfigError) as error:
        build.device("auto", "bf16")
    assert str(error.value) == (
        f"trainer.precision=bf16: this machine's {kind} has no bfloat16; set trainer.precision=fp32"
    )
    assert build.device("auto", "fp32").type == kind
    monkeypatch.setattr(supported, lambda *_, **__: True)
    assert build.device("auto", "bf16").type == kind


def test_training_images_are_as_many_as_the_schema_says() -> None:
    assert len(load_digits(1437).train) == TRAINING_IMAGES["digits"]


@pytest.mark.parametrize(
    ("epochs", "doubt"),
    [
        (1, "trainer.epochs=1 ends in phase 1 of the schedule's 5 (20 epochs)"),
        (5, "trainer.epochs=5 ends in phase 2 of the schedule's 5 (20 epochs)"),
        (6, "trainer.epochs=6 ends in phase 3 of the schedule's 5 (20 epochs)"),
        (12, "trainer.epochs=12 ends in phase 4 of the schedule's 5 (20 epochs)"),
        (13, None),  # in the last
        (20, None),
        (21, "trainer.epochs=21 goes on with the last phase's factor, 0.08, after the schedule's 20 epochs"),
    ],
)
def test_epochs_beside_phases_are_not_passed_over_in_silence(epochs: int, doubt: str | None) -> None:
    found = [message for _, message in rules.config_warnings(load_config([f"trainer.epochs={epochs}"]))]
    assert found == ([doubt] if doubt else [])
    assert not list(rules.config_warnings(load_config([])))


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("trainer.precision", ["bf16", "fp32"]),
        ("trainer.epochs", ["null"]),
        ("optimizer.nesterov", ["false", "true"]),
        ("model.init", ["glorot", "glorot_keras2016"]),
        ("data.validation", ["test"]),
        ("init_from", ["null"]),
        ("optimizer.betas", []),
        ("seed", []),
        ("nope.nope", []),
    ],
)
def test_choices(key: str, values: list[str]) -> None:
    assert schema.choices(key) == values
