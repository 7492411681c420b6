"""The pictures of a run, drawn by matplotlib without a screen. Images come as (N, 1, 28, 28) uint8 on the CPU."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import cm
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from digitnet.records import EpochRecord, write_atomically

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
    """What `draw_comparison` draws as one: the runs of a table's row, their val_acc epoch by epoch, and how they ended.

    `at` is the value that was swept, if it is a number; curves of one `series` differ in nothing else.
    """

    label: str
    runs: list[list[float]]
    final: list[float]
    at: float | None
    series: str = ""


def draw_comparison(path: Path, curves: Sequence[Curve], swept: str | None, measure: str) -> None:
    """Validation error over the epochs, a colour a curve, the band from the best run to the worst.

    Beside it, if something was `swept`, `measure` at the end against it: each run, and mean and standard deviation.
    """
    figure = Figure(figsize=(12 if swept else 8, 4.8), dpi=100, layout="constrained")
    left, *rest = figure.subplots(1, 2 if swept else 1, squeeze=False)[0]
    many = len(curves) > len(PALETTE)
    colours = [cm.viridis(n / (len(curves) - 1)) if many else PALETTE[n] for n in range(len(curves))]
    for curve, colour in zip(curves, colours, strict=True):
        length = min((len(run) for run in curve.runs if run), default=0)
        if not length:
            continue
        errors = 100 * (1 - np.array([run[:length] for run in curve.runs if run]))
        epochs = range(1, length + 1)
        left.plot(epochs, errors.mean(0), color=colour, label=curve.label, marker="o", markersize=3)
        if len(errors) > 1:
            left.fill_between(epochs, errors.min(0), errors.max(0), color=colour, alpha=0.15, linewidth=0)
    _log_percent(left)
    left.set_title("Validation error (%)")
    left.set_xlabel("epoch")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    if left.lines:
        shown = 20  # lines of a legend that are as high as the picture
        handles, labels = left.get_legend_handles_labels()
        more = [f"and {len(labels) - shown} more"] if len(labels) > shown else []
        figure.legend(handles[: shown + len(more)], labels[:shown] + more, fontsize=8, loc="outside right upper")
    for axes in rest:
        names = list(dict.fromkeys(curve.series for curve in curves))
        for name, colour in zip(names, PALETTE * len(names), strict=False):
            _draw_series(axes, [curve for curve in curves if curve.series == name], name, colour)
        values = [curve.at for curve in curves if curve.at is not None]
        if values and min(values) > 0 and max(values) / min(values) >= 10:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        if len(names) > 1:
            axes.legend(fontsize=8)
        _log_percent(axes)
        axes.set_xlabel(str(swept))
        axes.set_title(f"{measure} (%)")
    _save(figure, path)


def _draw_series(axes: Axes, curves: Sequence[Curve], name: str, colour: str) -> None:
    """Each run as a point, mean and standard deviation of those at the same value as a line."""
    values = sorted({curve.at for curve in curves if curve.at is not None and curve.final})
    ends = [
        [100 * (1 - accuracy) for curve in curves if curve.at == value for accuracy in curve.final] for value in values
    ]
    means = [float(np.mean(found)) for found in ends]
    # Downwards not below 0, which a logarithmic axis has not.
    spreads = [float(np.std(found, ddof=1)) if len(found) > 1 else 0.0 for found in ends]
    down = [min(spread, 0.9 * mean) for spread, mean in zip(spreads, means, strict=True)]
    for value, found in zip(values, ends, strict=True):
        axes.plot([value] * len(found), found, "o", color="0.6", markersize=3, zorder=1)
    axes.errorbar(values, means, yerr=[down, spreads], marker="o", capsize=3, color=colour, label=name)


PALETTE = ["C0", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9"]


def _log_percent(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:])
    write_atomically(path, content.getvalue())
