"""The values that a sweep or a search varies: keys with several values, their combinations, intervals."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from digitnet.config.compose import (
    chosen_folder,
    command_line,
    compose_unchecked,
    shared_settings,
    warnings_of_files,
)
from digitnet.config.dimension import Dimension
from digitnet.config.explain import explain
from digitnet.config.files import Tree
from digitnet.config.guard import check_launcher
from digitnet.config.hydra_adapter import BASIC_SWEEPER, Launch, ParsedOverride, composing, parse_overrides, run_sweeper
from digitnet.config.launcher_schema import LauncherConfig
from digitnet.config.sweep_preset import places_of_swept_keys
from digitnet.errors import ConfigError, DigitnetError, Fault


@dataclass(frozen=True)
class SweepRequest:
    """A command line whose keys have several values, and its settings that all jobs share."""

    tree: Tree
    overrides: Sequence[str]  # as typed, except those of Hydra's own keys
    hydra_overrides: Sequence[str]
    params: Mapping[str, str]  # the values of a sweep preset, by their keys
    launcher: LauncherConfig
    folder: Path
    command: str
    sweeper: DictConfig | None  # a plugin's; None: Hydra's own, which lists all combinations
    shared: Mapping[str, Any] | None = None  # of Hydra's node, what all jobs must have in common; None: not compared
    warnings: tuple[str, ...] = ()  # about the YAML files
    places: Mapping[str, tuple[Path, int]] = field(default_factory=dict)  # file and line of each key of the preset
    intervals: bool = False  # whether the ends of an interval are its values: to check the preset of a search

    @property
    def all_overrides(self) -> list[str]:
        """The preset's overrides, then the typed ones."""
        return [*(f"{key}={values}" for key, values in self.params.items()), *self.overrides]

    def combinations(self) -> list[list[str]]:
        """The overrides of every job; typed values take precedence over the preset's. Raises ConfigError."""
        return [list(words) for words in product(*self._lists())]

    def covering(self) -> list[list[str]]:
        """As few combinations as contain every value at least once. Raises ConfigError."""
        return covering(self._lists())

    def one_at_a_time(self, base: Sequence[str] | None) -> list[list[str]]:
        """A combination for each value, with the other words of `base` or, without, those that have a single value."""
        lists = self._lists()
        single = [values[0] for values in lists if len(values) == 1]
        combinations = []
        for values in lists if len(lists) > len(single) else []:
            key = values[0].partition("=")[0]
            others = [word for word in base or single if word.partition("=")[0] != key]
            combinations += [[*others, value] for value in values]
        return combinations

    def located(self, faults: Iterable[Fault]) -> list[Fault]:
        """The faults, with file and line where a value of the preset is wrong."""
        typed = {word.lstrip("+~").partition("=")[0] for word in self.overrides}
        places = {key: place for key, place in self.places.items() if key not in typed}
        return [_located(fault, places) for fault in faults]

    def _lists(self) -> list[list[str]]:
        with composing(self.tree):
            try:
                return _lists(self.all_overrides, self.tree, self.intervals)
            except ConfigError as error:
                faults = {str(fault): fault for fault in self.located(error.faults)}
                for word in self.all_overrides:  # all that cannot be read, not only the first
                    try:
                        _lists([word], self.tree, self.intervals)
                    except ConfigError as its_error:
                        faults |= {str(fault): fault for fault in self.located(its_error.faults)}
                raise ConfigError(faults.values()) from error


def _located(fault: Fault, places: Mapping[str, tuple[Path, int]]) -> Fault:
    for key, (path, line) in places.items():
        if fault.file is None and (
            fault.key == key or re.match(rf"(no key '){{0,1}}{re.escape(key)}['=]", fault.message)
        ):
            return replace(fault, file=path, line=line)
    return fault


def read_sweep(overrides: Sequence[str], tree: Tree, intervals: bool = False) -> SweepRequest:
    """Read what is common to all jobs of a sweep, or of a search with `intervals`. Raises ConfigError."""
    hydra_overrides = [override for override in overrides if re.match(r"[+~]*hydra[./]", override)]
    typed = [override for override in overrides if override not in hydra_overrides]
    for override in hydra_overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key.startswith("hydra.sweep.subdir"):
            raise ConfigError(f"{override}: a job's folder is named by what differs; leave it out")
        if key == "hydra.run.dir":
            raise ConfigError(f"{override}: is of a single run; for a sweep, write hydra.sweep.dir={value}")
    with composing(tree):
        composed, warnings = _compose_first(hydra_overrides, typed, tree)
        node = composed.hydra
        launcher = check_launcher(OmegaConf.to_container(node.launcher, resolve=True))
        is_basic = node.sweeper.get("_target_") == BASIC_SWEEPER
        if node.sweeper.get("max_batch_size") is not None:
            raise ConfigError("hydra.sweeper.max_batch_size: hydra.launcher.jobs says how many run at a time")
        folder = chosen_folder(composed, "sweep.dir").absolute()
        params = node.sweeper.get("params")
        places = places_of_swept_keys(tree, typed) if params and tree.own else {}
    return SweepRequest(
        tree,
        typed,
        hydra_overrides,
        # A plugin's sweeper reads its parameters itself.
        {str(key): str(value) for key, value in dict(params or {}).items()} if is_basic else {},
        launcher,
        folder,
        command_line(["-m", *overrides], tree),
        None if is_basic else node.sweeper,
        shared_settings(composed),
        warnings,
        places,
        intervals,
    )


def run_chosen_sweeper(request: SweepRequest, launch: Launch) -> None:
    """Run the chosen sweeper plugin, which proposes jobs in batches; for `launch` see `hydra_adapter.run_sweeper`.

    Raises ConfigError if the sweeper is not installed or raises an error; DigitnetErrors of `launch` are passed on.
    """
    with composing(request.tree):
        composed, _ = _compose_first(request.hydra_overrides, request.overrides, request.tree)
        with open_dict(composed):
            composed.hydra.sweep.dir = str(request.folder)
        try:
            run_sweeper(composed, request.overrides, launch)
        except DigitnetError:
            raise
        except Exception as error:
            raise explain(error, request.overrides, request.tree) from error


def _compose_first(
    hydra_overrides: Sequence[str], overrides: Sequence[str], tree: Tree
) -> tuple[DictConfig, tuple[str, ...]]:
    """Compose with the first value of each key: (composition, warnings). Call it inside `composing`.

    Raises ConfigError.
    """
    words = [*hydra_overrides, *(values[0] for values in _lists(overrides, tree, intervals=True))]
    composed = compose_unchecked(words, tree)
    return composed, warnings_of_files(words, tree)


def covering(lists: Sequence[Sequence[str]]) -> list[list[str]]:
    """As few combinations of one entry per list as contain every entry of all `lists`."""
    return [[values[number % len(values)] for values in lists] for number in range(max(map(len, lists), default=1))]


def _lists(overrides: Sequence[str], tree: Tree, intervals: bool = False) -> list[list[str]]:
    """The values of each override, as `KEY=VALUE`; of an interval, if `intervals` are allowed, its two ends.

    Call it inside `composing`. Raises ConfigError.
    """
    lists = []
    for key, override in _by_key(overrides, tree).items():
        if not override.is_sweep:
            lists.append([override.text])
        elif override.is_discrete_sweep:
            lists.append([f"{key}={value}" for value in dict.fromkeys(override.values())])  # seed=0,0 is one job
        elif intervals and override.interval is not None:
            dimension = _dimension(override)
            lists.append([f"{key}={dimension.low}", f"{key}={dimension.high}"])
        else:
            raise ConfigError(f"{override.text}: a sweep takes single values; digitnet tune searches intervals")
        if not lists[-1]:
            raise ConfigError(f"{override.text}: has no values")
    return lists


def search_space(overrides: Sequence[str], tree: Tree) -> tuple[list[str], dict[str, Dimension]]:
    """(overrides that all trials share, the dimension of each key that is searched). Raises ConfigError."""
    fixed: list[str] = []
    space: dict[str, Dimension] = {}
    with composing(tree):
        for key, override in _by_key(overrides, tree).items():
            if override.is_sweep:
                space[key] = _dimension(override)
            else:
                fixed.append(override.text)
    return fixed, space


def _dimension(override: ParsedOverride) -> Dimension:
    for tag in sorted(override.tags - {"log"}):
        raise ConfigError(f"{override.text}: no tag '{tag}'; there is log")
    interval = override.interval
    if interval is None:
        choices = list(dict.fromkeys(override.values()))
        if not choices:
            raise ConfigError(f"{override.text}: has no values")
        return Dimension(choices=choices)
    assert interval.low is not None
    assert interval.high is not None
    log, whole = "log" in interval.tags, isinstance(interval.low, int)
    if not 0 < interval.high - interval.low < math.inf or (log and interval.low <= 0):
        raise ConfigError(
            f"{override.text}: an interval must go from low to high{', and start above 0' if log else ''}"
        )
    return Dimension(low=interval.low, high=interval.high, log=log, whole=whole)


def _by_key(overrides: Sequence[str], tree: Tree) -> dict[str, ParsedOverride]:
    """The overrides by their keys; the last one of each key. Call it inside `composing`. Raises ConfigError."""
    try:
        return {override.key: override for override in parse_overrides(overrides)}
    except Exception as error:
        raise explain(error, overrides, tree) from error
