"""MNIST and its relatives: what is read, what is refused, and downloads from a local server."""

import functools
import gzip
import http.server
import shutil
import struct
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from conftest import write_idx
from digitnet.data import idx, load_digits, load_idx
from digitnet.errors import DataError, DataMissingError


@pytest.mark.parametrize("name", idx.ARCHIVE_SETS)
def test_checksums_match_torchvision(name: str) -> None:
    source = idx.ARCHIVE_SETS[name]
    known = dict(getattr(torchvision.datasets, source.torchvision_class).resources)
    assert known == {
        "train-images-idx3-ubyte.gz": source.train_images,
        "train-labels-idx1-ubyte.gz": source.train_labels,
        "t10k-images-idx3-ubyte.gz": source.test_images,
        "t10k-labels-idx1-ubyte.gz": source.test_labels,
    }
    assert len(source.classes) == 10


def test_load_returns_exact_images_and_labels(small_mnist: Path) -> None:
    found, digits = load_idx("mnist", str(small_mnist)), load_digits(enlarge_to=1437)
    assert torch.equal(found.train.images, digits.train.images)
    assert torch.equal(found.test.labels, digits.test.labels)
    assert found.train.images.dtype == torch.uint8
    assert found.train.labels.dtype == torch.int64
    assert found.validates_on_test


def test_held_out_images_leave_the_training_set(small_mnist: Path) -> None:
    whole = load_idx("mnist", str(small_mnist))
    split = load_idx("mnist", str(small_mnist), validation=400)
    assert (len(split.train), len(split.validation), len(split.test)) == (1037, 400, 360)

    def bag(*images: torch.Tensor) -> list[bytes]:
        return sorted(image.numpy().tobytes() for image in torch.cat(images))

    assert bag(split.train.images, split.validation.images) == bag(whole.train.images)
    with pytest.raises(DataError, match=r"data\.validation=1437: the training set has only 1437 images"):
        load_idx("mnist", str(small_mnist), validation=1437)


def packed(header: list[int], sizes: list[int], values: bytes) -> bytes:
    return gzip.compress(bytes(header) + struct.pack(f">{len(sizes)}I", *sizes) + values, mtime=0)


LABELS, IMAGES = packed([0, 0, 8, 1], [9], bytes(range(9))), packed([0, 0, 8, 3], [2, 28, 28], bytes(1568))
DAMAGE = {
    "empty": (b"", "labels", "it is empty"),
    "a web page": (b"\n<!DOCTYPE html><html>", "labels", "it is a web page, not an archive"),
    "no archive": (b"PK\3\4 and so on", "labels", "it is not a complete gzip archive (Error -3 while decompressing"),
    "cut": (LABELS[:-12], "labels", "it is cut off, after "),
    "cut in the header": (packed([0, 0, 8, 1], [], b"\0"), "labels", "it is cut off in its header"),
    "cut in the magic number": (packed([0, 0, 8], [], b""), "labels", "it is cut off in its header"),
    "nothing packed": (packed([], [], b""), "labels", "it is cut off in its header"),
    "few labels for images": (packed([0, 0, 8, 1], [3], b"abc"), "images", "it holds labels instead of images"),
    "its end cut": (LABELS[:-3], "labels", "it is not a complete gzip archive (its end is missing)"),
    "a flipped bit": (LABELS[:-6] + b"x" + LABELS[-5:], "labels", "it is not a complete gzip archive (Error -3"),
    "labels for images": (LABELS, "images", "it holds labels instead of images"),
    "images for labels": (IMAGES, "labels", "it holds images instead of labels"),
    "a wrong magic number": (
        packed([1, 2, 3, 4], [4], b""),
        "labels",
        "it is not an IDX file (it begins with 01 02 03 04)",
    ),
    "too few": (packed([0, 0, 8, 1], [9], bytes(4)), "labels", "it holds 4 bytes, its header says (9,)"),
    "too many": (packed([0, 0, 8, 1], [3], bytes(4)), "labels", "it holds 4 or more bytes, its header says (3,)"),
    "nothing": (packed([0, 0, 8, 1], [0], b""), "labels", "it holds no values"),
    "another size": (packed([0, 0, 8, 3], [1, 32, 32], bytes(1024)), "images", "its images are 32x32, not 28x28"),
    "a label too high": (packed([0, 0, 8, 1], [2], b"\3\x0b"), "labels", "it holds the label 11; there are 10 classes"),
    "a bomb": (packed([0, 0, 8, 1], [4], bytes(10**8)), "labels", "it holds 5 or more bytes, its header says (4,)"),
    "a bomb by its header": (
        packed([0, 0, 8, 3], [2**31, 28, 28], b""),
        "images",
        "its header says (2147483648, 28, 28)",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_archive_is_named_with_the_reason(small_mnist: Path, damage: str) -> None:
    content, part, reason = DAMAGE[damage]
    kind = "labels-idx1" if part == "labels" else "images-idx3"
    path = small_mnist / "MNIST" / "raw" / f"t10k-{kind}-ubyte.gz"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        load_idx("mnist", str(small_mnist))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: damaged: {reason}")
    assert str(caught.value).endswith(";\ndelete it and run again")


def test_valid_archive_of_another_data_set_is_refused_by_checksum(small_mnist: Path) -> None:
    path = small_mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(LABELS)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: damaged \(its MD5 sum is .*\);\ndelete it"):
        load_idx("mnist", str(small_mnist))


def test_different_numbers_of_images_and_labels_are_refused(small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    monkeypatch.setitem(
        idx.ARCHIVE_SETS, "mnist", replace(idx.ARCHIVE_SETS["mnist"], test_labels=write_idx(path, torch.zeros(9)))
    )
    with pytest.raises(DataError, match=r"raw: 360 images and 9 labels in t10k-\*; delete them and run again"):
        load_idx("mnist", str(small_mnist))


def test_unreadable_archive_is_not_reported_as_missing(small_mnist: Path) -> None:
    path = small_mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: cannot be read \(Is a directory\)") as caught:
        load_idx("mnist", str(small_mnist))
    assert not isinstance(caught.value, DataMissingError)


def test_missing_archives_without_network_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError) as caught:
        load_idx("mnist", str(tmp_path / "nothing"))
    text = str(caught.value)
    assert text.startswith("data=mnist: ")
    assert f"put the four archives into {tmp_path}/nothing/MNIST/raw, or set data.root=" in text
    assert text.endswith("data=digits")
    assert text.count("\n") < 4


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the four archives, served as torchvision's second mirror; the first refuses connections."""
    served = tmp_path / "served"
    shutil.move(small_mnist / "MNIST" / "raw", served)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mirrors = ["http://127.0.0.1:9/", f"http://127.0.0.1:{server.server_port}/"]
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", mirrors)
    yield served
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("mirror")
def test_missing_archives_are_downloaded(small_mnist: Path) -> None:
    assert len(load_idx("mnist", str(small_mnist)).train) == 1437
    names = sorted(path.name for path in (small_mnist / "MNIST" / "raw").iterdir())
    assert names == [".lock", *sorted(name for name, _ in torchvision.datasets.MNIST.resources)]  # and no scratch files


def test_damaged_download_is_not_kept(small_mnist: Path, mirror: Path) -> None:
    (mirror / "t10k-images-idx3-ubyte.gz").write_bytes(b"half an archive")
    with pytest.raises(DataMissingError, match=r"t10k-images-idx3-ubyte\.gz is missing and cannot be downloaded"):
        load_idx("mnist", str(small_mnist))
    assert not (small_mnist / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz").exists()


def test_silent_server_times_out(small_mnist: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(self: Quiet) -> None:
        threading.Event().wait(20)

    monkeypatch.setattr(Quiet, "do_GET", silent)
    monkeypatch.setattr(idx, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(DataMissingError, match="timed out"):
        load_idx("mnist", str(small_mnist))


def test_download_after_a_killed_one_starts_again(small_mnist: Path, mirror: Path) -> None:
    raw = small_mnist / "MNIST" / "raw"
    (raw / ".unfinished").mkdir(parents=True)
    half = (mirror / "t10k-images-idx3-ubyte.gz").read_bytes()[:1000]
    (raw / ".unfinished" / "t10k-images-idx3-ubyte.gz").write_bytes(half)
    assert len(load_idx("mnist", str(small_mnist)).test) == 360
    assert not (raw / ".unfinished").exists()


def test_parallel_loads_download_once(small_mnist: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    get = Quiet.do_GET

    def slowly(self: Quiet) -> None:
        asked.append(self.path)
        threading.Event().wait(0.2)
        get(self)

    monkeypatch.setattr(Quiet, "do_GET", slowly)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: len(load_idx("mnist", str(small_mnist)).train), range(3)))
    assert found == [1437] * 3
    assert Counter(asked) == {
        f"/{path.name}": 2 for path in mirror.iterdir()
    }  # torchvision looks for redirections first


@pytest.mark.mnist
def test_real_mnist_has_the_published_counts(real_mnist: Path) -> None:
    mnist = load_idx("mnist", str(real_mnist))
    assert (len(mnist.train), len(mnist.test)) == (60_000, 10_000)
    # The counts of LeCun's page: class 1 is the most frequent.
    assert torch.bincount(mnist.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.train.images.float().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)


def test_kmnist_and_fashion_mnist_have_their_own_folders(small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, folder in (("kmnist", "KMNIST"), ("fashion_mnist", "FashionMNIST")):
        shutil.copytree(small_mnist / "MNIST", small_mnist / folder)
        trusted = replace(
            idx.ARCHIVE_SETS["mnist"],
            torchvision_class=idx.ARCHIVE_SETS[name].torchvision_class,
            classes=idx.ARCHIVE_SETS[name].classes,
        )
        monkeypatch.setitem(idx.ARCHIVE_SETS, name, trusted)
        assert load_idx(name, str(small_mnist)).name == name
