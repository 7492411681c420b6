"""QMNIST, EMNIST's digits and USPS: as MNIST's images, whatever their files are like."""

import bz2
import functools
import gzip
import hashlib
import http.server
import io
import json
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from conftest import Command, write, write_idx
from digitnet.config.compose import load_config
from digitnet.data import download as data_download
from digitnet.data import idx, load_digits, load_idx, load_usps, usps
from digitnet.errors import ConfigError, DataError, DataMissingError
from digitnet.experiment import build


def write_labels(path: Path, labels: torch.Tensor) -> str:
    """QMNIST's: eight big-endian integers an image, the class first; returns the MD5 sum."""
    values = np.zeros((len(labels), 8), ">i4")
    values[:, 0], values[:, 3] = labels.numpy(), 7
    content = bytes([0, 0, 12, 2]) + struct.pack(">2I", *values.shape) + values.tobytes()
    write(path, gzip.compress(content, mtime=0))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def qmnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    digits, raw = load_digits(enlarge_to=1437), tmp_path / "data" / "QMNIST" / "raw"
    source, sums = idx.ARCHIVE_SETS["qmnist"], list[str]()
    for split, (images, labels) in zip((digits.train, digits.test), (source.files[:2], source.files[2:]), strict=True):
        sums += [write_idx(raw / f"{images}.gz", split.images[:, 0]), write_labels(raw / f"{labels}.gz", split.labels)]
    monkeypatch.setitem(idx.ARCHIVE_SETS, "qmnist", replace(source, archives=tuple(sums)))
    monkeypatch.setitem(idx.PARTS, "test10k", slice(100))
    monkeypatch.setitem(idx.PARTS, "test50k", slice(100, None))
    return tmp_path / "data"


def test_parts_of_qmnist_are_divided_after_the_first_10000_images() -> None:
    places = range(60_000)
    assert [len(places[part]) for part in idx.PARTS.values()] == [60_000, 10_000, 50_000]
    assert (places[idx.PARTS["test10k"]][-1], places[idx.PARTS["test50k"]][0]) == (9_999, 10_000)


def test_parts_of_qmnist_are_those_of_mnist_and_the_others(qmnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "WRONG_LABELS", (7, 300, 9729))
    digits = load_digits(enlarge_to=1437)
    whole, first, others = (load_idx("qmnist", str(qmnist), part=part) for part in idx.PARTS)
    assert torch.equal(whole.test.labels, digits.test.labels)
    assert torch.equal(whole.train.labels, digits.train.labels)
    assert torch.equal(first.test.images, digits.test.images[:100])
    assert torch.equal(others.test.images, digits.test.images[100:])
    assert [len(found.validation) for found in (whole, first, others)] == [360, 100, 260]
    assert (whole.wrong_labels, first.wrong_labels, others.wrong_labels) == ((7, 300), (7,), ())
    monkeypatch.setitem(idx.PARTS, "test50k", slice(360, None))
    with pytest.raises(DataError) as caught:
        load_idx("qmnist", str(qmnist), part="test50k")
    assert str(caught.value) == f"data.part=test50k: {qmnist}/QMNIST has only 360 test images; set data.part=test"


def test_qmnist_is_read_unpacked_as_torchvision_keeps_it(qmnist: Path) -> None:
    whole, files = load_idx("qmnist", str(qmnist)), idx.ARCHIVE_SETS["qmnist"].files
    for path in sorted((qmnist / "QMNIST" / "raw").iterdir()):
        write(path.with_suffix(""), gzip.decompress(path.read_bytes()))
        path.unlink()
    found = load_idx("qmnist", str(qmnist), validation=37, download=False)
    assert torch.equal(found.test.images, whole.test.images)
    assert (len(found.train), len(found.validation)) == (1400, 37)
    assert found.notes == {"warnings": [f"{file}: unpacked, and not compared with the original" for file in files]}


def test_labels_of_qmnist_that_are_damaged_are_named(qmnist: Path) -> None:
    source = idx.ARCHIVE_SETS["qmnist"]
    path = qmnist / "QMNIST" / "raw" / f"{source.files[1]}.gz"
    write_labels(path, torch.full((1437,), 12))
    with pytest.raises(DataError, match="damaged: it holds the label 12; there are 10 classes, numbered from 0"):
        load_idx("qmnist", str(qmnist))
    write_labels(path, torch.full((1437,), -1))
    with pytest.raises(DataError, match="damaged: it holds the label -1; there are 10 classes, numbered from 0"):
        load_idx("qmnist", str(qmnist))
    write_idx(path, torch.zeros(1437))
    with pytest.raises(DataError, match=r"damaged: it is not an IDX file \(it begins with 00 00 08 01\)"):
        load_idx("qmnist", str(qmnist))
    path.write_bytes(gzip.compress(gzip.decompress((path.parent / f"{source.files[3]}.gz").read_bytes())[:-4]))
    with pytest.raises(DataError, match=r"damaged: it holds 11,516 bytes, its header says \(360, 8\)"):
        load_idx("qmnist", str(qmnist))


def test_qmnist_is_chosen_by_its_part(qmnist: Path, command: Command) -> None:
    words = ["data=qmnist", f"data.root={qmnist}", "trainer.epochs=1", "logger=metrics", "hydra.run.dir=run"]
    done = command(*words, "data.part=test50k")
    assert done.code == 0
    assert "1,437 training and 260 test images" in done.out
    done = command("evaluate", "run", "data.part=test10k", "--format", "json")
    assert done.err == ""
    assert json.loads(done.out)[0]["n"] == 100
    done = command(*words, "data.part=test5k")
    assert done.code == 2
    assert "data.part" in done.err
    assert "test10k" in done.err


def test_sizes_and_paths_of_configurations(tmp_path: Path) -> None:
    for name, count in (("qmnist", 60_000), ("emnist", 240_000), ("usps", 7291)):
        load_config([f"data={name}", f"data.validation={count - 1}"])
        with pytest.raises(ConfigError, match=rf"data\.validation={count}: the training set has only {count} images"):
            load_config([f"data={name}", f"data.validation={count}"])
        found = build.with_resolved_paths(load_config([f"data={name}", "data.root=mine"]).data, name)
        assert found.model_dump()["root"] == str(tmp_path / "mine")
    config = load_config(["data=qmnist", "data.part=test50k"]).data
    assert build.with_resolved_paths(config, "qmnist").model_dump()["part"] == "test50k"


def write_emnist(folder: Path, ending: str) -> dict[str, Path]:
    """The four files, with EMNIST's transposed images."""
    digits, paths = load_digits(enlarge_to=1437), {}
    files = idx.ARCHIVE_SETS["emnist"].files
    for split, names in zip((digits.train, digits.test), (files[:2], files[2:]), strict=True):
        for name, values in zip(names, (split.images[:, 0].transpose(1, 2), split.labels), strict=True):
            path = paths[name] = folder / f"{name}.gz"
            write_idx(path, values)
            if not ending:
                write(path.with_suffix(""), gzip.decompress(path.read_bytes()))
                path.unlink()
    return paths


@pytest.mark.parametrize(("place", "ending"), [("EMNIST/raw", ""), ("EMNIST/raw/gzip", ".gz"), (".", ".gz")])
def test_images_of_emnist_are_turned_upright(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, ending: str
) -> None:
    monkeypatch.setattr(idx, "WRONG_LABELS", (7,))  # of MNIST only
    write_emnist(tmp_path / "data" / place, ending)
    found, digits = load_idx("emnist", str(tmp_path / "data"), download=False), load_digits(enlarge_to=1437)
    assert torch.equal(found.train.images, digits.train.images)
    assert torch.equal(found.test.labels, digits.test.labels)
    assert (found.classes, found.notes, found.wrong_labels) == (digits.classes, {}, ())


def test_file_of_emnist_that_is_cut_or_another_data_sets_is_named(tmp_path: Path, small_mnist: Path) -> None:
    path = next(iter(write_emnist(small_mnist / "EMNIST" / "raw", ".gz").values()))
    content = path.read_bytes()
    end = ";\nmove it elsewhere and run again, to download it"
    write(path, (small_mnist / "MNIST" / "raw" / f"{idx.FILES[2]}.gz").read_bytes())
    with pytest.raises(DataError) as caught:
        load_idx("emnist", str(small_mnist))
    assert str(caught.value) == f"{path}: damaged: it is {idx.FILES[2]} of MNIST{end}"
    write(path, content[:-1000])
    with pytest.raises(DataError) as caught:
        load_idx("emnist", str(small_mnist))
    assert str(caught.value).startswith(f"{path}: damaged: it is cut off, after ")
    assert str(caught.value).endswith(end)
    path.unlink()
    with pytest.raises(DataMissingError) as caught:
        load_idx("emnist", str(small_mnist), download=False)
    why = "it is downloaded only to a data.root that you give"
    assert str(caught.value).splitlines() == [
        f"data=emnist: {path} is missing and cannot be downloaded ({why});",
        f"put the four archives into {path.parent}, or set data.root=FOLDER to where they are (now {small_mnist}),",
        "or use the embedded digits: data=digits",
    ]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """(folder, its address)."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_emnist_is_downloaded_and_only_the_digits_are_kept(
    tmp_path: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = served
    paths = write_emnist(tmp_path / "made", ".gz")
    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        archive.writestr("gzip/emnist-letters-train-images-idx3-ubyte.gz", b"letters")
        for name, path in paths.items():
            archive.write(path, f"gzip/{name}.gz")
    md5 = hashlib.md5((folder / "gzip.zip").read_bytes()).hexdigest()
    mirrors = ("http://127.0.0.1:9/", address)  # the first refuses connections
    source = replace(idx.ARCHIVE_SETS["emnist"], mirrors=mirrors, zipped=("gzip.zip", md5))
    monkeypatch.setitem(idx.ARCHIVE_SETS, "emnist", source)
    root = tmp_path / "data"
    assert len(load_idx("emnist", str(root)).train) == 1437
    assert sorted(path.name for path in (root / "EMNIST" / "raw").iterdir()) == sorted(f"{name}.gz" for name in paths)
    (root / "EMNIST" / "raw" / f"{source.files[0]}.gz").unlink()
    monkeypatch.setattr(data_download, "LARGEST", 100)
    with pytest.raises(DataMissingError, match=r"images-idx3-ubyte\.gz in gzip\.zip has more than 100 bytes"):
        load_idx("emnist", str(root))
    monkeypatch.setattr(data_download, "LARGEST", 2**26)
    monkeypatch.setattr(data_download, "LARGEST_ZIP", 100)
    with pytest.raises(DataMissingError, match=r"gzip\.zip has more than 100 bytes"):
        load_idx("emnist", str(root))
    monkeypatch.setattr(data_download, "LARGEST_ZIP", 2**30)
    monkeypatch.setitem(idx.ARCHIVE_SETS, "emnist", replace(source, zipped=("gzip.zip", "0" * 32)))
    with pytest.raises(DataMissingError, match="has another file of this name"):
        load_idx("emnist", str(root))
    assert not [*(root / "EMNIST" / "raw").glob(".unfinished*")]
    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        archive.writestr("gzip/other", b"")
    md5 = hashlib.md5((folder / "gzip.zip").read_bytes()).hexdigest()
    monkeypatch.setitem(idx.ARCHIVE_SETS, "emnist", replace(source, zipped=("gzip.zip", md5)))
    with pytest.raises(DataMissingError, match=r"KeyError: 'emnist-digits-train-images-idx3-ubyte\.gz'"):
        load_idx("emnist", str(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()
    md5 = hashlib.md5(b"no archive").hexdigest()
    write(folder / "gzip.zip", b"no archive")
    monkeypatch.setitem(idx.ARCHIVE_SETS, "emnist", replace(source, zipped=("gzip.zip", md5)))
    with pytest.raises(DataMissingError, match="BadZipFile: File is not a zip file"):
        load_idx("emnist", str(tmp_path / "nothing"))


def test_zip_is_downloaded_once_by_several_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, asked = io.BytesIO(), list[str]()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("gzip/one.gz", b"1")

    def fetch(url: str, write: Callable[[bytes], object], largest: int) -> str:
        asked.append(url)
        time.sleep(0.3)
        write(content.getvalue())
        return "sum"

    monkeypatch.setattr(data_download, "_fetch", fetch)
    with ThreadPoolExecutor() as pool:
        download = functools.partial(data_download.download_members, ("http://mirror/",), tmp_path / "raw")
        list(pool.map(lambda _: download("gzip.zip", "sum", ["one.gz"]), range(3)))
    assert asked == ["http://mirror/gzip.zip"]
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "raw").iterdir()] == [("one.gz", b"1")]


def test_qmnist_is_downloaded_and_a_damaged_file_is_not_kept(
    qmnist: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = served
    source, raw = idx.ARCHIVE_SETS["qmnist"], qmnist / "QMNIST" / "raw"
    monkeypatch.setitem(idx.ARCHIVE_SETS, "qmnist", replace(source, mirrors=(address,)))
    raw.rename(folder / "raw")
    for path in (folder / "raw").iterdir():
        path.rename(folder / path.name)
    last = folder / f"{source.files[3]}.gz"
    content = last.read_bytes()
    last.write_bytes(content[:-1])
    with pytest.raises(
        DataMissingError, match=r"labels-idx2-int\.gz is missing and cannot .*another file of this name"
    ):
        load_idx("qmnist", str(qmnist))
    assert sorted(path.name for path in raw.iterdir()) == sorted(f"{file}.gz" for file in source.files[:3])
    last.write_bytes(content)
    assert len(load_idx("qmnist", str(qmnist)).test) == 360


def usps_text(count: int, seed: int = 0) -> bytes:
    """Lines of USPS: a bright square in each image, further to the right for higher classes."""
    lines = []
    for number in range(count):
        image = np.full((16, 16), -1.0)
        image[2:14, number % 10 : number % 10 + 4] = 0.5
        cells = " ".join(f"{place}:{value:.4f}" for place, value in enumerate(image.ravel(), start=1))
        lines.append(f"{number % 10 + 1} {cells} ")
    return "\n".join(lines).encode()


@pytest.fixture
def usps_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, count in (("usps.bz2", 40), ("usps.t.bz2", 20)):
        path = tmp_path / "data" / "USPS" / name
        write(path, bz2.compress(usps_text(count)))
        monkeypatch.setitem(usps.USPS_FILES, name, hashlib.md5(path.read_bytes()).hexdigest())
    return tmp_path / "data"


def test_usps_is_as_large_as_mnist(usps_root: Path) -> None:
    found = load_usps(str(usps_root), validation=10)
    assert (len(found.train), len(found.validation), len(found.test)) == (30, 10, 20)
    assert found.test.labels.tolist() == [*range(10), *range(10)]
    assert found.test.images.shape == (20, 1, 28, 28)
    boxes = [(image[0] > 128).any(1).sum().item() for image in found.test.images]
    assert boxes == [20] * 20
    assert found.test.images.double().amax((1, 2, 3)).tolist() == [255.0] * 20
    (usps_root / "USPS").rename(usps_root / "flat")
    assert len(load_usps(str(usps_root / "flat")).test) == 20


def test_ink_of_usps_is_0_at_minus_1_and_1_at_1() -> None:
    image = np.full((16, 16), -1.0)
    image[2:14, 4:8], image[2:14, 8:12] = 1, -0.5  # 12x8 becomes 20x13; its right half has a quarter of the ink
    line = "7 " + " ".join(f"{place}:{value}" for place, value in enumerate(image.ravel(), start=1))
    found = usps.parse_usps(bz2.compress(line.encode()))
    assert (found.labels.tolist(), found.labels.dtype, found.images.dtype) == ([6], torch.int64, torch.uint8)
    inked = [value for value in found.images[0, 0, 14].tolist() if value > 0]  # a row in the middle
    assert len(inked) == 13
    assert inked[-2] / inked[2] == pytest.approx(0.25, abs=0.01)  # away from edges, where bicubic values overshoot


def test_checksums_of_usps_are_torchvisions() -> None:
    theirs = torchvision.datasets.USPS.split_list
    for (url, name, md5), (file, found) in zip(theirs.values(), usps.USPS_FILES.items(), strict=True):
        assert (url, name, md5) == (usps.USPS_MIRRORS[0] + file, file, found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "it is empty"),
        (b"11 " + usps_text(1)[2:], "line 1: not 256 values from -1 to 1 with a label from 1 to 10"),
        (b"0 " + usps_text(1)[2:], "line 1: not 256 values"),
        (usps_text(3) + b"\n1 1:0.5", "line 4: not 256 values"),
        (usps_text(1) + b"\n\n" + usps_text(1), "line 2: not 256 values"),
        (usps_text(1).replace(b"0.5000", b"1.5000", 1), "line 1: not 256 values"),
        (usps_text(1).replace(b"0.5000", b"-1.5", 1), "line 1: not 256 values"),
        (usps_text(1).replace(b"0.5000", b"nan", 1), "line 1: not 256 values"),
        (usps_text(1).replace(b"0.5000", b"much", 1), "line 1: could not convert string to float: 'much'"),
        (usps_text(2).replace(b"0.5000", b"-1"), "line 1: has no ink"),
    ],
)
def test_damaged_lines_of_usps_are_named(
    usps_root: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, message: str
) -> None:
    path = usps_root / "USPS" / "usps.t.bz2"
    write(path, bz2.compress(text))
    with pytest.raises(DataError, match="damaged: its MD5 sum is "):
        load_usps(str(usps_root))
    monkeypatch.setitem(usps.USPS_FILES, "usps.t.bz2", hashlib.md5(path.read_bytes()).hexdigest())
    with pytest.raises(DataError, match=rf"usps\.t\.bz2: damaged: {message}"):
        load_usps(str(usps_root))


def test_usps_in_two_streams_is_read_whole_and_cut_off_is_named(
    usps_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parallel bzip2 writes several streams."""
    path = usps_root / "USPS" / "usps.t.bz2"
    whole = bz2.compress(usps_text(3) + b"\n") + bz2.compress(usps_text(2))
    for content in (whole, whole[:-10], b"PK no archive"):
        write(path, content)
        monkeypatch.setitem(usps.USPS_FILES, "usps.t.bz2", hashlib.md5(content).hexdigest())
        if content is whole:
            assert load_usps(str(usps_root)).test.labels.tolist() == [0, 1, 2, 0, 1]
        else:
            with pytest.raises(DataError, match=r"usps\.t\.bz2: damaged: (Compressed file ended|Invalid data stream)"):
                load_usps(str(usps_root))


def test_usps_is_downloaded(usps_root: Path, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, address = served
    monkeypatch.setattr(usps, "USPS_MIRRORS", (address,))
    for path in sorted((usps_root / "USPS").iterdir()):
        path.rename(folder / path.name)
    (usps_root / "USPS").rmdir()
    content = (folder / "usps.bz2").read_bytes()
    write(folder / "usps.bz2", b"half an archive")
    with pytest.raises(DataMissingError, match=r"usps\.bz2 is missing and cannot be .*has another file of this name"):
        load_usps(str(usps_root))
    assert not (usps_root / "USPS").exists()
    write(folder / "usps.bz2", content)
    assert len(load_usps(str(usps_root)).train) == 40
    assert sorted(path.name for path in (usps_root / "USPS").iterdir()) == ["usps.bz2", "usps.t.bz2"]


def test_usps_that_cannot_be_read_is_named(usps_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = usps_root / "USPS" / "usps.t.bz2"
    with pytest.raises(DataError) as caught:
        load_usps(str(path))
    assert str(caught.value) == f"data.root={path}: a file; give the folder that it is in"
    with monkeypatch.context() as patch:
        patch.setattr(idx, "MAX_BYTES", 10)
        with pytest.raises(DataError, match=r"usps\.bz2: has [\d,]+ bytes, more than any data set in this format"):
            load_usps(str(usps_root))
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"usps\.t\.bz2: cannot be read \(Is a directory\)"):
        load_usps(str(usps_root))


def test_usps_that_is_missing_or_unpacks_without_end(usps_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usps, "MAX_TEXT", 1000)
    with pytest.raises(DataError, match="it has more than 1,000 bytes when unpacked"):
        load_usps(str(usps_root))
    (usps_root / "USPS" / "usps.bz2").unlink()
    with pytest.raises(DataMissingError) as caught:
        load_usps(str(usps_root))
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"data=usps: {usps_root}/USPS/usps.bz2 is missing and cannot be downloaded (")
    assert second == (
        f"put usps.bz2 and usps.t.bz2 into {usps_root}/USPS, or set data.root=FOLDER to where they are "
        f"(now {usps_root})"
    )
    with pytest.raises(DataMissingError, match=r"it is downloaded only to a data\.root that you give"):
        load_usps(str(usps_root), download=False)


def test_usps_on_the_command_line(usps_root: Path, command: Command) -> None:
    words = ["data=usps", f"data.root={usps_root}", "trainer.epochs=1", "trainer.batch_size=8", "logger=metrics"]
    done = command(*words, "hydra.run.dir=run")
    assert done.code == 0
    assert "usps" in done.out
    assert command("evaluate", "run").code == 0
    (usps_root / "USPS" / "usps.bz2").write_bytes(b"BZh no")
    done = command(*words, "hydra.run.dir=again")
    assert done.code == 1
    assert done.err.splitlines()[1] == "move it elsewhere and run again, to download it"
