"""What runs take on disk, and which of their files can be removed."""

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from digitnet.atomic import read_regular
from digitnet.errors import DigitnetError
from digitnet.lock import is_locked
from digitnet.runs.folder import SWEEP_FILE, RunFolder, refuse_links
from digitnet.runs.reader import Run
from digitnet.text import short_path

# What `removals` can remove: runs by their status, and the checkpoints of finished runs that are not the best.
STATUSES = {"failed": ("failed",), "broken": ("broken",), "unfinished": ("interrupted", "killed")}
KINDS = (*STATUSES, "checkpoints")


@dataclass(frozen=True)
class Removal:
    """What to remove of a run: the whole run, if there are no `checkpoints`, or these."""

    run: Run
    size: int  # bytes
    checkpoints: Sequence[Path] = ()
    summary: bytes | None = None  # summary.json as it was when the removal was chosen


def disk_usage(folder: Path) -> int:
    """Bytes of all files in and below a run's folder; links are not followed."""
    total = 0
    for top, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):  # it was just removed
                total += Path(top, name).lstat().st_size
    return total


def removals(runs: Iterable[Run], kinds: Collection[str]) -> list[Removal]:
    """What can be removed of `runs`; `kinds` are some of KINDS. A run at which a process works stays as it is."""
    statuses = {status for kind in kinds for status in STATUSES.get(kind, ())}
    found = []
    for run in runs:
        folder = RunFolder(run.folder)
        if not folder.holds_files() or _is_busy(folder) or not _is_digitnets(folder, run.status):
            continue
        if run.status in statuses:
            found.append(Removal(run, disk_usage(run.folder), (), _summary_of(folder)))
        elif "checkpoints" in kinds and run.status == "finished" and folder.checkpoint_file("best").is_file():
            others = [path for path in folder.checkpoints() if path != folder.checkpoint_file("best")]
            if others:
                size = sum(path.lstat().st_size for path in others)
                found.append(Removal(run, size, others, _summary_of(folder)))
    return found


def _is_busy(folder: RunFolder) -> bool:
    """Whether a process works in the folder, or runs the sweep that it is a job of."""
    sweep = folder.path.parent
    return folder.is_locked() or ((sweep / SWEEP_FILE).exists() and is_locked(sweep))


def _is_digitnets(folder: RunFolder, status: str) -> bool:
    """Whether digitnet wrote the folder: others of Hydra's programs have .hydra/ as well. Without links, as its are."""
    try:
        refuse_links(folder.path)
    except DigitnetError:
        return False
    return status != "broken" or (folder.path / ".lock").exists()


def _summary_of(folder: RunFolder) -> bytes | None:
    try:
        return read_regular(folder.summary_file)
    except OSError:
        return None


def remove(removal: Removal) -> None:
    """Remove it, unless a process has begun to work there. Raises DigitnetError, OSError."""
    path = removal.run.folder
    folder = RunFolder(path if path == Path.cwd() else short_path(path))  # "." cannot be removed
    with folder.locked(patience=0):
        if _summary_of(folder) != removal.summary:  # it was resumed between the list and the answer
            raise DigitnetError(f"{folder.path}: has changed meanwhile; run digitnet clean again")
        refuse_links(folder.path)
        for path in removal.checkpoints:
            path.unlink()
        if not removal.checkpoints:
            folder.remove_files()
    if not removal.checkpoints:
        day = folder.path.parent
        folder.remove_if_empty([folder.path, *([day] if re.fullmatch(r"\d{4}-\d\d-\d\d", day.name) else [])])


def remove_all(found: Iterable[Removal]) -> tuple[int, list[str]]:
    """Remove all of them: (bytes that are free now, why some could not be removed)."""
    freed, failures = 0, []
    for removal in found:
        try:
            remove(removal)
            freed += removal.size
        except (DigitnetError, OSError) as error:
            failures.append(str(error))
    return freed, failures
