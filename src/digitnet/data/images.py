"""Image files of any format and size -> (1, 28, 28) uint8, as MNIST has them: light ink on a dark background."""

import io
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from digitnet.text import one_line

SIDE = 28
# Formats that Pillow decodes itself. For others, such as EPS, it would start external programs, and it chooses the
# format by the content of a file, not by its name.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 2**25
MAX_BYTES = 2**28  # of a file


def image_files(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """The image files in and below `folder`, sorted, each with the reason why it is refused, or None.

    Files count as images by the suffix of their name. Links are refused: they could lead to another class, out of the
    folder, or in a circle.
    """
    if folder.is_symlink():
        yield folder, "a link"
        return
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in _available_formats()}
    unreadable: list[OSError] = []
    for parent, folders, names in sorted(os.walk(folder, onerror=unreadable.append)):
        for path in (Path(parent, name) for name in sorted([*folders, *names])):
            if path.is_symlink():
                yield path, "a link"
            elif path.name in names and path.suffix.lower() in suffixes:
                yield path, None
    for error in unreadable:
        yield Path(error.filename), f"cannot be read ({error.strerror})"


def read_content(path: Path) -> bytes:
    """The content of an image file. Raises ValueError if it is empty, too large, unreadable or not a regular file."""
    if not path.is_file():  # reading a pipe would block
        raise ValueError("not a regular file")
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ValueError(f"too large: {size:,} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if not content:
        raise ValueError("empty")
    return content


def decode_image(content: bytes, invert: bool) -> Tensor:
    """An image file's content -> (1, 28, 28) uint8, grey, rotated by its EXIF orientation, padded to a square.

    `invert` is for dark ink on a light background. Raises ValueError if `content` is not an image or too large.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_available_formats()) as image:
            if image.width * image.height <= MAX_PIXELS:
                return torch.from_numpy(np.array(_as_square(image, invert))).unsqueeze(0)
    except UnidentifiedImageError:
        raise ValueError(f"none of {', '.join(_available_formats())}") from None
    except Image.DecompressionBombError:  # Pillow's own limit, which is higher
        pass
    except Exception as error:  # decoders raise all kinds of errors on damaged files
        raise ValueError(f"not a readable image ({one_line(error)})") from error
    raise ValueError(f"too large when unpacked: more than {MAX_PIXELS:,} pixels")


@cache
def _available_formats() -> list[str]:
    """The FORMATS that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _as_square(image: Image.Image, invert: bool) -> Image.Image:
    """Rotated by its EXIF orientation, grey, light ink on a dark background, 28x28."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):  # 16 bits and more: Pillow's convert("L") would clip values at 255
        values = np.asarray(upright, np.float32)
        top = 65535.0 if values.max() > 255 else 255.0
        upright = Image.fromarray((values.clip(0, top) * (255 / top)).astype(np.uint8))
    if upright.has_transparency_data:
        ink = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", ink.size, "white" if invert else "black"), ink)
    grey = upright.convert("L")
    if invert:
        grey = ImageOps.invert(grey)
    return ImageOps.pad(grey, (SIDE, SIDE), color=np.asarray(grey)[0, 0].item())
