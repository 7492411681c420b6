"""Standard input, output and error, which may be closed, full, gone, or of an encoding without most letters."""

import contextlib
import errno
import io
import os
import sys
from typing import Any

NAMES = {1: "standard output", 2: "standard error"}


class _Output(io.FileIO):
    """Raw output. Its errors name it; once a terminal is gone, what is printed is dropped, because that ends no run."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self._was_terminal = self.isatty()

    def write(self, content: Any) -> int:
        try:
            return super().write(content) or 0
        except OSError as error:
            if self._was_terminal and error.errno in (errno.EIO, errno.EPIPE):
                return len(content)
            error.filename = NAMES[self.fileno()]
            raise


def prepare_streams() -> None:
    """Make the standard streams of this process safe to write to, whatever they are."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # `digitnet >&-`: else the next file to be opened would get its number, and what is printed
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None or (type(stream) is io.TextIOWrapper and _number_of(stream) == number):
            options: dict[str, Any] = {"encoding": "utf-8"}
            if stream is not None:
                options = {key: getattr(stream, key) for key in ("encoding", "line_buffering", "write_through")}
            buffer = io.BufferedWriter(_Output(number))
            setattr(sys, name, io.TextIOWrapper(buffer, errors="backslashreplace", **options))


def _number_of(stream: io.TextIOWrapper) -> int | None:
    try:
        stream.flush()
        raw = getattr(stream.buffer, "raw", stream.buffer)  # there is no buffer with PYTHONUNBUFFERED
        return None if isinstance(raw, _Output) else stream.fileno()
    except (OSError, ValueError, AttributeError):  # a notebook's, or a test's
        return None


def drop_output() -> None:
    """Write nothing more to standard output, not even what waits in its buffer."""
    with contextlib.suppress(OSError, ValueError):  # a notebook's, or a test's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
