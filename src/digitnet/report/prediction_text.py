"""Predictions for pictures as lines for people, and as rows for programs."""

import sys
from collections.abc import Sequence
from typing import Any

from digitnet.report.comparison import ComparisonTable
from digitnet.report.tables import as_csv, as_json, laid_out
from digitnet.report.terminal import print_lines, terminal_width
from digitnet.text import plural, printable, show

SHOWN_WARNINGS = 3
COLUMNS = ["file", "position", "found", "predicted", "confidence", "runner_up", "runner_up_confidence"]


def show_predictions(rows: Sequence[dict[str, Any]], table_format: str, split: bool) -> None:
    """Print rows with the keys COLUMNS: as a `table` with warnings below it, as `csv`, or as `json`."""
    if table_format != "table":
        convert = {"csv": as_csv, "json": as_json}[table_format]
        sys.stdout.write(convert(ComparisonTable(COLUMNS, [*rows], [[] for _ in rows], chosen=True)))
        return
    if not rows:
        return
    rows_of_text = [
        [
            printable(row["file"]).replace("\n", r"\n") + (f" ({row['position']} of {row['found']})" if split else ""),
            printable(row["predicted"]),
            f"{100 * row['confidence']:.1f} %",
            printable(row["runner_up"]),
            f"{100 * row['runner_up_confidence']:.1f} %",
        ]
        for row in rows
    ]
    headings = ["file", "prediction", "confidence", "runner-up", "its confidence"]
    heading, *lines = laid_out(headings, rows_of_text, ("its confidence", "runner-up"), terminal_width())
    print_lines(heading, lines)
    several = [] if split else [row for row in rows if row["found"] > 1]
    if len(several) > SHOWN_WARNINGS:
        what = f"on {len(several):,} of {len(rows):,} pictures several things look like digits, and the largest is read"
        show(f"warning: {what}; --split reads all", stderr=True)
        return
    for row in several:
        what = f"{row['file']}: {plural(row['found'], 'thing')} on it look like digits, and the largest is read"
        show(f"warning: {what}; --split reads all", stderr=True)
