"""The lock of a run's or sweep's folder: only one process at a time works in it."""

import contextlib
import errno
import os
import platform
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from digitnet.errors import DigitnetError

PATIENCE_SECONDS = 0.5  # a `resume` that finds nothing to do holds the lock for less


@contextlib.contextmanager
def locked(
    run_dir: Path, patience: float = PATIENCE_SECONDS, owner: Callable[[], str] = lambda: "another process"
) -> Iterator[Callable[[], None]]:
    """Hold the lock of `run_dir` in this block. The system releases it when the process ends, even if it is killed.

    Yields a function that raises FileNotFoundError if the folder is no longer the one that was locked: it may have been
    removed and created again by another run. Raises DigitnetError if another process, which `owner` describes, still
    holds the lock after `patience` seconds, OSError if the lock file cannot be created.
    """
    from filelock import FileLock, Timeout  # takes 20 ms to import, which --help does not need

    path = run_dir / ".lock"
    with contextlib.suppress(FileNotFoundError):
        if not _is_regular(path):  # it would be opened, and cut to no length
            raise OSError(errno.EINVAL, "not a file", str(path))
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise DigitnetError(f"{run_dir}: {owner()} is working in this folder; wait for it, or stop it first") from None
    try:
        locked_stat = path.stat()

        def check() -> None:
            if not os.path.samestat(path.stat(), locked_stat):
                raise FileNotFoundError(errno.ENOENT, "was removed, and another run is in its place", str(run_dir))

        yield check
    finally:
        lock.release()


def is_locked(run_dir: Path) -> bool:
    """Whether a process holds the lock of `run_dir`; also True if that cannot be determined."""
    from filelock import FileLock, Timeout

    path = run_dir / ".lock"
    try:
        if not _is_regular(path):
            return False
        with FileLock(path, timeout=0):
            return False
    except FileNotFoundError:
        return False
    except (Timeout, OSError):
        return True


def _is_regular(path: Path) -> bool:
    """False for a link: no run creates one, and it could point anywhere. Raises OSError, also if there is no file."""
    return stat.S_ISREG(path.lstat().st_mode)


def this_process() -> dict[str, Any]:
    """`process` of summary.json: this process's id and the name of its machine."""
    return {"pid": os.getpid(), "host": platform.node()}
