"""MNIST and the sets that share its format: four gzipped IDX archives, each with a known MD5 sum."""

import contextlib
import gzip
import hashlib
import io
import os
import socket
import struct
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from digitnet.data.dataset import Dataset, Split, split_validation
from digitnet.errors import DataError, DataMissingError

TIMEOUT_SECONDS = 10.0  # of silence, before a download is given up


@dataclass(frozen=True)
class Source:
    """One data set: its class in torchvision.datasets (which knows the addresses), its classes, its archives' MD5."""

    torchvision_class: str
    classes: tuple[str, ...]
    train_images: str
    train_labels: str
    test_images: str
    test_labels: str


DIGITS = tuple("0123456789")
SOURCES = {
    "mnist": Source(
        "MNIST",
        DIGITS,
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    "fashion_mnist": Source(
        "FashionMNIST",
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "kmnist": Source(
        "KMNIST",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
}


def load_idx(name: str, root: str, validation: str | int = "test") -> Dataset:
    """Load `mnist`, `fashion_mnist` or `kmnist` from `root`, laid out as torchvision does, or download it there.

    Raises DataError if an archive is damaged, DataMissingError if there is none and none can be had.
    """
    source = SOURCES[name]
    folder = Path(os.path.expanduser(root)) / source.torchvision_class / "raw"
    train = _read_split(name, folder, "train", source.train_images, source.train_labels)
    test = _read_split(name, folder, "t10k", source.test_images, source.test_labels)
    train, held_out = split_validation(train, test, validation)
    return Dataset(name, train, test, held_out, source.classes, str(folder.parent))


def _read_split(name: str, folder: Path, part: str, images_md5: str, labels_md5: str) -> Split:
    images = parse_idx(_archive(name, folder, f"{part}-images-idx3-ubyte.gz", images_md5), dimensions=3)
    labels = parse_idx(_archive(name, folder, f"{part}-labels-idx1-ubyte.gz", labels_md5), dimensions=1)
    return Split(images.unsqueeze(1), labels.long())


def _archive(name: str, folder: Path, file: str, md5: str) -> Path:
    """The path of an archive whose checksum is right, downloaded if it is not there."""
    path = folder / file
    if not path.exists():
        try:
            _download(name, folder, file, md5)
        except (OSError, RuntimeError) as error:  # torchvision's downloader raises RuntimeError for a wrong checksum
            root = folder.parent.parent
            reason = str(error).strip().partition("\n")[0]
            raise DataMissingError(
                f"data={name}: {path} is not there and cannot be had ({reason});\n"
                f"put the four archives into {folder}, or say where they are with data.root=FOLDER "
                f"(now {root}),\nor use the embedded digits: data=digits"
            ) from error
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(f"{path}: damaged (its MD5 sum is {found}, should be {md5});\ndelete it and run again")
    return path


def _download(name: str, folder: Path, file: str, md5: str) -> None:
    """Download into a scratch folder and move in place, so that nothing unfinished is ever taken for an archive."""
    import torchvision.datasets  # 2 seconds, spared to all who have the data
    from torchvision.datasets.utils import download_url

    mirrors: list[str] = getattr(torchvision.datasets, SOURCES[name].torchvision_class).mirrors
    folder.mkdir(parents=True, exist_ok=True)
    # Its progress bar is for people only; without a timeout a silent network would hold the run up for ever.
    quiet = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch, quiet:
            for number, mirror in enumerate(mirrors, start=1):
                try:
                    download_url(mirror + file, scratch, md5=md5)
                    break
                except (OSError, RuntimeError):
                    if number == len(mirrors):
                        raise
            (Path(scratch) / file).replace(folder / file)
    finally:
        socket.setdefaulttimeout(patience)


def parse_idx(path: Path, dimensions: int) -> Tensor:
    """Read a gzipped IDX file of unsigned bytes as a uint8 tensor of that many dimensions.

    The format: two zero bytes, 8 for unsigned byte, the number of dimensions, each size as a big-endian 32-bit
    integer, the bytes. Raises DataError where the file is anything else.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip archive ({error}); delete it and run again") from error
    header = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < header:
        raise DataError(f"{path}: not an IDX file of {dimensions} dimension(s); delete it and run again")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != np.prod(shape, dtype=np.int64):
        raise DataError(
            f"{path}: holds {len(content) - header} bytes, its header says {shape}; delete it and run again"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).copy()).view(shape)
