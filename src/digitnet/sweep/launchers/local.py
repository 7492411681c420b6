"""Jobs on this machine: each in a process of its own, forked from one that has torch and the data already.

A pool of workers, as joblib and concurrent.futures have it, ends all its jobs when one of them is killed.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from digitnet.config.schema import LocalLauncherConfig
from digitnet.sweep import preload
from digitnet.sweep.worker import run_job


class LocalLauncher:
    """A launcher, see `drive.Launcher`."""

    def __init__(self, folder: Path, options: LocalLauncherConfig, slots: int, trust: bool) -> None:
        self._folder, self._trust, self._share = folder, trust, options.gpus
        self._waiting: deque[str] = deque()
        self._free = list(range(slots))
        self._running: dict[str, tuple[Any, Connection, int]] = {}
        # Forked from this process, a job could inherit locks that other threads of it hold; macOS' libraries forbid it.
        kind = "forkserver" if sys.platform == "linux" else "spawn"
        self._context: Any = multiprocessing.get_context(kind)
        if kind == "forkserver":
            self._context.set_forkserver_preload([preload.__name__])

    def submit(self, names: list[str]) -> None:
        """See `drive.Launcher`; sweep.json has them already."""
        if names and self._context.get_start_method() == "forkserver":
            os.environ[preload.VARIABLE] = str(self._folder)
            forkserver.ensure_running()  # does nothing the second time
            del os.environ[preload.VARIABLE]
        self._waiting += names
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._free:
            name, slot = self._waiting.popleft(), self._free.pop(0)
            ours, theirs = self._context.Pipe(duplex=False)
            process = self._context.Process(
                target=_job, args=(self._folder, name, self._trust, self.gpu_of(slot), theirs), name=name
            )
            process.start()
            theirs.close()
            self._running[name] = process, ours, slot

    def gpu_of(self, slot: int) -> int:
        """The number of the GPU of the job in that slot, from 0: one after the other, by their shares."""
        return int(slot * self._share)

    def poll(self, seconds: float) -> dict[str, str | None]:
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
            self._free = sorted([*self._free, slot])
        self._fill()
        return ended

    def stop(self, names: list[str] | None = None) -> list[str]:
        """Ask jobs to end, by default all; those that had not begun are returned, and will not."""
        dropped = [name for name in self._waiting if names is None or name in names]
        self._waiting = deque(name for name in self._waiting if name not in dropped)
        for name, (process, _, _) in self._running.items():
            if names is None or name in names:
                process.terminate()
        return dropped

    def close(self) -> None:
        for process, _, _ in self._running.values():
            process.kill()


def _job(folder: Path, name: str, trust: bool, gpu: int, pipe: Connection) -> None:
    """What a process does. Its output goes to a file beside the job's others: the terminal is the sweep's."""
    os.setpgid(0, 0)  # Ctrl-C goes to the sweep, which tells its jobs
    _end_with_the_sweep()
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
        pipe.send(None)  # its summary says it
    finally:
        sys.stdout.flush()
        if path.stat().st_size == 0:
            path.unlink()


def _end_with_the_sweep() -> None:
    """Nobody would hear of a job whose sweep was killed, and it would be in the way of the resumed one."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
