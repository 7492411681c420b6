"""The pictures of a run, drawn by matplotlib without a screen. Images come as (N, 1, 28, 28) uint8 on the CPU."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from digitnet.records import EpochRecord, write_atomically

SIDE = 10  # images in a row


def draw_misclassified(path: Path, images: Tensor, labels: Tensor, predicted: Tensor, classes: Sequence[str]) -> None:
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


def draw_confusion(path: Path, labels: Tensor, predicted: Tensor, classes: Sequence[str]) -> None:
    """The confusion matrix: counts, coloured by their share of the true class, the diagonal left pale."""
    count = len(classes)
    matrix = torch.bincount(labels * count + predicted, minlength=count * count).view(count, count).numpy()
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


def draw_distorted(path: Path, originals: Tensor, distorted: Tensor) -> None:
    """A sample sheet: `originals` (C, 1, 28, 28) on top, below them `distorted` (R, C, 1, 28, 28), all uint8."""
    rows, columns = distorted.shape[:2]
    sheet = torch.cat([originals.unsqueeze(0), distorted])[:, :, 0]
    figure = Figure(figsize=(max(0.8 * columns, 5.6), 0.8 * (rows + 1) + 0.5), dpi=100)
    figure.suptitle("Training images (top row) and what the distortions make of them", fontsize=11)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.5 / (0.8 * (rows + 1) + 0.5))
    for place, image in enumerate(sheet.reshape(-1, *sheet.shape[2:]), start=1):
        axes = figure.add_subplot(rows + 1, columns, place)
        axes.imshow(255 - image.numpy(), cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())
