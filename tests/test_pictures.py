"""The pictures: drawn, of the right size, and with the notebook's colours. (People look at them too.)"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from digitnet.data import load_digits
from digitnet.report import plots
from digitnet.report.plots import Curve
from digitnet.training.record import EpochRecord


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture - colour).sum(2) < 60).sum())


@pytest.mark.parametrize(("wrong", "height"), [(0, 160), (3, 160), (25, 360), (150, 1060)])
def test_misclassified(tmp_path: Path, wrong: int, height: int) -> None:
    test = load_digits(enlarge_to=1437).test
    predicted = test.labels.clone()
    predicted[:wrong] = (predicted[:wrong] + 1) % 10
    plots.draw_misclassified(tmp_path / "m.png", test.images, test.labels, predicted, list("0123456789"))
    picture = pixels(tmp_path / "m.png")
    assert picture.shape == (height, 1000, 3)
    blue, red, black = (count(picture[35:], colour) for colour in ((0, 0, 255), (255, 0, 0), (0, 0, 0)))
    shown = min(wrong, 100)
    assert min(blue, red, black) >= 10 * shown
    assert shown or blue == red == black == 0


def test_misclassified_with_long_names(tmp_path: Path) -> None:
    test = load_digits(enlarge_to=1437).test
    names = [f"a long name {n}" for n in range(10)]
    plots.draw_misclassified(tmp_path / "m.png", test.images, test.labels, (test.labels + 1) % 10, names)
    picture = pixels(tmp_path / "m.png")
    assert min(count(picture, (0, 0, 255)), count(picture, (255, 0, 0))) > 1000


def test_confusion(tmp_path: Path) -> None:
    labels = torch.arange(10).repeat(20)
    predicted = labels.clone()
    predicted[::11] = 3
    plots.draw_confusion(tmp_path / "c.png", labels, predicted, [str(n) for n in range(10)])
    plots.draw_confusion(tmp_path / "right.png", labels, labels, [f"class {n}" for n in range(10)])
    assert pixels(tmp_path / "c.png").shape == (750, 800, 3)
    assert count(pixels(tmp_path / "c.png"), (103, 0, 13)) > 1000  # the darkest red
    assert pixels(tmp_path / "right.png").std() > 5


@pytest.mark.parametrize("epochs", [1, 20])
def test_curves(tmp_path: Path, epochs: int) -> None:
    records = [
        EpochRecord(n, 0.1, 2.3 / n, 1 - 0.9 / n, 2 / n, 1.0 if n == 20 else 1 - 0.8 / n, 5.0, 1e4)
        for n in range(1, epochs + 1)
    ]
    plots.draw_curves(tmp_path / "c.png", records, "test set", chance=0.9)
    assert pixels(tmp_path / "c.png").shape == (400, 1100, 3)


def test_distorted(tmp_path: Path) -> None:
    images = load_digits(enlarge_to=1437).test.images[:10]
    plots.draw_distorted(tmp_path / "d.png", images, images.expand(9, 10, 1, 28, 28))
    assert pixels(tmp_path / "d.png").shape == (850, 800, 3)


def compared(monkeypatch: pytest.MonkeyPatch, curves: list[Curve], swept: str | None = "optimizer.lr") -> Figure:
    """What `draw_comparison` draws, laid out as it will be saved."""
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, _: drawn.append(figure))
    plots.draw_comparison(Path("unused.png"), curves, swept, "Test error")
    (figure,) = drawn
    figure.draw_without_rendering()
    return figure


def labels(owner: Figure | Axes) -> list[str]:
    """Of the legend beside or in the picture."""
    legend = owner.legends[0] if isinstance(owner, Figure) else owner.get_legend()
    return [text.get_text() for text in legend.get_texts()]


def ticks(axes: Axes) -> list[str]:
    low, high = axes.get_xlim()
    return [t.get_text() for t in axes.get_xticklabels() if low <= t.get_position()[0] <= high and t.get_text()]


def rates(*values: float) -> list[Curve]:
    return [
        Curve(f"lr {value:g}", [[0.5, 0.9], [0.5, 0.8]], final=[0.98, 0.9 + n / 100], at=value)
        for n, value in enumerate(values)
    ]


def test_a_comparison_has_curves_and_what_was_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = compared(monkeypatch, rates(0.01, 0.1, 1))
    left, right = figure.axes
    assert labels(figure) == ["lr 0.01", "lr 0.1", "lr 1"]
    assert right.get_legend() is None
    assert (left.get_title(), left.get_xlabel()) == ("Validation error (%), runs and their mean", "epoch")
    assert right.get_title() == "Test error (%), runs, mean and standard deviation"
    assert (right.get_xlabel(), right.get_xscale(), ticks(right)) == ("optimizer.lr", "log", ["0.01", "0.1", "1"])
    mean, runs = left.lines[:2]
    assert list(mean.get_ydata()) == pytest.approx([50, 15])  # of 10 and 20 %
    assert list(runs.get_xdata()) == pytest.approx([1, 2, math.nan, 1, 2, math.nan], nan_ok=True)
    assert list(runs.get_ydata()) == pytest.approx([50, 10, math.nan, 50, 20, math.nan], nan_ok=True)
    assert mean.get_linewidth() > runs.get_linewidth()
    means = next(line for line in right.lines if len(line.get_xdata()) == 3)
    assert list(means.get_xdata()) == [0.01, 0.1, 1]
    assert list(means.get_ydata()) == pytest.approx([6, 5.5, 5])  # of 2 and 10, 9, 8 %
    (bar, *_) = [segment for bars in right.collections for segment in bars.get_segments()]
    assert bar[:, 1].tolist() == pytest.approx([6 - 32**0.5, 6 + 32**0.5])  # the root of (4² + 4²) / 1


def test_the_line_goes_from_value_to_value_in_whatever_order_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    _, right = compared(monkeypatch, rates(1, 0.01, 0.1)).axes
    assert list(next(line for line in right.lines if len(line.get_xdata()) == 3).get_xdata()) == [0.01, 0.1, 1]


def test_without_a_sweep_there_are_curves_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = compared(monkeypatch, [Curve("run-1", [[0.5, 0.9]])], swept=None)
    (axes,) = figure.axes
    assert labels(axes) == ["run-1"]
    assert axes.get_title() == "Validation error (%)"


@pytest.mark.parametrize(
    ("values", "scale"),
    [((1.0, 9.0), "linear"), ((1.0, 10.0), "log"), ((0.0, 10.0), "linear"), ((-1.0, 10.0), "linear")],
)
def test_the_swept_axis_is_logarithmic_from_a_factor_of_ten(
    monkeypatch: pytest.MonkeyPatch, values: tuple[float, float], scale: str
) -> None:
    _, right = compared(monkeypatch, rates(*values)).axes
    assert right.get_xscale() == scale
    assert ticks(right) == [f"{value:g}" for value in values]


def test_values_too_near_for_their_labels_have_round_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    _, right = compared(monkeypatch, rates(0.01, 0.0101, 0.0102, 1)).axes
    assert {"0.01", "0.1", "1"} <= set(ticks(right))
    assert "0.0101" not in ticks(right)


@pytest.mark.parametrize(
    ("accuracies", "scale"), [([0.5, 0.95], "log"), ([0.9, 0.95], "linear"), ([0.5, 1.0], "linear")]
)
def test_errors_of_several_sizes_are_on_a_logarithmic_axis(
    monkeypatch: pytest.MonkeyPatch, accuracies: list[float], scale: str
) -> None:
    curves = [Curve(f"{n}", [accuracies], final=[accuracy], at=n) for n, accuracy in enumerate(accuracies, start=1)]
    for axes in compared(monkeypatch, curves).axes:
        assert axes.get_yscale() == scale
        assert axes.get_ylim()[0] >= 0
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert not any(line.get_clip_on() for line in points)  # one at the edge, of no error, is seen whole


def test_no_error_is_above_a_hundred_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [Curve(f"{at}", [[0.5]], final=[0.02, 0.6], at=at) for at in (1, 2)]  # 69 ± 41 %
    assert compared(monkeypatch, curves).axes[1].get_ylim()[1] == 100


@pytest.mark.parametrize(("epochs", "marker"), [(30, "o"), (31, "")])
def test_a_short_curve_has_its_epochs_marked(monkeypatch: pytest.MonkeyPatch, epochs: int, marker: str) -> None:
    (axes,) = compared(monkeypatch, [Curve("a", [[0.5] * epochs])], swept=None).axes
    assert axes.lines[0].get_marker() == marker


def test_words_stand_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [Curve(f"optimizer {word}", [[0.5, 0.9]], final=[0.9], at=word) for word in ("sgd", "adam", "null")]
    _, right = compared(monkeypatch, curves, swept="optimizer").axes
    assert ticks(right) == ["sgd", "adam", "null"]
    assert right.get_title() == "Test error (%)"  # one run each: there is no mean
    assert [line.get_xdata()[0] for line in right.lines] == [0, 1, 2]
    assert all(len(line.get_xdata()) == 1 for line in right.lines)  # no line from word to word


def test_numbers_among_words_are_words(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [Curve(f"{at}", [[0.5]], final=[0.9], at=at) for at in (5000, "test")]
    assert ticks(compared(monkeypatch, curves).axes[1]) == ["5000", "test"]
    figure = compared(monkeypatch, [*rates(*range(1, 11)), *curves])
    assert len(figure.axes) == 2  # no scale of colours
    assert ticks(figure.axes[1])[-2:] == ["5000", "test"]


def test_long_words_are_cut_at_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [Curve(f"{n}", [[0.5]], final=[0.9], at=f"outputs/2026-01-31/12-00-00-{n}") for n in range(3)]
    assert ticks(compared(monkeypatch, curves).axes[1]) == [f"…s/2026-01-31/12-00-00-{n}" for n in range(3)]


@pytest.mark.parametrize(("count", "rotation"), [(2, 0), (20, 90)])
def test_many_words_stand_upright(monkeypatch: pytest.MonkeyPatch, count: int, rotation: int) -> None:
    curves = [Curve(f"{n}", [[0.5]], final=[0.9], at=f"word {n}") for n in range(count)]
    _, right = compared(monkeypatch, curves).axes
    assert {label.get_rotation() for label in right.get_xticklabels()} == {rotation}


def test_more_series_than_colours_have_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [
        Curve(f"{n} {word}", [[0.5]], final=[0.9], at=word, series=f"{n}") for n in range(11) for word in ("a", "b")
    ]
    left, _ = compared(monkeypatch, curves).axes
    assert len({str(line.get_color()) for line in left.lines}) == 22


def test_each_series_has_a_line_and_a_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [
        Curve(f"lr {lr}, batch_size {size}", [[0.5]], final=[0.9], at=lr, series=f"batch_size {size}")
        for size in (32, 128)
        for lr in (0.1, 1.0)
    ]
    figure = compared(monkeypatch, curves)
    left, right = figure.axes
    assert labels(right) == ["batch_size 32", "batch_size 128"]
    lines = [line for line in right.lines if len(line.get_xdata()) == 2]
    assert len(lines) == 2
    assert lines[0].get_color() != lines[1].get_color()
    assert len({str(line.get_color()) for line in left.lines}) == 4
    assert left.lines[1].get_color() == lines[0].get_color() == pytest.approx((0x1F / 255, 0x77 / 255, 0xB4 / 255))


def test_what_did_not_finish_is_dashed_and_in_no_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [
        Curve("lr 1", [[0.5, 0.8], [0.5, 0.6, 0.9], []], unfinished=[[0.1], []], final=[0.8, 0.9], lost=1, at=1.0),
        Curve("lr 10", [], unfinished=[[0.2, 0.1]], lost=1, at=10.0),
        Curve("lr 100", [], at=100.0),
    ]
    figure = compared(monkeypatch, curves)
    left, right = figure.axes
    assert labels(figure) == ["lr 1", "lr 10"]
    assert [line.get_linestyle() for line in left.lines] == ["-", "-", "--", "--"]
    assert list(left.lines[0].get_ydata()) == pytest.approx([50, 30])  # as far as both go
    assert np.nanmax(left.lines[1].get_xdata()) == 3
    assert labels(right) == ["diverged or failed"]
    assert [line.get_xdata()[0] for line in right.lines if line.get_marker() == "x"] == [1.0, 10.0]


def test_a_legend_ends_where_the_picture_does(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [Curve(f"run {n}", [[0.5, 0.9]]) for n in range(25)]
    figure = compared(monkeypatch, curves, swept=None)
    assert labels(figure) == [*(f"run {n}" for n in range(20)), "and 5 more"]
    assert len({tuple(line.get_color()) for line in figure.axes[0].lines}) == 25


@pytest.mark.parametrize("series", ["one", "many"])
def test_many_values_have_a_scale_of_colours(monkeypatch: pytest.MonkeyPatch, series: str) -> None:
    curves = [
        Curve(f"{n}", [[0.5]], final=[0.9], at=10 ** (n / 10), series=f"{n}" if series == "many" else "")
        for n in range(30)
    ]
    figure = compared(monkeypatch, [*curves, Curve("without", [[0.5]], final=[0.9])])
    left, right, bar = figure.axes
    assert (bar.get_title(), bar.get_yscale()) == ("optimizer.lr", "log")
    assert not figure.legends
    assert all(len(line.get_xdata()) == 1 for line in right.lines)
    assert len(right.lines) == 30
    assert left.lines[-1].get_color() == "0.6"


def test_a_comparison_is_as_large_as_its_parts(tmp_path: Path) -> None:
    plots.draw_comparison(tmp_path / "both.png", rates(0.01, 0.1, 1), "optimizer.lr", "Test error")
    plots.draw_comparison(tmp_path / "one.png", rates(0.01), None, "Test error")
    assert pixels(tmp_path / "both.png").shape == (480, 1300, 3)
    assert pixels(tmp_path / "one.png").shape == (480, 850, 3)
    for colour in ((0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E), (0x2C, 0xA0, 0x2C)):
        assert count(pixels(tmp_path / "both.png"), colour) > 100
