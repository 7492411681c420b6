"""Downloads a file of a data set from the first of its mirrors that has it."""

import contextlib
import hashlib
import http.client
import os
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from digitnet.atomic import SCRATCH_PREFIX, write_atomically
from digitnet.version import __version__

TIMEOUT_SECONDS = 10.0  # without receiving data
LARGEST = 2**26  # bytes; MNIST's training images have 10 million, EMNIST's 56
LARGEST_ZIP = 2**30  # EMNIST's has 562 million
PIECE = 2**16  # bytes


def download(mirrors: Sequence[str], path: Path, md5: str) -> None:
    """Download the file of `path`'s name, with the MD5 sum `md5`, from the first mirror that has it.

    Of several processes that want it, one downloads it. A file that is cut off never has its name, and folders that
    were made for nothing are removed. Raises OSError with the reason of the last mirror.
    """
    with _made(path.parent):
        _download(mirrors, path, md5)


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """In this block there is `folder`; what was made of it is removed, if it is empty, when the block fails."""
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # not empty: somebody else uses them
            for parent in made:
                parent.rmdir()
        raise


def _download(mirrors: Sequence[str], path: Path, md5: str) -> None:
    with _alone_in(path.parent):
        for number, mirror in enumerate(mirrors if not path.exists() else (), start=1):
            try:
                content = bytearray()
                if _fetch(mirror + path.name, content.extend, LARGEST) != md5:
                    raise OSError(f"{mirror} has another file of this name")
                path.parent.mkdir(parents=True, exist_ok=True)  # another process may have removed it, having failed
                write_atomically(path, bytes(content))
                return
            except (OSError, http.client.HTTPException) as error:
                if number == len(mirrors):
                    if isinstance(error, OSError):
                        raise
                    raise OSError(f"{type(error).__name__}: {error}") from error  # a status line or a body that is cut


def download_members(mirrors: Sequence[str], folder: Path, name: str, md5: str, members: Sequence[str]) -> None:
    """Download the zip archive `name`, and keep of its files only those called `members`, in `folder`.

    As `download`; the archive itself is in `folder` while it is read, and removed.
    """
    with _made(folder), _alone_in(folder):
        if all((folder / member).exists() for member in members):
            return
        for number, mirror in enumerate(mirrors, start=1):
            scratch = folder / f"{SCRATCH_PREFIX}{name}"
            try:
                with scratch.open("wb") as file:
                    if _fetch(mirror + name, file.write, LARGEST_ZIP) != md5:
                        raise OSError(f"{mirror} has another file of this name")
                with zipfile.ZipFile(scratch) as archive:
                    inside = {Path(entry.filename).name: entry for entry in archive.infolist()}
                    for member in members:
                        if inside[member].file_size > LARGEST:
                            raise OSError(f"{member} in {name} has more than {LARGEST:,} bytes")
                        write_atomically(folder / member, archive.read(inside[member]))
                return
            except (OSError, http.client.HTTPException, zipfile.BadZipFile, KeyError) as error:
                if number == len(mirrors):
                    if isinstance(error, OSError):
                        raise
                    raise OSError(f"{type(error).__name__}: {error}") from error
            finally:
                scratch.unlink(missing_ok=True)


def _fetch(url: str, write: Callable[[bytes], object], largest: int) -> str:
    """Pass the content at `url` to `write`, piece by piece; returns its MD5 sum.

    Raises OSError or HTTPException, also if it has more than `largest` bytes or is cut off.
    """
    request = urllib.request.Request(url, headers={"User-Agent": f"digitnet/{__version__}"})
    done, md5 = 0, hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        announced = response.headers.get("Content-Length", "")
        size = int(announced) if announced.isdecimal() else None
        try:
            while piece := response.read(PIECE):
                done += len(piece)
                if done > largest:
                    raise OSError(f"{url} has more than {largest:,} bytes")
                md5.update(piece)
                write(piece)
                if sys.stderr.isatty():
                    share = f", {done / size:.0%}" if size else ""
                    print(f"\rdownloading {url}{share}", end="", file=sys.stderr, flush=True)
        finally:
            if done and sys.stderr.isatty():
                print(file=sys.stderr)
    if size is not None and done < size:
        raise OSError(f"{url} was cut off after {done:,} of {size:,} bytes")
    return md5.hexdigest()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """In this block no other process of this machine is in it for `folder`, if its file system has locks.

    The folder itself is locked, so that no file is left in it. Without locks (on Windows) the file may be downloaded
    twice.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
