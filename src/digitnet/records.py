"""What a run leaves on disk as figures: metrics.csv, a row an epoch, and summary.json with what made them."""

import contextlib
import csv
import errno
import io
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from digitnet import __version__

SCRATCH = ".unfinished-"  # what begins so, was being written when a process was killed


@dataclass(frozen=True)
class EpochRecord:
    """One row of metrics.csv. Losses are means over images, accuracies fractions.

    `train_*` is measured while training (dropout on, distorted images, weights changing), `val_*` afterwards on the
    whole validation split. `lr` is that of the epoch's first step. `epoch_seconds` includes the validation,
    `images_per_second` does not.
    """

    epoch: int
    lr: float
    train_loss: float
    train_acc: float
    val_loss: float
    val_acc: float
    epoch_seconds: float
    images_per_second: float

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "EpochRecord":
        """From what was written. Raises ValueError, KeyError or TypeError where it is something else."""
        return cls(int(fields["epoch"]), **{key: float(value) for key, value in fields.items() if key != "epoch"})


@dataclass
class RunSummary:
    """summary.json. `status` is running, finished, failed, diverged or interrupted; `error` says why it failed."""

    status: str
    command: str
    seed: int
    versions: dict[str, str]
    git: dict[str, Any] | None = None
    error: str | None = None
    dataset: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    parameters: int | None = None
    device: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    epochs: int = 0  # finished ones
    steps: int = 0  # that checkpoints/last.pt knows of
    final: dict[str, Any] | None = None
    best: dict[str, Any] | None = None
    test: dict[str, Any] | None = None
    seconds: float = 0.0  # of all processes that worked on it, as far as they got to write it down
    config: dict[str, Any] = field(default_factory=dict)  # resolved; what `digitnet resume` goes on with
    process: dict[str, Any] = field(default_factory=dict)  # `pid` and `host` of the last that worked on it
    resumed: list[str] = field(default_factory=list)  # the commands that went on with it


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` whole or not at all: a reader never sees half a file under this name, not even after a crash.

    Raises OSError, which names `path`.
    """
    scratch = path.with_name(f"{SCRATCH}{path.name}")
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)  # on a full disk it would be in the way
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _sync_folder(folder: Path) -> None:
    """Bring a renaming to the disk: the new name, too, is there after a loss of power."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
                raise
        finally:
            os.close(handle)


def write_metrics(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write all records so far; floats in full precision, so that equal runs give equal files."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(record) for record in records)
    write_atomically(path, text.getvalue().encode())


def read_metrics(path: Path) -> list[EpochRecord]:
    """The inverse of `write_metrics`."""
    with path.open(newline="") as file:
        return [EpochRecord.of(row) for row in csv.DictReader(file)]


def write_summary(path: Path, summary: RunSummary) -> None:
    """Write summary.json. NaN and infinity, which JSON has not, must not be in it."""
    write_atomically(path, (json.dumps(asdict(summary), indent=2, allow_nan=False) + "\n").encode())


def read_summary(path: Path) -> RunSummary:
    """The inverse of `write_summary`; keys that this version does not know are left out.

    Raises OSError, or ValueError where it is something else.
    """
    try:
        return _summaries().validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")) from error


@cache
def _summaries() -> TypeAdapter[RunSummary]:
    return TypeAdapter(RunSummary)


def versions() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "digitnet": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "torchvision", "numpy", "hydra-core")},
    }


def git_state() -> dict[str, Any] | None:
    """The commit that this code is from, where it runs from a checkout."""
    here = Path(__file__).parent

    def ask(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        ask("ls-files", "--error-unmatch", __file__)
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
