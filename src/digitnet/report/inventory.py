"""A list of runs with what they take on disk, as a table."""

from collections.abc import Sequence
from typing import Any

from digitnet.report.comparison import ComparisonTable
from digitnet.runs.reader import Run
from digitnet.runs.space import disk_usage

COLUMNS = ["status", "model", "data", "epochs", "size", "folder"]


def inventory(runs: Sequence[Run]) -> ComparisonTable:
    """A row for each run, in the order given; `size` is in bytes."""

    def row(run: Run) -> dict[str, Any]:
        values = {key: run.get(key) for key in ("status", "model", "data", "epochs") if key in run}
        return {**values, "size": disk_usage(run.folder), "folder": str(run.folder)}

    return ComparisonTable(COLUMNS, [row(run) for run in runs], [[run] for run in runs], chosen=True)
