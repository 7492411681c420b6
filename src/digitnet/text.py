"""Words for people, as plain text: counts, durations, paths, names that are near."""

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
    """`ValueError: what it says first`, for the errors of others: a message has four lines at most."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def printable(text: str) -> str:
    """`text` as it can be shown and written: names of files may hold what is no character, or what moves the cursor."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def short_path(path: Path) -> Path:
    """`path` as short as it can be said from here."""
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd())
    return path


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` … did you mean 'lenet5'?`: what to say behind an unknown `name`; nothing where none is near.

    Of dotted names only the last part counts: all names in a group are alike in the first.
    """
    leaves = {full.rpartition(".")[2]: full for full in sorted(set(known))}
    near = difflib.get_close_matches(name.rpartition(".")[2], list(leaves), n=2)
    return f" … did you mean {' or '.join(repr(leaves[leaf]) for leaf in near)}?" if near else ""
