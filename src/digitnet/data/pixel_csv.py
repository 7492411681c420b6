"""Images in CSV files, a row each: `label,pixel0,…,pixel783`, as Kaggle's Digit Recognizer has them."""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from digitnet.data.dataset import Dataset, Split
from digitnet.data.splits import drawn_splits, given_splits, groups_of_copies, unusual_images
from digitnet.errors import DataError
from digitnet.text import plural

TRAIN_FILES, TEST_FILES = ("train.csv", "mnist_train.csv"), ("test.csv", "mnist_test.csv")
LABELS = ("label", "labels", "class", "target", "digit", "y")  # without one, the first column
PIXELS = 28 * 28
COLUMNS = f"{PIXELS + 1}: label,pixel0,…,pixel{PIXELS - 1}"
LARGEST_FILE = 2**30  # bytes; a million images have more
MOST_CLASSES = 1000
LARGEST_LABEL = 2**24 - 1  # up to there float32 has every whole number


def load_csv(root: str, test_fraction: float = 0.2, validation: str | int = "test") -> Dataset:
    """Load the images of a CSV file, or of `train.csv` and `test.csv` in a folder (mnist_train.csv, mnist_test.csv).

    A row has the label, a whole number from 0, and 784 grey values from 0 (background) to 255, between commas,
    semicolons or tabs; a first row of names is passed over. The classes are the labels that occur. A test file without
    labels, as Kaggle's, is not used: then the test set is the fraction `test_fraction` of each class, the same for
    every seed of a run. Images with equal content are all in the same split. `validation` is "test" or the number of
    training images to hold out. `notes["crc32"]` is the checksum of the files. Raises DataError if there is no such
    file, or if a row is something else.
    """
    train_file, test_file = _files(Path(os.path.expanduser(root)), root)
    warnings: list[str] = []
    train, checksum = _read(train_file, 0)
    test = None
    if test_file is not None:
        test, checksum = _read(test_file, checksum)
        if test is None:
            warnings.append(f"{test_file.name} is not used: it has no labels")
    if train is None:
        raise DataError(f"{train_file}: has no labels; there should be {COLUMNS}")
    every = (
        train if test is None else Split(torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels]))
    )
    if test is not None and (others := sorted({*test.labels.tolist()} - {*train.labels.tolist()})):
        raise DataError(f"{test_file}: has the label {others[0]}, of which {train_file} has no image")
    occurring, numbered = every.labels.unique(return_inverse=True)
    if not 2 <= len(occurring) <= MOST_CLASSES:
        found = f"its labels are all {occurring[0]}" if len(occurring) == 1 else f"has {len(occurring):,} labels"
        raise DataError(f"{train_file}: {found}; there should be from 2 to {MOST_CLASSES:,} classes")
    classes = tuple(str(label) for label in occurring.tolist())
    every, groups = Split(every.images, numbered), groups_of_copies(every.images)
    if test is None:
        splits = drawn_splits(every, groups, train_file, classes, test_fraction, validation, warnings)
    else:
        parts = ["train"] * len(train) + ["test"] * len(test)
        splits = given_splits(every, parts, groups, validation, warnings)
    warnings += unusual_images(every.images)
    notes: dict[str, object] = {"crc32": checksum, **({"warnings": warnings} if warnings else {})}
    source = str(train_file.parent if test is not None else train_file)
    return Dataset("csv", *splits, classes, source, notes)


def _files(place: Path, root: str) -> tuple[Path, Path | None]:
    """The file of the training images, and that of the test images if there is one."""
    if place.is_file():
        return place, None
    for train, test in zip(TRAIN_FILES, TEST_FILES, strict=True):
        if (place / train).is_file():
            return place / train, place / test if (place / test).is_file() else None
    raise DataError(f"data.root={root}: no such CSV file, nor a folder with {' or '.join(TRAIN_FILES)}")


def _read(path: Path, checksum: int) -> tuple[Split | None, int]:
    """(the images and labels of a file, None if it has no labels; `checksum` continued with its content)."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    lines = _lines(path, content)
    numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]  # of the lines that count
    if not numbers:
        raise DataError(f"{path}: is empty; there should be {COLUMNS}")
    first = lines[numbers[0] - 1]
    separator = max(",;\t", key=first.count)
    names = [name.strip(" \"'").lower() for name in first.split(separator)]
    if len(names) not in (PIXELS, PIXELS + 1) or (len(names) == PIXELS and not {*LABELS}.isdisjoint(names)):
        raise DataError(f"{path}: its first row has {plural(len(names), 'value')}; there should be {COLUMNS}")
    column = next((names.index(name) for name in LABELS if name in names), 0)
    if not {*LABELS}.isdisjoint(names) or not any(map(_is_number, names)):
        del numbers[0]
    if not numbers:
        raise DataError(f"{path}: has no images")
    rows = [lines[number - 1] for number in numbers]
    try:
        table = torch.from_numpy(
            np.loadtxt(rows, delimiter=separator, dtype=np.float32, ndmin=2, comments=None, quotechar='"')
        )
    except ValueError as error:
        raise DataError(_first_fault(path, rows, numbers, separator, len(names)) or f"{path}: {error}") from error
    checksum = zlib.crc32(content, checksum)
    if len(names) == PIXELS:
        _check_whole(path, table, numbers, 255, "grey value")
        return None, checksum
    pixels = torch.cat([table[:, :column], table[:, column + 1 :]], dim=1)
    labels = table[:, column]
    _check_whole(path, pixels, numbers, 255, "grey value")
    _check_whole(path, labels, numbers, LARGEST_LABEL, "label")
    return Split(pixels.to(torch.uint8).view(-1, 1, 28, 28), labels.long()), checksum


def _lines(path: Path, content: bytes) -> list[str]:
    """The lines of a text. Raises DataError, with what to do, if `content` is none."""
    if len(content) > LARGEST_FILE:
        raise DataError(f"{path}: has more than {LARGEST_FILE:,} bytes")
    if content.startswith((b"PK\3\4", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")):
        raise DataError(f"{path}: is packed; unpack it first")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: is UTF-16; save it as UTF-8")
    try:
        if b"\0" in content[:1000]:
            raise ValueError("no text has such bytes")
        return content.decode("utf-8-sig").splitlines()
    except ValueError as error:
        raise DataError(f"{path}: not a CSV file in UTF-8; there should be {COLUMNS}") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_fault(path: Path, rows: Sequence[str], numbers: Sequence[int], separator: str, count: int) -> str | None:
    """The message about the first row that does not have `count` numbers; `numbers` are those of the file's lines."""
    for row, number in zip(rows, numbers, strict=True):
        values = [value.strip(' "') for value in row.split(separator)]
        if len(values) != count:
            return f"{path}:{number}: {plural(len(values), 'value')}; the first row has {count}"
        for place, value in enumerate(values, start=1):
            if not _is_number(value):
                return f"{path}:{number}: value {place}, '{value}', is not a number"
    return None


def _check_whole(path: Path, values: Tensor, numbers: Sequence[int], highest: int, what: str) -> None:
    """Raise DataError, with the file's line, unless all values are whole numbers from 0 to `highest`."""
    wrong = ~((values >= 0) & (values <= highest) & (values == values.round()))
    if wrong.any():
        line, value = numbers[int(wrong.nonzero()[0, 0])], float(values[wrong][0])
        raise DataError(f"{path}:{line}: the {what} {value:g}; it should be a whole number from 0 to {highest:,}")
