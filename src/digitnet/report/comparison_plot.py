"""The picture of a comparison: validation error over the epochs, and the final error against the swept setting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from digitnet.errors import ConfigError
from digitnet.report.curves import Curve, CurveSet, collect_curves
from digitnet.report.plots import as_label, save_figure, use_epoch_axis, use_log_scale
from digitnet.runs.reader import Run
from digitnet.text import plural

Color = str | tuple[float, ...]
Percentages = np.ndarray[tuple[int], np.dtype[np.float64]]
PALETTE = ["C0", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9"]
MARKERS = "os^Dv<>P*X"  # for more curves than colours
MAX_LEGEND_LINES = 20  # as many as fit beside the axes
AXIS_LETTERS = 64  # letters of labels that fit below the axes
WORD_LETTERS = 24  # of a label on an axis
LABEL_LETTERS = 60  # of a curve's label
FAILURE_LABEL = "diverged or failed"


def plot_comparison(path: Path, runs: Sequence[Run], group_by: Sequence[str], over: Sequence[str] = ()) -> str:
    """Draw `runs` into `path`, a curve per group, see `collect_curves`; returns a sentence about what was drawn.

    Raises ConfigError if no run has a metrics.csv to draw, OSError if `path` cannot be written.
    """
    curve_set = collect_curves(runs, group_by, over)
    if not any(accuracies for curve in curve_set.curves for accuracies in [*curve.finished, *curve.unfinished]):
        raise ConfigError(f"--plot {path}: nothing to draw, no run has figures in a metrics.csv; leave out --plot")
    draw_comparison(path, curve_set)
    axes = "validation error over the epochs" + (f", final error against {curve_set.swept}" if curve_set.swept else "")
    left_out = curve_set.never_trained
    more = f", without {plural(left_out, 'run')} that ended before the first epoch did" if left_out else ""
    return f"wrote {path}: {axes}; {plural(len(runs) - left_out, 'run')}{more}"


def draw_comparison(path: Path, curve_set: CurveSet) -> None:
    """Draw the validation error over the epochs and, if there is a swept setting, the final error on the right.

    On the left, each run is a thin line, dashed if unfinished, and the mean of each curve is a thick line. On the
    right, each run is a point, and each curve has its mean and standard deviation.
    """
    curve_set = _with_labels(curve_set)
    curves, swept = curve_set.curves, curve_set.swept
    figure = Figure(figsize=(13 if swept else 8.5, 4.8), dpi=100, layout="constrained")
    left, *right = figure.subplots(1, 2 if swept else 1, squeeze=False)[0]
    color_scale = _color_scale(curves)
    if color_scale is not None:
        bar = figure.colorbar(color_scale, ax=left)
        bar.ax.set_title(str(swept), fontsize=9)
        bar.ax.yaxis.set_major_formatter("{x:g}")
    colors = _colors(curves, color_scale)
    _fill_epoch_axes(left, curves, colors)
    for axes in right:
        _fill_value_axes(axes, curve_set, colors, with_means=color_scale is None)
    _add_legend(figure, [left, *right] if color_scale is None else right)
    save_figure(figure, path)


def _with_labels(curve_set: CurveSet) -> CurveSet:
    """`curve_set` with all its texts as they can be drawn."""

    def drawable(curve: Curve) -> Curve:
        value = curve.swept_value
        if isinstance(value, str):  # the ends of folders' names differ
            value = as_label(value if len(value) <= WORD_LETTERS else f"…{value[1 - WORD_LETTERS :]}")
        label, series = (as_label(text, LABEL_LETTERS) for text in (curve.label, curve.series))
        return replace(curve, label=label, series=series, swept_value=value)

    swept = None if curve_set.swept is None else as_label(curve_set.swept, LABEL_LETTERS)
    return replace(curve_set, curves=[drawable(curve) for curve in curve_set.curves], swept=swept)


def _color_scale(curves: Sequence[Curve]) -> ScalarMappable | None:
    """A colour scale of the swept value, if there are more curves than palette colours and all values are numbers."""
    numbers = [curve.swept_value for curve in curves if isinstance(curve.swept_value, float | int)]
    has_words = any(isinstance(curve.swept_value, str) for curve in curves)
    if len(curves) <= len(PALETTE) or not numbers or has_words or not _has_one_color_per_curve(curves):
        return None
    scale = LogNorm if _suits_log_scale(numbers) else Normalize
    return ScalarMappable(scale(min(numbers), max(numbers)), "viridis")


def _has_one_color_per_curve(curves: Sequence[Curve]) -> bool:
    """False if the curves of a series are shades of one palette colour."""
    series_count = len({curve.series for curve in curves})
    return series_count == 1 or series_count > len(PALETTE)


def _colors(curves: Sequence[Curve], color_scale: ScalarMappable | None) -> list[Color]:
    """A colour per curve; a curve without a swept value is grey on a colour scale."""
    if color_scale is not None:
        return [
            tuple(color_scale.to_rgba(np.array(curve.swept_value))) if curve.swept_value is not None else "0.6"
            for curve in curves
        ]
    n = len(curves)
    if _has_one_color_per_curve(curves):
        return [PALETTE[index % len(PALETTE)] for index in range(n)]  # and other markers, see `_marker`
    series: dict[str, list[int]] = {}
    for index, curve in enumerate(curves):
        series.setdefault(curve.series, []).append(index)
    colors: list[Color] = [""] * n
    for indices, base in zip(series.values(), PALETTE, strict=False):
        for position, index in enumerate(indices, start=1):
            share = 0.3 + 0.7 * position / len(indices)
            colors[index] = tuple(1 - share * (1 - part) for part in to_rgb(base))
    return colors


def _marker(position: int) -> str:
    """The marker of the curve at this position in the legend: ten curves of the same colour have different ones."""
    return MARKERS[position // len(PALETTE) % len(MARKERS)]


def _fill_epoch_axes(axes: Axes, curves: Sequence[Curve], colors: Sequence[Color]) -> None:
    for position, (curve, color) in enumerate(zip(curves, colors, strict=True)):
        _draw_over_epochs(axes, curve, color, _marker(position))
    with_means = any(len(curve.finished) > 1 for curve in curves)
    axes.set_title("Validation error (%)" + (", runs and their mean" if with_means else ""))
    use_epoch_axis(axes)
    _set_error_axis(axes, [_error_percent(run) for curve in curves for run in (*curve.finished, *curve.unfinished)])


def _draw_over_epochs(axes: Axes, curve: Curve, color: Color, marker: str) -> None:
    """Draw a curve's runs and their mean, at each epoch over those that have done it; the legend tells how many."""
    finished = [run for run in curve.finished if run]
    labels = iter([curve.label])
    if finished:
        length, shortest = max(map(len, finished)), min(map(len, finished))
        at_epoch = [[run[epoch] for run in finished if len(run) > epoch] for epoch in range(length)]
        mean = [float(np.mean(_error_percent(accuracies))) for accuracies in at_epoch]
        count = f"n={len(finished)}" if length == shortest else f"n={len(finished)} to {len(at_epoch[-1])}"
        label = f"{next(labels)} ({count})" if len(finished) > 1 else next(labels)
        every = max(1, length // 30)
        marker = "" if length > 30 and marker == MARKERS[0] else marker
        axes.plot(range(1, length + 1), mean, marker=marker, markevery=every, markersize=3, color=color, label=label)
    if len(finished) > 1:  # as one line with gaps: drawing a thousand lines takes a second
        epochs = [epoch for run in finished for epoch in (*range(1, len(run) + 1), math.nan)]
        errors = _error_percent([accuracy for run in finished for accuracy in (*run, math.nan)])
        axes.plot(epochs, errors, color=color, linewidth=0.7, alpha=0.6)
    for run in filter(None, curve.unfinished):
        (line,) = axes.plot(range(1, len(run) + 1), _error_percent(run), "--x", color=color, label=next(labels, None))
        line.set(linewidth=1, markevery=[-1])


def _fill_value_axes(axes: Axes, curve_set: CurveSet, colors: Sequence[Color], with_means: bool) -> None:
    curves = curve_set.curves
    values = [curve.swept_value for curve in curves if curve.swept_value is not None]
    positions = _set_value_axis(axes, values, curve_set.is_log)
    series = list(dict.fromkeys(curve.series for curve in curves))
    for name in series:
        members = [(curve, color) for curve, color in zip(curves, colors, strict=True) if curve.series == name]
        for curve, color in members:
            _draw_final_errors(axes, curve, color, positions)
        if with_means:
            line_color = "0.4" if len(series) == 1 else members[-1][1]
            _draw_means(axes, [curve for curve, _ in members], line_color, positions)
    several = any(len(curve.final) > 1 for curve in curves)
    axes.set_title(f"{curve_set.measure} (%)" + (", runs, mean and standard deviation" if several else ""))
    axes.set_xlabel(str(curve_set.swept))
    _set_error_axis(axes, [_error_percent(curve.final) for curve in curves])


def _draw_final_errors(axes: Axes, curve: Curve, color: Color, positions: Mapping[float | str, float]) -> None:
    """Draw a point per finished run, and a cross at the top if runs failed."""
    if curve.swept_value is None:
        return
    position = positions[curve.swept_value]
    if curve.final:
        axes.plot(
            [position] * len(curve.final), _error_percent(curve.final), "o", color=color, markersize=4, clip_on=False
        )
    if curve.failures:
        label = None if FAILURE_LABEL in axes.get_legend_handles_labels()[1] else FAILURE_LABEL
        axes.plot([position], [0.97], "x", color=color, label=label, transform=axes.get_xaxis_transform())


def _draw_means(axes: Axes, curves: Sequence[Curve], color: Color, positions: Mapping[float | str, float]) -> None:
    """Draw mean and standard deviation at each value of a series, connected by a line if the values are numbers."""
    errors: dict[float, list[float]] = {}
    for curve in curves:
        if curve.swept_value is not None and curve.final:
            errors.setdefault(positions[curve.swept_value], []).extend(_error_percent(curve.final))
    means = {position: float(np.mean(errors[position])) for position in sorted(errors)}
    if not any(isinstance(value, str) for value in positions):
        axes.plot(list(means), list(means.values()), color=color, zorder=1)
    for position, mean in means.items():
        if len(errors[position]) > 1:
            std = float(np.std(errors[position], ddof=1))
            ends = [[mean - max(mean - std, 0.0)], [min(mean + std, 100.0) - mean]]  # an error is 0 to 100 %
            axes.errorbar(position, mean, ends, fmt="_", markersize=12, capsize=3, color=color, zorder=1)


def _set_value_axis(axes: Axes, values: Sequence[float | str], is_log: bool) -> dict[float | str, float]:
    """Set scale and labels of the horizontal axis; returns the position of each value. Words are one unit apart.

    The scale is logarithmic if `is_log`, or if the values span a decade.
    """
    distinct = list(dict.fromkeys(values))
    numbers = sorted(value for value in distinct if not isinstance(value, str))
    if len(numbers) < len(distinct):
        words = [str(value) for value in distinct]
        axes.set_xticks(range(len(words)), words)
        if sum(map(len, words)) > 60:
            axes.tick_params("x", rotation=90, labelsize=8)
        axes.set_xlim(-0.5, len(distinct) - 0.5)
        return {value: float(position) for position, value in enumerate(distinct)}
    logarithmic = numbers[0] > 0 and (is_log or _suits_log_scale(numbers))
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if numbers[-1] < 200 * numbers[0] else (1,)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    scaled = np.log(numbers) if logarithmic else np.asarray(numbers, dtype=float)
    labels = [f"{value:g}" for value in numbers]
    share = max(0.07, (max(map(len, labels)) + 1) / AXIS_LETTERS)  # of the axis, for one label
    if min(np.diff(scaled), default=1) > share * (scaled[-1] - scaled[0]):
        axes.set_xticks(numbers, labels)
    return {value: float(value) for value in numbers}


def _suits_log_scale(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) >= 10 * min(values)


def _set_error_axis(axes: Axes, errors: Sequence[Percentages]) -> None:
    """Set a log scale if the errors span a factor of five and none is 0; otherwise limit the axis to 0 to 100 %."""
    all_errors = np.concatenate([np.empty(0), *errors])
    if len(all_errors) and all_errors.min() > 0 and all_errors.max() >= 5 * all_errors.min():
        use_log_scale(axes)
        axes.set_ylim(all_errors.min() / 1.3, min(1.3 * all_errors.max(), 110))  # a bar below 0 has no end there
    else:
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, 0), min(top, 100) if len(all_errors) and all_errors.max() < 100 else top)
    axes.grid(alpha=0.3)


def _add_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Add one legend of all `axes` beside them, where it covers nothing, with at most MAX_LEGEND_LINES lines."""
    pairs = [pair for one in axes for pair in zip(*one.get_legend_handles_labels(), strict=True)]
    failures = [pair for pair in pairs if pair[1] == FAILURE_LABEL]
    curves = [pair for pair in pairs if pair[1] != FAILURE_LABEL]
    hidden = len(curves) - MAX_LEGEND_LINES
    shown = curves[:MAX_LEGEND_LINES] + failures
    if hidden > 0:
        shown.append((Line2D([], [], linestyle="none"), f"and {hidden} more"))
    if shown:
        handles, labels = zip(*shown, strict=True)
        figure.legend(handles, labels, fontsize=8, loc="outside right upper")


def _error_percent(accuracies: Sequence[float]) -> Percentages:
    return 100 * (1 - np.asarray(accuracies, dtype=float))
