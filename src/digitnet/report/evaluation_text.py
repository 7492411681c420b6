"""An evaluation of runs as text for people, and as rows for programs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from digitnet.report.comparison import ComparisonTable
from digitnet.report.tables import laid_out
from digitnet.runs.reader import Run
from digitnet.text import plural, short_path

if TYPE_CHECKING:  # torch
    from pathlib import Path

    from digitnet.metrics import Evaluation
    from digitnet.scores import ClassScore, Comparison

MOST_CONFUSIONS = 10
COLUMNS = [
    "accuracy", "accuracy_low", "accuracy_high", "errors", "n", "loss", "calibration_error", "brier_score", "data",
    "split", "checkpoint", "epoch", "folder",
]  # fmt: skip


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def score_lines(
    score: "Evaluation",
    interval: tuple[float, float],
    calibration_error: float,
    brier_score: float,
    without_wrong_labels: "Evaluation | None",
) -> Iterator[str]:
    """The figures of one run."""
    low, high = interval
    yield f"accuracy           {percent(score.accuracy)}, 95 % interval {100 * low:.2f} to {percent(high)}"
    yield f"errors             {score.errors:,} of {score.n:,}"
    if without_wrong_labels is not None:
        rest = without_wrong_labels
        left_out = plural(score.n - rest.n, "image")
        yield f"                   {rest.errors:,} of {rest.n:,} without {left_out} whose labels are known to be wrong"
    yield f"loss               {score.loss:.4f}"
    yield f"calibration error  {percent(calibration_error)}"
    yield f"Brier score        {brier_score:.4f}"


def class_lines(scores: Sequence["ClassScore"], width: int | None) -> list[str]:
    """A table of precision, recall, F1 and number of images of each class."""

    def cell(fraction: float | None) -> str:
        return "" if fraction is None else percent(fraction)

    rows = [[s.name, cell(s.precision), cell(s.recall), cell(s.f1), f"{s.n:,}"] for s in scores]
    return laid_out(["class", "precision", "recall", "f1", "n"], rows, (), width)


def confusion_line(confusions: Sequence[tuple[str, str, int]]) -> str:
    """`most frequent confusions: 4 -> 9 (12), 7 -> 2 (8)`."""
    shown = ", ".join(f"{true} -> {guess} ({count})" for true, guess, count in confusions[:MOST_CONFUSIONS])
    return f"most frequent confusions: {shown or 'none'}"


def comparison_lines(comparison: "Comparison", n: int, second: "Path") -> Iterator[str]:
    """How two runs compare on the same images."""
    low, high = comparison.interval
    ours, theirs = len(comparison.only_first), len(comparison.only_second)
    yield f"against {short_path(second)}, on the same {n:,} images:"
    yield f"right only here    {ours:,}"
    yield f"right only there   {theirs:,}"
    interval = f"{100 * low:+.2f} to {100 * high:+.2f}"
    yield f"difference         {100 * comparison.difference:+.2f} points, 95 % interval {interval}"
    yield f"exact McNemar      p = {comparison.p_value:.3g}"


def score_table(rows: Sequence[dict[str, Any]]) -> ComparisonTable:
    """A row for each run, with `folder`, for tables and for programs."""
    runs = [[Run(row["folder"], "finished")] for row in rows]
    return ComparisonTable(COLUMNS, [row | {"folder": str(row["folder"])} for row in rows], runs, chosen=True)
