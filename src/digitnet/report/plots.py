"""Draws the pictures of a run with matplotlib, without a display. Images are (N, 1, 28, 28) uint8 on the CPU."""

import io
import math
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from digitnet.atomic import write_atomically
from digitnet.text import printable
from digitnet.training.record import EpochRecord

if TYPE_CHECKING:
    from torch import Tensor  # takes seconds to import, and `digitnet compare` imports this file

COLUMNS = 10  # images per row
IMAGE_INCHES = 1.2  # height of an image with its labels
MOST_CLASSES = 30  # of a confusion matrix
DEFAULT_FONT = "DejaVu Sans"
FONTS = (  # with letters that matplotlib's own does not have, where they are installed
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "SimHei",
    "Arial Unicode MS", "Droid Sans Fallback",
)  # fmt: skip


def draw_misclassified(
    path: Path,
    images: "Tensor",
    labels: "Tensor",
    predicted: "Tensor",
    confidence: "Tensor",
    classes: Sequence[str],
    caption: str = "",
    wrong_labels: Collection[int] = (),
) -> None:
    """Draw the 100 hardest misclassified images, black on white: those that the network was surest of, first.

    Above an image are its true class, in blue, and the predicted one, in red; below it its index in the test set and
    `confidence`, the probability of the predicted class, (N,) from 0 to 1. `caption` stands below the title. The images
    whose labels are known to be wrong, by their indices, have a dashed frame.
    """
    from digitnet.metrics import hardest_images  # imports torch, which plots of tables do not need

    hardest = hardest_images(labels, predicted, confidence)
    shown = hardest[: COLUMNS * COLUMNS]
    rows = max(1, math.ceil(len(shown) / COLUMNS))
    height = 0.85 + IMAGE_INCHES * rows
    figure = Figure(figsize=(10, height), dpi=100)
    title = f"{len(hardest):,} of {len(labels):,} test images misclassified"
    if len(shown) < len(hardest):
        title += f", the {len(shown)} hardest"
    figure.suptitle(f"{title} (blue: true, red: predicted)", fontsize=12, y=1 - 0.2 / height, va="center")
    below = "; below each image: index and confidence"
    if marked := {*shown} & {*wrong_labels}:
        below += f"; dashed frame: label known to be wrong ({len(marked)})"
    _add_caption(figure, f"{caption}{below}".lstrip("; "), y=1 - 0.45 / height)
    bottom, top = 0.25 / height, 1 - 0.85 / height
    figure.subplots_adjust(left=0.01, right=0.99, bottom=bottom, top=top, hspace=0.55, wspace=0.1)
    for position, index in enumerate(shown, start=1):
        names = (classes[int(labels[index])], classes[int(predicted[index])])
        axes = figure.add_subplot(rows, COLUMNS, position)
        draw_wrong(axes, images[index], names, index, float(confidence[index]), index in wrong_labels)
    save_figure(figure, path)


def draw_wrong(
    axes: Axes, image: "Tensor", names: tuple[str, ...], index: int, confidence: float, is_label_wrong: bool
) -> None:
    """Draw a misclassified image (1, 28, 28) uint8 with its true and predicted class, its index and the confidence."""
    axes.imshow(255 - image[0].numpy(), cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
    if is_label_wrong:
        frame = Rectangle((0, 0), 1, 1, fill=False, linestyle="--", edgecolor="0.3", transform=axes.transAxes)
        frame.set_clip_on(False)
        axes.add_patch(frame)
    # The names are above the image, so that they do not cover it.
    true, guess = (as_label(name, 9) for name in names)
    if len(true) + len(guess) <= 4:
        axes.text(0.05, 1.04, true, color="blue", fontsize=13, transform=axes.transAxes)
        axes.text(0.35, 1.04, "→", color="0.5", fontsize=11, transform=axes.transAxes)
        axes.text(0.65, 1.04, guess, color="red", fontsize=13, transform=axes.transAxes)
    else:
        axes.text(0.05, 1.17, true, color="blue", fontsize=7, transform=axes.transAxes)
        axes.text(0.05, 1.04, f"→ {guess}", color="red", fontsize=7, transform=axes.transAxes)
    text = f"{index:,}   {100 * confidence:.0f} %"
    axes.text(0.5, -0.04, text, color="0.35", fontsize=7, ha="center", va="top", transform=axes.transAxes)


def _add_caption(figure: Figure, text: str, y: float | None = None) -> None:
    """Add small grey text: at the height `y`, a fraction of the figure's, or below all axes."""
    if text and y is None:
        figure.supxlabel(as_label(text, 400), fontsize=8, color="0.35")
    elif text:
        figure.text(0.5, y or 0.0, as_label(text, 400), fontsize=8, color="0.35", ha="center", va="center")


def draw_confusion(
    path: Path, labels: "Tensor", predicted: "Tensor", classes: Sequence[str], caption: str = ""
) -> None:
    """Draw the confusion matrix: counts; errors are coloured by their share of the true class.

    `caption` stands below, see `draw_matrix`.
    """
    n = min(len(classes), MOST_CLASSES)
    figure = Figure(figsize=(max(6, 0.7 * n + 1), max(5.5, 0.65 * n + 1)), dpi=100, layout="constrained")
    draw_matrix(figure, figure.add_subplot(), labels, predicted, classes)
    _add_caption(figure, caption)
    save_figure(figure, path)


def draw_matrix(
    figure: Figure,
    axes: Axes,
    labels: "Tensor",
    predicted: "Tensor",
    classes: Sequence[str],
    bar_pad: float | None = None,
) -> None:
    """Draw a confusion matrix; beside each row is the accuracy of its class.

    Of more than MOST_CLASSES, it shows those that were confused most: more could not be read, and take gigabytes.
    `bar_pad` is the space left of the colour bar; in a constrained layout it is found.
    """
    title, wrong = f"Confusion matrix, {len(labels):,} test images", labels != predicted
    totals = np.bincount(labels.numpy(), minlength=len(classes))
    if len(classes) > MOST_CLASSES:
        confused = sum(np.bincount(kind[wrong].numpy(), minlength=len(classes)) for kind in (labels, predicted))
        kept = np.sort(np.argsort(-confused, kind="stable")[:MOST_CLASSES])
        title += f";\nthe {MOST_CLASSES} of {len(classes)} classes that were confused most"
        places, totals = np.full(len(classes), -1), totals[kept]
        places[kept] = np.arange(MOST_CLASSES)
        labels, predicted = places[labels.numpy()], places[predicted.numpy()]
        inside = (labels >= 0) & (predicted >= 0)
        labels, predicted, classes = labels[inside], predicted[inside], [classes[index] for index in kept]
    n, classes = len(classes), [as_label(name) for name in classes]
    matrix = np.bincount(np.asarray(labels) * n + np.asarray(predicted), minlength=n * n).reshape(n, n)
    errors = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)  # fractions of the true class
    np.fill_diagonal(errors, 0)
    mesh = axes.imshow(errors * 100, cmap="Reds", vmin=0, vmax=max(errors.max() * 100, 1e-3))
    bar: dict[str, Any] = {} if bar_pad is None else {"pad": bar_pad}
    figure.colorbar(mesh, ax=axes, label="errors, % of the true class", shrink=0.85, **bar)
    for row in range(n):
        for column in range(n):
            if matrix[row, column]:
                on_dark = errors[row, column] > 0.6 * max(errors.max(), 1e-5)
                color = "white" if on_dark else "0.45" if row == column else "black"
                text = f"{matrix[row, column]:,}"
                axes.text(column, row, text, ha="center", va="center", fontsize=9, color=color)
    axes.text(n - 0.4, -0.6, "accuracy", fontsize=8, color="0.35", va="bottom")
    for row, total in enumerate(totals):
        if total:
            axes.text(n - 0.4, row, f"{100 * matrix[row, row] / total:.1f} %", va="center", fontsize=8, color="0.35")
    long_names = max(map(len, classes)) > 3
    axes.set_xticks(range(n), classes, rotation=45 if long_names else 0, ha="right" if long_names else "center")
    axes.set_yticks(range(n), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)


def as_label(text: str, letters: int = 24) -> str:
    """`text` in at most so many letters, and such that matplotlib draws it as it is: `$…$` would be mathematics.

    Letters without a glyph in matplotlib's own font or another one of FONTS are escaped.
    """
    text = printable(text).replace("\n", " ")
    text = text if len(text) <= letters else f"{text[: letters - 1]}…"
    if not text.isascii():
        fonts = [get_font(findfont(name)) for name in _available_fonts()]
        text = "".join(
            letter if any(font.get_char_index(ord(letter)) for font in fonts) else f"\\u{ord(letter):04x}"
            for letter in text
        )
    return text.replace("$", r"\$")


@cache
def _available_fonts() -> list[str]:
    """matplotlib's own font, and those of FONTS that this machine has."""
    names = set(fontManager.get_font_names())
    return [DEFAULT_FONT, *(name for name in FONTS if name in names)]


def draw_curves(path: Path, records: Sequence[EpochRecord], validation: str, chance: float, caption: str = "") -> None:
    """Draw loss and error over the epochs, both on a log scale, and the learning rate.

    `validation` names the validation split in the legends; `chance` is the error of guessing, as a fraction; `caption`
    stands below.
    """
    epochs = [record.epoch for record in records]
    figure = Figure(figsize=(11, 4.2), dpi=100, layout="constrained")
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
        use_log_scale(axes)
        axes.legend()
    for axes in (loss, error, rate):
        use_epoch_axis(axes)
        axes.grid(alpha=0.3)
    _add_caption(figure, caption)
    save_figure(figure, path)


def draw_distorted(path: Path, originals: "Tensor", distorted: "Tensor", caption: str = "") -> None:
    """Draw training images and distorted copies, all uint8: `originals` (C, 1, 28, 28) in the top row, `distorted`
    (R, C, 1, 28, 28) in the R rows below; `caption` stands below the title.
    """
    rows, columns = distorted.shape[:2]
    images = np.concatenate([originals.unsqueeze(0).numpy(), distorted.numpy()])[:, :, 0]
    height = 0.8 * (rows + 1) + 0.7
    figure = Figure(figsize=(max(0.8 * columns, 5.6), height), dpi=100)
    title = "Training images (top row) and their distorted copies"
    figure.suptitle(title, fontsize=11, y=1 - 0.2 / height, va="center")
    _add_caption(figure, caption, y=1 - 0.48 / height)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.7 / height)
    for position, image in enumerate(images.reshape(-1, *images.shape[2:]), start=1):
        axes = figure.add_subplot(rows + 1, columns, position)
        axes.imshow(255 - image, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
    save_figure(figure, path)


def draw_predictions(path: Path, images: Sequence["Tensor"], predictions: Sequence[str], names: Sequence[str]) -> None:
    """Draw prepared images (1, 28, 28) uint8 as a network saw them; above each is its prediction, below it its name.

    Of more than 100, the first 100.
    """
    count = min(len(images), COLUMNS * COLUMNS)
    columns = min(count, COLUMNS)
    rows = math.ceil(count / columns)
    height = 0.5 + IMAGE_INCHES * 1.25 * rows
    figure = Figure(figsize=(max(5.0, 1.15 * columns), height), dpi=100)
    title = "What the network saw" + (f": the first {count} of {len(images):,}" if count < len(images) else "")
    figure.suptitle(title, fontsize=11, y=1 - 0.2 / height, va="center")
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.2 / height, top=1 - 0.65 / height, hspace=0.5, wspace=0.12)
    for position in range(count):
        axes = figure.add_subplot(rows, columns, position + 1)
        axes.imshow(images[position][0].numpy(), cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        axes.text(0.5, 1.03, as_label(predictions[position], 16), fontsize=9, ha="center", transform=axes.transAxes)
        name = as_label(names[position], 18)
        axes.text(0.5, -0.04, name, fontsize=6, color="0.35", ha="center", va="top", transform=axes.transAxes)
    save_figure(figure, path)


def use_epoch_axis(axes: Axes) -> None:
    """Label the horizontal axis with whole epochs; for a single one, it is wide enough that there are no fractions."""
    low, high = axes.dataLim.intervalx
    if high - low < 1:
        axes.set_xlim(low - 0.5, high + 0.5)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def use_log_scale(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with labels at 1, 2 and 5 of each decade, without exponents."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def save_figure(figure: Figure, path: Path) -> None:
    """Write `figure` in the format of the path's suffix, atomically. Raises OSError."""
    for text in figure.findobj(Text):
        if not text.get_text().isascii():
            text.set_fontfamily(_available_fonts())
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower())
    write_atomically(path, content.getvalue())
