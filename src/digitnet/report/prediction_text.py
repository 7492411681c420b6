"""Predictions for pictures as lines for people, and as rows for programs."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from digitnet.report.comparison import ComparisonTable
from digitnet.report.tables import as_csv, as_json, laid_out
from digitnet.report.terminal import print_lines, terminal_width
from digitnet.text import plural, printable, show

if TYPE_CHECKING:  # torch
    from digitnet.experiment.prediction import PicturePrediction

COLUMNS = ["file", "position", "found", "predicted", "confidence", "runner_up", "runner_up_confidence"]


def show_predictions(predictions: Sequence["PicturePrediction"], table_format: str, split: bool) -> None:
    """Print a row for each: as a `table` with warnings below it, as `csv`, or as `json`."""
    if table_format != "table":
        rows: list[dict[str, Any]] = [{key: getattr(one, key) for key in COLUMNS} for one in predictions]
        convert = {"csv": as_csv, "json": as_json}[table_format]
        sys.stdout.write(convert(ComparisonTable(COLUMNS, rows, [[] for _ in rows], chosen=True)))
        return
    if not predictions:
        return
    rows_of_text = [
        [
            printable(one.file).replace("\n", r"\n") + (f" ({one.position} of {one.found})" if split else ""),
            printable(one.predicted),
            f"{100 * one.confidence:.1f} %",
            printable(one.runner_up),
            f"{100 * one.runner_up_confidence:.1f} %",
        ]
        for one in predictions
    ]
    headings = ["file", "prediction", "confidence", "runner-up", "its confidence"]
    heading, *lines = laid_out(headings, rows_of_text, ("its confidence", "runner-up"), terminal_width())
    print_lines(heading, lines)
    for one in predictions:
        if one.found > 1 and not split:
            things = plural(one.found, "thing")
            show(f"warning: {one.file}: {things} on it look like digits, and the largest is read; --split reads all")
