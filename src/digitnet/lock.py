"""One process at a time works in a run's folder."""

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from digitnet.errors import TAKEN, DigitnetError
from digitnet.records import read_summary


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Work in `run_dir` alone. The system gives the lock back when the process ends, however it does.

    Raises DigitnetError, with its process id and host, if another process is at work there, OSError if there can be
    no lock.
    """
    lock = FileLock(run_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DigitnetError(_in_use(run_dir)) from None
    try:
        yield
    finally:
        lock.release()


def taken(run_dir: Path) -> str:
    """Why no new run can have the folder: a process is at work there, or was."""
    with contextlib.suppress(OSError):
        try:
            with locked(run_dir):
                pass
        except DigitnetError as error:
            return str(error)
    return f"{run_dir}: {TAKEN}"


def myself() -> dict[str, Any]:
    """What a summary says of the process that works on it."""
    return {"pid": os.getpid(), "host": platform.node()}


def _in_use(run_dir: Path) -> str:
    try:
        process = read_summary(run_dir / "summary.json").process
        who = f"process {process['pid']} on {process['host']}"
    except (OSError, ValueError, KeyError):  # it has just begun
        who = "another process"
    return f"{run_dir}: {who} is at work there; wait for it, or stop it first"
