"""The formats of metrics.csv, with a row per epoch, and summary.json, with the results and how they were made."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from digitnet.atomic import read_regular, write_atomically
from digitnet.training.record import EpochRecord

LONGEST_NAME = 255  # bytes of a job's name, which is also its folder's; no common file system allows more


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
    return [EpochRecord.of(row) for row in csv.DictReader(io.StringIO(read_regular(path).decode(), newline=""))]


def write_summary(path: Path, summary: RunSummary) -> None:
    """Write summary.json. Raises ValueError for NaN and infinity, which JSON does not have, and OSError."""
    content = _with_encodable_texts(asdict(summary))
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _with_encodable_texts(value: Any) -> Any:
    r"""`value` with lone surrogates as `\udcff`: names of files may have them, JSON may not."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_with_encodable_texts(key): _with_encodable_texts(item) for key, item in value.items()}
    return [_with_encodable_texts(item) for item in value] if isinstance(value, list | tuple) else value


def read_summary(path: Path) -> RunSummary:
    """The inverse of `write_summary`; unknown keys, of other versions, are ignored.

    Raises OSError, or ValueError if it is not a run's summary.
    """
    try:
        summary = _summaries().validate_json(read_regular(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")) from error
    numbers = {"seconds": summary.seconds}
    for part in ("final", "best", "test"):
        numbers |= {f"{part}.{key}": value for key, value in (getattr(summary, part) or {}).items()}
    for key, value in numbers.items():
        if value is not None and key != "best.chosen_on" and not is_number(value):
            raise ValueError(f"{key}={value!r} is not a number")
    return summary


def is_number(value: Any) -> bool:
    """Whether `value` is an int or a finite float, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_job_name(name: str) -> bool:
    """Whether `name`, found in sweep.json, is that of a folder right below the sweep's, and not a hidden one."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:  # lone surrogates
        return False
    plain = Path(name).name == name and "\0" not in name and not name.startswith(".")
    return plain and 0 < len(encoded) <= LONGEST_NAME


@cache
def _summaries() -> TypeAdapter[RunSummary]:
    return TypeAdapter(RunSummary)
