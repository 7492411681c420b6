"""Atomic writes: a file is replaced as a whole or not at all."""

import contextlib
import errno
import os
from pathlib import Path

SCRATCH_PREFIX = ".unfinished-"  # of a file that is being written, or was when its process was killed


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` as a whole or not at all: no reader sees half a file under this name, even after a crash.

    Raises OSError, which names `path`.
    """
    scratch = path.with_name(f"{SCRATCH_PREFIX}{path.name}")
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)  # on a full disk it would take up space
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _sync_folder(folder: Path) -> None:
    """Sync `folder` to disk, so that a file renamed in it has its new name after a power failure."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
                raise
        finally:
            os.close(handle)
