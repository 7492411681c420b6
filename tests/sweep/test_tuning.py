"""Searches: planned, checked before the first trial, and resumed."""

import shutil
import sys
from fnmatch import fnmatchcase as fnmatch

import pytest

from conftest import Command
from digitnet.config.files import Tree
from digitnet.errors import ConfigError
from digitnet.sweep.manifest import read_manifest
from digitnet.sweep.tuning import boundary_jobs, plan_resumed_search, plan_search
from searching import LR, OPTIONS, write_finished_search
from sweeping import SWEEP

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "digitnet tune: nothing to search; give several values, 'optimizer.lr=interval(0.01,1)'"),
        ([LR, "--trials", "0"], "--trials 0: at least 1"),
        (["optimizer.lr=interval(1,0.1)"], "optimizer.lr=interval(1,0.1): an interval must go from low to high"),
        (["optimizer.lr=interval(0.1,inf)"], "optimizer.lr=interval(0.1,inf): an interval must go from low to high"),
        (
            ["optimizer.lr=tag(log,interval(0,1))"],
            "optimizer.lr=tag(log,interval(0,1)): an interval must go from low to high, and start above 0",
        ),
        (["optimizer.lr=tag(lg,interval(1,2))"], "optimizer.lr=tag(lg,interval(1,2)): no tag 'lg'; there is log"),
        (["seed=range(3,1)"], "seed=range(3,1): has no values"),
        # at one end, or one of the choices
        (["optimizer.lr=interval(-1,0.1)"], "optimizer.lr=-1: should be greater than 0"),
        (
            ["trainer.batch_size=int(interval(0,64))"],
            "trainer.batch_size=0: should be greater than or equal to 1",
        ),
        (
            ["trainer.batch_size=interval(16,64)"],
            "trainer.batch_size=interval(16,64): is a whole number; write trainer.batch_size=int(interval(16,64))",
        ),
        (["optimizer=sgd,sdg"], "optimizer=sdg: no such option … did you mean 'sgd'? There are *"),
        (["optimizer.lrr=1,2"], "no key 'optimizer.lrr' … did you mean 'optimizer.lr'?"),
        (
            [LR, "hydra/launcher=ray"],
            "hydra.launcher.jobs: has no value; set it to the number of trials to run at a time",
        ),
    ],
)
def test_invalid_search_is_reported_before_the_first_trial(command: Command, words: list[str], answer: str) -> None:
    done = command("tune", *OPTIONS, "hydra.sweep.dir=sweep", *words)
    assert (done.code, done.out) == (2, "")
    assert fnmatch(done.err, f"error: {answer.replace('[', '[[]')}\n")
    assert done.err.count("\n") == 1
    assert not SWEEP.exists()


@pytest.mark.parametrize("words", [["tune", LR], ["resume", "sweep"]])
def test_without_optuna_the_extra_is_named(command: Command, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    write_finished_search()
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = command(*words)
    assert done.code == 2
    assert done.err == "error: digitnet tune: Optuna is not installed; pip install 'digitnet[tune]'\n"


def test_resumed_search_needs_a_limit_of_jobs_at_a_time(command: Command) -> None:
    write_finished_search()
    done = command("resume", "sweep", "hydra/launcher=slurm")
    assert done.code == 2
    assert done.err == "error: hydra.launcher.jobs: has no value; set it to the number of trials to run at a time\n"


def test_boundary_jobs_have_both_bounds_and_every_choice() -> None:
    overrides = ["seed=3", "trainer.batch_size=int(interval(16,64))", "optimizer=sgd,adam,rmsprop"]
    plan = plan_search(overrides, Tree.at(), trials=5, prune=True)
    assert [job.overrides for job in boundary_jobs(plan)] == [
        ["seed=3", "trainer.batch_size=16", "optimizer=sgd"],
        ["seed=3", "trainer.batch_size=64", "optimizer=adam"],
        ["seed=3", "trainer.batch_size=16", "optimizer=rmsprop"],
    ]


def test_resumed_search_can_only_have_more_trials() -> None:
    write_finished_search()
    sweep = read_manifest(SWEEP)
    assert plan_resumed_search(sweep, None).sweep.search == sweep.search
    with pytest.raises(ConfigError) as error:
        plan_resumed_search(sweep, 0)
    assert str(error.value) == "--trials 0: the search has 1 already; ask for more"
    plan_resumed_search(sweep, 7)
    assert sweep.search is not None
    assert sweep.search.trials == 7


def test_resumed_search_needs_its_copy_of_the_yaml_files(command: Command) -> None:
    write_finished_search()
    shutil.rmtree("sweep/.conf")
    done = command("resume", "sweep", "--trials", "2")
    gone = f"{SWEEP.absolute()}/.conf: has no config.yaml; restore the folder, or start a new search"
    assert (done.code, done.err) == (2, f"error: {gone}\n")
