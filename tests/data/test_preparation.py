"""Digits found on pictures: whatever the pen, the paper and the light, as MNIST's images are."""

import io
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from digitnet.data import load_digits, load_idx
from digitnet.data.images import decode_grey
from digitnet.data.ink import is_ink_dark
from digitnet.data.preparation import NOTHING, find_digits, fit_digit, largest, prepared_digit
from drawing import KINDS, SHAPES, draw_ink, drawn_pictures

PEN_AND_PLACE = ((40, 40, 200), 16)


def drawing(digit: int = 5, size: tuple[int, int] = (300, 280), way: int = 0) -> np.ndarray:
    """Black ink on white."""
    return (255 - 255 * draw_ink(SHAPES[digit][way], size, *PEN_AND_PLACE)).astype(np.uint8)


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format, **options)
    return content.getvalue()


def centre(image: torch.Tensor) -> tuple[float, float]:
    """(across, down) of the mass, in pixels from the edge."""
    masses = image[0].double()
    places = torch.arange(28) + 0.5
    return float((masses.sum(0) * places).sum() / masses.sum()), float((masses.sum(1) * places).sum() / masses.sum())


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The mean absolute difference of the grey levels; of two different digits it is about 40."""
    return (one.float() - other.float()).abs().mean().item()


def box_of(image: torch.Tensor) -> tuple[int, int]:
    """(height, width) of the ink."""
    ink = image[0] > 25
    return int(ink.any(1).sum()), int(ink.any(0).sum())


def test_digit_fits_into_20_pixels_with_its_centre_of_mass_in_the_middle() -> None:
    ink = np.zeros((300, 200), np.float32)
    ink[50:150, 20:60] = 1  # 100 high, 40 wide
    image = fit_digit(ink)
    assert (image.shape, image.dtype) == ((1, 28, 28), torch.uint8)
    assert box_of(image) == (20, 8)
    assert all(abs(place - 14.5) <= 0.5 for place in centre(image))
    triangle = np.tril(np.ones((80, 80), np.float32))
    assert box_of(fit_digit(triangle))[0] == 20
    assert all(abs(place - 14.5) <= 0.5 for place in centre(fit_digit(triangle)))
    with pytest.raises(ValueError, match="has no ink"):
        fit_digit(np.zeros((9, 9), np.float32))


def test_wide_and_tiny_digits_stay_inside() -> None:
    for shape in ((1, 1), (1, 500), (500, 1), (3, 7)):
        image = fit_digit(np.ones(shape, np.float32))
        assert max(box_of(image)) == 20
    lopsided = np.zeros((100, 100), np.float32)
    lopsided[:, :5] = 1
    lopsided[90:] = 0.3
    assert box_of(fit_digit(lopsided)) == (20, 20)


@pytest.mark.mnist
def test_images_of_mnist_are_nearly_unchanged(real_mnist: Path) -> None:
    images = load_idx("mnist", str(real_mnist), download=False).test.images[:1000]
    again = torch.stack([fit_digit(image[0].numpy() / 255) for image in images])
    differences = (again.float() - images.float()).abs().amax((1, 2, 3))
    assert (differences == 0).double().mean() > 0.7  # to the last bit: it is how they were made
    found = [find_digits(image[0].numpy()) for image in images[:200]]
    assert [len(digits) for digits in found] == [1] * 200
    mean = np.mean([difference(digits[0].image, image) for digits, image in zip(found, images, strict=False)])
    assert mean < 12


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_shows_the_same_digits(kind: str) -> None:
    for name, digit, picture in drawn_pictures():
        if name != kind:
            continue
        (found,) = find_digits(picture)
        assert max(box_of(found.image)) == 20
        plain = min(difference(found.image, find_digits(drawing(digit, way=way))[0].image) for way in (0, 1))
        assert plain < 30, (kind, digit)


def test_polarity_of_every_picture_is_found() -> None:
    light = {"white on black", "blackboard", "28 pixels"}
    for kind, digit, picture in drawn_pictures(seed=1):
        assert is_ink_dark(picture) == (kind not in light), (kind, digit)


def test_given_polarity_takes_precedence() -> None:
    picture = drawing(0)
    inside = find_digits(picture, "light")  # what is enclosed by the ring
    assert difference(find_digits(picture)[0].image, find_digits(picture, "dark")[0].image) == 0
    assert not inside or difference(inside[0].image, find_digits(picture, "dark")[0].image) > 20
    assert difference(find_digits(255 - picture, "light")[0].image, find_digits(picture)[0].image) == 0


def test_nothing_is_found_on_empty_pages() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(200, 6, (600, 400)).clip(0, 255).astype(np.uint8)
    slope = np.linspace(90, 240, 500)[:, None].repeat(300, 1).astype(np.uint8)
    for page in (np.full((50, 80), 255, np.uint8), np.zeros((1, 1), np.uint8), noise, slope):
        assert find_digits(page) == []
    with pytest.raises(ValueError, match=NOTHING):
        prepared_digit(encoded(Image.new("L", (100, 100), 200)))


def test_specks_and_the_edge_of_a_table_are_dropped() -> None:
    picture = drawing(3)
    clean = find_digits(picture)[0].image
    dirty = picture.copy()
    for top, left in ((10, 10), (12, 200), (250, 40), (140, 270)):
        dirty[top : top + 3, left : left + 3] = 60
    dirty[:, :8] = 20  # the table
    dirty[270:, :] = 20
    (found,) = find_digits(dirty)
    assert difference(found.image, clean) < 2


def test_black_line_across_the_page_does_not_hide_a_pencil() -> None:
    picture = (240 - 50 * draw_ink(SHAPES[7][0], (300, 280), *PEN_AND_PLACE)).astype(np.uint8)
    clean = find_digits(picture)[0].image
    picture[262:270] = 0
    (found,) = find_digits(picture)
    assert difference(found.image, clean) < 4


def test_box_around_a_digit_is_dropped() -> None:
    for digit in SHAPES:
        picture = drawing(digit)
        clean = find_digits(picture)[0].image
        picture[20:24, 20:270] = picture[266:270, 20:270] = 40
        picture[20:270, 20:24] = picture[20:270, 266:270] = 40
        (found,) = find_digits(picture)
        assert difference(found.image, clean) < 4, digit


def test_sheet_on_a_dark_table_is_paper() -> None:
    for digit in SHAPES:
        ink = draw_ink(SHAPES[digit][0], (600, 600), (180, 120, 350), 22)
        table = np.full((600, 600), 60.0)
        table[50:560, 60:540] = 225
        (found,) = find_digits((table * (1 - 0.8 * ink)).astype(np.uint8))
        assert difference(found.image, find_digits((225 * (1 - 0.8 * ink)).astype(np.uint8))[0].image) < 4, digit


def test_digit_that_touches_the_edge_is_kept() -> None:
    picture = drawing(8)
    ink = picture < 128
    rows, columns = ink.any(1).nonzero()[0], ink.any(0).nonzero()[0]
    cut = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    (found,) = find_digits(cut)
    assert difference(found.image, find_digits(picture)[0].image) < 12


def test_several_digits_are_found_from_left_to_right() -> None:
    numbers = [7, 0, 4]
    row = np.concatenate([drawing(number, (200, 280)) for number in numbers], 1)
    found = find_digits(row)
    assert len(found) == 3
    assert [digit.left for digit in found] == sorted(digit.left for digit in found)
    for digit, number in zip(found, numbers, strict=True):
        assert difference(digit.image, find_digits(drawing(number))[0].image) < 6
    assert largest(found) is max(found, key=lambda digit: digit.height * (digit.right - digit.left))


def test_pieces_of_one_digit_stay_together() -> None:
    bar, rest = SHAPES[5][1][1], SHAPES[5][1][0]
    apart = [[(x, y - 0.08) for x, y in bar], rest]  # the bar of the 5 does not touch it
    picture = (255 - 255 * draw_ink(apart, (300, 300), (40, 60, 180), 8)).astype(np.uint8)
    (found,) = find_digits(picture)
    assert box_of(found.image)[0] == 20
    assert found.top < 0.2


def test_thin_strokes_are_as_wide_as_those_of_mnist() -> None:
    thin, usual = (
        find_digits((255 - 255 * draw_ink(SHAPES[2][0], (500, 500), (100, 60, 380), pen)).astype(np.uint8))[0].image
        for pen in (3, 42)
    )
    assert float(thin.double().mean()) > 0.6 * float(usual.double().mean())


def test_embedded_digits_are_as_they_are() -> None:
    images = load_digits(enlarge_to=1437).test.images[:50]
    for image in images:
        (found,) = find_digits(image[0].numpy())
        assert difference(found.image, fit_digit(image[0].numpy() / 255)) < 20


def test_every_format_of_a_file_is_read_alike() -> None:
    grey = Image.fromarray(drawing(5))
    expected = prepared_digit(encoded(grey))
    alpha = Image.new("RGBA", grey.size, (0, 0, 0, 0))  # black ink on nothing
    alpha.putalpha(Image.fromarray(255 - np.asarray(grey)))
    white = Image.new("RGBA", grey.size, (255, 255, 255, 0))
    white.putalpha(Image.fromarray(255 - np.asarray(grey)))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    contents = {
        "transparent": encoded(alpha),
        "white ink on nothing": encoded(white),
        "16 bits": encoded(deep),
        "palette": encoded(grey.convert("P")),
        "two colours": encoded(grey.convert("1")),
        "colours": encoded(grey.convert("RGB"), "JPEG", quality=95),
        "turned": encoded(grey.rotate(90, expand=True), "JPEG", quality=95, exif=exif),
        "tiff": encoded(grey, "TIFF"),
    }
    found = {name: difference(prepared_digit(content), expected) for name, content in contents.items()}
    assert max(found.values()) < 3, found


def test_picture_is_reduced_while_it_is_read() -> None:
    grey = decode_grey(encoded(Image.new("L", (65_535, 300), 255)), 800)
    assert grey.shape == (4, 800)
    with pytest.raises(ValueError, match="too large when unpacked: more than 67,108,864 pixels"):
        decode_grey(encoded(Image.new("1", (65_535, 1100))), 800)


def test_every_digit_and_kind_is_drawn() -> None:
    drawn = defaultdict(set)
    for kind, digit, picture in drawn_pictures():
        assert picture.dtype == np.uint8
        drawn[kind].add(digit)
    assert len(drawn) >= 8
    assert all(digits == set(range(10)) for digits in drawn.values())
