"""All calls of Hydra: the only file that imports it. Works with hydra-core 1.3.8 and 1.4.0rc3.

These names are not in Hydra's documentation, and a version may change them; tests/config/test_hydra_adapter.py has a
test of each.

- `GlobalHydra.instance()`: `hydra`, `clear`, `config_loader`: compose outside of, or within, a running application
- `HydraConfig.instance()`: `cfg`, `set_config`: the values of `${hydra:…}` while a composition is resolved
- `ConfigLoader.compute_defaults_list(…).defaults`: the file that the values of a package come from
- `ConfigLoader.repository`: replaced by `KeepingRepository`, so that each file is read once
- `Plugins.instance()`: `register`, `class_name_to_class`: our directories on the search path; the installed sweepers
- `Plugins.instance()`: `instantiate_sweeper`, `instantiate_launcher`: run a sweeper with our launcher
- `ConfigSearchPath.prepend`, `SearchPathQuery`: the user's directories before the packaged one
- `OverridesParser.create(…)`: `parse_overrides`, `parse_override`: Hydra's grammar
- `Override`: `get_key_element`, `input_line`, `value`, `is_sweep_override`, `is_discrete_sweep`,
  `sweep_string_iterator`: the values of an override
- `IntervalSweep`: `start`, `end`, `tags`: the intervals that `digitnet tune` searches
- `hydra._internal.callbacks.Callbacks`, `HydraContext`: arguments of a sweeper's setup
- `JobReturn`, `JobStatus`: the result of a job, for the sweeper
- `hydra._internal.core_plugins`: `basic_launcher.BasicLauncher`, `basic_sweeper.BasicSweeper`: Hydra's defaults
- `hydra.conf`: `hydra/job_logging`, `hydra/hydra_logging`: Hydra's own options of these groups
- `MissingConfigException`: `missing_cfg_file`, `options`: the option that was not found, and the existing ones
- `HYDRA_FULL_ERROR`: errors are raised, not printed
"""

import contextlib
import logging
import os
import re
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
from digitnet.config.repository import KeepingRepository
from digitnet.errors import ConfigError

BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"  # Hydra's defaults
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
IS_1_3 = hydra.__version__.startswith("1.3.")
# Without version_base, 1.3 behaves like 1.1; with it, 1.4 warns.
VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if IS_1_3 else {}
# Renamed in OmegaConf 2.4, where the old name warns; in 2.3 the new name is another function's.
_register_resolver: Any = OmegaConf.register_new_resolver if IS_1_3 else OmegaConf.register_resolver
# `${short_id:}`: cached by the config, so that the run's folder has the same name each time it is read.
_register_resolver("short_id", lambda: secrets.token_hex(4), use_cache=True, replace=True)

_searched: list[Path] = []  # the user's config directories, set by `_searching`
_composing: list[tuple[list[Path], Any]] = []  # those, and Hydra, of each `composing` block that has begun


class _ConfigDirectories(SearchPathPlugin):
    """Puts the user's config directories before the packaged one; Hydra's own --config-dir comes after it."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for directory in _searched:
            search_path.prepend("digitnet", f"file://{directory}", SearchPathQuery(provider="main"))


Plugins.instance().register(_ConfigDirectories)


@contextlib.contextmanager
def _searching(tree: Tree) -> Iterator[None]:
    """In this block, Hydra searches the directories of `tree`."""
    before = list(_searched)
    _searched[:] = tree.own
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "In '.*': Defaults list is missing `_self_`"
            )  # without `_self_` it is the last entry
            yield
    finally:
        _searched[:] = before


@contextlib.contextmanager
def composing(tree: Tree) -> Iterator[None]:
    """In this block, the functions of this module compose from `tree`; also inside a running Hydra application.

    Each file is read once, also in blocks of the same directories within this one.
    """
    state = GlobalHydra.instance()
    running = state.hydra
    if running and _composing[-1:] == [(tree.own, running)]:
        yield
        return
    state.clear()
    try:
        with _searching(tree), hydra.initialize_config_module(CONF_PACKAGE, **VERSION_BASE):
            ours = GlobalHydra.instance()
            loader: Any = ours.config_loader()
            loader.repository = KeepingRepository(loader.repository)
            _composing.append((tree.own, ours.hydra))
            try:
                yield
            finally:
                _composing.pop()
    finally:
        GlobalHydra.instance().hydra = running  # on a new instance: `clear` and Hydra replace it


def compose_config(root: str, overrides: Sequence[str], with_hydra: bool = True) -> DictConfig:
    """Compose a configuration, by default with Hydra's own node. Call it inside `composing`. Raises Hydra's errors."""
    return hydra.compose(root, overrides=_readable(overrides), return_hydra_config=with_hydra)


@contextlib.contextmanager
def resolving(composed: DictConfig) -> Iterator[None]:
    """In this block, `${hydra:…}` has its values in `composed`."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(composed)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def _readable(overrides: Sequence[str]) -> list[str]:
    """The overrides with quotes where Hydra's grammar needs them: `~/runs`, and `debug=nan`, which were a number."""
    return [re.sub(r"^([^=]+=)(~(?:/[^\"'\\,]*)?)$|^(debug=)(nan)$", r'\1\3"\2\4"', override) for override in overrides]


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
    defaults = loader.compute_defaults_list(root, _readable(overrides), RunMode.RUN).defaults
    return [(default.package or "", default.config_path) for default in defaults if default.config_path]


@dataclass(frozen=True)
class Interval:
    """`interval(low, high)`, with the tags of a `tag(log, …)` around it."""

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
    def is_sweep(self) -> bool:
        """Whether it has several values: `1,2`, `range(3)`, `glob(*)`, an interval."""
        return self._parsed.is_sweep_override()

    @property
    def value(self) -> Any:
        """Its value, if it has a single one."""
        return self._parsed.value()

    @property
    def tags(self) -> frozenset[str]:
        return frozenset(getattr(self._parsed.value(), "tags", ()))

    @property
    def interval(self) -> Interval | None:
        value = self._parsed.value()
        return Interval(value.start, value.end, frozenset(value.tags)) if isinstance(value, IntervalSweep) else None

    @property
    def is_discrete_sweep(self) -> bool:
        """Whether it has several values that can be listed: not an interval."""
        return self._parsed.is_discrete_sweep()

    def values(self) -> list[str]:
        """The values of a discrete sweep, as written in `KEY=VALUE`. Raises ConfigError."""
        try:
            return list(self._parsed.sweep_string_iterator())
        except Exception:  # OmegaConf's, of a range as a value
            raise ConfigError(f"{self.text}: a range within a list of values; write its values out") from None


def parse_overrides(overrides: Sequence[str]) -> list[ParsedOverride]:
    """Parse overrides; inside `composing`, `glob(…)` matches the tree's options. Raises Hydra's errors."""
    state = GlobalHydra.instance()
    loader = state.config_loader() if state.is_initialized() else None
    return [ParsedOverride(parsed) for parsed in OverridesParser.create(loader).parse_overrides(_readable(overrides))]


def is_readable(override: str) -> bool:
    """Whether Hydra's grammar accepts the override."""
    try:
        OverridesParser.create().parse_override(*_readable([override]))
    except HydraException:
        return False
    return True


def run_command_line(arguments: Sequence[str], tree: Tree) -> None:
    """Run Hydra's own command line, for `--cfg` and `--info`, which print. Raises Hydra's errors."""
    argv, sys.argv = sys.argv, ["digitnet", *_readable(arguments)]
    # Otherwise Hydra would print errors itself, and exit.
    full_error, os.environ["HYDRA_FULL_ERROR"] = os.environ.get("HYDRA_FULL_ERROR"), "1"
    # `--info | head`: it logs, and logging would print a traceback for each line after the pipe is closed.
    raise_exceptions, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        with _searching(tree):
            main = hydra.main(config_path=f"pkg://{CONF_PACKAGE}", config_name=tree.root, **VERSION_BASE)
            main(lambda composed: None)()
    finally:
        sys.argv, logging.raiseExceptions = argv, raise_exceptions
        del os.environ["HYDRA_FULL_ERROR"]
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def is_sweeper(target: str) -> bool:
    """Whether the class of this name is a sweeper of Hydra or of an installed plugin of Hydra."""
    plugin = Plugins.instance().class_name_to_class.get(target)
    return plugin is not None and issubclass(plugin, Sweeper)


@cache
def hydra_options(group: str) -> list[Any]:
    """The content of each of Hydra's own options of one of its groups."""
    paths = files("hydra.conf").joinpath("hydra", group).iterdir()
    return [OmegaConf.to_container(OmegaConf.load(str(path))) for path in paths]


Launch = Callable[[Sequence[Sequence[str]], int], list[tuple[list[str], float | Exception]]]


def run_sweeper(composed: DictConfig, overrides: Sequence[str], launch: Launch) -> None:
    """Run the sweeper that `composed` chooses, which proposes jobs for `overrides`. Call it inside `composing`.

    `launch(combinations, first)` runs a batch of jobs, numbered from `first`, and returns for each job its overrides
    and either its value or the error that it failed with. Raises the errors of Hydra and of the sweeper.
    """

    class OurLauncher(Launcher):
        """Passes the sweeper's batches of jobs to `launch`."""

        def setup(self, **_: Any) -> None:
            pass

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            results = []
            for words, value in launch(job_overrides, initial_job_idx):
                status = JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED
                done = JobReturn(overrides=words, status=status)
                done.return_value = value
                results.append(done)
            return results

    plugins = Plugins.instance()
    context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks())
    plugins.instantiate_launcher = lambda *_, **__: OurLauncher()  # type: ignore[method-assign]
    try:
        sweeper = plugins.instantiate_sweeper(hydra_context=context, task_function=lambda _: None, config=composed)
        sweeper.sweep(arguments=list(overrides))
    finally:
        del plugins.instantiate_launcher
