"""A user's own images: a folder with one subfolder per class."""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from digitnet.data.dataset import Dataset, Split, split_validation
from digitnet.data.images import decode_image, image_files, read_content
from digitnet.errors import DataError


def load_folder(
    root: str,
    test_fraction: float,
    invert: bool = False,
    validation: str | int = "test",
    bad_files: str = "refuse",
) -> Dataset:
    """Load every image below `root`/CLASS/ as 28x28 grey, padded to a square with the grey of its upper left pixel.

    Files count as images by the suffix of their name; they are PNG, JPEG, BMP, GIF, TIFF, WebP or PPM. Transparent
    pixels become background: black, or white with `invert`. Hidden folders are not classes.

    The test set is the fraction `test_fraction` of each class, rounded, at least one image; it is the same for every
    seed of a run. `validation` is "test" or the number of training images to hold out.

    Raises DataError if the folder is missing or empty, or has fewer than two classes. Files that are empty, unreadable,
    links, or too large raise DataError too, or are skipped with `bad_files="skip"` and named in `notes["skipped"]`.
    `notes["crc32"]` is the checksum of the names and contents of all files in the data set.
    """
    folder = Path(os.path.expanduser(root))
    classes = _class_names(folder, root)
    files = _read_files(folder, classes, invert)
    _check(files, folder, classes, bad_files)
    images, labels = torch.stack(files.images), torch.tensor(files.labels)
    in_test = _choose_test_images(labels, folder, classes, test_fraction)
    test = Split(images[in_test], labels[in_test])
    train, held_out = split_validation(Split(images[~in_test], labels[~in_test]), test, validation)
    notes: dict[str, object] = {"crc32": files.checksum} | ({"skipped": files.bad} if files.bad else {})
    return Dataset("folder", train, test, held_out, classes, str(folder), notes)


@dataclass
class _Files:
    images: list[Tensor] = field(default_factory=list)  # each (1, 28, 28) uint8
    labels: list[int] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)  # `yes/0.png: empty`
    checksum: int = 0


def _class_names(folder: Path, root: str) -> tuple[str, ...]:
    """The names of the subfolders, sorted."""
    if not folder.is_dir():
        raise DataError(f"data.root={root}: no such folder; give one with a subfolder of images for each class")
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from error
    if not names:
        raise DataError(f"{folder}: has no subfolders; put the images of each class into one")
    return tuple(names)


def _read_files(folder: Path, classes: Sequence[str], invert: bool) -> _Files:
    files = _Files()
    for label, name in enumerate(classes):
        for path, fault in image_files(folder / name):
            relative = str(path.relative_to(folder))
            try:
                if fault is not None:
                    raise ValueError(fault)
                content = read_content(path)
                files.images.append(decode_image(content, invert))
            except ValueError as error:
                files.bad.append(f"{relative}: {error}")
            else:
                files.labels.append(label)
                files.checksum = zlib.crc32(content, zlib.crc32(os.fsencode(relative), files.checksum))
    return files


def _check(files: _Files, folder: Path, classes: Sequence[str], bad_files: str) -> None:
    """Raises DataError if there is nothing to train on, or if bad files are to be refused."""
    good, bad = len(files.images), len(files.bad)
    if not good and not bad:
        raise DataError(f"{folder}: no images in its subfolders; put the images of each class into one")
    if len(classes) < 2:
        raise DataError(f"{folder}: one class, {classes[0]}; at least two are needed")
    if bad and bad_files == "refuse":
        shown = "; ".join(files.bad[:3]) + ("; …" if bad > 3 else "")
        raise DataError(
            f"{folder}: {bad:,} of {bad + good:,} files cannot be used for training ({shown});\n"
            "fix or remove them, or skip them with data.bad_files=skip"
        )
    if not good:
        raise DataError(f"{folder}: none of its {bad:,} files can be used for training ({files.bad[0]})")


def _choose_test_images(labels: Tensor, folder: Path, classes: Sequence[str], test_fraction: float) -> Tensor:
    """(N,) bool: the fraction `test_fraction` of each class, at least one image, and never all of them."""
    in_test = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)  # not the run's: every seed has the same test set
    for label, name in enumerate(classes):
        members = (labels == label).nonzero().flatten()
        if len(members) < 2:
            raise DataError(f"{folder / name}: {len(members)} image(s); a class needs one to train and one to test")
        count = min(max(1, round(test_fraction * len(members))), len(members) - 1)
        in_test[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return in_test
