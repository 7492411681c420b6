"""Image files of any format and size -> (1, 28, 28) uint8, as MNIST has them: light ink on a dark background."""

import io
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor

from digitnet.text import one_line

T = TypeVar("T")
SIDE = 28
# Formats that Pillow decodes itself. For others, such as EPS, it would start external programs, and it chooses the
# format by the content of a file, not by its name.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
UNREAD_FORMATS = {".heic": "HEIC", ".heif": "HEIC"}  # of phones; Pillow cannot read them
MAX_PIXELS = 2**26  # when unpacked; those of JPEG, which can be unpacked at a reduced size, may have been more
LARGE_PIXELS = 2**25  # from which on a JPEG is reduced
MAX_BYTES = 2**28  # of a file
DEPTHS = (1, 8, 10, 12, 14, 16, 24, 31, 32)  # bits of a grey level, in files that store it in 16 bits or more
CONTRAST = 16  # grey levels; an image with less is blank
JUNK = ("@eaDir", "__MACOSX")  # folders of copies and thumbnails that Synology and macOS make, beside hidden ones


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is no part of a data set: a hidden one, or a system's copies."""
    return name.startswith(".") or name in JUNK


def image_files(folder: Path, root: Path, follow_links: bool = False) -> Iterator[tuple[Path, str | None]]:
    """The image files in and below `folder`, sorted, each with the reason why it is refused, or None.

    Files count as images by the suffix of their name; junk is passed over. Links to files within `root` are followed,
    as git-annex, DVC and others make them; all links only with `follow_links`, because they may lead anywhere.
    """
    top, seen = root.resolve(), {folder.resolve()}
    if folder.is_symlink() and not follow_links:
        yield folder, "a link"
        return
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in _available_formats()}
    unreadable: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=unreadable.append, followlinks=follow_links):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        for path in (Path(parent, name) for name in list(folders)):
            if path.is_symlink():
                if not follow_links:
                    yield path, "a link"
                elif path.resolve() in seen:  # a circle, or the same images again
                    folders.remove(path.name)
                seen.add(path.resolve())
        for path in (Path(parent, name) for name in sorted(names) if not is_junk(name)):
            suffix = path.suffix.lower()
            if suffix in UNREAD_FORMATS:
                yield path, f"{UNREAD_FORMATS[suffix]}, which is not read: convert it to PNG or JPEG"
            elif suffix in suffixes or path.is_symlink():
                yield path, None if follow_links else _fault_of_link(path, top)
    for error in unreadable:
        yield Path(error.filename), f"cannot be read ({error.strerror})"


def _fault_of_link(path: Path, top: Path) -> str | None:
    """Why a file is refused that is a link; None for a file, or a link to one within `top`."""
    if not path.is_symlink():
        return None
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a circle, on older Pythons
        return "a link to nothing"
    if not target.is_relative_to(top):
        return "a link out of data.root; to follow it: data.links=follow"
    return None if target.is_file() else "a link"


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


@dataclass(frozen=True)
class Decoded:
    """An image for each polarity, both (1, 28, 28) uint8: `plain` if its ink is light, `inverted` if it is dark.

    `is_dark_ink` is what the image itself suggests, None if nothing; `is_transparent` says that it has no background.
    """

    plain: Tensor
    inverted: Tensor
    is_dark_ink: bool | None
    is_transparent: bool


def decode_image(content: bytes) -> Decoded:
    """An image file's content, grey, rotated by its EXIF orientation, padded to a square.

    Raises ValueError if `content` is not an image, too large, or its grey levels have no range that can be told.
    """
    return _opened(content, 16 * SIDE, _decode)


def decode_grey(content: bytes, longest: int) -> np.ndarray:
    """An image file's content as (H, W) uint8 grey, rotated by its EXIF orientation, reduced to `longest` pixels.

    Transparent pixels are white or, if the ink is light, black. Raises ValueError as `decode_image`.
    """
    return _opened(content, longest, partial(_as_grey, longest=longest))


def _opened(content: bytes, least: int, use: Callable[[Image.Image], T]) -> T:
    """`use` of the upright image; a huge JPEG is reduced, to at least `least` pixels a side. Raises ValueError."""
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            image = Image.open(io.BytesIO(content), formats=_available_formats())
        with image:
            if isinstance(image, JpegImagePlugin.JpegImageFile) and image.width * image.height > LARGE_PIXELS:
                image.draft("L", (least, least))  # decodes at a fraction of the size that is at least this
            if image.width * image.height <= MAX_PIXELS:
                return use(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise ValueError(f"none of {', '.join(_available_formats())}") from None
    except Image.DecompressionBombError:  # Pillow's own limit, which is higher
        pass
    except _RangeError as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # decoders raise all kinds of errors on damaged files
        raise ValueError(f"not a readable image ({one_line(error)})") from error
    raise ValueError(f"too large when unpacked: more than {MAX_PIXELS:,} pixels")


@cache
def _available_formats() -> list[str]:
    """The FORMATS that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


class _RangeError(Exception):
    """The range of an image's grey levels cannot be told."""


@dataclass(frozen=True)
class _Grounds:
    """An image on a black and on a white ground, which are the same if it is not transparent."""

    on_black: Image.Image
    on_white: Image.Image
    is_dark_ink: bool | None = None  # of transparent images: whether what is opaque is dark
    is_transparent: bool = False


def _on_grounds(upright: Image.Image) -> _Grounds:
    if upright.mode.startswith(("I", "F")):  # 16 bits and more: Pillow's convert("L") would clip values at 255
        upright = Image.fromarray(_eight_bits(np.asarray(upright)))
    on_black = on_white = upright
    dark_ink, transparent = None, False
    if upright.has_transparency_data:
        ink = upright.convert("RGBA")
        on_black, on_white = (
            Image.alpha_composite(Image.new("RGBA", ink.size, ground), ink) for ground in ("black", "white")
        )
        small = ink.resize((2 * SIDE, 2 * SIDE), Image.Resampling.BOX)  # a photograph's would take a gigabyte
        alpha, levels = np.asarray(small.getchannel("A"), np.float32), np.asarray(small.convert("L"), np.float32)
        if (transparent := bool((alpha < 128).mean() > 0.1)) and alpha.sum() > 0:
            dark_ink = bool((alpha * levels).sum() / alpha.sum() < 128)
    return _Grounds(on_black, on_white, dark_ink, transparent)


def _decode(upright: Image.Image) -> Decoded:
    image = _on_grounds(upright)
    plain = _as_square(image.on_black.convert("L"))
    inverted = _as_square(ImageOps.invert(image.on_white.convert("L")))
    dark_ink = image.is_dark_ink if image.is_transparent else _has_dark_ink(plain)
    return Decoded(plain, inverted, dark_ink, image.is_transparent)


def _as_grey(upright: Image.Image, longest: int) -> np.ndarray:
    image = _on_grounds(upright)
    grey = (image.on_black if image.is_dark_ink is False else image.on_white).convert("L")
    scale = min(1.0, longest / max(grey.size))
    size = [max(1, round(side * scale)) for side in grey.size]
    return np.asarray(grey.resize((size[0], size[1]), Image.Resampling.BOX))


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey levels of any depth as uint8. Raises _RangeError.

    The range is the smallest of DEPTHS that holds all: cameras store 10 or 12 bits in 16. Fractions are from 0 to 1.
    """
    if not np.isfinite(values).all():
        raise _RangeError("has numbers that are not finite")
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0:
        raise _RangeError(f"has negative numbers, {lowest:g} to {highest:g}; save it with values from 0 to 1")
    top = 1.0 if highest <= 1 else next((float(2**bits - 1) for bits in DEPTHS if highest <= 2**bits - 1), 0.0)
    if not top:
        raise _RangeError(f"has numbers up to {highest:g}; save it with values from 0 to 1")
    return (values.astype(np.float64) * (255 / top)).astype(np.uint8)


def _as_square(grey: Image.Image) -> Tensor:
    padded = ImageOps.pad(grey, (SIDE, SIDE), color=np.asarray(grey)[0, 0].item())
    return torch.from_numpy(np.array(padded)).unsqueeze(0)


def _has_dark_ink(image: Tensor) -> bool | None:
    """Whether the frame of an image (1, 28, 28), its background, is lighter than the whole; None if neither is."""
    frame = torch.cat([image[0, 0], image[0, -1], image[0, :, 0], image[0, :, -1]]).float().median()
    difference = float(frame - image.float().mean())
    return None if abs(difference) < 4 else difference > 0


def is_blank(image: Tensor) -> bool:
    """Whether nothing can be seen on an image (1, 28, 28) uint8."""
    return int(image.max()) - int(image.min()) < CONTRAST
