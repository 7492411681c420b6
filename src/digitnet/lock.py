"""One process at a time works in a run's folder."""

import contextlib
import errno
import os
import platform
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from digitnet.errors import DigitnetError
from digitnet.runs.formats import read_summary

PATIENCE_SECONDS = 0.5  # whoever finds that there is nothing to do in the folder lets go at once


@contextlib.contextmanager
def locked(run_dir: Path, patience: float = PATIENCE_SECONDS) -> Iterator[Callable[[], None]]:
    """Work in `run_dir` alone. The system gives the lock back when the process ends, however it does.

    What it yields raises FileNotFoundError once the folder is no longer the one that was locked: somebody may have
    removed it, and another run have begun in its place. Raises DigitnetError, with its process id and host, if another
    process is at work there, and still is after `patience` seconds, OSError if there can be no lock.
    """
    from filelock import FileLock, Timeout  # 20 ms, which --help and mistakes need not wait for

    path = run_dir / ".lock"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise DigitnetError(_in_use(run_dir)) from None
    try:
        ours = path.stat()

        def check() -> None:
            if not os.path.samestat(path.stat(), ours):
                raise FileNotFoundError(errno.ENOENT, "was removed, and another run is in its place", str(run_dir))

        yield check
    finally:
        lock.release()


def is_locked(run_dir: Path) -> bool:
    """Whether a process is at work in `run_dir`; True too where that cannot be found out."""
    from filelock import FileLock, Timeout

    path = run_dir / ".lock"
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # no run makes a link, which would lead the lock elsewhere
            return False
        with FileLock(path, timeout=0):
            return False
    except FileNotFoundError:
        return False
    except (Timeout, OSError):
        return True


def this_process() -> dict[str, Any]:
    """What a summary says of the process that works on it."""
    return {"pid": os.getpid(), "host": platform.node()}


def _in_use(run_dir: Path) -> str:
    try:
        process = read_summary(run_dir / "summary.json").process
        who = f"process {process['pid']} on {process['host']}"
    except (OSError, ValueError, KeyError):  # it has just begun
        who = "another process"
    return f"{run_dir}: {who} is at work there; wait for it, or stop it first"
