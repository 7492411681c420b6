"""The formats of metrics.csv, with a row per epoch, and summary.json, with the results and how they were made."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from digitnet.atomic import write_atomically
from digitnet.training.record import EpochRecord


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
    steps: int = 0  # finished ones at the time of checkpoints/last.pt
    final: dict[str, Any] | None = None
    best: dict[str, Any] | None = None
    test: dict[str, Any] | None = None
    seconds: float = 0.0  # of all processes that worked on it, up to the last write of each
    config: dict[str, Any] = field(default_factory=dict)  # resolved; `digitnet resume` uses it
    process: dict[str, Any] = field(default_factory=dict)  # `pid` and `host` of the last process that worked on it
    resumed: list[str] = field(default_factory=list)  # the commands that resumed it


def write_metrics(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write all records; floats in full precision, so that equal runs give equal files. Raises OSError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(record) for record in records)
    write_atomically(path, text.getvalue().encode())


def read_metrics(path: Path) -> list[EpochRecord]:
    """The inverse of `write_metrics`. Raises OSError, or ValueError, KeyError, TypeError or csv.Error if damaged."""
    with path.open(newline="") as file:
        return [EpochRecord.of(row) for row in csv.DictReader(file)]


def write_summary(path: Path, summary: RunSummary) -> None:
    """Write summary.json. Raises ValueError for NaN and infinity, which JSON does not have, and OSError."""
    write_atomically(path, (json.dumps(asdict(summary), indent=2, allow_nan=False) + "\n").encode())


def read_summary(path: Path) -> RunSummary:
    """The inverse of `write_summary`; unknown keys, of other versions, are ignored.

    Raises OSError, or ValueError if it is not a run's summary.
    """
    try:
        return _summaries().validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")) from error


@cache
def _summaries() -> TypeAdapter[RunSummary]:
    return TypeAdapter(RunSummary)
