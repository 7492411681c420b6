"""`digitnet resume SWEEP_DIR`: runs the jobs of a sweep or a search that are not finished."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from digitnet.config.files import Tree
from digitnet.config.launcher_schema import RayLauncherConfig
from digitnet.config.rules import named_destination, untrusted_destination
from digitnet.errors import ConfigError
from digitnet.lock import locked
from digitnet.runs.folder import refuse_links, untrusted
from digitnet.runs.formats import RunSummary
from digitnet.sweep.manifest import Job, Sweep, read_manifest
from digitnet.sweep.plan import plan_sweep
from digitnet.sweep.scheduler import scheduling
from digitnet.sweep.tuning import boundary_jobs, plan_resumed_search, run_search
from digitnet.text import short_path
from digitnet.training.distributed import refuse_under_torchrun

CHANGEABLE_OVERRIDE = re.compile(r"hydra(/launcher=|\.launcher\.)")  # what `digitnet resume SWEEP_DIR` accepts


def resume_sweep(
    folder: Path,
    overrides: Sequence[str] = (),
    trust: bool = False,
    trials: int | None = None,
    config_dir: str | None = None,
) -> None:
    """Run the jobs of the sweep in `folder` that are not finished; a search runs until it has `trials` trials.

    `overrides` may only set the launcher, also one of `config_dir` or ./conf, and its keys. If you do not `trust` the
    folder, see `check_trusted`. Raises ConfigError, CheckpointError, and as `scheduling` does.
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
            sweep.launcher = plan_sweep(overrides, Tree.at(config_dir)).sweep.launcher
        elif not trust:
            refuse_cluster(sweep)
        if sweep.search is None and trials is not None:
            raise ConfigError(f"--trials: {folder} is not a search; the number of its jobs cannot be changed")
        if trust and Path(sweep.cwd).is_dir():  # relative paths start from there
            os.chdir(sweep.cwd)
        unfinished = [name for name in sweep.jobs if is_unfinished(sweep.summary(name))]
        jobs = [sweep.jobs[name] for name in unfinished]
        if sweep.search is None:
            check_trusted(jobs, sweep, trust)
            with scheduling(sweep, trust, jobs) as scheduler:
                scheduler.run(unfinished)
        else:
            plan = plan_resumed_search(sweep, trials)
            further = boundary_jobs(plan)  # have the same model as further trials
            check_trusted([*jobs, *further], sweep, trust)
            run_search(plan, trust, further)


def is_unfinished(summary: RunSummary | None) -> bool:
    """Whether a job with this summary is to be resumed; not if it diverged, because it would diverge again."""
    return summary is None or summary.status not in ("finished", "diverged")


def check_trusted(jobs: Iterable[Job], sweep: Sweep, trust: bool) -> None:
    """Raises ConfigError if these jobs of a folder that is not trusted would import something, read or send elsewhere.

    With model=custom the network would be imported. A relative path starts from the working directory in which the
    sweep was started: somebody else's sweep may name any, so without trust it must be the present one.
    """
    for job in [] if trust else jobs:
        model = job.config.get("model", {})
        if model.get("name") == "custom":
            raise ConfigError(untrusted(short_path(sweep.folder), str(model.get("target"))))
        if destination := named_destination(job.config.get("tracker", {})):
            raise ConfigError(untrusted_destination(str(short_path(sweep.folder)), destination))
        # A job that has started has noted absolute paths.
        if Path(sweep.cwd) == Path.cwd() or sweep.summary(job.name) is not None:
            continue
        paths = {"data.root": job.config.get("data", {}).get("root"), "init_from": job.config.get("init_from")}
        for key, path in paths.items():
            if isinstance(path, str) and not Path(path).expanduser().is_absolute():
                raise ConfigError(
                    f"{key}={path}: starts from {sweep.cwd}, where the sweep {short_path(sweep.folder)} was started;\n"
                    "resume it there or, if you trust the source of its folder, add --trust"
                )


def refuse_cluster(sweep: Sweep) -> None:
    """Raises ConfigError if the sweep names the address of a cluster, which may be anybody's."""
    if isinstance(sweep.launcher, RayLauncherConfig) and sweep.launcher.address != "auto":
        raise ConfigError(
            f"{short_path(sweep.folder)}: its jobs would run on the Ray cluster at {sweep.launcher.address};\n"
            "if you trust the source of this folder, add --trust; or say where they are to run: hydra/launcher=local"
        )
