"""Trials: proposed, reported, pruned, and resumed, without jobs that train."""

from fnmatch import fnmatchcase as fnmatch
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileSymlinkLock

from conftest import Command
from digitnet.config.dimension import Dimension
from digitnet.lock import locked
from digitnet.runs.formats import read_summary
from digitnet.sweep import search
from digitnet.sweep.search import Trials
from searching import idle_search, write_finished_search, write_progress
from sweeping import SWEEP

pytestmark = pytest.mark.slow


@pytest.fixture
def finished_search() -> None:
    write_finished_search()


def test_as_many_trials_are_proposed_as_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(_: object) -> bool:
        raise AssertionError("a lock that would stay behind")

    monkeypatch.setattr(JournalFileSymlinkLock, "acquire", acquire)
    _, trials, _ = idle_search(at_once=3, trials=4)
    assert trials.unfinished_jobs() == []
    names = trials.next_jobs([])
    assert len(set(names)) == 3
    assert trials.next_jobs(names) == []
    (last,) = trials.next_jobs(names[:1])
    assert trials.next_jobs([last]) == []
    assert trials.end_reason == "finished"


def test_search_ends_when_no_proposal_composes() -> None:
    scheduler, trials, _ = idle_search(at_once=1, trials=2, invalid=True)
    assert trials.next_jobs([]) == []
    assert scheduler.lines == [f"warning: {number}: not tried: they do not fit" for number in range(20)]


def test_only_a_running_job_with_epochs_left_is_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "STARTUP_TRIALS", 1)
    scheduler, trials, _ = idle_search(at_once=1, trials=3)
    (good,) = trials.next_jobs([])
    scheduler.summaries[good] = write_progress(good, [0.9, 0.9, 0.9, 0.9], "finished")
    (bad,) = trials.next_jobs([])
    scheduler.summaries[bad] = write_progress(bad, [0.1, 0.1, 0.1], "running")
    trials.next_jobs([bad])
    assert scheduler.stopped == []  # no process works there: the job waits to be resumed
    with locked(Path(bad)):
        scheduler.summaries[bad] = write_progress(bad, [0.1, 0.1, 0.1, 0.1], "running")
        trials.next_jobs([bad])
        assert scheduler.stopped == []  # it is about to finish
    scheduler.summaries[bad] = write_progress(bad, [0.1, 0.1, 0.1, 0.1], "finished")
    (worse,) = trials.next_jobs([])
    with locked(Path(worse)):
        scheduler.summaries[worse] = write_progress(worse, [0.1, 0.1, 0.1], "running")
        trials.next_jobs([worse])
    assert scheduler.stopped == [worse]
    scheduler.summaries[worse] = write_progress(worse, [0.1, 0.1, 0.1], "interrupted")
    scheduler.failures[worse] = "Slurm job 1 is CANCELLED"
    trials.next_jobs([])
    assert scheduler.failures == {}
    assert read_summary(Path(worse, "summary.json")).error == (
        "pruned after epoch 3: behind the median of the trials before"
    )


def test_resumed_search_reports_each_epoch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "STARTUP_TRIALS", 1)
    scheduler, trials, sweep = idle_search(at_once=1, trials=1)
    (name,) = trials.next_jobs([])
    scheduler.summaries[name] = write_progress(name, [0.1, 0.2], "running")
    trials.next_jobs([name])
    trials = Trials(sweep, scheduler, 1, lambda number, overrides: sweep.jobs[name])  # as the search is resumed
    assert trials.unfinished_jobs() == [name]
    scheduler.summaries[name] = write_progress(name, [0.1, 0.2, 0.3], "finished")
    assert trials.next_jobs([]) == []  # Optuna would warn
    (trial,) = search.open_study(sweep).trials
    assert (trial.value, trial.intermediate_values) == (0.3, {1: 0.1, 2: 0.2, 3: 0.3})


def test_all_of_few_combinations_are_tried() -> None:
    scheduler, trials, sweep = idle_search(at_once=1, trials=12)
    assert sweep.search is not None
    sweep.search.space = {key: Dimension(choices=list("abcd"[:size])) for key, size in (("model", 4), ("aug", 3))}
    found = trials.next_jobs([])
    while found:
        scheduler.summaries[found[0]] = write_progress(found[0], [0.9 if "model=a" in found[0] else 0.1], "finished")
        found = trials.next_jobs([])
    assert len(sweep.jobs) == 12


def test_of_equal_accuracies_the_lower_loss_is_best() -> None:
    _, trials, sweep = idle_search(at_once=4, trials=4)
    *names, interrupted = trials.next_jobs([])
    for name, loss in zip(names, (0.3, 0.1, 0.2), strict=True):
        write_progress(name, [0.9], "finished", loss)
    write_progress(interrupted, [0.95], "interrupted")
    assert search.best_trial(sweep) == (sweep.jobs[names[1]], 0.9)


@pytest.mark.parametrize(("value", "written"), [(0.123456, "0.1235"), (0.99996, "0.9999"), (0.100001, "0.10002")])
def test_rounded_value_stays_in_its_interval(value: float, written: str) -> None:
    low, high = (0.10002, 0.9999)
    trial = optuna.trial.FixedTrial({"momentum": min(max(value, low), high)})
    assert search._suggest_value(trial, "momentum", Dimension(low=low, high=high)) == written


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"digits\n" * 2, "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        (b'{"op_code": 4}\n', "KeyError: *"),
        (b"\x00\xff\n" * 3, "*"),
        (None, "ValueError: 0,lr=* is not in it"),
    ],
)
def test_damaged_journal_is_reported(command: Command, finished_search: None, content: bytes | None, why: str) -> None:
    path = SWEEP.absolute() / "optuna.log"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    done = command("resume", "sweep", "--trials", "2")
    assert done.code == 1
    message = f"error: {path}: not the journal of this search ({why});\nrestore it, or start a new search\n"
    assert fnmatch(done.err, message)
    assert done.err.count("\n") == 2
