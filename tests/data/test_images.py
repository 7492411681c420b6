"""Decoding image files: orientation, grey levels, transparency, proportions."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from digitnet.data.images import decode_image


def decoded(image: Image.Image, invert: bool, **options: object) -> np.ndarray:
    """`decode_image` of `image` as a PNG, (28, 28)."""
    content = io.BytesIO()
    image.save(content, "PNG", **options)
    both = decode_image(content.getvalue())
    values = both.inverted if invert else both.plain
    assert values.shape == (1, 28, 28)
    assert values.dtype == torch.uint8
    return values[0].numpy()


@pytest.mark.parametrize("invert", [True, False])
def test_transparent_pixels_become_background(invert: bool) -> None:
    image = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255) if invert else (255, 255, 255, 255), (10, 4, 14, 24))
    ink = decoded(image, invert)
    assert (ink[4:24, 10:14] == 255).all()
    assert ink.sum() == 255 * 80


@pytest.mark.parametrize("ink", [0, 255])
def test_ink_on_a_transparent_ground_says_itself_whether_it_is_dark(ink: int) -> None:
    image = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    image.paste((ink, ink, ink, 255), (40, 20, 50, 80))
    content = io.BytesIO()
    image.save(content, "PNG")
    both = decode_image(content.getvalue())
    assert both.is_transparent
    assert both.is_dark_ink == (ink == 0)
    visible = both.inverted if both.is_dark_ink else both.plain
    assert visible.max() == 255
    assert visible[0, 0, 0] == 0


def saved(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, "TIFF")
    return content.getvalue()


@pytest.mark.parametrize(
    ("kind", "top"),
    [
        *((np.uint16, top) for top in (1, 255, 1023, 4095, 16383, 65535)),
        *((np.int32, top) for top in (255, 4095, 65535, 2**31 - 1)),
        *((np.float32, top) for top in (1, 255, 65535)),
    ],
)
def test_range_of_grey_levels_is_found(kind: type, top: int) -> None:
    values = np.zeros((28, 28), kind)
    values[4:24, 10:14] = top
    image = decode_image(saved(values)).plain[0]
    assert (image[4:24, 10:14] >= 254).all()
    assert int((image > 0).sum()) == 80


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "has numbers that are not finite"),
        (float("inf"), "has numbers that are not finite"),
        (-1.0, "has negative numbers, -1 to 0; save it with values from 0 to 1"),
        (1e12, "has numbers up to 1e+12; save it with values from 0 to 1"),
    ],
)
def test_grey_levels_without_a_range_are_refused(value: float, message: str) -> None:
    values = np.zeros((28, 28), np.float32)
    values[3, 3] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        decode_image(saved(values))


def test_photograph_of_48_megapixels_is_read_at_a_reduced_size() -> None:
    content = io.BytesIO()
    image = Image.new("L", (8000, 6000), 255)
    image.paste(0, (3000, 1000, 5000, 5000))
    image.save(content, "JPEG")
    both = decode_image(content.getvalue())
    assert both.is_dark_ink
    assert 255 * 28 * 28 * 0.1 < int(both.inverted.sum()) < 255 * 28 * 28 * 0.2


def test_sixteen_bits_are_scaled_to_eight() -> None:
    picture = np.zeros((28, 28), np.uint16)
    picture[4:24, 10:14] = 30000
    ink = decoded(Image.fromarray(picture), invert=False)
    assert (ink[4:24, 10:14] == 30000 * 255 // 65535).all()
    assert (ink > 0).sum() == 80


def test_photograph_with_orientation_tag_is_turned_upright() -> None:
    image = Image.new("L", (28, 28))
    image.paste(255, (0, 0, 28, 10))  # the upper part
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    ink = decoded(image, invert=False, exif=exif)
    assert ink[18:].all()
    assert not ink[:17].any()


def test_proportions_are_kept() -> None:
    tall = np.zeros((40, 20), np.uint8)
    tall[:, 8:12] = 255
    columns = decoded(Image.fromarray(tall), invert=False).mean(0)
    assert (columns > 30).sum() <= 6  # 4 of 20, in 14 of 28 columns: not stretched over the whole width
