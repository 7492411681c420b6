"""The pictures of a run, drawn by matplotlib without a screen. Images come as (N, 1, 28, 28) uint8 on the CPU."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import cm
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from digitnet.atomic import write_atomically
from digitnet.training.record import EpochRecord

if TYPE_CHECKING:
    from torch import Tensor  # seconds, which `digitnet compare` need not wait for

SIDE = 10  # images in a row


def draw_misclassified(
    path: Path, images: "Tensor", labels: "Tensor", predicted: "Tensor", classes: Sequence[str]
) -> None:
    """The notebook's picture: the first 100 misclassified images, black on white, truth blue, prediction red."""
    wrong = (labels != predicted).nonzero().flatten()
    shown = wrong[: SIDE * SIDE]
    rows = max(1, math.ceil(len(shown) / SIDE))
    height = 0.6 + rows  # inches; an image and its labels take one
    figure = Figure(figsize=(10, height), dpi=100)
    figure.suptitle(
        f"{len(wrong):,} of {len(labels):,} test images misclassified"
        + (f", the first {len(shown)}" if len(shown) < len(wrong) else "")
        + " (blue: true, red: predicted)",
        fontsize=12,
        y=1 - 0.2 / height,
        va="center",
    )
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.05 / height, top=1 - 0.6 / height, hspace=0.32, wspace=0.1)
    for place, index in enumerate(shown.tolist(), start=1):
        axes = figure.add_subplot(rows, SIDE, place)
        axes.imshow(255 - images[index, 0].numpy(), cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        # Above the image, where they hide no ink.
        true, guess = (classes[int(kind[index])][:9] for kind in (labels, predicted))
        if len(true) + len(guess) <= 4:
            axes.text(0.0, 1.02, true, color="blue", fontsize=13, transform=axes.transAxes)
            axes.text(0.3, 1.02, guess, color="red", fontsize=13, transform=axes.transAxes)
        else:
            axes.text(0.1, 1.15, true, color="blue", fontsize=7, transform=axes.transAxes)
            axes.text(0.1, 1.02, guess, color="red", fontsize=7, transform=axes.transAxes)
    _save(figure, path)


def draw_confusion(path: Path, labels: "Tensor", predicted: "Tensor", classes: Sequence[str]) -> None:
    """The confusion matrix: counts, coloured by their share of the true class, the diagonal left pale."""
    count = len(classes)
    matrix = np.bincount((labels * count + predicted).numpy(), minlength=count * count).reshape(count, count)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    errors = share.copy()
    np.fill_diagonal(errors, 0)
    figure = Figure(figsize=(max(6, 0.7 * count + 1), max(5.5, 0.65 * count + 1)), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    mesh = axes.imshow(errors * 100, cmap="Reds", vmin=0, vmax=max(errors.max() * 100, 1e-3))
    figure.colorbar(mesh, ax=axes, label="errors, % of the true class", shrink=0.85)
    for row in range(count):
        for column in range(count):
            if matrix[row, column]:
                dark = errors[row, column] > 0.6 * max(errors.max(), 1e-5)
                axes.text(
                    column,
                    row,
                    f"{matrix[row, column]:,}",
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="white" if dark else ("0.45" if row == column else "black"),
                )
    long_names = max(map(len, classes)) > 3
    axes.set_xticks(range(count), classes, rotation=45 if long_names else 0, ha="right" if long_names else "center")
    axes.set_yticks(range(count), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"Confusion matrix, {len(labels):,} test images")
    _save(figure, path)


def draw_curves(path: Path, records: Sequence[EpochRecord], validation: str, chance: float) -> None:
    """Loss and error over the epochs, both on a log scale, and the learning rate."""
    epochs = [record.epoch for record in records]
    figure = Figure(figsize=(11, 4), dpi=100, layout="constrained")
    loss, error, rate = figure.subplots(1, 3)
    style = {"marker": "o", "markersize": 3}
    loss.plot(epochs, [r.train_loss for r in records], label="training", **style)
    loss.plot(epochs, [r.val_loss for r in records], label=validation, **style)
    loss.set_title("Loss (nats)")
    error.plot(epochs, [100 * (1 - r.train_acc) for r in records], label="training", **style)
    error.plot(epochs, [100 * (1 - r.val_acc) for r in records], label=validation, **style)
    error.axhline(100 * chance, color="0.7", linewidth=0.8, linestyle=":", label="chance")
    error.set_title("Error (%)")
    rate.plot(epochs, [r.lr for r in records], color="0.3", drawstyle="steps-mid", **style)
    rate.set_title("Learning rate")
    rate.set_ylim(0, 1.05 * max(r.lr for r in records))
    for axes in (loss, error):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend()
    for axes in (loss, error, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    _save(figure, path)


def draw_distorted(path: Path, originals: "Tensor", distorted: "Tensor") -> None:
    """A sample sheet: `originals` (C, 1, 28, 28) on top, below them `distorted` (R, C, 1, 28, 28), all uint8."""
    rows, columns = distorted.shape[:2]
    sheet = np.concatenate([originals.unsqueeze(0).numpy(), distorted.numpy()])[:, :, 0]
    figure = Figure(figsize=(max(0.8 * columns, 5.6), 0.8 * (rows + 1) + 0.5), dpi=100)
    figure.suptitle("Training images (top row) and what the distortions make of them", fontsize=11)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.5 / (0.8 * (rows + 1) + 0.5))
    for place, image in enumerate(sheet.reshape(-1, *sheet.shape[2:]), start=1):
        axes = figure.add_subplot(rows + 1, columns, place)
        axes.imshow(255 - image, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
    _save(figure, path)


@dataclass(frozen=True)
class Curve:
    """What `draw_comparison` draws in one colour: runs that differ in nothing that matters, as in their seed.

    `runs` are the val_acc of each epoch of the finished ones, `unfinished` of the others; `final` are accuracies at the
    end, and `lost` is how many diverged or failed. `at` is the value that was swept, a number or a word; curves of one
    `series` differ in nothing else.
    """

    label: str
    runs: Sequence[Sequence[float]]
    unfinished: Sequence[Sequence[float]] = ()
    final: Sequence[float] = ()
    lost: int = 0
    at: float | str | None = None
    series: str = ""


Colour = str | tuple[float, ...]
PALETTE = ["C0", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9"]
SHOWN_CURVES = 20  # lines of a legend that are as high as the picture
LOST = "diverged or failed"


def draw_comparison(path: Path, curves: Sequence[Curve], swept: str | None, measure: str) -> None:
    """Validation error over the epochs, a colour a curve: each run thin, dashed if not finished, their mean thick.

    Beside it, if something was `swept`, `measure` at the end against it: each run, and mean and standard deviation.
    """
    figure = Figure(figsize=(13 if swept else 8.5, 4.8), dpi=100, layout="constrained")
    left, *rest = figure.subplots(1, 2 if swept else 1, squeeze=False)[0]
    numbers = [curve.at for curve in curves if isinstance(curve.at, float | int)]
    series = list(dict.fromkeys(curve.series for curve in curves))
    by_value: ScalarMappable | None = None
    words = any(isinstance(curve.at, str) for curve in curves)
    if len(curves) > len(PALETTE) and numbers and not words and (len(series) == 1 or len(series) > len(PALETTE)):
        scale = LogNorm if _suits_log(numbers) else Normalize
        by_value = ScalarMappable(scale(min(numbers), max(numbers)), "viridis")
        bar = figure.colorbar(by_value, ax=left)
        bar.ax.set_title(str(swept), fontsize=9)
        bar.ax.yaxis.set_major_formatter("{x:g}")
    colours = _colours(curves, by_value)
    for curve, colour in zip(curves, colours, strict=True):
        _draw_over_epochs(left, curve, colour)
    left.set_title("Validation error (%)" + (", runs and their mean" if any(len(c.runs) > 1 for c in curves) else ""))
    left.set_xlabel("epoch")
    left.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    _percent_axis(left, [_errors(run) for curve in curves for run in (*curve.runs, *curve.unfinished)])
    for axes in rest:
        places = _value_axis(axes, [curve.at for curve in curves if curve.at is not None])
        for name in series:
            members = [pair for pair in zip(curves, colours, strict=True) if pair[0].series == name]
            line = None if by_value is not None else "0.4" if len(series) == 1 else members[-1][1]
            _draw_over_values(axes, members, places, line)
        several = any(len(curve.final) > 1 for curve in curves)
        axes.set_title(f"{measure} (%)" + (", runs, mean and standard deviation" if several else ""))
        axes.set_xlabel(str(swept))
        _percent_axis(axes, [_errors(curve.final) for curve in curves])
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=8)
    handles, labels = left.get_legend_handles_labels()
    if by_value is None and len(labels) > 1:
        more = [f"and {len(labels) - SHOWN_CURVES} more"] if len(labels) > SHOWN_CURVES else []
        shown = [*handles[:SHOWN_CURVES], *(Line2D([], [], linestyle="none") for _ in more)]
        figure.legend(shown, labels[:SHOWN_CURVES] + more, fontsize=8, loc="outside right upper")
    elif by_value is None and labels:
        left.legend(fontsize=8)
    _save(figure, path)


def _errors(accuracies: Sequence[float]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """In percent."""
    return 100 * (1 - np.asarray(accuracies, dtype=float))


def _colours(curves: Sequence[Curve], by_value: ScalarMappable | None) -> list[Colour]:
    """Each curve its own, maybe by its value; of several series, those of one are shades of a colour."""
    series: dict[str, list[int]] = {}
    for number, curve in enumerate(curves):
        series.setdefault(curve.series, []).append(number)
    if by_value is not None:
        return [tuple(by_value.to_rgba(np.array(curve.at))) if curve.at is not None else "0.6" for curve in curves]
    if len(series) == 1 or len(series) > len(PALETTE):
        few = len(curves) <= len(PALETTE)
        return [PALETTE[n] if few else tuple(cm.viridis(0.95 * n / len(curves))) for n in range(len(curves))]
    colours: list[Colour] = [""] * len(curves)
    for numbers, base in zip(series.values(), PALETTE, strict=False):
        for place, number in enumerate(numbers, start=1):
            share = 0.3 + 0.7 * place / len(numbers)
            colours[number] = tuple(1 - share * (1 - part) for part in to_rgb(base))
    return colours


def _draw_over_epochs(axes: Axes, curve: Curve, colour: Colour) -> None:
    """The mean goes as far as all finished runs do, so that none leaves it on the way."""
    runs = [run for run in curve.runs if run]
    labels = iter([curve.label])
    if runs:
        length = min(map(len, runs))
        mean = np.mean([_errors(run[:length]) for run in runs], axis=0)
        marker = "o" if length <= 30 else ""
        axes.plot(range(1, length + 1), mean, marker=marker, markersize=3, color=colour, label=next(labels))
    if len(runs) > 1:  # as one line with gaps: a thousand lines take a second
        epochs = [place for run in runs for place in (*range(1, len(run) + 1), math.nan)]
        errors = _errors([accuracy for run in runs for accuracy in (*run, math.nan)])
        axes.plot(epochs, errors, color=colour, linewidth=0.7, alpha=0.6)
    for run in filter(None, curve.unfinished):
        (drawn,) = axes.plot(range(1, len(run) + 1), _errors(run), "--x", color=colour, label=next(labels, None))
        drawn.set(linewidth=1, markevery=[-1])


def _draw_over_values(
    axes: Axes, members: Sequence[tuple[Curve, Colour]], places: Mapping[float | str, float], line: Colour | None
) -> None:
    """Runs as points, and maybe mean and standard deviation as a `line`; a cross on top where some were lost."""
    ends: dict[float, list[float]] = {}
    for curve, colour in members:
        if curve.at is None:
            continue
        place = places[curve.at]
        if curve.final:
            errors = _errors(curve.final)
            axes.plot([place] * len(errors), errors, "o", color=colour, markersize=4, clip_on=False)
            ends.setdefault(place, []).extend(errors)
        if curve.lost:
            label = None if LOST in axes.get_legend_handles_labels()[1] else LOST
            axes.plot([place], [0.97], "x", color=colour, label=label, transform=axes.get_xaxis_transform())
    if line is None:
        return
    means = {place: float(np.mean(ends[place])) for place in sorted(ends)}
    if not any(isinstance(value, str) for value in places):  # between words there is nothing
        axes.plot(list(means), list(means.values()), color=line, label=members[0][0].series or None, zorder=1)
    for place, mean in means.items():
        if len(ends[place]) > 1:
            spread = float(np.std(ends[place], ddof=1))
            axes.errorbar(place, mean, spread, fmt="_", markersize=12, capsize=3, color=line, zorder=1)


def _suits_log(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) >= 10 * min(values)


def _value_axis(axes: Axes, values: Sequence[float | str]) -> dict[float | str, float]:
    """Where each value is on the horizontal axis: numbers at their place, words beside each other."""
    different = list(dict.fromkeys(values))
    numbers = sorted(value for value in different if not isinstance(value, str))
    if len(numbers) < len(different):
        words = [value if len(value) <= 24 else f"…{value[-23:]}" for value in map(str, different)]
        axes.set_xticks(range(len(words)), words)
        if sum(map(len, words)) > 60:
            axes.tick_params("x", rotation=90, labelsize=8)
        axes.set_xlim(-0.5, len(different) - 0.5)
        return {value: float(place) for place, value in enumerate(different)}
    if _suits_log(numbers):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if numbers[-1] < 200 * numbers[0] else (1,)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    along = np.log(numbers) if _suits_log(numbers) else np.asarray(numbers, dtype=float)
    if min(np.diff(along), default=1) > 0.07 * (along[-1] - along[0]):
        axes.set_xticks(numbers, [f"{value:g}" for value in numbers])
    return {value: float(value) for value in numbers}


def _percent_axis(axes: Axes, errors: Sequence["np.ndarray[tuple[int], np.dtype[np.float64]]"]) -> None:
    """Logarithmic where errors of several sizes are there, and none is 0."""
    there = np.concatenate([np.empty(0), *errors])
    if len(there) and there.min() > 0 and there.max() >= 5 * there.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, 0), min(top, 100) if len(there) and there.max() < 100 else top)
    axes.grid(alpha=0.3)


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:])
    write_atomically(path, content.getvalue())
