"""The interface of launchers, and a base class for those that queue jobs themselves."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection
from typing import Protocol


class Launcher(Protocol):
    """Runs jobs, each with `worker.run_job` in its own process; if one fails or is killed, the others continue."""

    def submit(self, names: list[str]) -> None:
        """Queue these jobs, which are in sweep.json already, and start those of the queue that there is room for.

        Without further calls no further job begins. Raises DigitnetError if no job can run.
        """

    def poll(self, seconds: float) -> dict[str, str | None]:
        """Wait until a job has ended, at most `seconds`.

        Returns the jobs that have ended since the last call, each with the reason of its failure, or None if it is in
        the job's summary.json or the job did not fail.
        """

    def stop(self, names: list[str] | None = None) -> list[str]:
        """Ask these jobs, by default all, to write a checkpoint and end.

        Returns those that had not started; they are removed from the queue.
        """

    def close(self) -> list[str]:
        """Kill the jobs that still run, unless they run on a cluster that continues without the sweep's process.

        Returns the jobs that were killed.
        """


class QueueingLauncher(ABC):
    """A launcher that queues jobs itself, and starts one whenever it has room."""

    def __init__(self) -> None:
        self._queue: deque[str] = deque()

    def submit(self, names: list[str]) -> None:
        """See `Launcher`."""
        self._queue += names
        self._start_queued()

    def stop(self, names: list[str] | None = None) -> list[str]:
        """See `Launcher`."""
        dropped = [name for name in self._queue if names is None or name in names]
        self._queue = deque(name for name in self._queue if name not in dropped)
        for name in self._running_jobs():
            if names is None or name in names:
                self._interrupt(name)
        return dropped

    def _start_queued(self) -> None:
        while self._queue and self._has_room():
            self._start(self._queue.popleft())

    @abstractmethod
    def _has_room(self) -> bool:
        """Whether another job can start now."""

    @abstractmethod
    def _start(self, name: str) -> None:
        """Start a job."""

    @abstractmethod
    def _running_jobs(self) -> Collection[str]:
        """The names of the jobs that were started and have not ended."""

    @abstractmethod
    def _interrupt(self, name: str) -> None:
        """Ask a running job to write a checkpoint and end."""
