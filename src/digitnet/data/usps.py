"""USPS: digits of 16x16 pixels from envelopes (Hull 1994), in the format of LIBSVM; made as large as MNIST's."""

import bz2
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import torch

from digitnet.data.dataset import Dataset, Split, split_validation
from digitnet.data.download import download
from digitnet.data.idx import DIGIT_NAMES, read_archive
from digitnet.errors import DataError, DataMissingError

USPS_MIRRORS = ("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",)
USPS_FILES = {  # names and MD5 sums, as torchvision has them
    "usps.bz2": "ec16c51db3855ca6c91edd34d0e9b197",
    "usps.t.bz2": "8ea070ee2aca1ac39742fdd1ef5ed118",
}
PIXELS = 256
MAX_TEXT = 2**27  # bytes, unpacked; the training images have 26 million


def load_usps(root: str, validation: str | int = "test", download: bool = True) -> Dataset:
    """Load 7,291 training and 2,007 test images from `root`; `download` what is missing.

    The files usps.bz2 and usps.t.bz2 are looked for in `root`/USPS and in `root`. Their 16x16 pixels become 28x28 by
    `preparation.fit_digit`. `validation` is "test" or the number of training images to hold out. Raises DataError if a
    file is damaged, DataMissingError if one is missing and cannot be downloaded.
    """
    place = Path(os.path.expanduser(root))
    if place.is_file():
        raise DataError(f"data.root={root}: a file; give the folder that it is in")
    usual = place / "USPS"
    folder = next((path for path in (usual, place) if any((path / file).exists() for file in USPS_FILES)), usual)
    train, test = (_read_usps(root, folder / file, md5, download) for file, md5 in USPS_FILES.items())
    train, held_out = split_validation(train, test, validation)
    return Dataset("usps", train, test, held_out, DIGIT_NAMES, str(folder))


def _read_usps(root: str, path: Path, md5: str, download_it: bool) -> Split:
    if not path.exists():
        try:
            if not download_it:
                raise OSError("it is downloaded only to a data.root that you give")
            download(USPS_MIRRORS, path, md5)
        except OSError as error:
            reason = str(error).strip().partition("\n")[0]
            raise DataMissingError(
                f"data=usps: {path} is missing and cannot be downloaded ({reason});\n"
                f"put {' and '.join(USPS_FILES)} into {path.parent}, or set data.root=FOLDER to where they are "
                f"(now {root})"
            ) from error
    content = read_archive(path)
    try:
        if (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5:
            raise ValueError(f"its MD5 sum is {found}, should be {md5}")
        return parse_usps(content)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: damaged: {error};\nmove it elsewhere and run again, to download it") from error


def parse_usps(content: bytes) -> Split:
    """Lines `LABEL INDEX:VALUE …` of 256 values from -1 to 1, packed by bzip2. Raises ValueError, OSError, EOFError."""
    from digitnet.data.preparation import fit_digit  # SciPy

    with bz2.open(io.BytesIO(content)) as file:
        text = file.read(MAX_TEXT + 1)
    if len(text) > MAX_TEXT:
        raise ValueError(f"it has more than {MAX_TEXT:,} bytes when unpacked")
    labels, images = [], []
    for number, line in enumerate(text.decode("ascii", "replace").splitlines(), start=1):
        words = line.split()
        try:
            values = np.array([float(word.rpartition(":")[2]) for word in words[1:]])
            if len(values) != PIXELS or not 1 <= int(words[0]) <= 10 or not (np.abs(values) <= 1).all():
                raise ValueError(f"not {PIXELS} values from -1 to 1 with a label from 1 to 10")
            images.append(fit_digit((values.reshape(16, 16) + 1) / 2))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        labels.append(int(words[0]) - 1)
    if not labels:
        raise ValueError("it is empty")
    return Split(torch.stack(images), torch.tensor(labels))
