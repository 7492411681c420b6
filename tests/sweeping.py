"""What tests of sweeps share: one in a process of its own, and a network that waits for the test."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import forking
from digitnet.runs.formats import RunSummary, read_summary

SWEEP = Path("sweep")
# mine.py: takes two minutes, or until there is a file `go`; or dies.
NETWORK = """
import os, signal, time
from torch import nn
class Net(nn.Sequential):
    def __init__(self, how):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
        self.how = how
    def forward(self, images):
        if self.training and self.how == 'dies':
            os.kill(os.getpid(), signal.SIGKILL)
        if self.training and not os.path.exists('go'):
            time.sleep(1)
        return super().forward(images)
"""
CUSTOM = ["model=custom", "model.target=mine:Net", "trainer.batch_size=1024", "trainer.epochs=60"]


@contextmanager
def started(*arguments: str) -> Iterator[forking.Process]:
    """digitnet in a process of its own, which is killed at the end if it is still there."""
    process = forking.digitnet(*arguments)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(moment: Callable[[], bool], process: forking.Process | None = None) -> None:
    """Until it has come; the `process` must not end before."""
    deadline = time.monotonic() + 120
    while not moment():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def summary_of(job: str) -> RunSummary | None:
    try:
        return read_summary(SWEEP / job / "summary.json")
    except FileNotFoundError:
        return None


def status_of(job: str) -> str:
    summary = summary_of(job)
    return summary.status if summary is not None else "waiting"
