"""`digitnet tune`: plans a search for the best values, resumes one, and runs its trials."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from digitnet.config.dimension import Dimension
from digitnet.config.files import Tree
from digitnet.config.launcher_schema import LocalLauncherConfig
from digitnet.config.rules import with_added_keys
from digitnet.config.sweep_space import SweepRequest, covering, search_space
from digitnet.errors import ConfigError, DigitnetError
from digitnet.report.terminal import SweepView
from digitnet.sweep.capacity import jobs_at_once, on_gpus
from digitnet.sweep.manifest import Job, Search, Sweep
from digitnet.sweep.plan import SweepPlan, frozen, plan_sweep
from digitnet.sweep.scheduler import scheduling
from digitnet.sweep.search import Trials, best_trial, check_optuna_installed
from digitnet.text import short_path

# How many training images to hold out, by the name of the data; of others, whose number is not known, FEW_HELD_OUT.
HELD_OUT = {
    "mnist": 10_000,
    "fashion_mnist": 10_000,
    "kmnist": 10_000,
    "qmnist": 10_000,
    "emnist": 40_000,
    "usps": 1000,
}
FEW_HELD_OUT = 300


def start_search(overrides: Sequence[str], tree: Tree, trials: int, prune: bool = True) -> None:
    """Search the values given in `overrides` with at most `trials` jobs, and print the best.

    With `prune`, trials that fall behind are stopped. Raises ConfigError before the first trial if anything is wrong
    with the configuration, and otherwise as `scheduling` does.
    """
    check_optuna_installed()
    plan = plan_search(overrides, tree, trials, prune)
    try:
        jobs = boundary_jobs(plan)
    except ConfigError as error:
        assert plan.sweep.search is not None
        raise _needs_whole_numbers(error, plan.sweep.search.space) or error from error
    for warning in plan.request.warnings:
        SweepView().warning(warning)
    if selecting := [data for job in jobs if (data := job.config["data"])["validation"] == "test"]:
        count = min(HELD_OUT.get(data["name"], FEW_HELD_OUT) for data in selecting)
        SweepView().warning(
            "data.validation=test: the search selects by the test set, so its test accuracy is biased; "
            f"hold out images: data.validation={count}"
        )
    with plan.claimed():
        run_search(plan, True, jobs)


def plan_search(overrides: Sequence[str], tree: Tree, trials: int, prune: bool) -> SweepPlan:
    """Plan a new search; its jobs are composed later. Raises ConfigError."""
    if trials < 1:
        raise ConfigError(f"--trials {trials}: at least 1")
    plan = plan_sweep(overrides, tree)
    fixed, space = search_space(plan.request.all_overrides, tree)
    if not space:
        raise ConfigError("digitnet tune: nothing to search; give several values, 'optimizer.lr=interval(0.01,1)'")
    plan.request = replace(plan.request, overrides=fixed)
    plan.sweep.command = shlex.join(["digitnet", "tune", *overrides])
    directories = [str(directory) for directory in tree.directories]
    plan.sweep.search = Search(space, fixed, list(plan.request.hydra_overrides), trials, prune, directories, tree.root)
    return plan


def plan_resumed_search(sweep: Sweep, trials: int | None) -> SweepPlan:
    """Plan the rest of a search that was stopped, or that is to have more `trials`.

    Raises ConfigError if its configurations would differ now from those when it started.
    """
    check_optuna_installed()
    search = sweep.search
    assert search is not None
    if trials is not None:
        if trials < len(sweep.jobs):
            raise ConfigError(f"--trials {trials}: the search has {len(sweep.jobs)} already; ask for more")
        search.trials = trials
    tree = Tree([Path(directory) for directory in search.directories], search.root)
    request = SweepRequest(
        tree, search.fixed, search.of_hydra, {}, sweep.launcher, sweep.folder, sweep.command, sweeper=None
    )
    plan = SweepPlan(sweep, request, frozen(sweep.folder, search.root))
    for job in list(sweep.jobs.values())[:1]:
        (composed,) = plan.jobs([job.overrides], 0)
        composed.config["trainer"]["threads"] = job.config["trainer"]["threads"]  # another launcher may change them
        before = with_added_keys(job.config)
        if changed := [key for key, value in composed.config.items() if before.get(key) != value]:
            raise ConfigError(
                f"{changed[0]}: has other values now than when the search began, from the same YAML;\n"
                "set environment variables to their values at that time, or start a new search"
            )
    return plan


def boundary_jobs(plan: SweepPlan) -> list[Job]:
    """Jobs that together have both bounds of every interval, and every choice, to check that the values are valid.

    Raises ConfigError if any is invalid.
    """
    search = plan.sweep.search
    assert search is not None
    values = [[f"{key}={bound}" for bound in dimension.bounds] for key, dimension in search.space.items()]
    return plan.jobs([[*search.fixed, *overrides] for overrides in covering(values)], 0)


def run_search(plan: SweepPlan, trust: bool, jobs: Collection[Job]) -> None:
    """Run the remaining trials, and print the best of all; `jobs` are `boundary_jobs`.

    The caller must hold the lock of the sweep's folder. Raises as `scheduling` does, and DigitnetError if no trial has
    finished.
    """
    sweep = plan.sweep
    at_once = trials_at_once(sweep, jobs)

    def make_job(number: int, overrides: list[str]) -> Job:
        (job,) = plan.jobs([overrides], number)
        plan.write_down([job])
        return job

    try:
        with scheduling(sweep, trust, jobs) as scheduler:
            if plan.frozen is None:
                plan.freeze()
            plan.write_down([])  # from now on it can be resumed
            trials = Trials(sweep, scheduler, at_once, make_job)
            names = trials.unfinished_jobs()
            if not names and (reason := trials.end_reason):
                more = f"digitnet resume {shlex.quote(str(short_path(sweep.folder)))} --trials N"
                scheduler.view.line(f"{reason}; for more: {more}" if reason == "finished" else reason)
            scheduler.run(names, trials.next_jobs)
    finally:  # also when some failed, or after Ctrl-C
        if (best := best_trial(sweep)) is not None:
            job, accuracy = best
            view = SweepView()
            view.line(f"best: {100 * accuracy:.2f} %, {short_path(sweep.folder / job.name)}", "bold")
            view.line(job.command)
    if best is None:
        raise DigitnetError(f"{short_path(sweep.folder)}: no trial has finished; search among other values")


def trials_at_once(sweep: Sweep, jobs: Collection[Job]) -> int:
    """The number of trials that run at a time, on the devices of `jobs`.

    Raises ConfigError if the launcher has no limit.
    """
    launcher = sweep.launcher
    if isinstance(launcher, LocalLauncherConfig):
        return jobs_at_once(launcher, on_gpus(jobs))
    if launcher.jobs is None:
        raise ConfigError("hydra.launcher.jobs: has no value; set it to the number of trials to run at a time")
    return launcher.jobs


def _needs_whole_numbers(error: ConfigError, space: dict[str, Dimension]) -> ConfigError | None:
    """The error to raise if the fault is an interval of floats for an integer key; None if it is another fault."""
    for key, dimension in space.items():
        if f"{key}={dimension.low}: should be a valid integer" in str(error):
            interval = f"interval({dimension.low:g},{dimension.high:g})"
            return ConfigError(f"{key}={interval}: is a whole number; write {key}=int({interval})")
    return None
