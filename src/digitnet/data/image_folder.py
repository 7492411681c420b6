"""A user's own images: a folder with one subfolder per class, or with such folders for training and testing."""

import os
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from digitnet.data.dataset import Dataset, Split
from digitnet.data.images import Decoded, decode_image, image_files, is_junk, read_content
from digitnet.data.splits import drawn_splits, given_splits, groups_of_copies, unusual_images
from digitnet.errors import DataError
from digitnet.text import plural

if TYPE_CHECKING:
    from digitnet.data.preparation import Ink

PART_NAMES = {  # the names, in lower case, of folders that divide a data set
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
RUN_TRACES = ("sweep.json", ".hydra", "*/.hydra", "*/*/.hydra")  # in a folder that digitnet wrote
MIXED = 0.1  # the fraction of images of the other polarity from which on a warning says so


def load_folder(
    root: str,
    test_fraction: float = 0.2,
    invert: bool | str = "auto",
    validation: str | int = "test",
    bad_files: str = "refuse",
    links: str = "inside",
    prepare: str = "plain",
) -> Dataset:
    """Load every image below `root`/CLASS/ as 28x28 grey, padded to a square with the grey of its upper left pixel.

    With prepare="mnist", the digit on each image is found, cropped and centred instead, see `data.preparation`; images
    without one count as unreadable.

    Files count as images by the suffix of their name; they are PNG, JPEG, BMP, GIF, TIFF, WebP or PPM. Transparent
    pixels become background. Hidden folders, system's copies and the folders of digitnet's runs are passed over.
    `invert` says whether the ink is dark; "auto" looks at the frames of the images. Links are followed within `root`,
    or with links="follow" everywhere.

    If `root` has the folders `train` and `test` (or `val`, or all three) with the classes in them, they are the splits.
    Otherwise the test set is the fraction `test_fraction` of each class, rounded, at least one image; it is the same
    for every seed of a run. Images with equal content are all in the same split. `validation` is "test" or the number
    of training images to hold out.

    Raises DataError if the folder is missing or empty, or has fewer than two classes. Files that are empty, unreadable,
    links out of `root`, or too large raise DataError too, or are skipped with `bad_files="skip"` and named in
    `notes["skipped"]`. `notes["crc32"]` is the checksum of the names and contents of all files in the data set,
    `notes["inverted"]` whether whole images were inverted, `notes["warnings"]` what is unusual about them.
    """
    folder = Path(os.path.expanduser(root))
    parts = _parts(folder, root)
    classes = _class_names(parts)
    files = _Files()
    for part, paths in parts.items():
        _read_files(files, part, paths, folder, classes, links == "follow", _decoder(prepare, invert))
    _check(files, folder, classes, bad_files)
    images, inverted, warnings = _choose_polarity(files.images, invert)
    groups = groups_of_copies(images)
    every = Split(images, torch.tensor(files.labels), tuple(files.names))
    if len(parts) > 1:
        train, test, held_out = given_splits(every, files.parts, groups, validation, warnings)
    else:
        train, test, held_out = drawn_splits(every, groups, folder, classes, test_fraction, validation, warnings)
    warnings += unusual_images(images)
    notes: dict[str, object] = {"crc32": files.checksum, **({"inverted": inverted} if prepare == "plain" else {})}
    notes |= {"skipped": files.bad} if files.bad else {}
    notes |= {"warnings": warnings} if warnings else {}
    if len(parts) > 1:
        notes["why"] = f"with {', '.join(f'{paths[0].parent.name}/' for paths in parts.values())}"
    return Dataset("folder", train, test, held_out, classes, str(folder), notes)


@dataclass
class _Files:
    images: list[Decoded] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # relative to the data set's folder
    bad: list[str] = field(default_factory=list)  # `yes/0.png: empty`
    checksum: int = 0


def _subfolders(folder: Path) -> list[Path]:
    """The subfolders that may be part of a data set, sorted."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not is_junk(path.name) and not any(any(path.glob(trace)) for trace in RUN_TRACES)
    )


def _parts(folder: Path, root: str) -> dict[str, list[Path]]:
    """The folders of the classes, sorted, in each of PART_NAMES that there is; "all": not divided."""
    if not folder.is_dir():
        raise DataError(f"data.root={root}: no such folder; give one with a subfolder of images for each class")
    try:
        paths = _subfolders(folder)
        parts = {
            part: classes
            for part, names in PART_NAMES.items()
            for path in paths
            if path.name.lower() in names and (classes := _subfolders(path))
        }
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from error
    if not paths:
        raise DataError(f"{folder}: has no subfolders; put the images of each class into one")
    return parts if "train" in parts and len(parts) > 1 else {"all": paths}


def _class_names(parts: dict[str, list[Path]]) -> tuple[str, ...]:
    """The names of the classes, sorted. Raises DataError if one is not in the training set."""
    training = next(iter(parts.values()))
    classes = tuple(path.name for path in training)
    for path in (path for paths in parts.values() for path in paths):
        if path.name not in classes:
            raise DataError(f"{path}: a class without training images in {training[0].parent}")
    return classes


def _decoder(prepare: str, invert: bool | str) -> Callable[[bytes], Decoded]:
    """What makes images of the contents of files."""
    if prepare == "plain":
        return decode_image
    from digitnet.data.preparation import prepared_digit  # SciPy

    ink: Ink = "auto" if invert == "auto" else "dark" if invert else "light"

    def decode(content: bytes) -> Decoded:
        digit = prepared_digit(content, ink)  # its ink is light already
        return Decoded(digit, digit, None, False)

    return decode


def _read_files(
    files: _Files,
    part: str,
    paths: Sequence[Path],
    folder: Path,
    classes: Sequence[str],
    follow_links: bool,
    decode: Callable[[bytes], Decoded],
) -> None:
    """Add the images of the classes whose folders, below `folder`, are `paths`."""
    for top in paths:
        label = classes.index(top.name)
        for path, fault in image_files(top, folder, follow_links):
            relative = str(path.relative_to(folder))
            try:
                if fault is not None:
                    raise ValueError(fault)
                content = read_content(path)
                files.images.append(decode(content))
            except ValueError as error:
                files.bad.append(f"{relative}: {error}")
            else:
                files.labels.append(label)
                files.parts.append(part)
                files.names.append(relative)
                files.checksum = zlib.crc32(content, zlib.crc32(os.fsencode(relative), files.checksum))


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
            f"{_what_to_do(files, classes)}"
        )
    if not good:
        raise DataError(f"{folder}: none of its {bad:,} files can be used for training ({files.bad[0]})")


def _what_to_do(files: _Files, classes: Sequence[str]) -> str:
    """Whether the bad files can be skipped: each class needs an image to train on and, undivided, one to test with."""
    left = Counter(label for label, part in zip(files.labels, files.parts, strict=True) if part in ("all", "train"))
    enough = 2 if "all" in files.parts else 1
    for label, name in enumerate(classes):
        if left[label] < enough:
            return f"fix them: without them, class {name} has {plural(left[label], 'image')}, too few to skip them"
    return "fix or remove them, or skip them with data.bad_files=skip"


def _choose_polarity(images: Sequence[Decoded], invert: bool | str) -> tuple[Tensor, bool, list[str]]:
    """(images (N, 1, 28, 28) with light ink, whether they were inverted, warnings).

    With "auto", the majority of the images decides; each without a background decides for itself.
    """
    votes = Counter(image.is_dark_ink for image in images if not image.is_transparent or invert != "auto")
    dark = votes[True] > votes[False] if invert == "auto" else bool(invert)
    others, warnings = votes[not dark], []
    if others > MIXED * (votes[True] + votes[False]):
        shade = "light" if dark else "dark"
        warnings.append(
            f"data.invert={str(invert).lower()}: on {others:,} of {len(images):,} images the ink seems to be {shade}"
            f"{'' if invert == 'auto' else '; leave it out, and digitnet finds out'}"
        )
    chosen = [
        image.inverted if (image.is_dark_ink if image.is_transparent and invert == "auto" else dark) else image.plain
        for image in images
    ]
    return torch.stack(chosen), dark, warnings


def images_below(folder: Path) -> bool:
    """Whether subfolders of `folder` have images, as those of a data set for `load_folder`."""
    try:
        return any(next(image_files(path, folder), None) is not None for path in _subfolders(folder))
    except OSError:
        return False
