"""Draws an evaluation: reliability, confusions and the hardest images; accuracy under corruptions and shifts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from digitnet.report.plots import as_label, draw_matrix, draw_wrong, save_figure

if TYPE_CHECKING:
    from torch import Tensor

HARDEST = 20  # images in the picture


def draw_evaluation(
    path: Path,
    images: "Tensor",
    labels: "Tensor",
    predicted: "Tensor",
    confidence: "Tensor",
    bins: Sequence[tuple[float, int, float, float]],
    classes: Sequence[str],
    title: str,
    wrong_labels: Sequence[int] = (),
) -> None:
    """Draw a reliability diagram, the confusion matrix, and the misclassified images that it was surest of.

    `images` (N, 1, 28, 28) uint8, `labels` and `predicted` (N,) int64, `confidence` (N,) from 0 to 1; `bins` are those
    of `scores.reliability`. Source of the diagram: Guo et al. 2017, figure 1.
    """
    figure = Figure(figsize=(13, 9.6), dpi=100)
    figure.suptitle(as_label(title, 120), fontsize=12)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1.35), left=0.06, right=0.97, top=0.92, bottom=0.03, hspace=0.3)
    _draw_reliability(figure.add_subplot(grid[0, 0]), bins)
    draw_matrix(figure, figure.add_subplot(grid[0, 1]), labels, predicted, classes, bar_pad=0.15)
    below = grid[1, :].subgridspec(2, HARDEST // 2, hspace=0.75, wspace=0.15)
    from digitnet.metrics import hardest_images

    shown = hardest_images(labels, predicted, confidence)[:HARDEST]
    for position, index in enumerate(shown):
        axes = figure.add_subplot(below[position // (HARDEST // 2), position % (HARDEST // 2)])
        names = tuple(classes[int(kind[index])] for kind in (labels, predicted))
        draw_wrong(axes, images[index], names, index, float(confidence[index]), index in wrong_labels)
    text = "hardest images (blue: true, red: predicted; below: index, confidence" + (
        "; dashed: label known to be wrong)" if set(shown) & {*wrong_labels} else ")"
    )
    figure.text(0.5, 0.33, text if shown else "no image is misclassified", fontsize=9, color="0.35", ha="center")
    save_figure(figure, path)


def _draw_reliability(axes: Axes, bins: Sequence[tuple[float, int, float, float]]) -> None:
    """Accuracy against confidence, in bins; the dots are as large as the bins have images."""
    total = sum(count for _, count, _, _ in bins)
    width = 1 / 15
    for low, count, accuracy, confidence in bins:
        axes.bar(low, accuracy, width, align="edge", color="tab:blue", alpha=0.6, edgecolor="white")
        axes.plot(confidence, accuracy, "o", color="black", markersize=3 + 12 * (count / total) ** 0.5)
    axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
    axes.set_title("Reliability (dots: means; their area: number of images)", fontsize=10)


def draw_corruptions(
    path: Path, samples: Sequence[tuple[str, "Tensor"]], accuracies: Sequence[Sequence[float]], title: str
) -> None:
    """Draw a row of images for each corruption with the accuracy beside it.

    `samples` are (name, (C, 1, 28, 28) uint8), `accuracies` of each the fractions of all networks, whose mean is shown.
    """
    rows = [np.concatenate([*images[:, 0].numpy()], 1) for _, images in samples]
    figure = Figure(figsize=(9.5, 0.62 * len(rows) + 0.7), dpi=100)
    height = figure.get_figheight()
    figure.suptitle(as_label(title, 110), fontsize=11, y=1 - 0.25 / height)
    for number, ((name, _), row, some) in enumerate(zip(samples, rows, accuracies, strict=True)):
        axes = figure.add_axes((0.17, 1 - (0.5 + 0.62 * (number + 1)) / height, 0.66, 0.58 / height))
        axes.imshow(row, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        axes.text(-0.02, 0.5, name.replace("_", " "), ha="right", va="center", transform=axes.transAxes, fontsize=10)
        text = f"{100 * sum(some) / len(some):.2f} %"
        axes.text(1.12, 0.5, text, ha="right", va="center", transform=axes.transAxes, fontsize=10)
    save_figure(figure, path)


def draw_shifts(
    path: Path, curves: Sequence[tuple[str, str, Sequence[float], Sequence[Sequence[float]]]], names: Sequence[str]
) -> None:
    """Draw accuracy against translation and rotation: (title, label, amounts, fractions of each network) of each."""
    figure = Figure(figsize=(11, 4.4), dpi=100, layout="constrained")
    for axes, (title, label, amounts, accuracies) in zip(figure.subplots(1, len(curves)), curves, strict=True):
        for number, name in enumerate(names):
            values = [100 * some[number] for some in accuracies]
            axes.plot(amounts, values, marker="o", markersize=3, label=as_label(name, 40))
        axes.set(title=title, xlabel=label, ylabel="accuracy (%)", ylim=(0, 101))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    if 1 < len(names) <= 10:
        axes.legend(fontsize=8)
    save_figure(figure, path)
