"""Plans the jobs of a sweep: composes and checks them before the first one starts, names them, writes sweep.json."""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from digitnet.config.compose import Composition, command_line, compose_job
from digitnet.config.files import Tree
from digitnet.config.hydra_adapter import composing
from digitnet.config.sweep_space import SweepRequest, read_sweep, run_chosen_sweeper
from digitnet.errors import TAKEN, ConfigError, DigitnetError, Fault
from digitnet.lock import locked
from digitnet.report.terminal import working
from digitnet.runs.folder import SWEEP_FILE, RunFolder, cannot_make
from digitnet.runs.formats import LONGEST_NAME
from digitnet.sweep.capacity import with_threads
from digitnet.sweep.manifest import Job, Sweep
from digitnet.text import short_path

FROZEN = ".conf"  # in the folder of a search: a copy of the YAML files, from which its trials are composed one by one


@dataclass
class SweepPlan:
    """A sweep whose launcher passed the checks, and the request that its jobs are composed from."""

    sweep: Sweep
    request: SweepRequest
    frozen: Tree | None = None  # a copy of the request's tree; if set, jobs are composed from it
    _composed: dict[str, Composition] = field(default_factory=dict)

    def jobs(self, combinations: Sequence[Sequence[str]], first: int | None = None) -> list[Job]:
        """Compose and check a job for each of `combinations`. Raises ConfigError with all faults.

        With `first`, their names begin with numbers, from `first`. Later changes of YAML files and environment
        variables do not change their configurations.
        """
        jobs: list[Job] = []
        faults: dict[str, Fault] = {}
        same: dict[str, str] = {}  # the job of each configuration
        names = _names(combinations, self.request.overrides, first)
        tree = self.frozen or self.request.tree
        with composing(tree), working("checking job", len(names)) as count:
            for number, (name, overrides) in enumerate(zip(names, combinations, strict=True), start=first or 0):
                count()
                try:
                    composition = compose_job(overrides, self.request.hydra_overrides, number, tree)
                    config = with_threads(composition.config, self.sweep.launcher)
                    self._check_shared(composition, name)
                    other = same.setdefault(config.model_dump_json(), name)
                    if first is None and other != name:
                        raise ConfigError(f"{name}: the same configuration as {other}; leave one of them out")
                except ConfigError as error:
                    faults |= {str(fault): fault for fault in self.request.located(error.faults)}
                    continue
                self._composed[name] = replace(composition, run_dir=self.sweep.folder / name)
                command = command_line(overrides, self.request.tree)
                jobs.append(Job(name, list(overrides), command, config.model_dump(mode="json")))
        if faults:
            raise ConfigError(faults.values())
        return jobs

    def _check_shared(self, composition: Composition, name: str) -> None:
        """Raise ConfigError if the job, by a preset of its own, chooses for itself what all jobs have in common."""
        shared = self.request.shared
        for key, value in ({} if shared is None else shared).items():
            if composition.shared[key] != value:
                raise ConfigError(
                    f"{name}: sets {key}, which all jobs of a sweep share; write {key}=… after digitnet -m"
                )

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Create and lock the sweep's folder in this block; remove it at the end if nothing was written to it.

        Raises ConfigError if the folder has a run or a sweep already, DigitnetError if another process works in it, or
        if it cannot be created.
        """
        folder = self.sweep.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_make(error, "sweep") from error
        with locked(folder):
            if (folder / SWEEP_FILE).exists() or any(folder.glob("**/summary.json")):
                raise ConfigError(f"{short_path(folder)}: {TAKEN}")
            try:
                yield
            finally:
                if {path.name for path in folder.iterdir()} == {".lock"}:
                    shutil.rmtree(folder, ignore_errors=True)

    def freeze(self) -> None:
        """Copy the YAML files into the sweep's folder, to compose later jobs from. Raises DigitnetError."""
        tree = self.request.tree
        try:
            for name in tree.names:
                source, copy = tree.find(name), self.sweep.folder / FROZEN / f"{name}.yaml"
                if source is not None:
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, copy)
        except OSError as error:
            raise cannot_make(error, "sweep") from error
        self.frozen = frozen(self.sweep.folder, tree.root)

    def write_down(self, jobs: Sequence[Job]) -> None:
        """Write `.hydra/` into the folders of `jobs`, then sweep.json. Raises DigitnetError."""
        try:
            for job in jobs:
                folder = self.sweep.folder / job.name
                folder.mkdir(exist_ok=True)
                RunFolder(folder).write_hydra_files(self._composed.pop(job.name).hydra_files())
            self.sweep.jobs |= {job.name: job for job in jobs}
            self.sweep.write()
        except OSError as error:
            raise cannot_make(error, "sweep") from error


def frozen(folder: Path, root: str) -> Tree:
    """The copy of the YAML files that `SweepPlan.freeze` made. Raises ConfigError if it is missing."""
    tree = Tree([folder / FROZEN, *Tree.packaged().directories], root)
    if not (folder / FROZEN / f"{root}.yaml").is_file():
        raise ConfigError(f"{folder / FROZEN}: has no {root}.yaml; restore the folder, or start a new search")
    return tree


def plan_sweep(overrides: Sequence[str], tree: Tree) -> SweepPlan:
    """Plan a sweep by what its jobs have in common; the jobs are composed later. Raises ConfigError."""
    request = read_sweep(overrides, tree)
    return SweepPlan(Sweep(request.folder, request.command, str(Path.cwd()), request.launcher, {}), request)


def _names(combinations: Sequence[Sequence[str]], typed: Sequence[str], first: int | None) -> list[str]:
    """Names such as `lr=0.1,seed=0`, of the keys that differ; with `first`, of those that were not `typed` like this.

    They begin with a number if there is `first`, or if a name is empty, too long, or not unique: on macOS and Windows,
    the case of letters makes no difference to folders.
    """
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
    distinct = {name.casefold() for name in names}
    if first is None and len(distinct) == len(names) and all(0 < len(name.encode()) <= LONGEST_NAME for name in names):
        return names
    numbered = [f"{number},{name}" for number, name in enumerate(names, start=first or 0)]
    return [name.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip(",") for name in numbered]


def optimize(plan: SweepPlan, run_jobs: Callable[[list[Job]], list[float | None]]) -> None:
    """Run the jobs that a sweeper of Hydra proposes, in batches; `run_jobs` returns their values, None if one failed.

    Raises ConfigError if the sweeper is not installed or raises an error.
    """

    def launch(combinations: Sequence[Sequence[str]], first: int) -> list[tuple[list[str], float | Exception]]:
        jobs = plan.jobs(combinations, first)
        values = run_jobs(jobs)
        return [
            (job.overrides, DigitnetError(f"{job.name}: failed") if value is None else value)
            for job, value in zip(jobs, values, strict=True)
        ]

    run_chosen_sweeper(plan.request, launch)
