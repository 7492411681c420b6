"""Search for the best values: Optuna proposes, and stops early what falls behind.

digitnet tune 'optimizer.lr=tag(log,interval(0.01,3))' optimizer=sgd,adam
digitnet tune 'optimizer.lr=tag(log,interval(0.01,3))' 'trainer.batch_size=int(interval(16,256))' --trials 50
digitnet tune sweep=lr hydra/launcher=local      the values of a preset
digitnet resume SWEEP_DIR                        go on with a search that was killed or interrupted

A,B,C is a choice; interval(A,B) is between, tag(log,…) evenly in orders of magnitude, int(…) whole numbers. The highest
validation accuracy wins, so hold out images for it: data.validation=10000. Trials are jobs of a sweep, in
outputs/sweeps/, and run as its jobs do: hydra/launcher=local, ray, slurm. Its journal, optuna.log, is Optuna's.
"""

import argparse
from typing import TYPE_CHECKING

from digitnet.errors import ConfigError
from digitnet.ranks import check_alone
from digitnet.schema import LocalLauncher
from digitnet.sources import ROOT, Tree
from digitnet.sweep.book import Search, Sweep

if TYPE_CHECKING:
    from digitnet.compose.sweep import SweepPlan
    from digitnet.sweep.book import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="KEY=VALUE, and KEY=VALUES to search")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="how many to try (default: 20)")
    parser.add_argument("--no-pruning", action="store_true", help="let every trial train to its end")
    parser.add_argument("--config-dir", metavar="FOLDER", help="as for training: options of your own, besides ./conf")
    parser.add_argument("--config-name", metavar="NAME", default=ROOT, help="another file than config.yaml as the root")


def main(options: argparse.Namespace) -> None:
    """Search, and say what is best. Raises ConfigError before anything is tried; else as a sweep does."""
    from digitnet.compose.sweep import plan_sweep, search_space
    from digitnet.sweep.search import check_installed

    check_alone("digitnet tune")
    check_installed()
    if options.trials < 1:
        raise ConfigError(f"--trials {options.trials}: at least 1")
    tree = Tree.at(options.config_dir, options.config_name)
    plan = plan_sweep(options.overrides, tree)
    typed = [*(f"{key}={values}" for key, values in plan.params.items()), *plan.overrides]
    fixed, space = search_space(typed, tree)
    if not space:
        raise ConfigError("digitnet tune: nothing to search; give several values, 'optimizer.lr=interval(0.01,1)'")
    plan.sweep.search = Search(
        space, fixed, list(plan.of_hydra), options.trials, not options.no_pruning, options.config_dir, tree.root
    )
    _check_ends(plan, plan.sweep.search)
    with plan.claimed():
        carry_out(plan, trust=True)


def carry_out(plan: "SweepPlan", trust: bool) -> None:
    """Try what is left to try. The caller has the sweep's folder locked. Raises as a sweep does."""
    from digitnet.display import shown
    from digitnet.sweep.drive import driving
    from digitnet.sweep.search import Trials

    sweep = plan.sweep
    at_once = _at_once(sweep)

    def make(number: int, overrides: list[str]) -> "Job":
        (job,) = plan.jobs([overrides], number)
        plan.write_down([job])
        return job

    with driving(sweep, trust) as drive:
        if any(config["data"]["validation"] == "test" for config in _configs(plan)):
            drive.view.line(
                "warning: data.validation=test: the search chooses by the test set, where the best is then too good; "
                "hold out images: data.validation=10000",
                "yellow",
            )
        trials = Trials(sweep, drive, at_once, make)
        drive(trials.begin(), trials.more)
    if (best := trials.best()) is not None:
        job, value = best
        drive.view.line(f"best: {job.name}, {100 * value:.2f} %; {shown(sweep.folder / job.name)}", "bold")
        drive.view.line(job.command)


def go_on(sweep: Sweep, trust: bool) -> None:
    """Go on with a search that was stopped. Raises ConfigError if the configuration is another one by now."""
    from digitnet.compose.sweep import SweepPlan
    from digitnet.sweep.search import check_installed

    check_installed()
    search = sweep.search
    assert search is not None
    plan = SweepPlan(sweep, Tree.at(search.config_dir, search.config_name), search.fixed, search.of_hydra, {}, None)
    for job in list(sweep.jobs.values())[:1]:
        (now,) = plan.jobs([job.overrides], 0)
        if now.config != job.config:
            raise ConfigError(
                f"{sweep.folder}: the same overrides give another configuration now than when the search began;\n"
                "bring back the YAML of then, or start a new search"
            )
    carry_out(plan, trust)


def _configs(plan: "SweepPlan") -> list[dict[str, dict[str, object]]]:
    """One of the trials'."""
    assert plan.sweep.search is not None
    return [plan.jobs(_ends(plan.sweep.search)[:1], 0)[0].config]


def _check_ends(plan: "SweepPlan", search: Search) -> None:
    """Raise ConfigError if values at an end of the space do not compose."""
    plan.jobs(_ends(search), 0)


def _ends(search: Search) -> list[list[str]]:
    """Trials that together have every end and every choice."""
    from digitnet.compose.sweep import covering

    ends = [[f"{key}={end}" for end in dimension.ends] for key, dimension in search.space.items()]
    return [[*search.fixed, *words] for words in covering(ends)]


def _at_once(sweep: Sweep) -> int:
    from digitnet.sweep.room import slots

    launcher = sweep.launcher
    if isinstance(launcher, LocalLauncher):
        return slots(launcher, on_gpus=True)
    if launcher.jobs is None:
        raise ConfigError("hydra.launcher.jobs: has no value; say how many trials run at a time")
    return launcher.jobs
