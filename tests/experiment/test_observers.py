"""A run's observers are told its start, each epoch, and its end, however it ends."""

from typing import Any

import pytest

from conftest import TINY, Command
from digitnet.experiment import run
from digitnet.runs.formats import RunSummary
from digitnet.runs.observer import StartedRun
from digitnet.training.record import EpochRecord

pytestmark = pytest.mark.slow


class Tracker:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def start(self, run: StartedRun) -> None:
        self.calls.append(("start", run.epochs, run.state.epoch, run.config.seed, run.summary.status))

    def epoch(self, record: EpochRecord) -> None:
        self.calls.append(("epoch", record.epoch))

    def end(self, summary: RunSummary) -> None:
        self.calls.append(("end", summary.status, summary.test is not None))


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Tracker:
    made = Tracker()
    monkeypatch.setattr(run, "TrackerProcesses", lambda *_: made)
    return made


def test_tracker_is_told_start_epochs_and_end(command: Command, tracker: Tracker) -> None:
    assert command(*TINY, "seed=3").code == 0
    assert tracker.calls == [("start", 2, 0, 3, "running"), ("epoch", 1), ("epoch", 2), ("end", "finished", True)]


def test_tracker_of_a_resumed_run_is_told_the_epochs_that_are_left(command: Command, tracker: Tracker) -> None:
    assert command(*TINY, "hydra.run.dir=here").code == 0
    tracker.calls.clear()
    assert command("resume", "here", "trainer.epochs=3").code == 0
    assert tracker.calls == [("start", 3, 2, 0, "running"), ("epoch", 3), ("end", "finished", True)]


def test_tracker_is_told_that_a_run_diverged(command: Command, tracker: Tracker) -> None:
    assert command(*TINY, "model=allconv", "optimizer.lr=1e20").code == 1
    assert tracker.calls == [("start", 2, 0, 0, "running"), ("end", "diverged", False)]


def test_tracker_that_fails_at_the_end_is_told_once(command: Command, tracker: Tracker) -> None:
    def fail(summary: RunSummary) -> None:
        tracker.calls.append("end")
        raise OSError(28, "No space left on device", "tracker.db")

    tracker.end = fail  # type: ignore[method-assign]
    done = command(*TINY, "hydra.run.dir=here")
    assert (done.code, done.err) == (1, "error: tracker.db: No space left on device\n")
    assert tracker.calls.count("end") == 1
