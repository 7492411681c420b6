"""MNIST and its relatives: what is read, what is refused, and downloads from a local server."""

import contextlib
import functools
import gzip
import http.server
import os
import shutil
import signal
import socketserver
import struct
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from conftest import Command, write, write_idx
from digitnet.data import download as data_download
from digitnet.data import idx, load_digits, load_idx
from digitnet.errors import DataError, DataMissingError


@pytest.mark.parametrize("name", idx.ARCHIVE_SETS)
def test_checksums_match_torchvision(name: str) -> None:
    source = idx.ARCHIVE_SETS[name]
    theirs = getattr(torchvision.datasets, source.folder)
    if name == "emnist":
        assert (source.mirrors[0] + source.zipped[0], source.zipped[1]) == (theirs.url, theirs.md5)
        return
    if name == "qmnist":
        resources = [*theirs.resources["train"], *theirs.resources["test"]]
        found = [
            (f"{source.mirrors[0]}{file}.gz", md5) for file, md5 in zip(source.files, source.archives, strict=True)
        ]
        assert found == resources
        return
    assert theirs.resources == [(f"{file}.gz", md5) for file, md5 in zip(idx.FILES, source.archives, strict=True)]
    assert tuple(theirs.mirrors) == source.mirrors
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
    assert str(caught.value).endswith(";\nmove it elsewhere and run again, to download it")


def with_contents(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Make the checksums of what is packed in small_mnist's archives known, as MNIST's are."""
    contents = [gzip.decompress((root / "MNIST" / "raw" / f"{file}.gz").read_bytes()) for file in idx.FILES]
    known = replace(idx.ARCHIVE_SETS["mnist"], contents=tuple(map(idx._md5, contents)))
    monkeypatch.setitem(idx.ARCHIVE_SETS, "mnist", known)


def test_another_data_set_is_refused_by_checksum(small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_contents(monkeypatch, small_mnist)
    path = small_mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(LABELS)
    with pytest.raises(DataError, match=r"ubyte\.gz: damaged: its content's MD5 sum is .*, should be .*;\nmove it"):
        load_idx("mnist", str(small_mnist))
    other = replace(idx.ARCHIVE_SETS["mnist"], contents=None)
    monkeypatch.setitem(idx.ARCHIVE_SETS, "other", other)
    (small_mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    write_idx(path, load_digits(enlarge_to=1437).test.labels)  # at another compression level it would have another sum
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())))
    with pytest.raises(DataError, match=r"ubyte\.gz: damaged: it is t10k-labels-idx1-ubyte of MNIST;\nmove it"):
        load_idx("other", str(small_mnist))


def test_different_numbers_of_images_and_labels_are_refused(small_mnist: Path) -> None:
    write_idx(small_mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz", torch.zeros(9))
    with pytest.raises(DataError, match=r"raw: 360 images and 9 labels in t10k-\*;\nthey are of different data sets"):
        load_idx("mnist", str(small_mnist))


@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", "."])
@pytest.mark.parametrize("name", ["{}", "{}.gz", "dotted", "dotted.gz"])
@pytest.mark.parametrize("known", [True, False])
def test_files_that_were_unpacked_or_packed_again_are_read(
    small_mnist: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str, name: str, known: bool
) -> None:
    if known:
        with_contents(monkeypatch, small_mnist)
    whole, root = load_idx("mnist", str(small_mnist)), tmp_path / "theirs"
    for file in idx.FILES:
        content = gzip.decompress((small_mnist / "MNIST" / "raw" / f"{file}.gz").read_bytes())
        target = name.replace("dotted", file.replace("-idx", ".idx")).format(file)
        write(root / place / target, gzip.compress(content, 9) if name.endswith(".gz") else content)
    found = load_idx("mnist", str(root), download=False)
    assert torch.equal(found.train.images, whole.train.images)
    assert torch.equal(found.test.labels, whole.test.labels)
    warnings = found.notes.get("warnings", [])
    how = "packed again" if name.endswith(".gz") else "unpacked"
    assert [text.partition(": ")[2] for text in warnings] == (  # type: ignore[attr-defined]
        [] if known else [f"{how}, and not compared with the original"] * 4
    )


def test_damaged_unpacked_file_is_named(small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_contents(monkeypatch, small_mnist)
    packed_file = small_mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz"
    content, path = gzip.decompress(packed_file.read_bytes()), packed_file.with_suffix("")
    packed_file.unlink()
    for damaged, reason in (
        (content[:-1], "it holds 1,436 bytes, its header says"),
        (content + b"x", "it holds 1,438 or more bytes"),
        (content[:-1] + b"\x00", "its content's MD5 sum is"),
        (content[:5], "it is cut off in its header"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            load_idx("mnist", str(small_mnist))
        assert str(caught.value).startswith(f"{path}: damaged: {reason}")
        assert str(caught.value).endswith(";\nmove it elsewhere and run again, to download it")


@pytest.mark.parametrize("packed_too", [True, False])
def test_files_with_each_others_names_are_recognized(
    small_mnist: Path, monkeypatch: pytest.MonkeyPatch, packed_too: bool
) -> None:
    """The test set's images have the same shape as the training set's."""
    raw = small_mnist / "MNIST" / "raw"
    if packed_too:  # as in the case of KMNIST, of which only the archives' sums are known
        sums = tuple(idx._md5((raw / f"{file}.gz").read_bytes()) for file in idx.FILES)
        monkeypatch.setitem(idx.ARCHIVE_SETS, "mnist", replace(idx.ARCHIVE_SETS["mnist"], archives=sums))
    else:
        with_contents(monkeypatch, small_mnist)
    for kind in ("images-idx3", "labels-idx1"):
        (raw / f"train-{kind}-ubyte.gz").rename(raw / "other")
        (raw / f"t10k-{kind}-ubyte.gz").rename(raw / f"train-{kind}-ubyte.gz")
        (raw / "other").rename(raw / f"t10k-{kind}-ubyte.gz")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: damaged: it is t10k-images-idx3-ubyte of MN"):
        load_idx("mnist", str(small_mnist))


def test_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "mnist.npz", b"PK")
    with pytest.raises(DataError) as caught:
        load_idx("mnist", str(tmp_path / "mnist.npz"))
    assert str(caught.value) == f"data.root={tmp_path}/mnist.npz: a file; give the folder that it is in"


def save_as_keras(path: Path, root: Path, **changes: np.ndarray | None) -> None:
    found = load_idx("mnist", str(root))
    arrays = {
        "x_train": found.train.images[:, 0].numpy(),
        "y_train": found.train.labels.numpy(),
        "x_test": found.test.images[:, 0].numpy(),
        "y_test": found.test.labels.numpy(),
    }
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})


def test_mnist_is_read_from_keras_file(small_mnist: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_contents(monkeypatch, small_mnist)
    whole = load_idx("mnist", str(small_mnist))
    path = tmp_path / "keras" / "mnist.npz"
    path.parent.mkdir()
    save_as_keras(path, small_mnist)
    found = load_idx("mnist", str(path.parent), download=False)
    assert torch.equal(found.train.images, whole.train.images)
    assert torch.equal(found.test.labels, whole.test.labels)
    assert (found.source, found.test.labels.dtype) == (str(path), torch.int64)
    labels = whole.test.labels.numpy()
    for changes, reason in (
        ({"x_test": None}, "it has no array x_test"),
        ({"y_test": labels[::-1]}, "its content's MD5 sum is"),
        ({"y_test": labels.astype(object)}, "Object arrays cannot be loaded"),
    ):
        save_as_keras(path, small_mnist, **changes)
        with pytest.raises(DataError) as caught:
            load_idx("mnist", str(path.parent))
        assert str(caught.value).startswith(f"{path}: damaged: {reason}")
        assert str(caught.value).endswith(";\nmove it elsewhere and run again, to download the archives")
    path.write_bytes(b"PK no archive")
    with pytest.raises(DataError, match=r"mnist\.npz: damaged: File is not a zip file;\nmove it"):
        load_idx("mnist", str(path.parent))


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
    assert f"(now {tmp_path}/nothing)" in text
    assert text.endswith("data=digits")
    assert text.count("\n") < 4
    assert not (tmp_path / "nothing").exists()


def test_missing_file_among_others_is_looked_for_where_they_are(small_mnist: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    (small_mnist / "MNIST" / "raw").rename(flat)
    (flat / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataMissingError) as caught:
        load_idx("mnist", str(flat), download=False)
    text = str(caught.value)
    assert text.startswith(f"data=mnist: {flat}/t10k-labels-idx1-ubyte.gz is missing")
    assert f"put the four archives into {flat}, or set data.root=FOLDER to where they are (now {flat})" in text


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the four archives, served as the second mirror; the first refuses connections."""
    served = tmp_path / "served"
    shutil.move(small_mnist / "MNIST" / "raw", served)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served))
    monkeypatch.setattr(server, "handle_error", lambda *_: None)  # an interrupted client is gone
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mirrors = ("http://127.0.0.1:9/", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setitem(idx.ARCHIVE_SETS, "mnist", replace(idx.ARCHIVE_SETS["mnist"], mirrors=mirrors))
    yield served
    server.shutdown()
    server.server_close()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("mirror")
def test_missing_archives_are_downloaded(small_mnist: Path) -> None:
    assert len(load_idx("mnist", str(small_mnist)).train) == 1437
    assert names_in(small_mnist / "MNIST" / "raw") == sorted(f"{file}.gz" for file in idx.FILES)  # and nothing else


def test_damaged_download_is_not_kept(small_mnist: Path, mirror: Path) -> None:
    (mirror / "t10k-images-idx3-ubyte.gz").write_bytes(b"half an archive")
    with pytest.raises(DataMissingError, match=r"t10k-images-idx3-ubyte\.gz is missing and cannot be downloaded"):
        load_idx("mnist", str(small_mnist))
    assert names_in(small_mnist / "MNIST" / "raw") == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


ANSWERS = {
    "cut off": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc", "IncompleteRead|was cut off after 3 of 1,000"),
    "cut off chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc", "IncompleteRead"),
    "no status": (b"nonsense\r\n\r\n", "BadStatusLine: nonsense"),
    "many headers": (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", "HTTPException: got more than 100 headers"),
    "another file": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "has another file of this name"),
    "missing": (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP Error 404: Not Found"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_mirror_that_fails_is_followed_by_the_next(
    small_mnist: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    content, reason = ANSWERS[answer]
    with answering(content) as url:
        good = idx.ARCHIVE_SETS["mnist"].mirrors
        monkeypatch.setitem(idx.ARCHIVE_SETS, "mnist", replace(idx.ARCHIVE_SETS["mnist"], mirrors=(url, *good)))
        assert len(load_idx("mnist", str(small_mnist)).test) == 360
        shutil.rmtree(small_mnist)
        monkeypatch.setitem(idx.ARCHIVE_SETS, "mnist", replace(idx.ARCHIVE_SETS["mnist"], mirrors=(url,)))
        with pytest.raises(DataMissingError, match=rf"cannot be downloaded \(.*({reason})"):
            load_idx("mnist", str(small_mnist))
        assert not small_mnist.exists()


@contextlib.contextmanager
def answering(content: bytes, times: int = 1) -> Iterator[str]:
    """A server that answers each request with `content`, `times` times, and closes the connection."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.request.recv(10_000)
            with contextlib.suppress(OSError):
                for _ in range(times):
                    self.wfile.write(content)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_mirror_that_sends_without_end_is_given_up(small_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(small_mnist)
    monkeypatch.setattr(data_download, "LARGEST", 100_000)
    start = b"HTTP/1.1 200 OK\r\n\r\n"
    with answering(start + bytes(100_000), times=10**6) as url:
        monkeypatch.setitem(idx.ARCHIVE_SETS, "mnist", replace(idx.ARCHIVE_SETS["mnist"], mirrors=(url,)))
        with pytest.raises(DataMissingError, match=r"has more than 100,000 bytes"):
            load_idx("mnist", str(small_mnist))


def test_data_auto_takes_the_digits_when_a_download_fails(
    command: Command, small_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(small_mnist)
    with answering(ANSWERS["no status"][0]) as url:
        monkeypatch.setitem(idx.ARCHIVE_SETS, "mnist", replace(idx.ARCHIVE_SETS["mnist"], mirrors=(url,)))
        done = command("data.root=" + str(small_mnist), "trainer.epochs=1", "data.enlarge_to=1437", "logger=metrics")
    assert done.code == 0
    assert done.out.startswith("data: digits (embedded; MNIST is not in ")


def test_silent_server_times_out(small_mnist: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(self: Quiet) -> None:
        threading.Event().wait(20)

    monkeypatch.setattr(Quiet, "do_GET", silent)
    monkeypatch.setattr(data_download, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(DataMissingError, match="timed out"):
        load_idx("mnist", str(small_mnist))


def test_interrupted_download_leaves_nothing(
    command: Command, small_mnist: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Quiet.do_GET

    def interrupt(self: Quiet) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        get(self)

    monkeypatch.setattr(Quiet, "do_GET", interrupt)
    options = ["data=mnist", f"data.root={small_mnist}", "trainer.epochs=1", "logger=metrics", "hydra.run.dir=run"]
    done = command(*options)
    assert (done.code, done.err) == (
        130,
        "Stopped before training began\n",
    )
    assert not (small_mnist / "MNIST" / "raw").exists()
    assert not Path("run").exists()
    monkeypatch.setattr(Quiet, "do_GET", get)
    assert command(*options).code == 0


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
    assert Counter(asked) == {f"/{path.name}": 1 for path in mirror.iterdir()}


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
            folder=idx.ARCHIVE_SETS[name].folder,
            classes=idx.ARCHIVE_SETS[name].classes,
        )
        monkeypatch.setitem(idx.ARCHIVE_SETS, name, trusted)
        assert load_idx(name, str(small_mnist)).name == name
