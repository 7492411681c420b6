"""Runs and sweeps side by side: what is in folders, and which settings differ. Plain Python, without torch."""

import csv
import io
import json
import math
import operator
import os
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from digitnet.display import duration, shown
from digitnet.errors import ConfigError, did_you_mean
from digitnet.lock import is_locked
from digitnet.records import RunSummary, read_summary
from digitnet.schema import is_changeable

# What a run gave, by the names that --sort and --where know; accuracies are fractions.
METRICS = (
    "status",
    "epochs",
    "val_acc",
    "val_loss",
    "best_val_acc",
    "test_acc",
    "test_errors",
    "seconds",
    "parameters",
)
AVERAGED = ("val_acc", "best_val_acc", "test_acc", "test_errors", "seconds")
SHOWN_EVEN_IF_CHANGEABLE = ("trainer.epochs", "device")
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne, ">=": operator.ge, "<=": operator.le, "=": operator.eq, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run's folder, a job of a sweep that waits, or what is left of a run.

    `status` is that of summary.json, or waiting, killed (it says running, and nobody is at work there), broken.
    `settings` are dotted keys, `optimizer` for `optimizer.name`; `metrics` are those of METRICS that there are.
    """

    folder: Path
    status: str
    error: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """A metric or a setting; None where it has none such."""
        return self.metrics.get(key, self.settings.get(key))


def find(paths: Sequence[str | Path], failures: Mapping[Path, str] | None = None) -> list[Run]:
    """All runs in and below `paths`, each once, in the order of their folders.

    `failures` says why some have nothing better to say for themselves. Raises ConfigError where there are none.
    """
    found: dict[Path, Run] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise ConfigError(f"{path}: no such folder; give those of runs or sweeps, outputs/ for instance")
        runs = [*_below(path.absolute())]
        if not runs:
            raise ConfigError(f"{path}: no run in it; give the folder of runs or sweeps, outputs/ for instance")
        found |= {run.folder: run for run in runs}
    said = failures or {}
    return [
        Run(run.folder, "failed", said[run.folder], run.settings, run.metrics) if run.folder in said else run
        for run in found.values()
    ]


def _below(folder: Path) -> Iterator[Run]:
    """The runs in a folder, which may be one."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Run(folder, "broken", str(error.strerror))
        return
    names = {entry.name for entry in entries}
    if names & {"summary.json", ".hydra", "metrics.csv", "checkpoints"} and "sweep.json" not in names:
        yield read(folder)
        return
    jobs = _jobs(folder) if "sweep.json" in names else {}
    for entry in entries:
        if not entry.name.startswith(".") and entry.name not in jobs and entry.is_dir(follow_symlinks=False):
            yield from _below(folder / entry.name)
    for name, config in jobs.items():
        if (folder / name / "summary.json").exists():
            yield read(folder / name)
        else:
            yield Run(folder / name, "waiting", settings=_flat(config))


def _jobs(folder: Path) -> dict[str, dict[str, Any]]:
    """The configurations in sweep.json by the jobs' names; without it, what is there is found all the same."""
    try:
        jobs = json.loads((folder / "sweep.json").read_bytes())["jobs"]
        return {name: dict(job["config"]) for name, job in jobs.items() if Path(name).name == name}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def read(folder: Path) -> Run:
    """What a run's folder says; a broken one says why."""
    path = folder / "summary.json"
    try:
        summary = read_summary(path)
        metrics = _metrics(summary)
        settings = _flat(summary.config or _composed(folder))
    except FileNotFoundError:
        return Run(folder, "broken", "no summary.json: it did not get as far as training, or was cleared")
    except Exception as error:  # whatever a damaged or foreign file leads to
        return Run(folder, "broken", f"{path.name}: {error}".partition("\n")[0][:200])
    status, why = summary.status, summary.error or ""
    if status == "running" and not is_locked(folder):
        status, why = "killed", f"its process ({summary.process.get('pid', '?')}) is gone"
    return Run(folder, status, why, settings, {**metrics, "status": status})


def _metrics(summary: RunSummary) -> dict[str, Any]:
    final, best, test = summary.final or {}, summary.best or {}, summary.test or {}
    found = {
        "epochs": summary.epochs,
        "val_acc": final.get("val_acc"),
        "val_loss": final.get("val_loss"),
        "best_val_acc": best.get("val_acc"),
        "test_acc": test.get("accuracy"),
        "test_errors": test.get("errors"),
        "seconds": summary.seconds,
        "parameters": summary.parameters,
    }
    for key, value in found.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{key}={value!r} is no number")
    return {key: value for key, value in found.items() if value is not None}


def _composed(folder: Path) -> dict[str, Any]:
    """The configuration of runs of versions before it stood in summary.json."""
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return dict(yaml.load((folder / ".hydra" / "config.yaml").read_text(), loader))
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return {}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[(prefix + key).removesuffix(".name")] = value
    return flat


def differing(runs: Sequence[Run]) -> list[str]:
    """The settings that differ among those runs that have them, but for what makes no run another."""
    values: dict[str, dict[str, None]] = {}
    for run in runs:
        for key, value in run.settings.items():
            values.setdefault(key, {})[repr(value)] = None
    return [
        key
        for key, different in values.items()
        if len(different) > 1 and (key in SHOWN_EVEN_IF_CHANGEABLE or not is_changeable(key))
    ]


def key_of(word: str, runs: Sequence[Run]) -> str:
    """The metric or setting that a user means: `lr` for `optimizer.lr`. Raises ConfigError."""
    known = dict.fromkeys([*METRICS, *(key for run in runs for key in run.settings)])
    if word in known:
        return word
    ending = [key for key in known if key.rpartition(".")[2] == word]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise ConfigError(f"'{word}' is more than one key: {', '.join(ending)}")
    raise ConfigError(
        f"no key '{word}' in these runs{did_you_mean(word, known) or '; metrics are ' + ', '.join(METRICS)}"
    )


def where(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """The runs that fulfil `KEY=VALUE`, also with !=, <, <=, >, >=. Raises ConfigError for what is no such thing."""
    kept = list(runs)
    for condition in conditions:
        found = re.fullmatch(r"([\w.]+)(!=|>=|<=|=|>|<)(.*)", condition)
        if found is None:
            raise ConfigError(f"--where {condition}: is not KEY=VALUE, nor with !=, <, <=, > or >=")
        key, compare, wanted = key_of(found[1], runs), COMPARISONS[found[2]], found[3]
        kept = [run for run in kept if _holds(run.get(key), compare, wanted)]
        if not kept:
            raise ConfigError(f"--where {condition}: no run is left")
    return kept


def _holds(value: Any, compare: Callable[[Any, Any], bool], wanted: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return compare(value, float(wanted))
        except ValueError:
            pass
    return compare(in_words(value), wanted)


def in_words(value: Any) -> str:
    """As the command line has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


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
    keys = [key_of(key, runs) for key in group_by]
    if keys:
        groups: dict[tuple[str, ...], list[Run]] = {}
        for run in runs:
            groups.setdefault(tuple(repr(run.get(key)) for key in keys), []).append(run)
        parts = list(groups.values())
        rows = [{key: part[0].get(key) for key in keys} | _mean(part) for part in parts]
        others = ["n", "failed", *(name for key in AVERAGED for name in (key, f"{key}_std"))]
    else:
        parts = [[run] for run in runs]
        keys = differing(runs)
        rows = [{key: run.get(key) for key in keys} | dict(run.metrics) | {"status": run.status} for run in runs]
        for run, row in zip(runs, rows, strict=True):
            row |= {"folder": str(run.folder), "error": run.error or None}
        others = [key for key in METRICS if key not in ("val_loss", "parameters")] + ["folder", "error"]
    columns = [*keys, *(key for key in others if any(row.get(key) is not None for row in rows) and key not in keys)]

    word, down = ("val_acc", True) if sort is None else (sort.removeprefix("-"), sort.startswith("-"))
    by = word if sort is None or word in columns else key_of(word, runs)

    def value(number: int) -> Any:
        return rows[number].get(by) if by in rows[number] else parts[number][0].get(by)

    def ties(number: int) -> float:
        return float(parts[number][0].metrics.get("val_loss", math.inf))

    there = [number for number in range(len(rows)) if value(number) is not None]
    if not all(_is_number(value(number)) for number in there):
        there.sort(key=lambda number: in_words(value(number)), reverse=down)
    else:
        there.sort(key=lambda number: (-value(number) if down else value(number), ties(number)))
    if sort is None:  # what is not finished, whatever it had reached, after what is
        there.sort(key=lambda number: not _is_good(parts[number]))
    order = there + [number for number in range(len(rows)) if value(number) is None]
    return Table(columns, [rows[number] for number in order], [parts[number] for number in order])


def is_numeric(key: str, runs: Sequence[Run]) -> bool:
    """Whether the setting has several values, all of them numbers."""
    values = {repr(value): value for run in runs if (value := run.get(key)) is not None}
    return len(values) > 1 and all(_is_number(value) for value in values.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_good(part: Sequence[Run]) -> bool:
    return any(run.status == "finished" for run in part)


def _mean(part: Sequence[Run]) -> dict[str, Any]:
    """Over the finished ones; n - 1 in the standard deviation."""
    done = [run for run in part if run.status == "finished"]
    row: dict[str, Any] = {"n": len(done), "failed": len(part) - len(done) or None}
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
    "val_loss": "val loss",
    "seconds": "time",
}
LEFT_OUT = ("best_val_acc", "epochs", "seconds", "test_errors", "val_acc")  # on a narrow terminal, first ones first


def in_print(table: Table) -> tuple[list[str], list[list[str]], list[str]]:
    """Headings and cells for people, and the headings that a narrow terminal may leave out.

    Folders are as short as they can be said beside each other, see `common_folder`.
    """
    keys = [key for key in table.columns if key != "error" and not key.endswith("_std")]
    if all(row.get("status") == "finished" for row in table.rows):
        keys = [key for key in keys if key != "status"]
    leaves = [key.rpartition(".")[2] for key in keys]
    names = [
        HEADINGS.get(key, leaf if leaves.count(leaf) == 1 else key) for key, leaf in zip(keys, leaves, strict=True)
    ]
    above = common_folder(table)
    cells = [[_cell(key, row, above) for key in keys] for row in table.rows]
    return names, cells, [HEADINGS.get(key, key) for key in LEFT_OUT if key in keys]


def common_folder(table: Table) -> Path | None:
    """The folder that all runs of the table are in; None for one alone."""
    folders = [run.folder for part in table.runs for run in part]
    return Path(os.path.commonpath(folders)) if len(folders) > 1 else None


def _cell(key: str, row: Mapping[str, Any], above: Path | None) -> str:
    value, spread = row.get(key), row.get(f"{key}_std")
    if value is None:
        return "null" if key in row and key not in AVERAGED and key not in METRICS and key != "failed" else ""
    if key.endswith("_acc"):
        return f"{100 * value:.2f} %" if spread is None else f"{100 * value:.2f} ± {100 * spread:.2f} %"
    if key == "seconds":
        return duration(value)
    if key == "test_errors" and "n" in row:
        return f"{value:,.1f}" if spread is None else f"{value:,.1f} ± {spread:,.1f}"
    if key == "folder":
        return str(Path(value).relative_to(above)) if above else str(shown(Path(value)))
    return in_words(value)


def failures(table: Table) -> list[str]:
    """A line for each run that is not as it should be: which, how, why."""
    above = common_folder(table)
    return [
        f"{run.folder.relative_to(above) if above else shown(run.folder)}: {run.status}"
        + (f": {run.error}".partition("\n")[0].rstrip(";") if run.error else "")
        for part in table.runs
        for run in part
        if run.status not in ("finished", "running", "waiting")
    ]


def as_csv(table: Table) -> str:
    """Full precision, accuracies as fractions."""
    text = io.StringIO()
    writer = csv.DictWriter(text, table.columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(table.rows)
    return text.getvalue()


def as_json(table: Table) -> str:
    """A list of objects, as `as_csv` has it."""
    return json.dumps([{key: row.get(key) for key in table.columns} for row in table.rows], indent=2) + "\n"


def as_markdown(table: Table) -> str:
    """To be put in a README."""
    names, cells, _ = in_print(table)
    lines = [names, ["---"] * len(names), *cells]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
