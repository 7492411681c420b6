"""Formats text for messages: counts, durations, paths, similar names."""

import contextlib
import difflib
from collections.abc import Iterable
from pathlib import Path


def plural(count: int, noun: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def one_line(error: BaseException) -> str:
    """`ValueError: first line of its text`, for exceptions of other libraries: a message has at most four lines."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def printable(text: str) -> str:
    """`text` with control characters and lone surrogates escaped: file names may contain both."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def short_path(path: Path) -> Path:
    """`path` relative to the working directory if it is below it."""
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd())
    return path


def did_you_mean(name: str, existing: Iterable[str]) -> str:
    """` … did you mean 'lenet5'?`, to append to a message about an unknown `name`; "" if no existing name is similar.

    Of dotted names only the last part is compared: the first is the same for all names of a group.
    """
    leaves = {full.rpartition(".")[2]: full for full in sorted(set(existing))}
    near = difflib.get_close_matches(name.rpartition(".")[2], list(leaves), n=2)
    return f" … did you mean {' or '.join(repr(leaves[leaf]) for leaf in near)}?" if near else ""
