"""MNIST and the data sets in its format: four gzipped IDX archives, each with a known MD5 sum."""

import contextlib
import hashlib
import io
import math
import os
import shutil
import socket
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from digitnet.atomic import write_atomically
from digitnet.data.dataset import Dataset, Split, split_validation
from digitnet.errors import DataError, DataMissingError

TIMEOUT_SECONDS = 10.0  # without receiving data, before a download fails
MAX_BYTES = 2**28  # unpacked; MNIST's training images are 47 million


@dataclass(frozen=True)
class ArchiveSet:
    """A data set: its class in torchvision.datasets (which has the URLs), its classes, its archives' checksums."""

    torchvision_class: str
    classes: tuple[str, ...]
    train_images: str  # MD5 sums, here and below
    train_labels: str
    test_images: str
    test_labels: str


DIGIT_NAMES = tuple("0123456789")
ARCHIVE_SETS = {
    "mnist": ArchiveSet(
        "MNIST",
        DIGIT_NAMES,
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    "fashion_mnist": ArchiveSet(
        "FashionMNIST",
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "kmnist": ArchiveSet(
        "KMNIST",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
}


def load_idx(name: str, root: str, validation: str | int = "test", download: bool = True) -> Dataset:
    """Load `mnist`, `fashion_mnist` or `kmnist` from `root`, laid out as torchvision does; `download` what is missing.

    `validation` is "test" or the number of training images to hold out. Raises DataError if an archive is damaged,
    DataMissingError if one is missing and cannot be downloaded.
    """
    archives = ARCHIVE_SETS[name]
    folder = Path(os.path.expanduser(root)) / archives.torchvision_class / "raw"
    train = _read_split(name, folder, "train", archives.train_images, archives.train_labels, download)
    test = _read_split(name, folder, "t10k", archives.test_images, archives.test_labels, download)
    train, held_out = split_validation(train, test, validation)
    return Dataset(name, train, test, held_out, archives.classes, str(folder.parent))


def _read_split(name: str, folder: Path, part: str, images_md5: str, labels_md5: str, download: bool) -> Split:
    images = _read_archive(name, folder, f"{part}-images-idx3-ubyte.gz", images_md5, download, dimensions=3)
    labels = _read_archive(name, folder, f"{part}-labels-idx1-ubyte.gz", labels_md5, download, dimensions=1)
    if len(images) != len(labels):
        raise DataError(
            f"{folder}: {len(images)} images and {len(labels)} labels in {part}-*; delete them and run again"
        )
    return Split(images.unsqueeze(1), labels.long())


def _read_archive(name: str, folder: Path, file: str, md5: str, download: bool, dimensions: int) -> Tensor:
    """The values of an archive with the MD5 sum `md5`; if it is missing, it is downloaded first."""
    path = folder / file
    if not path.exists():
        try:
            if not download:
                raise RuntimeError("a resumed run downloads only to a data.root that you give")
            _download(name, folder, file, md5)
        except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError for a wrong checksum
            root = folder.parent.parent
            reason = str(error).strip().partition("\n")[0]
            raise DataMissingError(
                f"data={name}: {path} is missing and cannot be downloaded ({reason});\n"
                f"put the four archives into {folder}, or set data.root=FOLDER to where they are "
                f"(now {root}),\nor use the embedded digits: data=digits"
            ) from error
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        values = parse_idx(content, dimensions, len(ARCHIVE_SETS[name].classes))
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error};\ndelete it and run again") from error
    if (actual := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5:
        raise DataError(f"{path}: damaged (its MD5 sum is {actual}, should be {md5});\ndelete it and run again")
    return values


def _download(name: str, folder: Path, file: str, md5: str) -> None:
    """Download into a scratch folder, then move the file: a partial download never has an archive's name."""
    import torchvision.datasets  # takes 2 seconds, which only a download needs
    from torchvision.datasets.utils import download_url

    mirrors: list[str] = getattr(torchvision.datasets, ARCHIVE_SETS[name].torchvision_class).mirrors
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / ".unfinished"
    # torchvision's progress bar is useful on a terminal only.
    quiet = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
    # If another process is downloading, this one waits for the lock and uses its file.
    with FileLock(folder / ".lock"), quiet:
        previous_timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT_SECONDS)  # otherwise a server that sends nothing would block the run for ever
        try:
            for number, mirror in enumerate(mirrors if not (folder / file).exists() else [], start=1):
                try:
                    download_url(mirror + file, str(scratch), md5=md5)
                    write_atomically(folder / file, (scratch / file).read_bytes())
                    break
                except (OSError, RuntimeError):
                    if number == len(mirrors):
                        raise
        finally:
            socket.setdefaulttimeout(previous_timeout)
            shutil.rmtree(scratch, ignore_errors=True)


def parse_idx(content: bytes, dimensions: int, classes: int) -> Tensor:
    """Images (N, 28, 28), or labels (N,) from 0 to `classes` - 1, both uint8, from a gzipped IDX file.

    The format: two zero bytes, 8 for unsigned byte, the number of dimensions, each size as a big-endian 32-bit integer,
    the bytes. At most one byte more than these sizes require is unpacked. Raises ValueError if `content` is anything
    else.
    """
    if not content:
        raise ValueError("it is empty")
    if content.lstrip()[:1] == b"<":
        raise ValueError("it is a web page, not an archive")
    gzip, header = zlib.decompressobj(wbits=31), 4 + 4 * dimensions
    try:
        start = gzip.decompress(content, header)
        kinds = {1: "labels", 3: "images"}
        if not bytes([0, 0, 8]).startswith(start[:3]):
            raise ValueError(f"it is not an IDX file (it begins with {start[:4].hex(' ')})")
        if len(start) > 3 and start[3] != dimensions:
            actual = kinds.get(start[3], f"values of {start[3]} dimensions")
            raise ValueError(f"it holds {actual} instead of {kinds[dimensions]}")
        if len(start) < header:
            raise ValueError("it is cut off in its header")
        shape = struct.unpack(f">{dimensions}I", start[4:])
        size = math.prod(shape)
        if size == 0:
            raise ValueError("it holds no values")
        if size > MAX_BYTES:
            raise ValueError(f"its header says {shape}, which is more than any data set in this format has")
        values = gzip.decompress(gzip.unconsumed_tail, size + 1)
        complete = gzip.eof or (len(values) == size and not gzip.decompress(gzip.unconsumed_tail, 1) and gzip.eof)
    except zlib.error as error:
        raise ValueError(f"it is not a complete gzip archive ({error})") from error
    if len(values) < size and not gzip.eof:
        raise ValueError(f"it is cut off, after {len(values):,} of {size:,} bytes")
    if len(values) != size:
        more = "or more " if len(values) > size else ""
        raise ValueError(f"it holds {len(values):,} {more}bytes, its header says {shape}")
    if not complete:
        raise ValueError("it is not a complete gzip archive (its end is missing)")
    if dimensions == 3 and shape[1:] != (28, 28):
        raise ValueError(f"its images are {shape[1]}x{shape[2]}, not 28x28")
    tensor = torch.frombuffer(bytearray(values), dtype=torch.uint8)
    if dimensions == 1 and (highest := int(tensor.max())) >= classes:
        raise ValueError(f"it holds the label {highest}; there are {classes} classes, numbered from 0")
    return tensor.view(shape)
