"""Formats text for messages: counts, durations, paths, similar names."""

import contextlib
import difflib
import sys
from collections.abc import Iterable
from pathlib import Path

LONGEST_LINE = 1000  # letters of a message


def plural(count: int, noun: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def file_size(count: int) -> str:
    """`512 B`, `1.4 MB`: in powers of 1,000."""
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"


def one_line(error: BaseException) -> str:
    """`ValueError: first line of its text`, for exceptions of other libraries: a message has at most four lines."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


def printable(text: str) -> str:
    """`text` with control characters, invisible ones and lone surrogates escaped: any of them may be in file names."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def shown(text: str) -> str:
    """`printable(text)`, with lines of more than LONGEST_LINE letters cut in their middle: for messages."""
    lines = printable(text).split("\n")
    half = LONGEST_LINE // 2
    return "\n".join(line if len(line) <= LONGEST_LINE else f"{line[:half]} … {line[-half:]}" for line in lines)


def show(text: str, *, stderr: bool = False) -> None:
    """Print `text` as it can be shown: whatever the commands print without a table goes through here."""
    print(shown(text), file=sys.stderr if stderr else sys.stdout)


def short_path(path: Path) -> Path:
    """`path` relative to the working directory if it is below it."""
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd())
    return path


def did_you_mean(name: str, existing: Iterable[str]) -> str:
    """` … did you mean 'lenet5'?`, to append to a message about an unknown `name`; "" if no existing name is similar.

    Of dotted names only the last part is compared: the first is the same for all names of a group. Capitals count as
    small letters.
    """
    leaves = {full.rpartition(".")[2].lower(): full for full in sorted(set(existing))}
    near = difflib.get_close_matches(name.rpartition(".")[2].lower(), list(leaves), n=2)
    return f" … did you mean {' or '.join(repr(leaves[leaf]) for leaf in near)}?" if near else ""
