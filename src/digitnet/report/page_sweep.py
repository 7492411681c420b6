"""What a report's page shows of a sweep: the error against the swept setting, and all settings of each run."""

import math
from collections.abc import Sequence
from typing import Any

from digitnet.config.dotted import as_yaml
from digitnet.report.comparison import differing_settings, short_keys, sort_key, without_dependent
from digitnet.report.curves import CurveSet, collect_curves
from digitnet.runs.formats import is_number
from digitnet.runs.reader import Run

MOST_LINES = 300  # runs in the parallel coordinates
DECADES = 1.0  # of positive values from which on an axis is logarithmic

Axis = dict[str, Any]  # `key`; `log`; `names`, if its values are words, whose positions then are 0, 1, …


def sweep_content(runs: Sequence[Run]) -> dict[str, Any] | None:
    """`swept` and `parallel` of the page, each None if the runs do not differ so; None if there is neither."""
    finished = [run for run in runs if run.status == "finished"]
    swept, parallel = _swept(collect_curves(finished, ())), _parallel(finished)
    return {"swept": swept, "parallel": parallel} if swept or parallel else None


def _axis(key: str, values: Sequence[Any], is_log: bool = False) -> tuple[Axis, list[float]]:
    """The axis for the values of a setting, and their positions on it."""
    if not all(map(is_number, values)):
        names = sorted({as_yaml(value): value for value in values}, key=lambda text: sort_key(text))
        return {"key": key, "log": False, "names": names}, [float(names.index(as_yaml(value))) for value in values]
    low, high = min(values), max(values)
    spans = low > 0 and (is_log or math.log10(high / low) >= DECADES)
    return {"key": key, "log": spans, "names": None}, [float(value) for value in values]


def _swept(found: CurveSet) -> dict[str, Any] | None:
    """The error of each run against the swept setting: a series for each combination of the other settings."""
    curves = [curve for curve in found.curves if curve.final and curve.swept_value is not None]
    if found.swept is None or len({curve.swept_value for curve in curves}) < 2:
        return None
    axis, positions = _axis(found.swept, [curve.swept_value for curve in curves], found.is_log)
    series: dict[str, list[tuple[float, list[float]]]] = {}
    for curve, position in zip(curves, positions, strict=True):
        errors = [round(100 * (1 - accuracy), 4) for accuracy in curve.final]
        series.setdefault(curve.series or "mean", []).append((position, errors))
    is_log = _axis("", [error for some in series.values() for _, errors in some for error in errors])[0]["log"]
    return {
        "axis": axis,
        "measure": found.measure,
        "log": is_log,
        "series": [[name, sorted(some)] for name, some in series.items()],
    }


def _parallel(runs: Sequence[Run]) -> dict[str, Any] | None:
    """An axis for each of several settings that differ, and one for the error, which comes last."""
    measure = "test_acc" if all("test_acc" in run.metrics for run in runs) else "val_acc"
    keys = [key for key in without_dependent(differing_settings(runs), runs) if key != "seed"]
    complete = [run for run in runs if measure in run.metrics and all(key in run for key in keys)]
    if len(keys) < 2 or len(complete) < 2:
        return None
    best = sorted(complete, key=lambda run: -run.metrics[measure])[:MOST_LINES]
    axes, columns = [], []
    for key, name in zip(keys, short_keys(keys, runs), strict=True):
        axis, positions = _axis(name, [run.get(key) for run in best])
        axes.append(axis)
        columns.append(positions)
    errors = [round(100 * (1 - run.metrics[measure]), 4) for run in best]
    axes.append({"key": f"{measure.partition('_')[0]} error, %", "log": _axis("", errors)[0]["log"], "names": None})
    return {"axes": axes, "lines": [list(line) for line in zip(*columns, errors, strict=True)], "of": len(complete)}
