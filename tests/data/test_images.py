"""Decoding image files: orientation, grey levels, transparency, proportions."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from digitnet.data.images import decode_image


def decoded(image: Image.Image, invert: bool, **options: object) -> np.ndarray:
    """`decode_image` of `image` as a PNG, (28, 28)."""
    content = io.BytesIO()
    image.save(content, "PNG", **options)
    values = decode_image(content.getvalue(), invert)
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
