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

PATIENCE_SECONDS = 0.5  # a process that finds nothing to do in the folder releases it at once


@contextlib.contextmanager
def locked(
    run_dir: Path, patience: float = PATIENCE_SECONDS, owner: Callable[[], str] = lambda: "another process"
) -> Iterator[Callable[[], None]]:
    """Hold the lock of `run_dir` in this block. The system releases it when the process ends, however it does.

    Yields a check that raises FileNotFoundError once the folder is no longer the one that was locked: somebody may have
    removed it, and another run started in its place. Raises DigitnetError if another process, which `owner` describes,
    still holds the lock after `patience` seconds, OSError if there can be no lock.
    """
    from filelock import FileLock, Timeout  # 20 ms, which --help and mistakes need not wait for

    path = run_dir / ".lock"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise DigitnetError(f"{run_dir}: {owner()} is at work there; wait for it, or stop it first") from None
    try:
        ours = path.stat()

        def check() -> None:
            if not os.path.samestat(path.stat(), ours):
                raise FileNotFoundError(errno.ENOENT, "was removed, and another run is in its place", str(run_dir))

        yield check
    finally:
        lock.release()


def is_locked(run_dir: Path) -> bool:
    """Whether a process holds the lock of `run_dir`; True too where that cannot be found out."""
    from filelock import FileLock, Timeout

    path = run_dir / ".lock"
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # no run makes a link, which could point anywhere
            return False
        with FileLock(path, timeout=0):
            return False
    except FileNotFoundError:
        return False
    except (Timeout, OSError):
        return True


def this_process() -> dict[str, Any]:
    """This process, as summary.json names it."""
    return {"pid": os.getpid(), "host": platform.node()}
