"""MNIST and the data sets in its format: four IDX files, gzipped or not, with known checksums; and Keras' mnist.npz."""

import hashlib
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
from digitnet.data.download import download, download_members
from digitnet.data.idx_format import MAX_BYTES, parse_idx
from digitnet.errors import DataError, DataMissingError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
KERAS_FILE = "mnist.npz"
KERAS_ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # in the order of FILES


@dataclass(frozen=True)
class ArchiveSet:
    """A data set. Its checksums are MD5 sums in the order of `files`: of the archives, and of their contents."""

    folder: str  # as torchvision calls it
    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    archives: tuple[str, str, str, str] | None = None  # None: not known
    contents: tuple[str, str, str, str] | None = None
    files: tuple[str, str, str, str] = FILES
    zipped: tuple[str, str] | None = None  # a zip of them, with others: its name, and its MD5 sum
    is_transposed: bool = False  # its images


DIGIT_NAMES = tuple("0123456789")
# MNIST's test images whose labels human raters reject, by their indices (Northcutt, Athalye and Mueller 2021,
# "Pervasive Label Errors in Test Sets", labelerrors.com).
WRONG_LABELS = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
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
    "qmnist": ArchiveSet(  # Yadav and Bottou 2019
        "QMNIST",
        ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
        DIGIT_NAMES,
        (
            "ed72d4157d28c017586c42bc6afe6370",
            "0058f8dd561b90ffdd0f734c6a30e5e4",
            "1394631089c404de565df7b7aeaf9412",
            "5b5b05890a5e13444e108efe57b788aa",
        ),
        files=(
            "qmnist-train-images-idx3-ubyte",
            "qmnist-train-labels-idx2-int",
            "qmnist-test-images-idx3-ubyte",
            "qmnist-test-labels-idx2-int",
        ),
    ),
    "emnist": ArchiveSet(  # Cohen et al. 2017, its digits
        "EMNIST",
        ("https://biometrics.nist.gov/cs_links/EMNIST/",),
        DIGIT_NAMES,
        files=(
            "emnist-digits-train-images-idx3-ubyte",
            "emnist-digits-train-labels-idx1-ubyte",
            "emnist-digits-test-images-idx3-ubyte",
            "emnist-digits-test-labels-idx1-ubyte",
        ),
        zipped=("gzip.zip", "58c8d27c78d21e728a6bc7b3cc06412e"),
        is_transposed=True,
    ),
}
PARTS = {"test": slice(None), "test10k": slice(10_000), "test50k": slice(10_000, None)}  # all; MNIST's; the others


def load_idx(
    name: str, root: str, validation: str | int = "test", download: bool = True, part: str = "test"
) -> Dataset:
    """Load one of ARCHIVE_SETS from `root`; `download` what is missing.

    The four files are looked for in `root`/MNIST/raw (FashionMNIST, …), where torchvision keeps them, in `root`/MNIST,
    and in `root`; as archives (.gz), or unpacked. MNIST is also read from mnist.npz, as Keras has it. Archives that
    were packed again are known by their content. `validation` is "test" or the number of training images to hold out;
    `part` is one of PARTS, of QMNIST's test set. `notes["warnings"]` names files that could not be compared, as no
    checksum of their content is known.

    Raises DataError if a file is damaged, DataMissingError if one is missing and cannot be downloaded.
    """
    archives, place = ARCHIVE_SETS[name], Path(os.path.expanduser(root))
    if place.is_file():
        raise DataError(f"data.root={root}: a file; give the folder that it is in")
    usual = place / archives.folder / "raw"
    folders = (usual, usual / "gzip", usual.parent, place)  # torchvision leaves EMNIST's archives in gzip/
    folder = next((path for path in folders if any(_find(path, file) for file in archives.files)), None)
    keras = next((path / KERAS_FILE for path in folders if name == "mnist" and (path / KERAS_FILE).is_file()), None)
    source, warnings = str(usual.parent), list[str]()
    if folder is None and keras is not None:
        values, source = _read_keras_file(keras, archives), str(keras)
    else:
        if folder is None:
            _refuse_folder_of_images(name, place, usual)
        folder = folder or usual
        source = str(folder.parent if folder == usual else folder)
        values = [_read_file(name, root, folder, number, download, warnings) for number in range(len(archives.files))]
    train, test = (_as_split(values[n], values[n + 1], archives, n, folder or keras) for n in (0, 2))
    if not len(test[PARTS[part]]):
        raise DataError(f"data.part={part}: {source} has only {len(test)} test images; set data.part=test")
    test = test[PARTS[part]]
    train, held_out = split_validation(train, test, validation)
    notes: dict[str, object] = {"warnings": warnings} if warnings else {}
    has_them = name in ("mnist", "qmnist") and part != "test50k"
    wrong_labels = tuple(index for index in WRONG_LABELS if has_them and index < len(test))
    return Dataset(name, train, test, held_out, archives.classes, source, notes, wrong_labels)


def _as_split(images: Tensor, labels: Tensor, archives: ArchiveSet, number: int, place: Path | None) -> Split:
    if len(images) != len(labels):
        file = archives.files[number]
        raise DataError(
            f"{place}: {len(images)} images and {len(labels)} labels in {file[: file.index('-images') + 1]}*;\n"
            "they are of different data sets: put the right ones there"
        )
    upright = images.transpose(1, 2).contiguous() if archives.is_transposed else images
    return Split(upright.unsqueeze(1), labels.long())


def _find(folder: Path, file: str) -> Path | None:
    """A file in a folder: packed or not, with a dot for a hyphen as some archives call it; None if missing."""
    names = (file, file.replace("-idx", ".idx"))
    return next((path for n in names for path in (folder / f"{n}.gz", folder / n) if path.exists()), None)


def _read_file(name: str, root: str, folder: Path, number: int, download_it: bool, warnings: list[str]) -> Tensor:
    """The values of one of the data set's files; if it is missing, it is downloaded first."""
    archives, file = ARCHIVE_SETS[name], ARCHIVE_SETS[name].files[number]
    path = _find(folder, file)
    if path is None:
        path = folder / f"{file}.gz"
        _get(name, root, path, archives, number, download_it)
    content, is_packed = read_archive(path), path.suffix == ".gz"
    try:
        values = parse_idx(content, int(file[file.index("-idx") + 4]), len(archives.classes), is_packed)
        if _is_known(content, number, archives) or archives.archives is None:
            return values
        _check_content(values, number, archives)
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error};\nmove it elsewhere and run again, to download it") from error
    if archives.contents is None:
        warnings.append(
            f"{path.name}: {'packed again' if is_packed else 'unpacked'}, and not compared with the original"
        )
    return values


def read_archive(path: Path) -> bytes:
    """A file's content. Raises DataError if it has more than MAX_BYTES or cannot be read."""
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{path}: has {size:,} bytes, more than any data set in this format")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _get(name: str, root: str, path: Path, archives: ArchiveSet, number: int, download_it: bool) -> None:
    """Download an archive. Raises DataMissingError, with what else can be done."""
    try:
        if not download_it:
            raise OSError("it is downloaded only to a data.root that you give")
        if archives.zipped is not None:
            download_members(archives.mirrors, path.parent, *archives.zipped, [f"{file}.gz" for file in archives.files])
        else:
            assert archives.archives is not None
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
    if any(sums and found == sums[number] for sums in (archives.archives, archives.contents)):
        return True
    for other in ARCHIVE_SETS.values():
        for sums in (other.archives or (), other.contents or ()):
            if found in sums:
                raise ValueError(f"it is {other.files[sums.index(found)]} of {other.folder}")
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
