"""MNIST and the data sets in its format: four IDX files, gzipped or not, with known checksums; and Keras' mnist.npz."""

import hashlib
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from digitnet.data.dataset import Dataset, Split, split_validation
from digitnet.data.download import download
from digitnet.errors import DataError, DataMissingError

MAX_BYTES = 2**28  # unpacked; MNIST's training images are 47 million
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
KERAS_FILE = "mnist.npz"
KERAS_ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # in the order of FILES


@dataclass(frozen=True)
class ArchiveSet:
    """A data set. Its checksums are MD5 sums in the order of FILES: of the archives, and of what is packed in them."""

    folder: str  # as torchvision calls it
    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    archives: tuple[str, str, str, str]
    contents: tuple[str, str, str, str] | None = None  # None: not known


DIGIT_NAMES = tuple("0123456789")
# Test images whose labels human raters reject, by their indices (Northcutt, Athalye and Mueller 2021, "Pervasive Label
# Errors in Test Sets", labelerrors.com).
WRONG_LABELS = {
    "mnist": (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729),
}
ARCHIVE_SETS = {
    "mnist": ArchiveSet(
        "MNIST",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        DIGIT_NAMES,
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        (
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    "fashion_mnist": ArchiveSet(
        "FashionMNIST",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "kmnist": ArchiveSet(
        "KMNIST",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    ),
}


def load_idx(name: str, root: str, validation: str | int = "test", download: bool = True) -> Dataset:
    """Load `mnist`, `fashion_mnist` or `kmnist` from `root`; `download` what is missing.

    The four files are looked for in `root`/MNIST/raw (FashionMNIST, KMNIST), where torchvision keeps them, in
    `root`/MNIST, and in `root`; as archives (.gz), or unpacked. MNIST is also read from mnist.npz, as Keras has it.
    Archives that were packed again are known by their content. `validation` is "test" or the number of training images
    to hold out. `notes["warnings"]` names files that could not be compared, as no checksum of their content is known.

    Raises DataError if a file is damaged, DataMissingError if one is missing and cannot be downloaded.
    """
    archives, place = ARCHIVE_SETS[name], Path(os.path.expanduser(root))
    if place.is_file():
        raise DataError(f"data.root={root}: a file; give the folder that it is in")
    usual = place / archives.folder / "raw"
    folders = (usual, usual.parent, place)
    folder = next((path for path in folders if any(_find(path, file) for file in FILES)), None)
    keras = next((path / KERAS_FILE for path in folders if name == "mnist" and (path / KERAS_FILE).is_file()), None)
    source, warnings = str(usual.parent), list[str]()
    if folder is None and keras is not None:
        values, source = _read_keras_file(keras, archives), str(keras)
    else:
        if folder is None:
            _refuse_folder_of_images(name, place, usual)
        folder = folder or usual
        source = str(folder.parent if folder == usual else folder)
        values = [_read_file(name, root, folder, number, download, warnings) for number in range(len(FILES))]
    train, test = (_as_split(values[n], values[n + 1], FILES[n], folder or keras) for n in (0, 2))
    train, held_out = split_validation(train, test, validation)
    notes: dict[str, object] = {"warnings": warnings} if warnings else {}
    return Dataset(name, train, test, held_out, archives.classes, source, notes)


def _as_split(images: Tensor, labels: Tensor, file: str, place: Path | None) -> Split:
    if len(images) != len(labels):
        raise DataError(
            f"{place}: {len(images)} images and {len(labels)} labels in {file.partition('-')[0]}-*;\n"
            "they are of different data sets: put the right ones there"
        )
    return Split(images.unsqueeze(1), labels.long())


def _find(folder: Path, file: str) -> Path | None:
    """One of FILES in a folder: packed or not, with a dot for a hyphen as some archives call it; None if missing."""
    names = (file, file.replace("-idx", ".idx"))
    return next((path for n in names for path in (folder / f"{n}.gz", folder / n) if path.exists()), None)


def _read_file(name: str, root: str, folder: Path, number: int, download_it: bool, warnings: list[str]) -> Tensor:
    """The values of one of FILES; if it is missing, it is downloaded first."""
    archives, file = ARCHIVE_SETS[name], FILES[number]
    path = _find(folder, file)
    if path is None:
        path = folder / f"{file}.gz"
        _get(name, root, path, archives, number, download_it)
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{path}: has {size:,} bytes, more than any data set in this format")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    is_packed = path.suffix == ".gz"
    try:
        values = parse_idx(content, 3 if "idx3" in file else 1, len(archives.classes), is_packed)
        if is_packed and _is_known(content, number, archives):
            return values
        _check_content(values, number, archives)
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error};\nmove it elsewhere and run again, to download it") from error
    if archives.contents is None:
        warnings.append(
            f"{path.name}: {'packed again' if is_packed else 'unpacked'}, and not compared with the original"
        )
    return values


def _get(name: str, root: str, path: Path, archives: ArchiveSet, number: int, download_it: bool) -> None:
    """Download an archive. Raises DataMissingError, with what else can be done."""
    try:
        if not download_it:
            raise OSError("a resumed run downloads only to a data.root that you give")
        download(archives.mirrors, path, archives.archives[number])
    except OSError as error:
        folder = path.parent
        reason = str(error).strip().partition("\n")[0]
        raise DataMissingError(
            f"data={name}: {path} is missing and cannot be downloaded ({reason});\n"
            f"put the four archives into {folder}, or set data.root=FOLDER to where they are "
            f"(now {root}),\nor use the embedded digits: data=digits"
        ) from error


def _check_content(values: Tensor, number: int, archives: ArchiveSet) -> None:
    """Raise ValueError if the values are not those of the original, or are known to be another file's."""
    header = bytes([0, 0, 8, values.dim()]) + struct.pack(f">{values.dim()}I", *values.shape)
    content = header + values.numpy().tobytes()
    if not _is_known(content, number, archives) and archives.contents is not None:
        raise ValueError(f"its content's MD5 sum is {_md5(content)}, should be {archives.contents[number]}")


def _is_known(content: bytes, number: int, archives: ArchiveSet) -> bool:
    """Whether `content` is the original's, packed or not. Raises ValueError if it is that of another file."""
    found = _md5(content)
    if found == archives.archives[number] or (archives.contents and found == archives.contents[number]):
        return True
    for other in ARCHIVE_SETS.values():
        for sums in (other.archives, other.contents or ()):
            if found in sums:
                raise ValueError(f"it is {FILES[sums.index(found)]} of {other.folder}")
    return False


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _read_keras_file(path: Path, archives: ArchiveSet) -> Sequence[Tensor]:
    """The arrays of mnist.npz, in the order of FILES. Raises DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES:,} bytes when unpacked")
        with np.load(path, allow_pickle=False) as arrays:
            if missing := [name for name in KERAS_ARRAYS if name not in arrays]:
                raise ValueError(f"it has no array {missing[0]}")
            values = [torch.from_numpy(np.ascontiguousarray(arrays[name], dtype=np.uint8)) for name in KERAS_ARRAYS]
        for number, value in enumerate(values):
            _check_content(value, number, archives)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: damaged: {error};\nmove it elsewhere and run again, to download the archives"
        ) from error
    return values


def _refuse_folder_of_images(name: str, root: Path, folder: Path) -> None:
    """Raise DataError if `root`, data.root, has images in subfolders instead of archives in `folder`."""
    if root.is_dir() and not folder.exists():
        from digitnet.data.image_folder import images_below  # imports Pillow, which archives do not need

        if images_below(root):
            raise DataError(
                f"data={name}: {root} has no {folder.relative_to(root)}, but subfolders of images;\n"
                f"did you mean data=folder data.root={root}?"
            )


class _NotPacked:
    """As zlib's decompressor, for bytes that are not packed."""

    def __init__(self) -> None:
        self.unconsumed_tail, self.eof = b"", False

    def decompress(self, content: bytes, size: int) -> bytes:
        self.unconsumed_tail = content[size:]
        self.eof = not self.unconsumed_tail
        return content[:size]


def parse_idx(content: bytes, dimensions: int, classes: int, is_packed: bool = True) -> Tensor:
    """Images (N, 28, 28), or labels (N,) from 0 to `classes` - 1, both uint8, from an IDX file, by default gzipped.

    The format: two zero bytes, 8 for unsigned byte, the number of dimensions, each size as a big-endian 32-bit integer,
    the bytes. At most one byte more than these sizes require is unpacked. Raises ValueError if `content` is anything
    else.
    """
    if not content:
        raise ValueError("it is empty")
    if content[:100].lstrip()[:1] == b"<":
        raise ValueError("it is a web page, not an archive")
    gzip, header = zlib.decompressobj(wbits=31) if is_packed else _NotPacked(), 4 + 4 * dimensions
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
