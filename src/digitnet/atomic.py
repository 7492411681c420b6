"""Files that are written whole or not at all, and files of others that are opened without following links."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Collection
from pathlib import Path

from digitnet.errors import ConfigError

SCRATCH_PREFIX = ".unfinished-"  # of a file that is being written, or was when its process was killed
LARGEST_TEXT = 2**28  # bytes: no summary, table or list of jobs is larger


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` as a whole or not at all: no reader sees half a file under this name, even after a crash.

    Writers of the same path do not disturb each other: the last one wins. Raises OSError, which names `path`.
    """
    scratch = path.with_name(f"{SCRATCH_PREFIX}{secrets.token_hex(8)}")
    try:
        with open(scratch, "xb", opener=open_regular) as file:
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


def check_output_file(option: str, path: Path, suffixes: Collection[str], force: bool) -> None:
    """Raise ConfigError if the file of an option cannot be written, or exists and must not be replaced (`force`)."""
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"{option} {path}: ends in none of {', '.join(suffixes)}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{option} {path}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise ConfigError(f"{option} {path}: a folder; name a file in it")
    if path.exists() and not force:
        raise ConfigError(f"{option} {path}: exists; add --force to replace it")


def open_regular(path: str | os.PathLike[str], flags: int) -> int:
    """Open a regular file, for the `opener` of `open`: no link is followed, and no pipe or device waited for.

    In a folder from somebody else, a link could redirect writes to any file of the user. Raises OSError.
    """
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        number = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):  # the second on FreeBSD
            raise OSError(error.errno, "is a link", str(path)) from error
        if error.errno == errno.ENXIO:  # a pipe without a reader
            raise OSError(error.errno, "not a file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "not a file", str(path))
    return number


def read_regular(path: Path) -> bytes:
    """The content of a regular file of at most LARGEST_TEXT. Raises OSError, also for a link, a pipe or a device."""
    with open(path, "rb", opener=open_regular) as file:
        content = file.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise OSError(errno.EFBIG, "too large to be one of digitnet's", str(path))
    return content


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
