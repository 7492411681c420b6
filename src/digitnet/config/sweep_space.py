"""What a sweep or a search asks for: keys with several values, all combinations of them, intervals."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from digitnet.config.compose import chosen_folder, command_line, compose_unchecked
from digitnet.config.dimension import Dimension
from digitnet.config.explain import explain
from digitnet.config.files import Tree
from digitnet.config.guard import check_launcher
from digitnet.config.hydra_adapter import BASIC_SWEEPER, Launch, ParsedOverride, composing, parse_overrides, run_sweeper
from digitnet.config.schema import LauncherConfig
from digitnet.errors import ConfigError, DigitnetError


@dataclass(frozen=True)
class SweepRequest:
    """What a command line asks for whose keys have several values."""

    tree: Tree
    overrides: Sequence[str]  # as typed, without those of Hydra's own keys
    hydra_overrides: Sequence[str]
    params: Mapping[str, str]  # what a preset sweeps
    launcher: LauncherConfig
    folder: Path
    command: str
    sweeper: DictConfig | None  # another sweeper than Hydra's own, which lists all combinations

    @property
    def all_overrides(self) -> list[str]:
        """Those of the preset, then those that are typed."""
        return [*(f"{key}={values}" for key, values in self.params.items()), *self.overrides]

    def combinations(self) -> list[list[str]]:
        """The overrides of every job; what is typed takes precedence over a preset. Raises ConfigError."""
        return [list(words) for words in product(*self._lists())]

    def covering(self) -> list[list[str]]:
        """As few of them as have every value once. Raises ConfigError."""
        return covering(self._lists())

    def _lists(self) -> list[list[str]]:
        with composing(self.tree):
            return _lists(self.all_overrides, self.tree)


def read_sweep(overrides: Sequence[str], tree: Tree) -> SweepRequest:
    """Read what is common to the jobs that `overrides` ask for. Raises ConfigError."""
    hydra_overrides = [override for override in overrides if re.match(r"[+~]*hydra[./]", override)]
    typed = [override for override in overrides if override not in hydra_overrides]
    for override in hydra_overrides:
        if override.lstrip("+").startswith("hydra.sweep.subdir"):
            raise ConfigError(f"{override}: a job's folder is named by what differs; leave it out")
    with composing(tree):
        composed = _compose_first(hydra_overrides, typed, tree)
        node = composed.hydra
        launcher = check_launcher(OmegaConf.to_container(node.launcher, resolve=True))
        is_basic = node.sweeper.get("_target_") == BASIC_SWEEPER
        if node.sweeper.get("max_batch_size") is not None:
            raise ConfigError("hydra.sweeper.max_batch_size: hydra.launcher.jobs says how many run at a time")
        folder = chosen_folder(composed, "sweep.dir").expanduser().absolute()
        params = node.sweeper.get("params")
    return SweepRequest(
        tree,
        typed,
        hydra_overrides,
        # Another sweeper reads them itself.
        {str(key): str(value) for key, value in dict(params or {}).items()} if is_basic else {},
        launcher,
        folder,
        command_line(["-m", *overrides], tree),
        None if is_basic else node.sweeper,
    )


def run_chosen_sweeper(request: SweepRequest, launch: Launch) -> None:
    """Let the sweeper that is chosen find the jobs, batch by batch; `launch`: see `hydra_adapter.run_sweeper`.

    Raises ConfigError if the sweeper is not installed or refuses, and what `launch` raises of digitnet's errors.
    """
    with composing(request.tree):
        composed = _compose_first(request.hydra_overrides, request.overrides, request.tree)
        with open_dict(composed):
            composed.hydra.sweep.dir = str(request.folder)
        try:
            run_sweeper(composed, request.overrides, launch)
        except DigitnetError:
            raise
        except Exception as error:
            raise explain(error, request.overrides, request.tree) from error


def _compose_first(hydra_overrides: Sequence[str], overrides: Sequence[str], tree: Tree) -> DictConfig:
    """The composition with the first of each key's values. Inside `composing`. Raises ConfigError."""
    firsts = [words[0] for words in _lists(overrides, tree, intervals=True)]
    return compose_unchecked([*hydra_overrides, *firsts], tree)


def covering(lists: Sequence[Sequence[str]]) -> list[list[str]]:
    """Combinations of an entry of each of `lists`, as few as have every entry."""
    return [[values[number % len(values)] for values in lists] for number in range(max(map(len, lists), default=1))]


def _lists(overrides: Sequence[str], tree: Tree, intervals: bool = False) -> list[list[str]]:
    """The values of each of `overrides`: one, or several; of an interval, where `intervals` are allowed, the lower end.

    Inside `composing`. Raises ConfigError.
    """
    lists = []
    for key, override in _by_key(overrides, tree).items():
        if not override.is_several:
            lists.append([override.text])
        elif override.is_list:
            lists.append([f"{key}={value}" for value in override.values()])
        elif intervals and (interval := override.interval) is not None:
            lists.append([f"{key}={interval.low}"])
        else:
            raise ConfigError(f"{override.text}: a sweep is over values; digitnet tune searches in between")
        if not lists[-1]:
            raise ConfigError(f"{override.text}: there is no value in it")
    return lists


def search_space(overrides: Sequence[str], tree: Tree) -> tuple[list[str], dict[str, Dimension]]:
    """The overrides that are the same in all trials, and what is searched. Raises ConfigError."""
    fixed: list[str] = []
    space: dict[str, Dimension] = {}
    with composing(tree):
        for key, override in _by_key(overrides, tree).items():
            if override.is_several:
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
            raise ConfigError(f"{override.text}: there is no value in it")
        return Dimension(choices=choices)
    assert interval.low is not None
    assert interval.high is not None
    log, whole = "log" in interval.tags, isinstance(interval.low, int)
    if not 0 < interval.high - interval.low < math.inf or (log and interval.low <= 0):
        raise ConfigError(f"{override.text}: an interval goes up{', from above 0' if log else ''}")
    return Dimension(low=interval.low, high=interval.high, log=log, whole=whole)


def _by_key(overrides: Sequence[str], tree: Tree) -> dict[str, ParsedOverride]:
    """By their keys; of a key that is given twice, the later one. Inside `composing`. Raises ConfigError."""
    try:
        return {override.key: override for override in parse_overrides(overrides)}
    except Exception as error:
        raise explain(error, overrides, tree) from error
