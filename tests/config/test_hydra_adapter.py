"""Hydra's names that its documentation does not promise: that each is there, and does what digitnet uses it for."""

import ast
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf, open_dict

from conftest import CHECKOUT, write
from digitnet.config import hydra_adapter
from digitnet.config.files import CONF_PACKAGE, Tree

PACKAGED = Tree.packaged()


def test_every_import_of_hydra_is_in_the_table() -> None:
    """And every name in the table is in the file, so that the table can be read in its place."""
    text = (CHECKOUT / "src" / "digitnet" / "config" / "hydra_adapter.py").read_text()
    tree = ast.parse(text)
    table, code = ast.get_docstring(tree) or "", text.partition('"""\n\n')[2]
    documented = ("HydraException", "RunMode", "Launcher", "Sweeper", "SearchPathPlugin")
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hydra."):
            for alias in node.names:
                assert alias.name in documented or alias.name in table, alias.name
    names = {name for quoted in re.findall(r"`([^`]+)`", table) for name in re.findall(r"\w+", quoted)}
    assert len(names) > 30
    written_otherwise = {"ConfigLoader", "digitnet", "tune", "job_logging", "hydra_logging"}
    assert sorted(name for name in names - written_otherwise if not re.search(rf"\b{name}\b", code)) == []


# GlobalHydra


def test_an_application_goes_on_after_a_composition_within_it() -> None:
    with hydra.initialize_config_module(CONF_PACKAGE, **hydra_adapter.VERSION_BASE):
        running = GlobalHydra.instance().hydra
        assert running is not None
        with hydra_adapter.composing(PACKAGED):
            assert GlobalHydra.instance().hydra not in (None, running)
        assert GlobalHydra.instance().hydra is running
    assert not GlobalHydra.instance().is_initialized()


def test_each_file_is_read_once_and_compositions_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [[], ["model=allconv", "optimizer=adam"], ["experiment=fast99"], ["aug=distort", "hydra/launcher=slurm"]]
    apart = []
    for overrides in words:
        with hydra_adapter.composing(PACKAGED):
            apart.append(OmegaConf.to_yaml(hydra_adapter.compose_config("config", overrides)))
    read: list[str] = []
    load = ConfigRepository.load_config

    def counting(self: ConfigRepository, config_path: str) -> Any:
        read.append(config_path)
        return load(self, config_path)

    monkeypatch.setattr(ConfigRepository, "load_config", counting)
    with hydra_adapter.composing(PACKAGED):
        for _ in range(2):
            for overrides, expected in zip(words, apart, strict=True):
                with hydra_adapter.composing(PACKAGED):
                    composed = hydra_adapter.compose_config("config", overrides)
                assert OmegaConf.to_yaml(composed) == expected
                OmegaConf.set_struct(composed, False)
                composed.optimizer.lr, composed.hydra.job.name = 7, "seven"
    assert len(read) == len(set(read)) > 20


def test_other_directories_within_a_composition_are_searched() -> None:
    write(Path("conf/model/mine.yaml"), "defaults: [lenet5]\n")
    with hydra_adapter.composing(PACKAGED):
        with hydra_adapter.composing(Tree.at()):
            assert hydra_adapter.compose_config("config", ["model=mine"]).model.name == "lenet5"
        with pytest.raises(MissingConfigException):
            hydra_adapter.compose_config("config", ["model=mine"])


def test_clear_ends_the_running_application() -> None:
    with hydra.initialize_config_module(CONF_PACKAGE, **hydra_adapter.VERSION_BASE):
        GlobalHydra.instance().clear()
        assert GlobalHydra.instance().hydra is None


# HydraConfig


def test_hydra_interpolations_are_those_of_the_composition() -> None:
    before = HydraConfig.instance().cfg
    with hydra_adapter.composing(PACKAGED):
        composed = hydra_adapter.compose_config("config", ["hydra.job.name=mine", "+x=${hydra:job.name}"])
        with hydra_adapter.resolving(composed):
            assert composed.x == "mine"
    assert HydraConfig.instance().cfg is before


# ConfigLoader.compute_defaults_list


def test_the_defaults_list_says_which_file_each_package_comes_from() -> None:
    with hydra_adapter.composing(PACKAGED):
        loader = GlobalHydra.instance().config_loader()
        assert loader is not None
        defaults = loader.compute_defaults_list("config", ["optimizer=adamw"], RunMode.RUN).defaults
        assert {(default.package, default.config_path) for default in defaults} >= {("optimizer", "optimizer/adamw")}
        used = hydra_adapter.files_used("config", ["optimizer=adamw", "experiment=allconv"])
    assert ("optimizer", "optimizer/adamw") in used
    assert ("", "experiment/allconv") in used
    assert used.index(("", "config")) < used.index(("", "experiment/allconv"))  # the preset takes precedence


# Plugins


def test_plugins_are_registered_by_their_whole_name() -> None:
    names = Plugins.instance().class_name_to_class
    assert issubclass(names[hydra_adapter.BASIC_SWEEPER], Sweeper)
    assert issubclass(names[hydra_adapter.BASIC_LAUNCHER], Launcher)
    assert "digitnet.config.hydra_adapter._ConfigDirectories" in names


@pytest.mark.parametrize(
    ("target", "is_one"),
    [
        (hydra_adapter.BASIC_SWEEPER, True),
        (hydra_adapter.BASIC_LAUNCHER, False),
        ("hydra_plugins.nowhere.Sweeper", False),
        ("os.system", False),
        ("None", False),
    ],
)
def test_is_sweeper(target: str, is_one: bool) -> None:
    assert hydra_adapter.is_sweeper(target) is is_one


def test_hydras_default_sweeper_and_launcher_have_these_names() -> None:
    write(Path("conf/bare.yaml"), "seed: 0\n")
    with hydra_adapter.composing(Tree.at(root="bare")):
        composed = hydra_adapter.compose_config("bare", [])
    assert composed.hydra.sweeper._target_ == hydra_adapter.BASIC_SWEEPER
    assert composed.hydra.launcher._target_ == hydra_adapter.BASIC_LAUNCHER


def test_a_sweeper_runs_jobs_through_our_launcher(tmp_path: Path) -> None:
    """As the plugins do: `instantiate_sweeper`, which calls `instantiate_launcher`; `JobReturn` carries the values."""
    batches: list[tuple[list[list[str]], int]] = []

    def launch(combinations: Sequence[Sequence[str]], first: int) -> list[tuple[list[str], float | Exception]]:
        batches.append(([list(words) for words in combinations], first))
        return [(list(words), ValueError("no") if "seed=1" in words else 0.5) for words in combinations]

    with hydra_adapter.composing(PACKAGED):
        composed = hydra_adapter.compose_config("config", ["hydra/launcher=basic"])
        with open_dict(composed):
            composed.hydra.sweep.dir = str(tmp_path)
        with pytest.raises(ValueError, match="no"):  # of Hydra's own sweeper; those of plugins may go on
            hydra_adapter.run_sweeper(composed, ["seed=0,1", "optimizer.lr=0.1"], launch)
    assert batches == [([["seed=0", "optimizer.lr=0.1"], ["seed=1", "optimizer.lr=0.1"]], 0)]
    assert "instantiate_launcher" not in vars(Plugins.instance())


def test_what_a_sweeper_is_given_for_a_job() -> None:
    done = JobReturn(overrides=["seed=0"], status=JobStatus.COMPLETED)
    done.return_value = 0.5
    assert done.return_value == 0.5
    failed = JobReturn(overrides=["seed=0"], status=JobStatus.FAILED)
    failed.return_value = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        _ = failed.return_value
    with hydra_adapter.composing(PACKAGED):
        HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks())


# ConfigSearchPath


def test_our_directories_take_precedence_over_the_packaged_one() -> None:
    write(Path("conf/optimizer/sgd.yaml"), "name: sgd\nlr: 7\nmomentum: 0.0\nnesterov: false\nweight_decay: 0.0\n")
    with hydra_adapter.composing(Tree.at()):
        assert hydra_adapter.compose_config("config", []).optimizer.lr == 7
    with hydra_adapter.composing(PACKAGED):
        assert hydra_adapter.compose_config("config", []).optimizer.lr == 1


def test_prepend_takes_the_provider_that_it_goes_before() -> None:
    calls: list[Any] = []

    class Recorded(ConfigSearchPath):
        def prepend(self, provider: str, path: str, anchor: Any = None) -> None:
            calls.append((provider, path, anchor))

        def append(self, *_: Any) -> None: ...
        def get_path(self) -> Any: ...

    write(Path("conf/x.yaml"), "a: 1\n")
    with hydra_adapter._searching(Tree.at()):
        hydra_adapter._ConfigDirectories().manipulate_search_path(Recorded())
    assert calls == [("digitnet", f"file://{Path('conf').resolve()}", SearchPathQuery(provider="main"))]


# OverridesParser, Override, IntervalSweep


def test_an_override_is_parsed() -> None:
    parse = OverridesParser.create().parse_override
    assert parse("a.b=1").get_key_element() == "a.b"
    assert parse("+a@b=1").get_key_element() == "+a@b"
    assert (parse("a=1").value(), parse("a=[1,x]").value(), parse("a=0.5").value()) == (1, [1, "x"], 0.5)
    assert parse("a=1,2").input_line == "a=1,2"
    assert [parse(text).is_sweep_override() for text in ("a=1", "a=[1,2]", "a=1,2", "a=range(3)")] == [0, 0, 1, 1]
    assert [parse(text).is_discrete_sweep() for text in ("a=1,2", "a=range(3)", "a=interval(0,1)")] == [1, 1, 0]
    assert list(parse("a=1,x,[1,2]").sweep_string_iterator()) == ["1", "x", "[1,2]"]


def test_parse_overrides_reads_each() -> None:
    one, several, span = hydra_adapter.parse_overrides(["a=1", "b=range(3)", "c=tag(log,interval(0.1,2))"])
    assert (one.key, one.text, one.value, one.is_sweep) == ("a", "a=1", 1, False)
    assert (several.is_sweep, several.is_discrete_sweep, several.values(), several.interval) == (
        True, True, ["0", "1", "2"], None,
    )  # fmt: skip
    assert (span.is_sweep, span.is_discrete_sweep, span.tags) == (True, False, {"log"})
    assert span.interval == hydra_adapter.Interval(0.1, 2, frozenset({"log"}))
    (whole,) = hydra_adapter.parse_overrides(["c=int(interval(1,5))"])
    assert whole.interval is not None
    assert isinstance(whole.interval.low, int)


def test_a_glob_is_over_the_options_of_the_tree() -> None:
    with hydra_adapter.composing(PACKAGED):
        (override,) = hydra_adapter.parse_overrides(["optimizer=glob(adam*)"])
        assert override.values() == ["adam", "adamw"]


@pytest.mark.parametrize(("override", "readable"), [("a=1", True), ("a=[1", False), ("a b=1", False), ("a='", False)])
def test_is_readable(override: str, readable: bool) -> None:
    assert hydra_adapter.is_readable(override) is readable


# Hydra's own options, its exceptions, its command line


@pytest.mark.parametrize("group", ["job_logging", "hydra_logging"])
def test_hydras_own_options_are_read_as_they_are_composed(group: str) -> None:
    options = hydra_adapter.hydra_options(group)
    assert len(options) >= 3
    with hydra_adapter.composing(PACKAGED):
        for choice in ("default", "none", "disabled"):
            composed = hydra_adapter.compose_config("config", [f"hydra/{group}={choice}"])
            assert OmegaConf.to_container(composed.hydra[group]) in options


def test_a_missing_option_is_reported_with_those_that_there_are() -> None:
    with hydra_adapter.composing(PACKAGED), pytest.raises(MissingConfigException) as error:
        hydra_adapter.compose_config("config", ["optimizer=adamm"])
    assert error.value.missing_cfg_file == "optimizer/adamm"
    assert error.value.options == ["adam", "adamw", "rmsprop", "sdlm", "sgd", "sgd_momentum"]
    assert isinstance(error.value, HydraException)
    assert hydra_adapter.missing_config(error.value) == ("optimizer/adamm", error.value.options)
    assert hydra_adapter.missing_config(MissingConfigException("none", "optimiser/adam")) == ("optimiser/adam", None)
    assert hydra_adapter.missing_config(ValueError("no")) is None


def test_asks_for_multirun() -> None:
    with hydra_adapter.composing(PACKAGED):
        assert not hydra_adapter.asks_for_multirun(hydra_adapter.compose_config("config", []))
        assert hydra_adapter.asks_for_multirun(hydra_adapter.compose_config("config", ["hydra.mode=MULTIRUN"]))


def test_the_command_line_prints_and_leaves_the_process_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    before, arguments = dict(os.environ), sys.argv
    hydra_adapter.run_command_line(["--cfg", "job", "seed=3"], PACKAGED)
    assert "\nseed: 3\n" in capsys.readouterr().out
    with pytest.raises(HydraException):  # HYDRA_FULL_ERROR: not printed, and no exit
        hydra_adapter.run_command_line(["--cfg", "job", "sede=3"], PACKAGED)
    assert (dict(os.environ), sys.argv) == (before, arguments)
    assert sys.argv is arguments


def test_the_random_ending_of_a_runs_folder_is_drawn_once() -> None:
    with hydra_adapter.composing(PACKAGED):
        composed = hydra_adapter.compose_config("config", [])
        other = hydra_adapter.compose_config("config", [])
    assert composed.hydra.run.dir == composed.hydra.run.dir
    assert composed.hydra.run.dir != other.hydra.run.dir
    assert re.fullmatch(r"outputs/[\d-]{10}/[\d-]{8}-[0-9a-f]{8}", composed.hydra.run.dir)
