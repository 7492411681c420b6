"""Everything that digitnet does with Hydra: the only file that imports it. Works with hydra-core 1.3.8 and 1.4.0rc3.

These names are not in Hydra's documentation, and a version may change them; tests/config/test_hydra_adapter.py has a
test on each.

- `GlobalHydra.instance()`: `hydra`, `clear`, `config_loader`: compose outside of, or within, a running application
- `HydraConfig.instance()`: `cfg`, `set_config`: what `${hydra:…}` is while a composition is resolved
- `ConfigLoader.compute_defaults_list(…).defaults`: which file the values of which package come from
- `Plugins.instance()`: `register`, `class_name_to_class`: our directories on the search path; which sweepers there are
- `Plugins.instance()`: `instantiate_sweeper`, `instantiate_launcher`: run a sweeper with our launcher
- `ConfigSearchPath.prepend`, `SearchPathQuery`: the user's directories before the packaged one
- `OverridesParser.create(…)`: `parse_overrides`, `parse_override`: Hydra's grammar
- `Override`: `get_key_element`, `input_line`, `value`, `is_sweep_override`, `is_discrete_sweep`,
  `sweep_string_iterator`: the values of an override
- `IntervalSweep`: `start`, `end`, `tags`: the intervals that `digitnet tune` searches
- `hydra._internal.callbacks.Callbacks`, `HydraContext`: what a sweeper is set up with
- `JobReturn`, `JobStatus`: what a sweeper is given for each job
- `hydra._internal.core_plugins`: `basic_launcher.BasicLauncher`, `basic_sweeper.BasicSweeper`: Hydra's defaults
- `hydra.conf`: `hydra/job_logging`, `hydra/hydra_logging`: the options that Hydra has of its own groups
- `MissingConfigException`: `missing_cfg_file`, `options`: which option was not found, and which there are
- `HYDRA_FULL_ERROR`: errors are raised, not printed
"""

import contextlib
import logging
import os
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.callbacks import Callbacks
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from digitnet.config.files import CONF_PACKAGE, Tree

BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"  # Hydra's defaults
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
IS_1_3 = hydra.__version__.startswith("1.3.")
# 1.3 needs to be told to behave like itself; 1.4 warns of being told anything.
VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if IS_1_3 else {}
# Renamed in OmegaConf 2.4, where the old name warns; in 2.3 the new name is that of another function.
_register_resolver: Any = OmegaConf.register_new_resolver if IS_1_3 else OmegaConf.register_resolver
# `${short_id:}`: cached by the config, so that every reading of the run's folder gives the same.
_register_resolver("short_id", lambda: secrets.token_hex(4), use_cache=True, replace=True)

_searched: list[Path] = []  # the user's config directories, for whatever Hydra is doing now


class _ConfigDirectories(SearchPathPlugin):
    """The user's config directories before the packaged one, where Hydra's own --config-dir would come after it."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for directory in _searched:
            search_path.prepend("digitnet", f"file://{directory}", SearchPathQuery(provider="main"))


Plugins.instance().register(_ConfigDirectories)


@contextlib.contextmanager
def _searching(tree: Tree) -> Iterator[None]:
    """In this block, Hydra looks into the directories of `tree`."""
    before = list(_searched)
    _searched[:] = tree.own
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "In '.*': Defaults list is missing `_self_`")  # then it is the last entry
            yield
    finally:
        _searched[:] = before


@contextlib.contextmanager
def composing(tree: Tree) -> Iterator[None]:
    """The functions of this module that need `tree` are called inside this block; an application may be running."""
    state = GlobalHydra.instance()
    running = state.hydra
    state.clear()
    try:
        with _searching(tree), hydra.initialize_config_module(CONF_PACKAGE, **VERSION_BASE):
            yield
    finally:
        GlobalHydra.instance().hydra = running  # Hydra has put another instance in its place


def compose_config(root: str, overrides: Sequence[str], with_hydra: bool = True) -> DictConfig:
    """The composed configuration, by default with Hydra's own node. Inside `composing`. Raises what Hydra raises."""
    return hydra.compose(root, overrides=list(overrides), return_hydra_config=with_hydra)


@contextlib.contextmanager
def resolving(composed: DictConfig) -> Iterator[None]:
    """In this block, `${hydra:…}` is what it is in `composed`."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(composed)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def missing_config(error: Exception) -> tuple[str, list[str] | None] | None:
    """If `error` is about a missing file: its name, "model/lenet6", and the options of its group, if it exists."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return error.missing_cfg_file, None if error.options is None else list(error.options)
    return None


def asks_for_multirun(composed: DictConfig) -> bool:
    return bool(composed.hydra.mode == RunMode.MULTIRUN)


def files_used(root: str, overrides: Sequence[str]) -> list[tuple[str, str]]:
    """(package, name) of each file that is composed, in order: ("optimizer", "optimizer/sgd"). Inside `composing`."""
    loader = GlobalHydra.instance().config_loader()
    assert loader is not None
    defaults = loader.compute_defaults_list(root, list(overrides), RunMode.RUN).defaults
    return [(default.package or "", default.config_path) for default in defaults if default.config_path]


@dataclass(frozen=True)
class Interval:
    """`interval(low, high)`, which `tag(log, …)` may stand around."""

    low: float | int | None
    high: float | int | None
    tags: frozenset[str]


@dataclass(frozen=True)
class ParsedOverride:
    """An override as Hydra's grammar reads it."""

    _parsed: Override

    @property
    def key(self) -> str:
        """With its sign and package, as typed: `+seed`."""
        return self._parsed.get_key_element()

    @property
    def text(self) -> str:
        return str(self._parsed.input_line)

    @property
    def is_several(self) -> bool:
        """Whether it has several values: `1,2`, `range(3)`, `glob(*)`, an interval."""
        return self._parsed.is_sweep_override()

    @property
    def value(self) -> Any:
        """Its value, where it has one."""
        return self._parsed.value()

    @property
    def tags(self) -> frozenset[str]:
        return frozenset(getattr(self._parsed.value(), "tags", ()))

    @property
    def interval(self) -> Interval | None:
        value = self._parsed.value()
        return Interval(value.start, value.end, frozenset(value.tags)) if isinstance(value, IntervalSweep) else None

    @property
    def is_list(self) -> bool:
        """Whether its several values can be counted."""
        return self._parsed.is_discrete_sweep()

    def values(self) -> list[str]:
        """Each of several values, as `KEY=VALUE` has it."""
        return list(self._parsed.sweep_string_iterator())


def parse_overrides(overrides: Sequence[str]) -> list[ParsedOverride]:
    """By Hydra's grammar, with `glob(…)` over the options of the tree if inside `composing`. Raises as Hydra does."""
    state = GlobalHydra.instance()
    loader = state.config_loader() if state.is_initialized() else None
    return [ParsedOverride(parsed) for parsed in OverridesParser.create(loader).parse_overrides(list(overrides))]


def is_readable(override: str) -> bool:
    """Whether it is one by Hydra's grammar."""
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def run_command_line(arguments: Sequence[str], tree: Tree) -> None:
    """Hydra's own command line, for its `--cfg` and `--info`, which print. Raises what Hydra raises."""
    program, sys.argv = sys.argv, ["digitnet", *arguments]
    # Hydra would print errors in a form of its own, and exit.
    wanted, os.environ["HYDRA_FULL_ERROR"] = os.environ.get("HYDRA_FULL_ERROR"), "1"
    # `--info | head`: it logs, and logging would print a traceback for each line that nobody reads.
    report, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        with _searching(tree):
            main = hydra.main(config_path=f"pkg://{CONF_PACKAGE}", config_name=tree.root, **VERSION_BASE)
            main(lambda composed: None)()
    finally:
        sys.argv, logging.raiseExceptions = program, report
        del os.environ["HYDRA_FULL_ERROR"]
        if wanted is not None:
            os.environ["HYDRA_FULL_ERROR"] = wanted


def is_sweeper(target: str) -> bool:
    """Whether a class of this name is a sweeper of Hydra's, or of one of its plugins that are installed."""
    found = Plugins.instance().class_name_to_class.get(target)
    return found is not None and issubclass(found, Sweeper)


@cache
def hydra_options(group: str) -> list[Any]:
    """The content of each option that Hydra itself has of one of its groups."""
    paths = files("hydra.conf").joinpath("hydra", group).iterdir()
    return [OmegaConf.to_container(OmegaConf.load(str(path))) for path in paths]


Launch = Callable[[Sequence[Sequence[str]], int], list[tuple[list[str], float | Exception]]]


def run_sweeper(composed: DictConfig, overrides: Sequence[str], launch: Launch) -> None:
    """Let the sweeper that is chosen in `composed` choose the jobs for `overrides`. Inside `composing`.

    `launch(combinations, first)` runs a batch, the `first` of which has that number, and returns of each job its
    overrides and its value, or why it has none. Raises what Hydra and the sweeper raise.
    """

    class OurLauncher(Launcher):
        """What the sweeper takes for a launcher."""

        def setup(self, **_: Any) -> None:
            pass

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            found = []
            for words, value in launch(job_overrides, initial_job_idx):
                status = JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED
                done = JobReturn(overrides=words, status=status)
                done.return_value = value
                found.append(done)
            return found

    plugins = Plugins.instance()
    context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks())
    plugins.instantiate_launcher = lambda *_, **__: OurLauncher()  # type: ignore[method-assign]
    try:
        sweeper = plugins.instantiate_sweeper(hydra_context=context, task_function=lambda _: None, config=composed)
        sweeper.sweep(arguments=list(overrides))
    finally:
        del plugins.instantiate_launcher
