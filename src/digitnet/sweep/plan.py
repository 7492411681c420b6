"""From a command line or a preset with several values to the jobs of a sweep, all checked before the first begins."""

import contextlib
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from digitnet.config import check
from digitnet.config.compose import _check, _command, _compose, _folder, _no_folder, _write_down
from digitnet.config.explain import explain
from digitnet.config.files import Tree
from digitnet.config.hydra_adapter import loading
from digitnet.errors import TAKEN, ConfigError, DigitnetError, Fault
from digitnet.lock import locked
from digitnet.sweep.capacity import with_threads
from digitnet.sweep.manifest import SWEEP_FILE, Dimension, Job, Sweep
from digitnet.text import short_path

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
LONGEST = 100  # characters of a job's name, which is that of a folder
FROZEN = ".conf"  # in the folder of a search: the YAML files as they were, for its trials are composed one by one


@dataclass
class SweepPlan:
    """A sweep whose launcher and whose first configuration passed the checks, in the words of the command line."""

    sweep: Sweep
    tree: Tree
    overrides: Sequence[str]  # as typed, without those of Hydra
    of_hydra: Sequence[str]
    params: Mapping[str, str]  # what a preset sweeps
    sweeper: DictConfig | None  # another one than Hydra's own, which lists all combinations
    frozen: Tree | None = None  # a copy of `tree`, which jobs are composed from
    _composed: dict[str, DictConfig] = field(default_factory=dict)

    def combinations(self) -> list[list[str]]:
        """The overrides of every job, what is typed with the last word. Raises ConfigError."""
        return [list(words) for words in product(*self._lists())]

    def covering(self) -> list[list[str]]:
        """As few of them as have every value once. Raises ConfigError."""
        return covering(self._lists())

    def _lists(self) -> list[list[str]]:
        with loading(self.tree):
            return _lists([*(f"{key}={values}" for key, values in self.params.items()), *self.overrides], self.tree)

    def jobs(self, combinations: Sequence[Sequence[str]], first: int | None = None) -> list[Job]:
        """Compose and check them, the `first` of which has that number in its name; raises ConfigError with all faults.

        Their configurations hold from here on, whatever happens to YAML and environment.
        """
        found: list[Job] = []
        faults: dict[str, Fault] = {}
        names = _names(combinations, self.overrides, first)
        tree = self.frozen or self.tree
        with loading(tree):
            for number, (name, overrides) in enumerate(zip(names, combinations, strict=True), start=first or 0):
                try:
                    composed = _compose([*self.of_hydra, *overrides], tree)
                    with open_dict(composed.hydra):
                        composed.hydra.job.num, composed.hydra.job.id = number, str(number)
                    config = _check(composed, tree, overrides)
                    assert config is not None
                    config = with_threads(config, self.sweep.launcher)
                except ConfigError as error:
                    faults |= {str(fault): fault for fault in error.faults}
                    continue
                self._composed[name] = composed
                command = _command(overrides, self.tree)
                found.append(Job(name, list(overrides), command, config.model_dump(mode="json")))
        if faults:
            raise ConfigError(faults.values())
        return found

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Have the sweep's folder for this block; raises DigitnetError where another has it, or it cannot be made."""
        folder = self.sweep.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_folder(error, "sweep") from error
        with locked(folder):
            if (folder / SWEEP_FILE).exists() or any(folder.glob("**/summary.json")):
                raise ConfigError(f"{short_path(folder)}: {TAKEN}")
            try:
                yield
            finally:
                if {path.name for path in folder.iterdir()} == {".lock"}:  # it did not come to a first job
                    shutil.rmtree(folder, ignore_errors=True)

    def freeze(self) -> None:
        """Keep the YAML files as they are now in the sweep's folder, for jobs to come. Raises DigitnetError."""
        try:
            for name in self.tree.names:
                source, copy = self.tree.find(name), self.sweep.folder / FROZEN / f"{name}.yaml"
                if source is not None:
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, copy)
        except OSError as error:
            raise _no_folder(error, "sweep") from error
        self.frozen = frozen(self.sweep.folder, self.tree.root)

    def write_down(self, jobs: Sequence[Job]) -> None:
        """What `jobs` are: `.hydra/` in their folders, then sweep.json. Raises DigitnetError."""
        try:
            for job in jobs:
                folder = self.sweep.folder / job.name
                folder.mkdir(exist_ok=True)
                _write_down(self._composed.pop(job.name), folder)
            self.sweep.jobs |= {job.name: job for job in jobs}
            self.sweep.write()
        except OSError as error:
            raise _no_folder(error, "sweep") from error


def frozen(folder: Path, root: str) -> Tree:
    """What `SweepPlan.freeze` left in a sweep's folder. Raises ConfigError if it is gone."""
    tree = Tree([folder / FROZEN, *Tree.packaged().directories], root)
    if not (folder / FROZEN / f"{root}.yaml").is_file():
        raise ConfigError(f"{folder / FROZEN}: its {root}.yaml is gone; bring the folder back, or start a new search")
    return tree


def plan_sweep(overrides: Sequence[str], tree: Tree) -> SweepPlan:
    """Look at what is common to the jobs that `overrides` ask for. Raises ConfigError."""
    of_hydra = [override for override in overrides if re.match(r"[+~]*hydra[./]", override)]
    typed = [override for override in overrides if override not in of_hydra]
    for override in of_hydra:
        if override.lstrip("+").startswith("hydra.sweep.subdir"):
            raise ConfigError(f"{override}: a job's folder is named by what differs; leave it out")
    with loading(tree):
        composed = _compose([*of_hydra, *_firsts(typed, tree)], tree)
        node = composed.hydra
        launcher = check.check_launcher(OmegaConf.to_container(node.launcher, resolve=True))
        target = node.sweeper.get("_target_")
        if node.sweeper.get("max_batch_size") is not None:
            raise ConfigError("hydra.sweeper.max_batch_size: hydra.launcher.jobs says how many run at a time")
        folder = _folder(composed, "sweep.dir").expanduser().absolute()
        params = node.sweeper.get("params")
    return SweepPlan(
        Sweep(folder, _command(["-m", *overrides], tree), str(Path.cwd()), launcher, {}),
        tree,
        typed,
        of_hydra,
        # Another one looks at them itself.
        {str(key): str(value) for key, value in dict(params or {}).items()} if target == BASIC_SWEEPER else {},
        None if target == BASIC_SWEEPER else node.sweeper,
    )


def covering(lists: Sequence[Sequence[str]]) -> list[list[str]]:
    """Combinations of an entry of each of `lists`, as few as have every entry."""
    return [[of[number % len(of)] for of in lists] for number in range(max(map(len, lists), default=1))]


def _firsts(overrides: Sequence[str], tree: Tree) -> list[str]:
    """The first value of each. Inside `loading`. Raises ConfigError."""
    return [words[0] for words in _lists(overrides, tree, intervals=True)]


def _lists(overrides: Sequence[str], tree: Tree, intervals: bool = False) -> list[list[str]]:
    """What each of `overrides` may be, one with several values or, if they are allowed, of `intervals` the beginning.

    Inside `loading`. Raises ConfigError.
    """
    lists = []
    for key, override in _parsed(overrides, tree).items():
        if not override.is_sweep_override():
            lists.append([str(override.input_line)])
        elif override.is_discrete_sweep():
            lists.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        elif intervals and isinstance(interval := override.value(), IntervalSweep):
            lists.append([f"{key}={interval.start}"])
        else:
            raise ConfigError(f"{override.input_line}: a sweep is over values; digitnet tune searches in between")
        if not lists[-1]:
            raise ConfigError(f"{override.input_line}: there is no value in it")
    return lists


def search_space(overrides: Sequence[str], tree: Tree) -> tuple[list[str], dict[str, Dimension]]:
    """What is the same in all trials, and what is searched. Raises ConfigError."""
    fixed: list[str] = []
    space: dict[str, Dimension] = {}
    with loading(tree):
        for key, override in _parsed(overrides, tree).items():
            if not override.is_sweep_override():
                fixed.append(str(override.input_line))
                continue
            value = override.value()
            for tag in sorted(getattr(value, "tags", set()) - {"log"}):
                raise ConfigError(f"{override.input_line}: no tag '{tag}'; there is log")
            if isinstance(value, IntervalSweep):
                assert value.start is not None
                assert value.end is not None
                log, whole = "log" in value.tags, isinstance(value.start, int)
                if not 0 < value.end - value.start < math.inf or (log and value.start <= 0):
                    raise ConfigError(f"{override.input_line}: an interval goes up{', from above 0' if log else ''}")
                space[key] = Dimension(low=value.start, high=value.end, log=log, whole=whole)
            else:
                choices = list(dict.fromkeys(override.sweep_string_iterator()))
                if not choices:
                    raise ConfigError(f"{override.input_line}: there is no value in it")
                space[key] = Dimension(choices=choices)
    return fixed, space


def _parsed(overrides: Sequence[str], tree: Tree) -> dict[str, Override]:
    """By their keys; of a key that stands twice, the later one. Inside `loading`. Raises ConfigError."""
    try:
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    except Exception as error:
        raise explain(error, overrides, tree) from error
    return {override.get_key_element(): override for override in parsed}


def _names(combinations: Sequence[Sequence[str]], typed: Sequence[str], first: int | None) -> list[str]:
    """`lr=0.1,seed=0`: what differs, or what was not `typed` so; with a number before it where that is not enough."""
    pairs = [dict(override.partition("=")[::2] for override in overrides) for overrides in combinations]
    keys = list(dict.fromkeys(key for values in pairs for key in values))
    if first is None:
        keys = [key for key in keys if any(values.get(key) != pairs[0].get(key) for values in pairs)]
    else:
        keys = [key for key in keys if any(f"{key}={values.get(key)}" not in typed for values in pairs)]
    leaves = [key.rpartition(".")[2] for key in keys]
    shown = {key: leaf if leaves.count(leaf) == 1 else key for key, leaf in zip(keys, leaves, strict=True)}

    def plain(text: str) -> str:
        return re.sub(r"[^\w.+-]+", "_", text).strip("_")

    names = [",".join(f"{plain(shown[key])}={plain(values[key])}" for key in keys if key in values) for values in pairs]
    if first is None and len(set(names)) == len(names) and all(0 < len(name) <= LONGEST for name in names):
        return names
    return [f"{number},{name}"[:LONGEST].rstrip(",") for number, name in enumerate(names, start=first or 0)]


def optimize(plan: SweepPlan, run: Callable[[list[Job]], list[float | None]]) -> None:
    """Let a sweeper of Hydra's choose the jobs, batch by batch, by what `run` says that each gave; None: it failed.

    Raises ConfigError where the sweeper is not to be had, or says no.
    """

    class Jobs(Launcher):
        """What the sweeper takes for a launcher."""

        def setup(self, **_: Any) -> None:
            pass

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            jobs = plan.jobs(job_overrides, initial_job_idx)
            found = []
            for job, value in zip(jobs, run(jobs), strict=True):
                done = JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
                if value is None:
                    done.status, value = JobStatus.FAILED, DigitnetError(f"{job.name}: failed")  # type: ignore[assignment]
                done.return_value = value
                found.append(done)
            return found

    assert plan.sweeper is not None
    plugins = Plugins.instance()
    with loading(plan.tree):
        loader = GlobalHydra.instance().config_loader()
        try:
            plugins.instantiate_launcher = lambda *_, **__: Jobs()  # type: ignore[method-assign]
            config = _compose([*plan.of_hydra, *_firsts(plan.overrides, plan.tree)], plan.tree)
            with open_dict(config):
                config.hydra.sweep.dir = str(plan.sweep.folder)
            context = HydraContext(config_loader=loader, callbacks=Callbacks())
            sweeper = plugins.instantiate_sweeper(hydra_context=context, task_function=lambda _: None, config=config)
            sweeper.sweep(arguments=list(plan.overrides))
        except DigitnetError:
            raise
        except Exception as error:
            raise explain(error, plan.overrides, plan.tree) from error
        finally:
            del plugins.instantiate_launcher
