"""The data of a comparison's picture: a curve per group of runs, and the setting on the horizontal axis.

Without matplotlib, which takes half a second to import, see `comparison_plot`.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from digitnet.config.dotted import as_yaml
from digitnet.report.comparison import (
    differing_settings,
    group_runs,
    grouping_keys,
    sort_key,
    without_dependent,
)
from digitnet.report.tables import abbreviated
from digitnet.runs.folder import RunFolder
from digitnet.runs.formats import is_number
from digitnet.runs.reader import Run, is_searched_in_logarithm

LARGEST_POSITION = 1e100  # on an axis; matplotlib's arithmetic overflows with more
DRAWN_WITHOUT_EPOCH = ("finished", "diverged")
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Curve:
    """Runs drawn in one colour: they have the same settings, apart from the seed and what was averaged over.

    `finished` and `unfinished` hold the validation accuracy after each epoch of each run; `final` holds the accuracies
    of the finished runs at their end; `failures` counts runs that diverged or failed. `swept_value` is the run's value
    of the swept setting. Curves with the same `series` differ in that setting alone.
    """

    label: str
    finished: Sequence[Sequence[float]]
    unfinished: Sequence[Sequence[float]] = ()
    final: Sequence[float] = ()
    failures: int = 0
    swept_value: float | str | None = None
    series: str = ""


@dataclass(frozen=True)
class CurveSet:
    """All curves of a picture; `swept` is the setting on the horizontal axis, `measure` names the error against it.

    `is_log` if a search drew that setting's values uniformly in the logarithm. `never_trained` counts the runs that
    ended before their first epoch did, without having diverged: their settings are not to blame, so they are not
    drawn.
    """

    curves: Sequence[Curve]
    swept: str | None
    measure: str
    never_trained: int = 0
    is_log: bool = False


def collect_curves(runs: Sequence[Run], group_by: Sequence[str], over: Sequence[str] = ()) -> CurveSet:
    """One curve per group of runs with the same values of `group_by`, see `comparison.grouping_keys`.

    By default, the runs of a group differ only in the seed. The swept setting is one of the keys with several values,
    see `_swept_setting`. The final error is the test error if all finished runs have one, else the last validation
    error.
    """
    drawn = [run for run in runs if run.settings and (run.metrics.get("epochs") or run.status in DRAWN_WITHOUT_EPOCH)]
    keys = _curve_keys(drawn, group_by, over)
    swept = _swept_setting(drawn, keys, chosen=bool(group_by))
    series_keys = [key for key in keys if key not in (swept, "seed")]
    finished = [run for run in drawn if run.status == "finished"]
    measure = "test_acc" if all("test_acc" in run.metrics for run in finished) else "val_acc"

    groups = group_runs(drawn, keys)
    legend_order = [*series_keys, *([swept] if swept else []), "seed"]
    groups.sort(key=lambda group: [sort_key(group[0].get(key)) for key in legend_order])
    curves = [_curve(group, keys, series_keys, swept, measure) for group in groups]
    title = "Test error" if measure == "test_acc" else "Validation error"
    is_log = swept is not None and any(is_searched_in_logarithm(run.folder, swept) for run in drawn[:1])
    return CurveSet(curves, swept, title, len(runs) - len(drawn), is_log)


def _curve_keys(runs: Sequence[Run], group_by: Sequence[str], over: Sequence[str]) -> list[str]:
    """The keys whose values distinguish curves."""
    if group_by:
        return grouping_keys(runs, group_by, over)[0]
    differing = differing_settings(runs)
    return [key for key in without_dependent(differing, runs) if key != "seed"] or differing


def _swept_setting(runs: Sequence[Run], keys: Sequence[str], chosen: bool) -> str | None:
    """The key of the horizontal axis: the first if the user has `chosen` the keys, else the one with the most values.

    Keys with only numbers are preferred; None if no key but the seed has several values.
    """
    values = {key: {as_yaml(run.get(key)) for run in runs if key in run} for key in keys if key != "seed"}
    candidates = [key for key in values if len(values[key]) > 1]
    if not chosen:
        candidates.sort(key=lambda key: (_has_numbers_only(key, runs), len(values[key])), reverse=True)
    return next(iter(candidates), None)


def _has_numbers_only(key: str, runs: Sequence[Run]) -> bool:
    return all(is_number(run.get(key)) for run in runs if key in run)


def _curve(
    group: Sequence[Run], keys: Sequence[str], series_keys: Sequence[str], swept: str | None, measure: str
) -> Curve:
    first = group[0]
    finished = [run for run in group if run.status == "finished"]
    swept_value = None
    if swept is not None and swept in first:
        value = first.get(swept)
        swept_value = value if is_number(value) and abs(value) < LARGEST_POSITION else as_yaml(value)
    return Curve(
        label=_settings_text(first, keys) or first.folder.name,
        finished=[_read_accuracies(run.folder) for run in finished],
        unfinished=[_read_accuracies(run.folder) for run in group if run.status != "finished"],
        final=[run.metrics[measure] for run in finished if 0 <= run.metrics.get(measure, -1) <= 1],
        failures=sum(run.status in ("diverged", "failed") for run in group),
        swept_value=swept_value,
        series=_settings_text(first, series_keys),
    )


def _settings_text(run: Run, keys: Sequence[str]) -> str:
    """`lr 0.1, batch_size 32`."""
    return ", ".join(f"{key.rpartition('.')[2]} {abbreviated(run.get(key))}" for key in keys if key in run)


def _read_accuracies(folder: Path) -> list[float]:
    """The validation accuracy after each epoch; empty if metrics.csv cannot be read."""
    try:
        return [record.val_acc for record in RunFolder(folder).read_records() if 0 <= record.val_acc <= 1]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return []
