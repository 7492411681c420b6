"""Runs jobs on this machine, each in its own process.

It is not a process pool: those of joblib and concurrent.futures end all jobs if one worker is killed.
"""

import signal
import sys
from collections.abc import Collection
from pathlib import Path

from digitnet.config.launcher_schema import LocalLauncherConfig
from digitnet.sweep.capacity import gpus_of_slots
from digitnet.sweep.launchers.launcher import QueueingLauncher
from digitnet.sweep.launchers.processes import ForkServer, JobProcess, JobStarter, Spawner
from digitnet.sweep.worker import forget_failure, read_failure


class LocalLauncher(QueueingLauncher):
    """A `Launcher` for this machine that runs at most `slots` jobs at a time."""

    def __init__(self, folder: Path, options: LocalLauncherConfig, slots: int, trust: bool) -> None:
        super().__init__()
        self._folder, self._gpus = folder, gpus_of_slots(slots, options.gpus)
        self._free_slots = list(range(slots))
        self._running: dict[str, tuple[JobProcess, int]] = {}  # with its slot
        # On macOS no fork is safe.
        self._jobs: JobStarter = (ForkServer if sys.platform == "linux" else Spawner)(folder, trust)

    def poll(self, seconds: float) -> dict[str, str | None]:
        """See `Launcher`."""
        if not self._running:
            return {}
        self._jobs.wait([job for job, _ in self._running.values()], seconds)
        ended = {name: job for name, (job, _) in self._running.items() if job.has_ended()}
        for name, job in ended.items():
            job.close()
            self._free_slots = sorted([*self._free_slots, self._running.pop(name)[1]])
        return {name: self._failure_of(name, job) for name, job in ended.items()}

    def _failure_of(self, name: str, job: JobProcess) -> str | None:
        """Why a job that has ended failed, from its own report or else from its exit code; None if it did not fail."""
        if job.was_dropped:
            return None
        if not self._folder.is_dir():
            return "the sweep's folder was removed"
        if (failure := read_failure(self._folder, name)) is not None:
            return failure
        match job.exit_code:
            case 0:
                return None
            case None:
                return "its process was killed"
            case code:
                return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def stop(self, names: list[str] | None = None) -> list[str]:
        """See `Launcher`."""
        dropped = super().stop(names)
        if names is None:
            self._jobs.drop_unstarted()
        return dropped

    def close(self) -> list[str]:
        """See `Launcher`."""
        self._jobs.close()
        for job, _ in self._running.values():
            job.close()
        return list(self._running)

    def _has_room(self) -> bool:
        return bool(self._free_slots)

    def _start(self, name: str) -> None:
        forget_failure(self._folder, name)
        slot = self._free_slots.pop(0)
        self._running[name] = self._jobs.start(name, self._gpus[slot]), slot

    def _running_jobs(self) -> Collection[str]:
        return self._running

    def _interrupt(self, name: str) -> None:
        self._running[name][0].interrupt()
