"""Runs jobs on this machine, each in its own process, forked from a process that has loaded torch and the data.

It is not a process pool: those of joblib and concurrent.futures end all jobs if one worker is killed.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Collection
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from digitnet.config.schema import LocalLauncherConfig
from digitnet.sweep import preload
from digitnet.sweep.launchers.launcher import QueueingLauncher
from digitnet.sweep.worker import run_job


class LocalLauncher(QueueingLauncher):
    """A `Launcher` for this machine that runs at most `slots` jobs at a time."""

    def __init__(self, folder: Path, options: LocalLauncherConfig, slots: int, trust: bool) -> None:
        super().__init__()
        self._folder, self._trust, self._gpu_share = folder, trust, options.gpus
        self._free_slots = list(range(slots))
        self._running: dict[str, tuple[Any, Connection, int]] = {}  # process, pipe, slot
        # Not forked from this process: a job could inherit locks held by its threads. On macOS no fork is safe.
        method = "forkserver" if sys.platform == "linux" else "spawn"
        self._context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload([preload.__name__])

    def submit(self, names: list[str]) -> None:
        """See `Launcher`; the first call starts the process that jobs are forked from."""
        if names and self._context.get_start_method() == "forkserver":
            os.environ[preload.SWEEP_VARIABLE] = str(self._folder)
            forkserver.ensure_running()  # does nothing the second time
            del os.environ[preload.SWEEP_VARIABLE]
        super().submit(names)

    def poll(self, seconds: float) -> dict[str, str | None]:
        """See `Launcher`."""
        if not self._running:
            return {}
        wait([process.sentinel for process, _, _ in self._running.values()], seconds)
        ended: dict[str, str | None] = {}
        for name, (process, pipe, slot) in list(self._running.items()):
            if process.is_alive():
                continue
            try:
                ended[name] = pipe.recv()
            except EOFError:
                code = process.exitcode
                ended[name] = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            pipe.close()
            process.close()
            del self._running[name]
            self._free_slots = sorted([*self._free_slots, slot])
        self._start_queued()
        return ended

    def close(self) -> None:
        """See `Launcher`."""
        for process, _, _ in self._running.values():
            process.kill()

    def gpu_of(self, slot: int) -> int:
        """The index of the GPU for the job in `slot`: GPUs are filled one after the other, by the jobs' shares."""
        return int(slot * self._gpu_share)

    def _has_room(self) -> bool:
        return bool(self._free_slots)

    def _start(self, name: str) -> None:
        slot = self._free_slots.pop(0)
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_run_in_process, args=(self._folder, name, self._trust, self.gpu_of(slot), sender), name=name
        )
        process.start()
        sender.close()
        self._running[name] = process, receiver, slot

    def _running_jobs(self) -> Collection[str]:
        return self._running

    def _interrupt(self, name: str) -> None:
        self._running[name][0].terminate()


def _run_in_process(folder: Path, name: str, trust: bool, gpu: int, pipe: Connection) -> None:
    """Run the job in this process, with its output in its folder, because the terminal shows the sweep."""
    os.setpgid(0, 0)  # Ctrl-C goes only to the sweep's process, which interrupts its jobs
    _terminate_with_parent()
    path = folder / name / "output.txt"
    with path.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(gpu % torch.cuda.device_count())
    try:
        pipe.send(run_job(folder, name, trust))
    except KeyboardInterrupt:
        pipe.send(None)  # the job's summary says that it was interrupted
    finally:
        sys.stdout.flush()
        if path.stat().st_size == 0:
            path.unlink()


def _terminate_with_parent() -> None:
    """End the job if its sweep is killed; otherwise the job would keep its folder locked, and could not be resumed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
