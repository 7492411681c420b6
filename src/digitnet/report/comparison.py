"""Runs and sweeps side by side: which settings differ, tables and a picture. Plain Python, without torch."""

import csv
import io
import json
import math
import operator
import os
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digitnet.config.schema import is_changeable
from digitnet.errors import ConfigError
from digitnet.report.terminal import show_table
from digitnet.runs.formats import read_metrics
from digitnet.runs.reader import METRICS, Run, is_number, regular
from digitnet.text import did_you_mean, duration, printable, short_path

AVERAGED = ("val_acc", "best_val_acc", "test_acc", "test_errors", "seconds")
SHOWN_EVEN_IF_CHANGEABLE = ("trainer.epochs", "device")
CONDITION = re.compile(r"\s*([\w.]+)\s*(==|!=|>=|<=|=|>|<)\s*(.*?)\s*")
ORDERS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


def differing(runs: Sequence[Run]) -> list[str]:
    """The settings that differ among those runs that have them, but for what makes no run another."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for key, value in run.settings.items():
            values.setdefault(key, set()).add(in_words(value))
    return [
        key
        for key, different in values.items()
        if len(different) > 1 and (key in SHOWN_EVEN_IF_CHANGEABLE or not is_changeable(key))
    ]


def key_of(word: str, runs: Sequence[Run]) -> str:
    """The metric or setting that a user means: `lr` for `optimizer.lr`. Raises ConfigError."""
    known = dict.fromkeys([*METRICS, *(key for run in runs for key in run.settings)])
    for key in (word, word.removesuffix(".name")):
        if key in known:
            return key
    ending = [key for key in known if key.rpartition(".")[2] == word]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise ConfigError(f"'{word}' is more than one key: {', '.join(ending)}")
    raise ConfigError(
        f"no key '{word}' in these runs{did_you_mean(word, known) or '; metrics are ' + ', '.join(METRICS)}"
    )


def where(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """The runs that fulfil `KEY=VALUE`, also with !=, <, <=, >, >=. Raises ConfigError for what is no such thing.

    What has no such value fulfils only !=.
    """
    kept = list(runs)
    for condition in conditions:
        found = CONDITION.fullmatch(condition)
        if found is None:
            raise ConfigError(f"--where {condition}: is not KEY=VALUE, nor with !=, <, <=, > or >=")
        key, sign, wanted = key_of(found[1], runs), found[2], found[3]
        number = _number(wanted)
        if sign in ORDERS and number is None:
            raise ConfigError(f"--where {condition}: '{wanted}' is no number; words are compared with = and !=")
        kept = [run for run in kept if _holds(run, key, sign, wanted, number)]
        if not kept:
            hint = "; accuracies are fractions" if key.endswith("_acc") and (number or 0) > 1 else ""
            raise ConfigError(f"--where {condition}: no run is left{hint}")
    return kept


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _holds(run: Run, key: str, sign: str, wanted: str, number: float | None) -> bool:
    value = run.get(key)
    if sign in ORDERS:
        return number is not None and is_number(value) and ORDERS[sign](value, number)
    if number is not None and is_number(value):
        same = value == number
    else:
        same = key in run and in_words(value).replace(" ", "") == wanted.replace(" ", "")
    return same is (sign != "!=")


def in_words(value: Any) -> str:
    """As the command line has it; the same for 1, as a YAML file may have it, and 1.0, as the schema reads it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(in_words, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {in_words(inner)}' for key, inner in value.items())}}}"
    return str(value)


@dataclass(frozen=True)
class Table:
    """`columns` are keys; a row has a value for some of them; `runs` are those that each row is about."""

    columns: list[str]
    rows: list[dict[str, Any]]
    runs: list[list[Run]]


def tabulate(runs: Sequence[Run], group_by: Sequence[str] = (), sort: str | None = None) -> Table:
    """A row a run, or for the runs that agree in the keys `group_by` one with means, standard deviations and n.

    Best first, by the last validation accuracy, or by the key `sort`; `-KEY` begins with the highest. Raises
    ConfigError for keys that there are not.
    """
    keys = list(dict.fromkeys(key_of(key, runs) for key in group_by))
    if keys:
        groups: dict[tuple[str | None, ...], list[Run]] = {}
        for run in runs:
            groups.setdefault(tuple(in_words(run.get(key)) if key in run else None for key in keys), []).append(run)
        parts = list(groups.values())
        rows = [{key: part[0].get(key) for key in keys if key in part[0]} | _mean(part) for part in parts]
        others = ["n", "unfinished", *(name for key in AVERAGED for name in (key, f"{key}_std"))]
    else:
        parts = [[run] for run in runs]
        keys = differing(runs)
        rows = [
            {key: run.settings[key] for key in keys if key in run.settings}
            | {**run.metrics, "status": run.status, "folder": str(run.folder), "error": run.error or None}
            for run in runs
        ]
        others = [key for key in METRICS if key not in ("val_loss", "parameters")] + ["folder", "error"]
    columns = [*keys, *(key for key in others if key not in keys and any(row.get(key) is not None for row in rows))]
    order = _order(columns, rows, parts, runs, sort)
    return Table(columns, [rows[number] for number in order], [parts[number] for number in order])


def _order(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    parts: Sequence[Sequence[Run]],
    runs: Sequence[Run],
    sort: str | None,
) -> list[int]:
    """The numbers of the rows, see `tabulate`; those without a value of the key come last."""
    word, down = ("val_acc", True) if sort is None else (sort.removeprefix("-"), sort.startswith("-"))
    by = word if sort is None or word in columns else key_of(word, runs)
    values: list[Any] = [
        row.get(by) if by in columns else part[0].get(by) for row, part in zip(rows, parts, strict=True)
    ]
    there = [number for number, value in enumerate(values) if value is not None]
    losses = [part[0].metrics.get("val_loss", math.inf) for part in parts]
    there.sort(key=lambda number: losses[number])
    there.sort(key=lambda number: _place(values[number]), reverse=down)
    if sort is None:  # what is not finished, whatever it had reached, after what is
        there.sort(key=lambda number: all(run.status != "finished" for run in parts[number]))
    return there + [number for number, value in enumerate(values) if value is None]


def _mean(part: Sequence[Run]) -> dict[str, Any]:
    """Over the finished ones; n - 1 in the standard deviation."""
    done = [run for run in part if run.status == "finished"]
    row: dict[str, Any] = {"n": len(done), "unfinished": len(part) - len(done) or None}
    for key in AVERAGED:
        values = [run.metrics[key] for run in done if key in run.metrics]
        if values:
            row[key] = statistics.fmean(values)
            row[f"{key}_std"] = statistics.stdev(values) if len(values) > 1 else None
    return row


HEADINGS = {
    "val_acc": "val acc",
    "best_val_acc": "best val acc",
    "test_acc": "test acc",
    "test_errors": "errors",
    "seconds": "time",
}
LEFT_OUT = ("best_val_acc", "epochs", "seconds", "test_errors", "val_acc")  # on a narrow terminal, first ones first
LONGEST = 40  # letters of a setting: the phases of a schedule are a line of their own


def show_comparison(table: Table) -> None:
    """On the terminal, or into a pipe, with the reasons of what failed below it."""
    headings, cells = in_print(table)
    dispensable = [HEADINGS.get(key, key) for key in LEFT_OUT]
    above = common_folder(table)
    title = f"{short_path(above)}:" if above is not None and above != Path.cwd() else ""
    if over := averaged_over(table):
        title = f"{title} mean ± standard deviation over {', '.join(over)}".lstrip()
    show_table(headings, cells, dispensable, _one_line(title))
    if lines := failures(table):
        print("\n" + "\n".join(lines))


def averaged_over(table: Table) -> list[str]:
    """The settings that differ among the runs of one row, and are in its mean all the same."""
    done = [[run for run in part if run.status == "finished"] for part in table.runs]
    inside = {key for part in done for key in differing(part)}
    return [key for key in differing([run for part in done for run in part]) if key in inside]


def in_print(table: Table) -> tuple[list[str], list[list[str]]]:
    """Headings and cells for people. Folders are as short as they can be said beside each other: `common_folder`."""
    keys = [key for key in table.columns if key != "error" and not key.endswith("_std")]
    if all(row.get("status") == "finished" for row in table.rows):
        keys = [key for key in keys if key != "status"]
    leaves = [key.rpartition(".")[2] for key in keys]
    names = [
        HEADINGS.get(key, leaf if leaves.count(leaf) == 1 else key) for key, leaf in zip(keys, leaves, strict=True)
    ]
    above = common_folder(table)
    return [*map(_one_line, names)], [[_one_line(_cell(key, row, above)) for key in keys] for row in table.rows]


def common_folder(table: Table) -> Path | None:
    """The folder that all runs of the table are in; None for one alone."""
    folders = [run.folder for part in table.runs for run in part]
    return Path(os.path.commonpath(folders)) if len(folders) > 1 else None


def _cell(key: str, row: Mapping[str, Any], above: Path | None) -> str:
    value: Any = row.get(key)
    spread = row.get(f"{key}_std")
    if key not in row or (value is None and key in ("unfinished", *AVERAGED)):
        return ""
    if key.endswith("_acc"):
        return f"{100 * value:.2f} %" if spread is None else f"{100 * value:.2f} ± {100 * spread:.2f} %"
    if key == "seconds":
        return duration(value)
    if key == "test_errors" and "n" in row:
        return f"{value:,.1f}" if spread is None else f"{value:,.1f} ± {spread:,.1f}"
    if key == "folder":
        return _from(above, Path(value))
    return _brief(value)


def _brief(value: Any) -> str:
    words = in_words(value)
    return words if len(words) <= LONGEST else f"{words[: LONGEST // 2 - 1]}…{words[-LONGEST // 2 :]}"


def _from(above: Path | None, folder: Path) -> str:
    return str(folder.relative_to(above) if above is not None else short_path(folder))


def failures(table: Table) -> list[str]:
    """A line for each run that is not as it should be: which, how, why."""
    above, lines = common_folder(table), []
    for run in (run for part in table.runs for run in part):
        if run.status not in ("finished", "running", "waiting"):
            lines.append(_one_line(f"{_from(above, run.folder)}: {how_ended(run.status, run.error)}"))
    return lines


def how_ended(status: str, error: str) -> str:
    """`failed: the error's first line`; what says `interrupted; …` has the status in it."""
    why = error.partition("\n")[0].rstrip(";")
    return why if why.startswith(status) else f"{status}: {why}" if why else status


def _one_line(text: str) -> str:
    return printable(text).replace("\n", r"\n")


def as_csv(table: Table) -> str:
    """Full precision, accuracies as fractions; true, false and lists as JSON has them, and nothing for null."""

    def cell(value: Any) -> Any:
        return json.dumps(value, default=str) if isinstance(value, bool | list) else value

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([cell(row.get(key)) for key in table.columns] for row in table.rows)
    return printable(text.getvalue())


def as_json(table: Table) -> str:
    """A list of objects, as `as_csv` has it; what JSON has not, as text."""
    rows = [{key: row.get(key) for key in table.columns} for row in table.rows]
    return json.dumps(rows, indent=2, default=str) + "\n"


def as_markdown(table: Table) -> str:
    """To be put in a README."""
    names, cells = in_print(table)
    lines = [names, ["---"] * len(names), *cells]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def plot(runs: Sequence[Run], group_by: Sequence[str], path: Path) -> None:
    """Draw them, those as one that differ in their seed alone. Raises ConfigError without figures, OSError."""
    from digitnet.report.plots import Curve, draw_comparison  # half a second, which a table need not wait for

    keys = [key_of(key, runs) for key in group_by]
    keys = keys or [key for key in _independent(differing(runs), runs) if key != "seed"] or differing(runs)
    swept = _swept(runs, keys, chosen=bool(group_by))
    others = [key for key in keys if key not in (swept, "seed")]
    done = [run for run in runs if run.status == "finished"]
    measure = "test_acc" if all("test_acc" in run.metrics for run in done) else "val_acc"

    parts = tabulate([run for run in runs if run.settings], keys).runs
    by = [*others, *([swept] if swept else []), "seed"]
    parts.sort(key=lambda part: [_place(part[0].get(key)) for key in by])  # a legend is read by value
    curves = []
    for part in parts:
        first, ended = part[0], [run for run in part if run.status == "finished"]
        value = first.get(swept) if swept is not None else None
        curve = Curve(
            label=_words(first, keys) or first.folder.name,
            runs=[_accuracies(run.folder) for run in ended],
            unfinished=[_accuracies(run.folder) for run in part if run.status != "finished"],
            final=[run.metrics[measure] for run in ended if measure in run.metrics],
            lost=sum(run.status in ("diverged", "failed") for run in part),
            at=value if is_number(value) else in_words(value) if swept is not None and swept in first else None,
            series=_words(first, others),
        )
        curves.append(curve)
    if not any(accuracies for curve in curves for accuracies in [*curve.runs, *curve.unfinished]):
        raise ConfigError(f"--plot {path}: nothing to draw, no run has figures in a metrics.csv; leave out --plot")
    draw_comparison(path, curves, swept, "Test error" if measure == "test_acc" else "Validation error")


def _independent(keys: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Without those that come with another: with optimizer=sgd,adam its lr and weight_decay differ, too."""

    def comes_along(key: str) -> bool:
        group = key.partition(".")[0]
        pairs = {(in_words(run.get(group)), in_words(run.get(key))) for run in runs if key in run and group in run}
        return key != group and group in keys and len(pairs) == len({of for of, _ in pairs})

    return [key for key in keys if not comes_along(key)]


def _place(value: Any) -> tuple[float, list[str | int]]:
    """To sort by: numbers, then words, and in these 9 before 10."""
    if is_number(value):
        return value, []
    return math.inf, [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", in_words(value))]


def _swept(runs: Sequence[Run], keys: Sequence[str], chosen: bool) -> str | None:
    """The key of the horizontal axis: the first that the user has `chosen`, else the one with the most numbers."""
    values = {key: {in_words(run.get(key)) for run in runs if key in run} for key in keys if key != "seed"}
    several = [key for key in values if len(values[key]) > 1]
    if not chosen:
        several.sort(key=lambda key: (_are_numbers(key, runs), len(values[key])), reverse=True)
    return next(iter(several), None)


def _are_numbers(key: str, runs: Sequence[Run]) -> bool:
    """Whether all runs that have such a value have a number there."""
    return all(is_number(run.get(key)) for run in runs if key in run)


def _words(run: Run, keys: Sequence[str]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {_brief(run.get(key))}" for key in keys if key in run)


def _accuracies(folder: Path) -> list[float]:
    """Of each epoch; none where they cannot be read."""
    try:
        return [record.val_acc for record in read_metrics(regular(folder / "metrics.csv"))]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return []
