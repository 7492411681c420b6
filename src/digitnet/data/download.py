"""Downloads a file of a data set from the first of its mirrors that has it."""

import contextlib
import hashlib
import http.client
import os
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from digitnet.atomic import write_atomically
from digitnet.version import __version__

TIMEOUT_SECONDS = 10.0  # without receiving data
LARGEST = 2**26  # bytes; MNIST's training images have 10 million, KMNIST's 18
PIECE = 2**16  # bytes


def download(mirrors: Sequence[str], path: Path, md5: str) -> None:
    """Download the file of `path`'s name, with the MD5 sum `md5`, from the first mirror that has it.

    Of several processes that want it, one downloads it. A file that is cut off never has its name, and folders that
    were made for nothing are removed. Raises OSError with the reason of the last mirror.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(mirrors, path, md5)
    except BaseException:
        with contextlib.suppress(OSError):  # not empty: somebody else uses them
            for folder in made:
                folder.rmdir()
        raise


def _download(mirrors: Sequence[str], path: Path, md5: str) -> None:
    with _alone_in(path.parent):
        for number, mirror in enumerate(mirrors if not path.exists() else (), start=1):
            try:
                content = _fetch(mirror + path.name)
                if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                    raise OSError(f"{mirror} has another file of this name")
                path.parent.mkdir(parents=True, exist_ok=True)  # another process may have removed it, having failed
                write_atomically(path, content)
                return
            except (OSError, http.client.HTTPException) as error:
                if number == len(mirrors):
                    if isinstance(error, OSError):
                        raise
                    raise OSError(f"{type(error).__name__}: {error}") from error  # a status line or a body that is cut


def _fetch(url: str) -> bytes:
    """The content at `url`. Raises OSError or HTTPException, also if it has more than LARGEST bytes or is cut off."""
    request = urllib.request.Request(url, headers={"User-Agent": f"digitnet/{__version__}"})
    content = bytearray()
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        announced = response.headers.get("Content-Length", "")
        size = int(announced) if announced.isdecimal() else None
        try:
            while piece := response.read(PIECE):
                content += piece
                if len(content) > LARGEST:
                    raise OSError(f"{url} has more than {LARGEST:,} bytes")
                if sys.stderr.isatty():
                    share = f", {len(content) / size:.0%}" if size else ""
                    print(f"\rdownloading {url}{share}", end="", file=sys.stderr, flush=True)
        finally:
            if content and sys.stderr.isatty():
                print(file=sys.stderr)
    if size is not None and len(content) < size:
        raise OSError(f"{url} was cut off after {len(content):,} of {size:,} bytes")
    return bytes(content)


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
