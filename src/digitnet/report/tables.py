"""Writes a comparison as a table: for the terminal, as CSV, JSON or Markdown."""

import csv
import io
import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from digitnet.config.dotted import as_yaml
from digitnet.report.comparison import AVERAGED, FEW, TESTS, ComparisonTable, averaged_over, short_keys
from digitnet.report.terminal import cell_len, print_lines, set_cell_size, terminal_width
from digitnet.text import duration, file_size, printable, short_path, show

HEADINGS = {"accuracy_low": "95 % interval", "test_acc_low": "95 % interval", "p_value": "p against best"}
DISPENSABLE_KEYS = (  # left out first, in this order
    "best_val_acc", "epochs", "seconds", "test_errors", "val_acc", HEADINGS["p_value"], HEADINGS["test_acc_low"],
)  # fmt: skip
SAME_AS = {
    "best_val_acc": "val_acc",
    "val_acc": "test_acc",
}  # often, by the end of training or in the notebook's recipe
OPTIONAL = ("unfinished", "error", "folder", "errors_without_wrong_labels", *AVERAGED, *TESTS)  # "" if they are null
FRACTIONS = ("accuracy", "accuracy_low", "accuracy_high", "calibration_error")
SHORTEST_CELL = 5  # columns: words are not cut below
NUMBER = r"(null|[-\d.,]+(e[-+]\d+)?)( |$|:)"  # cells that are aligned to the right: 1e-05, 98.92 ± 0.02 %, 1:02
MAX_LETTERS = 40  # of a setting: the phases of a schedule could fill a line


def write_table(table: ComparisonTable, table_format: str) -> None:
    """Write to stdout, in the format `table`, `csv`, `json` or `md`."""
    if table_format == "table":
        show_comparison(table)
    else:
        convert = {"csv": as_csv, "json": as_json, "md": as_markdown}[table_format]
        sys.stdout.write(convert(table))


def show_comparison(table: ComparisonTable, *, reasons: bool = True) -> None:
    """Print the table for people, on a terminal or not; below it, with `reasons`, the runs that failed and why."""
    headings, cells = displayed(table)
    parent = common_folder(table)
    title = f"{short_path(parent)}:" if parent is not None and parent != Path.cwd() else ""
    if keys := averaged_over(table):
        title = f"{title} mean ± standard deviation over {', '.join(keys)}".lstrip()
    heading, *rows = laid_out(headings, cells, () if table.chosen else DISPENSABLE_KEYS, terminal_width())
    print_lines(heading, rows, _on_one_line(title))
    if any("p_value" in row and row["n"] < FEW for row in table.rows):
        show(f"\nwarning: of fewer than {FEW} runs, interval and p-value say little; add seeds")
    if table.told_apart:
        keys = table.told_apart
        show(f"\nnot averaged over {', '.join(keys)}; to do so: --over {','.join(keys)}")
    if reasons and (lines := failure_lines(table)):
        show("\n" + "\n".join(lines))


def laid_out(
    headings: Sequence[str], rows: Sequence[Sequence[str]], dispensable: Sequence[str], width: int | None
) -> list[str]:
    """A line for the headings and one for each row, of `printable` cells; numbers are aligned to the right.

    If `width` columns are too few, `dispensable` columns are left out, in order, and then the middle of the longest
    words.
    """
    widths = [max(map(cell_len, column)) for column in zip(headings, *rows, strict=True)]
    kept = list(range(len(headings)))

    def excess() -> int:
        return 0 if width is None else sum(widths[n] + 2 for n in kept) - 2 - width

    for name in dispensable:
        if excess() <= 0:
            break
        kept = [n for n in kept if headings[n] != name]
    right = {n for n in kept if all(re.match(NUMBER, line[n]) for line in rows if line[n])}
    words = [n for n in kept if n not in right]  # numbers without their middle would be other numbers
    while words and excess() > 0 and max(widths[n] for n in words) > SHORTEST_CELL:
        widths[max(words, key=lambda n: widths[n])] -= 1

    def padded(line: Sequence[str]) -> str:
        cells = {n: _cut(line[n], widths[n]) for n in kept}
        spaces = {n: " " * (widths[n] - cell_len(cells[n])) for n in kept}
        text = "  ".join(spaces[n] + cells[n] if n in right else cells[n] + spaces[n] for n in kept)
        # More columns than letters: the last ones do not fit.
        return (text if width is None else set_cell_size(text, min(width, cell_len(text)))).rstrip()

    return [padded(headings), *map(padded, rows)]


def _cut(text: str, width: int) -> str:
    """`text` without its middle, if it is wider than `width` columns: folders and keys differ at their ends."""
    if cell_len(text) <= width:
        return text
    letters = width - 1
    while letters > 0 and cell_len(short := f"{text[: letters // 2]}…{text[len(text) - (letters + 1) // 2 :]}") > width:
        letters -= 1  # letters of two columns
    return short if letters > 0 else "…"


def as_csv(table: ComparisonTable) -> str:
    """The table as CSV: full precision, accuracies as fractions, booleans and lists as in JSON, null as ""."""

    def cell(value: Any) -> Any:
        return json.dumps(value, default=str) if isinstance(value, bool | list) else value

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([cell(row.get(key)) for key in table.columns] for row in table.rows)
    return printable(text.getvalue())


def as_json(table: ComparisonTable) -> str:
    """The table as a JSON list of an object per row, in full precision; other types, such as dates, become strings."""
    rows = [{key: _as_json_value(row.get(key)) for key in table.columns} for row in table.rows]
    return json.dumps(rows, indent=2, default=str, allow_nan=False) + "\n"


def _as_json_value(value: Any) -> Any:
    """`value` with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _as_json_value(item) for key, item in value.items()}
    return [_as_json_value(item) for item in value] if isinstance(value, list | tuple) else value


def as_markdown(table: ComparisonTable) -> str:
    """The table as Markdown, with headings and cells as on the terminal."""
    headings, cells = displayed(table)
    lines = [headings, ["---"] * len(headings), *cells]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def displayed(table: ComparisonTable) -> tuple[list[str], list[list[str]]]:
    """(headings, cells) for people: keys as short as the options take them, folders relative to `common_folder`.

    Without the columns that say nothing new, unless the user chose them.
    """
    keys = table.columns
    if not table.chosen:
        keys = [key for key in keys if key != "error" and not key.endswith("_std") and not _is_superfluous(key, table)]
    keys = [key for key in keys if not (key.endswith("_high") and key.replace("_high", "_low") in keys)]
    headings = short_keys(keys, [run for group in table.runs for run in group])
    headings = [HEADINGS.get(heading, heading) for heading in headings]
    parent = common_folder(table)
    cells = [[_on_one_line(_cell(key, row, parent)) for key in keys] for row in table.rows]
    return [_on_one_line(heading) for heading in headings], cells


def _is_superfluous(key: str, table: ComparisonTable) -> bool:
    """Whether the column repeats another one in each row, as `val_acc` where the validation set is the test set."""
    if key == "status":
        return all(row.get("status") == "finished" for row in table.rows)
    same_as = SAME_AS.get(key, "")
    return same_as in table.columns and all(
        row.get(key + suffix) == row.get(same_as + suffix) for row in table.rows for suffix in ("", "_std")
    )


def common_folder(table: ComparisonTable) -> Path | None:
    """The deepest folder that contains all runs of the table; None for a single run."""
    folders = [run.folder for group in table.runs for run in group]
    return Path(os.path.commonpath(folders)) if len(folders) > 1 else None


def _cell(key: str, row: Mapping[str, Any], parent: Path | None) -> str:
    value: Any = row.get(key)
    std = row.get(f"{key}_std")
    is_optional = key in OPTIONAL or "ensemble" in row
    if key not in row or (value is None and is_optional):
        return ""
    if key.endswith("_low") and (high := row.get(key.replace("_low", "_high"))) is not None:
        return f"{100 * max(value, 0):.2f} to {100 * min(high, 1):.2f} %"
    if key == "p_value" and value is not None:
        return f"{value:.3g}"
    if key == "n" and value < FEW and "folder" not in row:
        return f"{value} (<{FEW})"
    if (key.endswith(("_acc", "_acc_std")) or key in FRACTIONS) and value is not None:
        return f"{100 * value:.2f} %" if std is None else f"{100 * value:.2f} ± {100 * std:.2f} %"
    if key == "seconds":
        return duration(value)
    if key == "test_errors" and "n" in row:
        return f"{value:,.1f}" if std is None else f"{value:,.1f} ± {std:,.1f}"
    if key == "size":
        return file_size(value)
    if key == "folder":
        return _relative_to(parent, Path(value))
    if key in ("loss", "brier_score") and not isinstance(value, str):  # the group `loss` has a name
        return f"{value:.4f}"
    return abbreviated(value)


def abbreviated(value: Any) -> str:
    """`value` as YAML, with the middle left out if it is long."""
    text = as_yaml(value)
    return text if len(text) <= MAX_LETTERS else f"{text[: MAX_LETTERS // 2 - 1]}…{text[-MAX_LETTERS // 2 :]}"


def _relative_to(parent: Path | None, folder: Path) -> str:
    return str(folder.relative_to(parent) if parent is not None else short_path(folder))


def failure_lines(table: ComparisonTable) -> list[str]:
    """A line for each run that is not finished, running or waiting: its folder, status and reason."""
    parent, lines = common_folder(table), []
    for run in (run for group in table.runs for run in group):
        if run.status not in ("finished", "running", "waiting", "debug"):
            lines.append(
                _on_one_line(f"{_relative_to(parent, run.folder)}: {status_and_reason(run.status, run.error)}")
            )
    return lines


def status_and_reason(status: str, error: str) -> str:
    """`failed: the error's first line`, without the status if the error begins with it."""
    first_line = error.partition("\n")[0].rstrip(";").removesuffix(". Continue with:")
    if first_line.startswith("Stopped "):
        return f"{status} {first_line.removeprefix('Stopped ')}"
    if first_line.startswith(status):
        return first_line
    return f"{status}: {first_line}" if first_line else status


def _on_one_line(text: str) -> str:
    return printable(text).replace("\n", r"\n")
