"""The picture of a comparison: axes, lines, colours and legends, read from matplotlib's figure."""

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from digitnet.report import comparison_plot
from digitnet.report.comparison_plot import draw_comparison
from digitnet.report.curves import Curve, CurveSet
from pictures import count_pixels, pixels

pytestmark = pytest.mark.slow


def compared(
    monkeypatch: pytest.MonkeyPatch, curves: list[Curve], swept: str | None = "optimizer.lr", is_log: bool = False
) -> Figure:
    """The figure that `draw_comparison` saves, laid out."""
    drawn: list[Figure] = []
    monkeypatch.setattr(comparison_plot, "save_figure", lambda figure, _: drawn.append(figure))
    draw_comparison(Path("unused.png"), CurveSet(curves, swept, "Test error", is_log=is_log))
    (figure,) = drawn
    figure.draw_without_rendering()
    return figure


def labels(figure: Figure) -> list[str]:
    """The labels of the one legend, which is beside the axes: it covers nothing."""
    (legend,) = figure.legends
    assert all(axes.get_legend() is None for axes in figure.axes)
    assert all(axes.get_window_extent().x1 <= legend.get_window_extent().x0 for axes in figure.axes)
    return [text.get_text() for text in legend.get_texts()]


def ticks(axes: Axes) -> list[str]:
    low, high = axes.get_xlim()
    return [t.get_text() for t in axes.get_xticklabels() if low <= t.get_position()[0] <= high and t.get_text()]


def rates(*values: float) -> list[Curve]:
    return [
        Curve(f"lr {value:g}", [[0.5, 0.9], [0.5, 0.8]], final=[0.98, 0.9 + n / 100], swept_value=value)
        for n, value in enumerate(values)
    ]


def test_epoch_axes_have_runs_and_means_and_value_axes_have_standard_deviations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figure = compared(monkeypatch, rates(0.01, 0.1, 1))
    left, right = figure.axes
    assert labels(figure) == ["lr 0.01 (n=2)", "lr 0.1 (n=2)", "lr 1 (n=2)"]
    assert (left.get_title(), left.get_xlabel()) == ("Validation error (%), runs and their mean", "epoch")
    assert right.get_title() == "Test error (%), runs, mean and standard deviation"
    assert (right.get_xlabel(), right.get_xscale(), ticks(right)) == ("optimizer.lr", "log", ["0.01", "0.1", "1"])
    mean, runs = left.lines[:2]
    assert list(mean.get_ydata()) == pytest.approx([50, 15])  # mean of 10 and 20 %
    assert list(runs.get_xdata()) == pytest.approx([1, 2, math.nan, 1, 2, math.nan], nan_ok=True)
    assert list(runs.get_ydata()) == pytest.approx([50, 10, math.nan, 50, 20, math.nan], nan_ok=True)
    assert mean.get_linewidth() > runs.get_linewidth()
    means = next(line for line in right.lines if len(line.get_xdata()) == 3)
    assert list(means.get_xdata()) == [0.01, 0.1, 1]
    assert list(means.get_ydata()) == pytest.approx([6, 5.5, 5])  # means of 2 and 10, 9, 8 %
    (bar, *_) = [segment for bars in right.collections for segment in bars.get_segments()]
    assert bar[:, 1].tolist() == pytest.approx([6 - 32**0.5, 6 + 32**0.5])  # the root of (4² + 4²) / 1


def test_line_of_means_is_sorted_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    _, right = compared(monkeypatch, rates(1, 0.01, 0.1)).axes
    assert list(next(line for line in right.lines if len(line.get_xdata()) == 3).get_xdata()) == [0.01, 0.1, 1]


def test_without_a_swept_setting_there_are_epoch_axes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = compared(monkeypatch, [Curve("run-1", [[0.5, 0.9]])], swept=None)
    (axes,) = figure.axes
    assert labels(figure) == ["run-1"]
    assert axes.get_title() == "Validation error (%)"


@pytest.mark.parametrize(
    ("values", "scale"),
    [((1.0, 9.0), "linear"), ((1.0, 10.0), "log"), ((0.0, 10.0), "linear"), ((-1.0, 10.0), "linear")],
)
def test_value_axis_is_logarithmic_from_a_factor_of_ten(
    monkeypatch: pytest.MonkeyPatch, values: tuple[float, float], scale: str
) -> None:
    _, right = compared(monkeypatch, rates(*values)).axes
    assert right.get_xscale() == scale
    assert ticks(right) == [f"{value:g}" for value in values]


def test_value_axis_is_logarithmic_where_the_search_was(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compared(monkeypatch, rates(1.0, 9.0), is_log=True).axes[1].get_xscale() == "log"
    assert compared(monkeypatch, rates(0.0, 9.0), is_log=True).axes[1].get_xscale() == "linear"


def test_error_bars_end_within_the_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [
        Curve(f"lr {lr}", [[0.5]], final=final, swept_value=lr) for lr, final in ((1.0, [0.1, 0.97]), (2.0, [0.9]))
    ]
    right = compared(monkeypatch, curves).axes[1]
    (bar,) = [segment for bars in right.collections for segment in bars.get_segments()]
    assert bar[:, 1].tolist() == [0, 100]  # 46.5 ± 61.5 %
    assert right.get_ylim()[1] <= 110


def test_values_too_close_for_labels_have_round_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    _, right = compared(monkeypatch, rates(0.01, 0.0101, 0.0102, 1)).axes
    assert {"0.01", "0.1", "1"} <= set(ticks(right))
    assert "0.0101" not in ticks(right)


def test_values_with_long_labels_have_round_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    right = compared(monkeypatch, rates(*(10 ** (-n / 5) for n in range(11)))).axes[1]
    assert ticks(right) == ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]


@pytest.mark.parametrize(
    ("accuracies", "scale"), [([0.5, 0.95], "log"), ([0.9, 0.95], "linear"), ([0.5, 1.0], "linear")]
)
def test_error_axis_is_logarithmic_from_a_factor_of_five(
    monkeypatch: pytest.MonkeyPatch, accuracies: list[float], scale: str
) -> None:
    curves = [
        Curve(f"{n}", [accuracies], final=[accuracy], swept_value=n) for n, accuracy in enumerate(accuracies, start=1)
    ]
    for axes in compared(monkeypatch, curves).axes:
        assert axes.get_yscale() == scale
        assert axes.get_ylim()[0] >= 0
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert not any(line.get_clip_on() for line in points)  # a point on the edge, with no errors, is drawn whole


def test_error_axis_ends_at_100_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [Curve(f"{value}", [[0.5]], final=[0.02, 0.6], swept_value=value) for value in (1, 2)]  # 69 ± 41 %
    assert compared(monkeypatch, curves).axes[1].get_ylim()[1] == 100


@pytest.mark.parametrize(("epochs", "marker"), [(30, "o"), (31, "")])
def test_short_curve_has_markers(monkeypatch: pytest.MonkeyPatch, epochs: int, marker: str) -> None:
    (axes,) = compared(monkeypatch, [Curve("a", [[0.5] * epochs])], swept=None).axes
    assert axes.lines[0].get_marker() == marker


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_epochs_are_whole_numbers(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    (axes,) = compared(monkeypatch, [Curve("a", [[0.5] * epochs])], swept=None).axes
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == list(range(1, epochs + 1))


def test_words_are_one_unit_apart_without_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [
        Curve(f"optimizer {word}", [[0.5, 0.9]], final=[0.9], swept_value=word) for word in ("sgd", "adam", "null")
    ]
    _, right = compared(monkeypatch, curves, swept="optimizer").axes
    assert ticks(right) == ["sgd", "adam", "null"]
    assert right.get_title() == "Test error (%)"  # one run each: no mean
    assert [line.get_xdata()[0] for line in right.lines] == [0, 1, 2]
    assert all(len(line.get_xdata()) == 1 for line in right.lines)  # no line between words


def test_numbers_among_words_are_treated_as_words(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [Curve(f"{value}", [[0.5]], final=[0.9], swept_value=value) for value in (5000, "test")]
    assert ticks(compared(monkeypatch, curves).axes[1]) == ["5000", "test"]
    figure = compared(monkeypatch, [*rates(*range(1, 11)), *curves])
    assert len(figure.axes) == 2  # no colour scale
    assert ticks(figure.axes[1])[-2:] == ["5000", "test"]


def test_long_words_lose_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [Curve(f"{n}", [[0.5]], final=[0.9], swept_value=f"outputs/2026-01-31/12-00-00-{n}") for n in range(3)]
    assert ticks(compared(monkeypatch, curves).axes[1]) == [f"…s/2026-01-31/12-00-00-{n}" for n in range(3)]


@pytest.mark.parametrize(("count", "rotation"), [(2, 0), (20, 90)])
def test_many_words_are_rotated(monkeypatch: pytest.MonkeyPatch, count: int, rotation: int) -> None:
    curves = [Curve(f"{n}", [[0.5]], final=[0.9], swept_value=f"word {n}") for n in range(count)]
    _, right = compared(monkeypatch, curves).axes
    assert {label.get_rotation() for label in right.get_xticklabels()} == {rotation}


def test_more_series_than_palette_colours_have_a_colour_per_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [
        Curve(f"{n} {word}", [[0.5]], final=[0.9], swept_value=word, series=f"{n}")
        for n in range(11)
        for word in ("a", "b")
    ]
    left, _ = compared(monkeypatch, curves).axes
    assert len({(str(line.get_color()), str(line.get_marker())) for line in left.lines}) == 22


def test_each_series_has_a_line_and_a_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [
        Curve(f"lr {lr}, batch_size {size}", [[0.5]], final=[0.9], swept_value=lr, series=f"batch_size {size}")
        for size in (32, 128)
        for lr in (0.1, 1.0)
    ]
    figure = compared(monkeypatch, curves)
    left, right = figure.axes
    assert labels(figure) == [curve.label for curve in curves]
    lines = [line for line in right.lines if len(line.get_xdata()) == 2]
    assert len(lines) == 2
    assert lines[0].get_color() != lines[1].get_color()
    assert len({str(line.get_color()) for line in left.lines}) == 4
    assert left.lines[1].get_color() == lines[0].get_color() == pytest.approx((0x1F / 255, 0x77 / 255, 0xB4 / 255))


def test_unfinished_runs_are_dashed_and_in_no_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [
        Curve(
            "lr 1",
            [[0.5, 0.8], [0.5, 0.6, 0.9], []],
            unfinished=[[0.1], []],
            final=[0.8, 0.9],
            failures=1,
            swept_value=1.0,
        ),
        Curve("lr 10", [], unfinished=[[0.2, 0.1]], failures=1, swept_value=10.0),
        Curve("lr 100", [], swept_value=100.0),
    ]
    figure = compared(monkeypatch, curves)
    left, right = figure.axes
    assert labels(figure) == ["lr 1 (n=2 to 1)", "lr 10", "diverged or failed"]
    assert [line.get_linestyle() for line in left.lines] == ["-", "-", "--", "--"]
    assert list(left.lines[0].get_ydata()) == pytest.approx([50, 30, 10])  # to the end of the longest run
    assert np.nanmax(left.lines[1].get_xdata()) == 3
    assert [line.get_xdata()[0] for line in right.lines if line.get_marker() == "x"] == [1.0, 10.0]


def test_long_legend_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = [Curve(f"run {n}", [[0.5, 0.9]]) for n in range(25)]
    figure = compared(monkeypatch, curves, swept=None)
    assert labels(figure) == [*(f"run {n}" for n in range(20)), "and 5 more"]
    assert len({(str(line.get_color()), str(line.get_marker())) for line in figure.axes[0].lines}) == 25


@pytest.mark.parametrize("series", ["one", "many"])
def test_many_values_have_a_colour_scale(monkeypatch: pytest.MonkeyPatch, series: str) -> None:
    curves = [
        Curve(f"{n}", [[0.5]], final=[0.9], swept_value=10 ** (n / 10), series=f"{n}" if series == "many" else "")
        for n in range(30)
    ]
    figure = compared(monkeypatch, [*curves, Curve("without", [[0.5]], final=[0.9])])
    left, right, bar = figure.axes
    assert (bar.get_title(), bar.get_yscale()) == ("optimizer.lr", "log")
    assert not figure.legends
    assert all(len(line.get_xdata()) == 1 for line in right.lines)
    assert len(right.lines) == 30
    assert left.lines[-1].get_color() == "0.6"


def test_size_and_colours_of_the_png(tmp_path: Path) -> None:
    draw_comparison(tmp_path / "both.png", CurveSet(rates(0.01, 0.1, 1), "optimizer.lr", "Test error"))
    draw_comparison(tmp_path / "one.png", CurveSet(rates(0.01), None, "Test error"))
    assert pixels(tmp_path / "both.png").shape == (480, 1300, 3)
    assert pixels(tmp_path / "one.png").shape == (480, 850, 3)
    for colour in ((0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E), (0x2C, 0xA0, 0x2C)):
        assert count_pixels(pixels(tmp_path / "both.png"), colour) > 100
