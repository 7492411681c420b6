"""conf/: every file describes itself, composes with every other, and holds the notebook's settings."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from digitnet.config import rules
from digitnet.config.compose import load_config
from digitnet.data import load_csv, load_folder
from digitnet.experiment import build
from options import CONF, NEEDED, OPTIONS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_begins_with_its_description(path: Path) -> None:
    first, second = [*path.read_text().splitlines(), ""][:2]
    assert (second if first == "# @package _global_" else first).startswith("# ")


def test_defaults_are_the_notebooks_part_one() -> None:
    default, preset = load_config([]), load_config(["experiment=lenet5"])
    assert default == preset
    assert rules.run_length(default) == 20
    schedule = build.schedule(default.schedule, 20)
    assert [schedule(epoch) for epoch in (0, 2, 5, 8, 12)] == [1.0, 0.8, 0.4, 0.2, 0.08]
    assert (default.optimizer.lr, default.trainer.batch_size, default.data.validation) == (1.0, 32, "test")


def test_presets_have_the_notebooks_settings() -> None:
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


def test_command_line_takes_precedence_over_a_preset() -> None:
    config = load_config(["experiment=allconv", "optimizer.lr=0.5", "trainer.batch_size=7", "seed=3"])
    assert (config.optimizer.lr, config.trainer.batch_size, config.seed) == (0.5, 7, 3)


def test_data_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIGITNET_DATA")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert load_config(["data=mnist"]).data.model_dump()["root"] == "~/.cache/digitnet"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert load_config(["data=auto"]).data.model_dump()["root"] == "/cache/digitnet"
    monkeypatch.setenv("DIGITNET_DATA", "/data")
    assert load_config(["data=kmnist"]).data.model_dump()["root"] == "/data"


def test_config_dir_adds_options(tmp_path: Path) -> None:
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    (tmp_path / "mine" / "optimizer" / "slow.yaml").write_text("defaults: [sgd, _self_]\nlr: 0.001\n")
    assert load_config(["optimizer=slow"], config_dir=str(tmp_path / "mine")).optimizer.lr == 0.001


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(path.stem for path in CONF.glob("experiment/*.yaml")))
@pytest.mark.parametrize("option", [option for option in OPTIONS if not option.startswith("experiment")])
def test_every_option_can_be_chosen_with_every_preset(preset: str, option: str) -> None:
    load_config([f"experiment={preset}", option, *NEEDED.get(option, [])])


@pytest.mark.parametrize(("option", "function"), [("folder", load_folder), ("csv", load_csv)])
def test_functions_have_the_defaults_of_their_options(option: str, function: Callable[..., object]) -> None:
    content = yaml.safe_load((CONF / "data" / f"{option}.yaml").read_text())
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    assert defaults == {name: value for name, value in content.items() if name not in ("name", "root")}


def test_packaged_yaml_is_plain_yaml() -> None:
    for path in CONF.rglob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text()), dict)
