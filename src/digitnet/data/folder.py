"""A user's own images: one subfolder a class."""

import io
import os
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from digitnet.data.dataset import Dataset, Split, split_validation
from digitnet.errors import DataError
from digitnet.text import one_line

SIDE = 28
# Those that Pillow decodes itself: for others it starts programs (EPS), and it goes by the content, not by the name.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 2**25
MAX_BYTES = 2**28  # of a file


def load_folder(
    root: str,
    test_fraction: float,
    invert: bool = False,
    validation: str | int = "test",
    bad_files: str = "refuse",
) -> Dataset:
    """Load every image below `root`/CLASS/, grey, 28x28, padded to a square with the grey of its upper left corner.

    Files count as images by the ending of their name; they are PNG, JPEG, BMP, GIF, TIFF, WebP or PPM. Transparent
    places are ground: black, with `invert` white. Hidden folders are no classes.
    `test_fraction` of each class, rounded, at least one image, is the test set: the same for every seed. Raises
    DataError if the folder is missing or empty, or holds fewer than two classes. Files that are empty, unreadable,
    links, or, unpacked, beyond all size raise DataError too, or are left out with `bad_files="skip"`; their names are
    in `notes["skipped"]` then. `notes["crc32"]` is that of the names and contents of all that are taken.
    """
    folder = Path(os.path.expanduser(root))
    if not folder.is_dir():
        raise DataError(f"data.root={root}: no such folder; give one with a subfolder of images for each class")
    try:
        classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from error
    if not classes:
        raise DataError(f"{folder}: has no subfolders; put the images of each class into one")

    read: list[torch.Tensor] = []
    targets: list[int] = []
    bad: list[str] = []
    checksum = 0
    for target, name in enumerate(classes):
        for path, fault in _files(folder / name):
            shown = str(path.relative_to(folder))
            try:
                if fault is not None:
                    raise ValueError(fault)
                content = _content(path)
                read.append(_image(content, invert))
            except ValueError as error:
                bad.append(f"{shown}: {error}")
            else:
                targets.append(target)
                checksum = zlib.crc32(content, zlib.crc32(os.fsencode(shown), checksum))
    if not read and not bad:
        raise DataError(f"{folder}: no images in its subfolders; put the images of each class into one")
    if len(classes) < 2:
        raise DataError(f"{folder}: one class, {classes[0]}; there must be two at least")
    if bad and bad_files == "refuse":
        shown = "; ".join(bad[:3]) + ("; …" if len(bad) > 3 else "")
        raise DataError(
            f"{folder}: {len(bad):,} of {len(bad) + len(read):,} files cannot be trained on ({shown});\n"
            "mend or remove them, or leave them out with data.bad_files=skip"
        )
    if not read:
        raise DataError(f"{folder}: none of its {len(bad):,} files can be trained on ({bad[0]})")
    images, labels = torch.stack(read), torch.tensor(targets)
    in_test = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    for number, name in enumerate(classes):
        members = (labels == number).nonzero().flatten()
        if len(members) < 2:
            raise DataError(f"{folder / name}: {len(members)} image(s); a class needs one to train and one to test")
        count = min(max(1, round(test_fraction * len(members))), len(members) - 1)
        in_test[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    test = Split(images[in_test], labels[in_test])
    train, held_out = split_validation(Split(images[~in_test], labels[~in_test]), test, validation)
    notes: dict[str, object] = {"crc32": checksum} | ({"skipped": bad} if bad else {})
    return Dataset("folder", train, test, held_out, tuple(classes), str(folder), notes)


def _files(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """What there is below a class's folder that is meant as an image, sorted, with what is wrong with it, if anything.

    No link is followed: it could lead to another class, out of the folder, or in a circle.
    """
    if folder.is_symlink():
        yield folder, "a link"
        return
    endings = {ending for ending, name in Image.registered_extensions().items() if name in _formats()}
    unreadable: list[OSError] = []
    for parent, folders, names in sorted(os.walk(folder, onerror=unreadable.append)):
        for path in (Path(parent, name) for name in sorted([*folders, *names])):
            if path.is_symlink():
                yield path, "a link"
            elif path.name in names and path.suffix.lower() in endings:
                yield path, None
    for error in unreadable:
        yield Path(error.filename), f"cannot be read ({error.strerror})"


@cache
def _formats() -> list[str]:
    """Those that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _content(path: Path) -> bytes:
    """Raises ValueError if it is no file that can be trained on."""
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("not a regular file")
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ValueError(f"beyond all size: {size:,} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if not content:
        raise ValueError("empty")
    return content


def _image(content: bytes, invert: bool) -> torch.Tensor:
    """(1, 28, 28) uint8. Raises ValueError if it is no image that can be trained on."""
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            if image.width * image.height <= MAX_PIXELS:
                return torch.from_numpy(np.array(_square(image, invert))).unsqueeze(0)
    except UnidentifiedImageError:
        raise ValueError(f"none of {', '.join(_formats())}") from None
    except Image.DecompressionBombError:  # Pillow's own limit, for what is larger still
        pass
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise ValueError(f"not a readable image ({one_line(error)})") from error
    raise ValueError(f"unpacked beyond all size: more than {MAX_PIXELS:,} pixels")


def _square(image: Image.Image, invert: bool) -> Image.Image:
    """Upright, grey, ink light on dark, 28x28."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):  # 16 bits and more, which Pillow would cut off at 255
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
