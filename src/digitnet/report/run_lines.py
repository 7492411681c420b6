"""The lines of a run on the terminal, as text: the columns of an epoch, and the result."""

from collections.abc import Callable, Mapping
from typing import Any

from digitnet.config.rules import is_result
from digitnet.runs.formats import RunSummary
from digitnet.significance import wilson_interval
from digitnet.text import plural
from digitnet.training.record import EpochRecord

# Heading: (width, text of a record). On a narrow terminal the columns in DISPENSABLE are left out, in that order.
COLUMNS: dict[str, tuple[int, Callable[[EpochRecord], str]]] = {
    "lr": (9, lambda r: f"{r.lr:.4g}"),
    "train loss": (10, lambda r: f"{r.train_loss:.4f}"),
    "train acc": (9, lambda r: f"{100 * r.train_acc:.2f} %"),
    "val loss": (8, lambda r: f"{r.val_loss:.4f}"),
    "val acc": (8, lambda r: f"{100 * r.val_acc:.2f} %"),
    "time": (7, lambda r: f"{r.epoch_seconds:.1f} s"),
}
DISPENSABLE = ("train loss", "lr", "val loss", "time", "train acc")


def result_line(summary: RunSummary) -> str:
    """The `test_line` of a finished run; of a debug run with the remark that it is no result."""
    assert summary.test is not None
    debug = (summary.config.get("debug") or {}).get("name", "none")
    return test_line(summary.test) + (f"; debug={debug}: no result" if not is_result(debug) else "")


def test_line(test: Mapping[str, Any]) -> str:
    """`test accuracy 98.97 % (103 errors of 10,000; 95 %: 98.75 to 99.15)`, by `test` of summary.json."""
    accuracy, errors, n = (test[key] for key in ("accuracy", "errors", "n"))
    low, high = (100 * end for end in wilson_interval(n - errors, n))
    return f"test accuracy {100 * accuracy:.2f} % ({plural(errors, 'error')} of {n:,}; 95 %: {low:.2f} to {high:.2f})"
