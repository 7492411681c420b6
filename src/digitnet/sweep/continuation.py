"""`digitnet resume SWEEP_DIR`: runs the jobs of a sweep or a search that are not finished."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from digitnet.config.files import Tree
from digitnet.errors import ConfigError
from digitnet.lock import locked
from digitnet.runs.folder import refuse_links, untrusted
from digitnet.runs.formats import RunSummary
from digitnet.sweep.manifest import Job, read_manifest
from digitnet.sweep.plan import plan_sweep
from digitnet.sweep.scheduler import scheduling
from digitnet.sweep.tuning import boundary_jobs, plan_resumed_search, run_search
from digitnet.training.distributed import refuse_under_torchrun

CHANGEABLE_OVERRIDE = re.compile(r"hydra(/launcher=|\.launcher\.)")  # what `digitnet resume SWEEP_DIR` accepts


def resume_sweep(folder: Path, overrides: Sequence[str] = (), trust: bool = False, trials: int | None = None) -> None:
    """Run the jobs of the sweep in `folder` that are not finished; a search runs until it has `trials` trials.

    `overrides` may only set the launcher and its keys. Jobs with model=custom run only if you `trust` the folder.
    Raises ConfigError, CheckpointError, and as `scheduling` does.
    """
    if rejected := [override for override in overrides if not CHANGEABLE_OVERRIDE.match(override)]:
        raise ConfigError(
            f"{rejected[0]}: cannot be changed in a sweep, only hydra/launcher and its keys; "
            f"of one run it can: digitnet resume {shlex.quote(str(folder / 'JOB'))} {rejected[0]}"
        )
    refuse_under_torchrun("a sweep")
    refuse_links(folder)
    with locked(folder):
        sweep = read_manifest(folder)
        if overrides:
            sweep.launcher = plan_sweep(overrides, Tree.at()).sweep.launcher
        if sweep.search is None and trials is not None:
            raise ConfigError(f"--trials: {folder} is not a search; the number of its jobs cannot be changed")
        if Path(sweep.cwd).is_dir():  # relative paths start from there
            os.chdir(sweep.cwd)
        unfinished = [name for name in sweep.jobs if is_unfinished(sweep.summary(name))]
        jobs = [sweep.jobs[name] for name in unfinished]
        if sweep.search is None:
            check_trusted(jobs, folder, trust)
            with scheduling(sweep, trust) as scheduler:
                scheduler.run(unfinished)
        else:
            plan = plan_resumed_search(sweep, trials)
            check_trusted([*jobs, *boundary_jobs(plan)], folder, trust)  # further trials have the same model as these
            run_search(plan, trust)


def is_unfinished(summary: RunSummary | None) -> bool:
    """Whether a job with this summary is to be resumed; not if it diverged, because it would diverge again."""
    return summary is None or summary.status not in ("finished", "diverged")


def check_trusted(jobs: Iterable[Job], folder: Path, trust: bool) -> None:
    """Raises ConfigError if a job has model=custom, whose network would be imported, and the folder is not trusted."""
    for job in jobs:
        model = job.config.get("model", {})
        if model.get("name") == "custom" and not trust:
            raise ConfigError(untrusted(folder, str(model.get("target"))))
