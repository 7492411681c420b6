"""The pictures of a run: size, colours, long names."""

from pathlib import Path

import pytest
import torch

from digitnet.data import load_digits
from digitnet.report import plots
from digitnet.training.record import EpochRecord
from pictures import count_pixels, pixels

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("wrong", "height"), [(0, 160), (3, 160), (25, 360), (150, 1060)])
def test_misclassified_shows_truth_in_blue_and_prediction_in_red(tmp_path: Path, wrong: int, height: int) -> None:
    test = load_digits(enlarge_to=1437).test
    predicted = test.labels.clone()
    predicted[:wrong] = (predicted[:wrong] + 1) % 10
    plots.draw_misclassified(tmp_path / "m.png", test.images, test.labels, predicted, list("0123456789"))
    picture = pixels(tmp_path / "m.png")
    assert picture.shape == (height, 1000, 3)
    blue, red, black = (count_pixels(picture[35:], colour) for colour in ((0, 0, 255), (255, 0, 0), (0, 0, 0)))
    shown = min(wrong, 100)
    assert min(blue, red, black) >= 10 * shown
    assert shown or blue == red == black == 0


def test_misclassified_with_long_class_names(tmp_path: Path) -> None:
    test = load_digits(enlarge_to=1437).test
    names = [f"a long name {n}" for n in range(10)]
    plots.draw_misclassified(tmp_path / "m.png", test.images, test.labels, (test.labels + 1) % 10, names)
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
    assert pixels(tmp_path / "c.png").shape == (400, 1100, 3)


def test_distorted_has_a_row_per_draw(tmp_path: Path) -> None:
    images = load_digits(enlarge_to=1437).test.images[:10]
    plots.draw_distorted(tmp_path / "d.png", images, images.expand(9, 10, 1, 28, 28))
    assert pixels(tmp_path / "d.png").shape == (850, 800, 3)
