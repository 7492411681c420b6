"""The pictures of a run: size, colours, long names."""

from pathlib import Path

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from digitnet.data import load_digits
from digitnet.report import plots
from digitnet.training.record import EpochRecord
from pictures import count_pixels, pixels

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("wrong", "height"), [(0, 205), (3, 205), (25, 445), (150, 1285)])
def test_misclassified_shows_truth_in_blue_and_prediction_in_red(tmp_path: Path, wrong: int, height: int) -> None:
    test = load_digits(enlarge_to=1437).test
    predicted = test.labels.clone()
    predicted[:wrong] = (predicted[:wrong] + 1) % 10
    sure = torch.ones(len(predicted))
    plots.draw_misclassified(tmp_path / "m.png", test.images, test.labels, predicted, sure, list("0123456789"))
    picture = pixels(tmp_path / "m.png")
    assert picture.shape == (height, 1000, 3)
    blue, red, black = (count_pixels(picture[35:], colour) for colour in ((0, 0, 255), (255, 0, 0), (0, 0, 0)))
    shown = min(wrong, 100)
    assert min(blue, red, black) >= 10 * shown
    assert shown or blue == red == black == 0


def test_misclassified_with_long_class_names(tmp_path: Path) -> None:
    test = load_digits(enlarge_to=1437).test
    names = [f"a long name {n}" for n in range(10)]
    sure = torch.ones(len(test.labels))
    plots.draw_misclassified(tmp_path / "m.png", test.images, test.labels, (test.labels + 1) % 10, sure, names)
    picture = pixels(tmp_path / "m.png")
    assert min(count_pixels(picture, (0, 0, 255)), count_pixels(picture, (255, 0, 0))) > 1000


def test_confusion_is_darkest_at_the_most_frequent_error(tmp_path: Path) -> None:
    labels = torch.arange(10).repeat(20)
    predicted = labels.clone()
    predicted[::11] = 3
    plots.draw_confusion(tmp_path / "c.png", labels, predicted, [str(n) for n in range(10)])
    plots.draw_confusion(tmp_path / "right.png", labels, labels, [f"class {n}" for n in range(10)])
    assert pixels(tmp_path / "c.png").shape == (750, 800, 3)
    assert count_pixels(pixels(tmp_path / "c.png"), (103, 0, 13)) > 1000  # the darkest red
    assert pixels(tmp_path / "right.png").std() > 5


@pytest.mark.parametrize("epochs", [1, 20])
def test_curves_of_one_and_of_many_epochs(tmp_path: Path, epochs: int) -> None:
    records = [
        EpochRecord(n, 0.1, 2.3 / n, 1 - 0.9 / n, 2 / n, 1.0 if n == 20 else 1 - 0.8 / n, 5.0, 1e4)
        for n in range(1, epochs + 1)
    ]
    plots.draw_curves(tmp_path / "c.png", records, "test set", chance=0.9)
    assert pixels(tmp_path / "c.png").shape == (420, 1100, 3)


def test_distorted_has_a_row_per_draw(tmp_path: Path) -> None:
    images = load_digits(enlarge_to=1437).test.images[:10]
    plots.draw_distorted(tmp_path / "d.png", images, images.expand(9, 10, 1, 28, 28))
    assert pixels(tmp_path / "d.png").shape == (870, 800, 3)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn, instead of files."""
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, _: drawn.append(figure))
    return drawn


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_hardest_misclassified_images_are_first_with_index_and_confidence(figures: list[Figure]) -> None:
    images, labels = torch.zeros(5, 1, 28, 28, dtype=torch.uint8), torch.tensor([7, 1, 2, 3, 4])
    predicted, confidence = torch.tensor([2, 1, 5, 3, 9]), torch.tensor([0.5, 1.0, 0.91, 1.0, 0.7])
    plots.draw_misclassified(Path("m.png"), images, labels, predicted, confidence, list("0123456789"), "lenet5 on x")
    below = ["2", "→", "5", "2   91 %", "4", "→", "9", "4   70 %", "7", "→", "2", "0   50 %"]
    title = "3 of 5 test images misclassified (blue: true, red: predicted)"
    assert texts(figures[0]) == [*below, title, "lenet5 on x; below each image: index and confidence"]


def test_confusion_has_the_accuracy_of_each_class_and_a_caption(figures: list[Figure]) -> None:
    labels, predicted = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 1, 1])
    plots.draw_confusion(Path("c.png"), labels, predicted, ["no", "yes", "never"], "lenet5 on x")
    found = texts(figures[0])
    assert [text for text in found if text.endswith(" %")] == ["66.7 %", "100.0 %"]  # of "never" there is none
    assert "lenet5 on x" in found


def test_axes_of_short_runs_have_ticks(figures: list[Figure]) -> None:
    for losses in ([0.31], [0.31, 0.28], [2.3, 0.3, 0.1]):
        records = [
            EpochRecord(n, 0.1, loss, 1 - loss / 9, loss, 1 - loss / 8, 5.0, 1e4) for n, loss in enumerate(losses, 1)
        ]
        plots.draw_curves(Path("c.png"), records, "test set", chance=0.9, caption="why")
        figure = figures.pop()
        FigureCanvasAgg(figure).draw()
        for axes in figure.axes:
            low, high = sorted(axes.get_ylim())
            assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 2
            first, last = axes.get_xlim()
            epochs = [tick for tick in axes.get_xticks() if first <= tick <= last]
            assert epochs == list(range(1, len(losses) + 1))
        assert "why" in texts(figure)
