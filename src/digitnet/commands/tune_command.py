"""Search for the best values: Optuna proposes, and stops early what falls behind.

digitnet tune 'optimizer.lr=tag(log,interval(0.01,3))' optimizer=sgd,adam
digitnet tune 'optimizer.lr=tag(log,interval(0.01,3))' 'trainer.batch_size=int(interval(16,256))' --trials 50
digitnet tune sweep=lr hydra/launcher=local      the values of a preset
digitnet resume SWEEP_DIR                        go on with a search that was killed or interrupted
digitnet resume SWEEP_DIR --trials 50            or one that is to have more

A,B,C is a choice; interval(A,B) is between, tag(log,…) evenly in orders of magnitude, int(…) whole numbers. The highest
validation accuracy wins, so hold out images for it: data.validation=10000. A trial that falls behind is stopped, from
its third epoch on; that, or one that diverges, is no failure. Trials are jobs of a sweep, in outputs/sweeps/, and run
as its jobs do: hydra/launcher=local, ray, slurm. The journal, optuna.log, is Optuna's.
"""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.config.files import ROOT, Tree
from digitnet.config.schema import LocalLauncherConfig
from digitnet.errors import ConfigError, DigitnetError
from digitnet.sweep.manifest import Search, Sweep

if TYPE_CHECKING:
    from digitnet.sweep.manifest import Job
    from digitnet.sweep.plan import SweepPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="KEY=VALUE, and KEY=VALUES to search")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="how many to try (default: 20)")
    parser.add_argument("--no-pruning", action="store_true", help="let every trial train to its end")
    parser.add_argument("--config-dir", metavar="FOLDER", help="as for training: options of your own, besides ./conf")
    parser.add_argument("--config-name", metavar="NAME", default=ROOT, help="another file than config.yaml as the root")


def main(options: argparse.Namespace) -> None:
    """Search, and say what is best. Raises ConfigError before anything is tried; else as a sweep does."""
    from digitnet.report.terminal import SweepView
    from digitnet.sweep.plan import plan_sweep, search_space
    from digitnet.sweep.search import check_installed

    check_installed()
    if options.trials < 1:
        raise ConfigError(f"--trials {options.trials}: at least 1")
    tree = Tree.at(options.config_dir, options.config_name)
    plan = plan_sweep(options.overrides, tree)
    typed = [*(f"{key}={values}" for key, values in plan.params.items()), *plan.overrides]
    fixed, space = search_space(typed, tree)
    if not space:
        raise ConfigError("digitnet tune: nothing to search; give several values, 'optimizer.lr=interval(0.01,1)'")
    plan.overrides = fixed
    plan.sweep.command = shlex.join(["digitnet", "tune", *options.overrides])
    plan.sweep.search = Search(
        space,
        fixed,
        list(plan.of_hydra),
        options.trials,
        not options.no_pruning,
        [str(directory) for directory in tree.directories],
        tree.root,
    )
    try:
        jobs = ends(plan)
    except ConfigError as error:
        for key, dimension in space.items():
            if f"{key}={dimension.low}: should be a valid integer" in str(error):
                values = f"interval({dimension.low:g},{dimension.high:g})"
                raise ConfigError(f"{key}={values}: is a whole number; {key}=int({values})") from error
        raise
    if any(job.config["data"]["validation"] == "test" for job in jobs):
        SweepView().line(
            "warning: data.validation=test: the search chooses by the test set, where the best is then too good; "
            "hold out images: data.validation=10000",
            "yellow",
        )
    with plan.claimed():
        carry_out(plan, trust=True)


def go_on(sweep: Sweep, trials: int | None) -> "SweepPlan":
    """The plan of a search that was stopped, or is to have more `trials`, for `carry_out`.

    Raises ConfigError if its trials would not be what they were.
    """
    from digitnet.sweep.plan import SweepPlan, frozen
    from digitnet.sweep.search import check_installed

    check_installed()
    search = sweep.search
    assert search is not None
    if trials is not None:
        if trials < len(sweep.jobs):
            raise ConfigError(f"--trials {trials}: the search has {len(sweep.jobs)} already; ask for more")
        search.trials = trials
    tree = Tree([Path(directory) for directory in search.directories], search.root)
    copy = frozen(sweep.folder, search.root)
    plan = SweepPlan(sweep, tree, search.fixed, search.of_hydra, {}, None, copy)
    for job in list(sweep.jobs.values())[:1]:
        (now,) = plan.jobs([job.overrides], 0)
        now.config["trainer"]["threads"] = job.config["trainer"]["threads"]  # which another launcher may change
        if others := [key for key, value in now.config.items() if job.config.get(key) != value]:
            raise ConfigError(
                f"{others[0]}: has other values now than when the search began, from the same YAML;\n"
                "set the environment variables as they were, or start a new search"
            )
    return plan


def carry_out(plan: "SweepPlan", trust: bool) -> None:
    """Try what is left to try. The caller has the sweep's folder locked. Raises as a sweep does."""
    from digitnet.report.terminal import SweepView
    from digitnet.sweep.scheduler import scheduling
    from digitnet.sweep.search import Trials, best
    from digitnet.text import short_path

    sweep = plan.sweep
    at_once = _at_once(sweep)

    def make(number: int, overrides: list[str]) -> "Job":
        (job,) = plan.jobs([overrides], number)
        plan.write_down([job])
        return job

    try:
        with scheduling(sweep, trust) as drive:
            if plan.frozen is None:
                plan.freeze()
            plan.write_down([])  # from here on it can be resumed
            trials = Trials(sweep, drive, at_once, make)
            names = trials.begin()
            if not names and (why := trials.done):
                more = f"digitnet resume {shlex.quote(str(short_path(sweep.folder)))} --trials N"
                drive.view.line(f"{why}; for more: {more}" if why == "finished" else why)
            drive(names, trials.more)
    finally:  # also when some failed, or after Ctrl-C
        if (found := best(sweep)) is not None:
            job, value = found
            view = SweepView()
            view.line(f"best: {100 * value:.2f} %, {short_path(sweep.folder / job.name)}", "bold")
            view.line(job.command)
    if found is None:
        raise DigitnetError(f"{short_path(sweep.folder)}: no trial has finished; search among other values")


def ends(plan: "SweepPlan") -> "list[Job]":
    """Trials that together have every end of the space and every choice. Raises ConfigError if one does not compose."""
    from digitnet.sweep.plan import covering

    search = plan.sweep.search
    assert search is not None
    words = [[f"{key}={end}" for end in dimension.ends] for key, dimension in search.space.items()]
    return plan.jobs([[*search.fixed, *overrides] for overrides in covering(words)], 0)


def _at_once(sweep: Sweep) -> int:
    """How many trials run at a time. Raises ConfigError where nobody says it."""
    from digitnet.sweep.capacity import slots

    launcher = sweep.launcher
    if isinstance(launcher, LocalLauncherConfig):
        return slots(launcher, on_gpus=True)
    if launcher.jobs is None:
        raise ConfigError("hydra.launcher.jobs: has no value; say how many trials run at a time")
    return launcher.jobs
