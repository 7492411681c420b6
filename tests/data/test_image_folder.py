"""A user's own images: splits, bad files, links, names."""

import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Command, write
from digitnet.data import load_folder
from digitnet.errors import DataError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Classes "no" (dark) and "yes" (bright), ten images each, of several formats and sizes."""
    root = tmp_path / "images"
    for name, grey in (("no", 10), ("yes", 240)):
        (root / name).mkdir(parents=True)
        for number in range(10):
            kind = ("png", "jpg", "bmp", "gif", "TIFF")[number % 5]
            picture = np.full((20 + number, 30, 3), grey, np.uint8)
            Image.fromarray(picture).save(root / name / f"{number}.{kind}")
    return root


def test_splits_have_the_fraction_of_each_class(images: Path) -> None:
    found = load_folder(str(images), test_fraction=0.3)
    assert found.classes == ("no", "yes")
    assert (len(found.train), len(found.test)) == (14, 6)
    assert torch.bincount(found.test.labels).tolist() == [3, 3]
    assert found.train.images.shape == (14, 1, 28, 28)
    for split in (found.train, found.test):
        assert torch.equal(split.images.float().mean((1, 2, 3)) > 128, split.labels == 1)
    assert torch.equal(load_folder(str(images), test_fraction=0.3).test.images, found.test.images)


def test_invert_swaps_light_and_dark(images: Path) -> None:
    found = load_folder(str(images), test_fraction=0.3, invert=True)
    assert torch.equal(found.train.images.float().mean((1, 2, 3)) < 128, found.train.labels == 1)


def test_held_out_images_leave_the_training_set_only(images: Path) -> None:
    found = load_folder(str(images), test_fraction=0.3, validation=5)
    assert (len(found.train), len(found.validation), len(found.test)) == (9, 5, 6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "data.root={root}: no such folder"),
        (lambda root: root.mkdir(), "{root}: has no subfolders"),
        (lambda root: (root / "a").mkdir(parents=True), "{root}: no images in its subfolders"),
    ],
)
def test_missing_or_empty_folder_is_refused(tmp_path: Path, make: object, message: str) -> None:
    root = tmp_path / "images"
    make(root)  # type: ignore[operator]
    with pytest.raises(DataError) as caught:
        load_folder(str(root), test_fraction=0.2)
    assert str(caught.value).startswith(message.format(root=root))


def test_class_of_one_image_is_refused(images: Path) -> None:
    (images / "perhaps").mkdir()
    (images / "yes" / "0.png").rename(images / "perhaps" / "0.png")
    with pytest.raises(DataError, match=r"perhaps: 1 image\(s\); a class needs one to train and one to test"):
        load_folder(str(images), test_fraction=0.2)


def test_single_class_is_refused(images: Path) -> None:
    shutil.rmtree(images / "no")
    with pytest.raises(DataError, match=r"images: one class, yes; at least two are needed"):
        load_folder(str(images), test_fraction=0.2)


def bomb(path: Path, side: int) -> None:
    """A PNG of few bytes whose header claims side x side pixels."""
    Image.new("L", (1, 1)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = side.to_bytes(4) * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    path.write_bytes(content)


BAD = {
    "no picture": (lambda path: path.write_bytes(b"not a picture"), "none of PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM"),
    "half a picture": (lambda path: path.write_bytes(path.read_bytes()[:60]), "not a readable image ("),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "a bomb": (lambda path: bomb(path, 30_000), "too large when unpacked: more than 33,554,432 pixels"),
    "a small bomb": (lambda path: bomb(path, 6_000), "too large when unpacked: more than 33,554,432 pixels"),
    "a link elsewhere": (lambda path: relink(path, Path(__file__)), "a link"),
    "a link to another class": (lambda path: relink(path, path.parents[1] / "no/0.png"), "a link"),
    "a dead link": (lambda path: relink(path, path.with_name("nowhere")), "a link"),
    "a link in a circle": (lambda path: relink(path, path), "a link"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
    "a program": (lambda path: path.write_bytes(POSTSCRIPT), "none of PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM"),
    "larger than memory": (lambda path: os.truncate(path, 2**40), "too large: 1,099,511,627,776 bytes"),
}
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


def relink(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


@pytest.fixture(autouse=True)
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The program that Pillow would start for PostScript, whatever the name of the file; fails if it was started."""
    write(tmp_path / ".bin" / "gs", "#!/bin/sh\ntouch ran\nexit 1\n")
    (tmp_path / ".bin" / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / ".bin"), prepend=os.pathsep)
    yield
    assert not Path("ran").exists()


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named_and_refused_or_skipped(images: Path, kind: str) -> None:
    spoil, reason = BAD[kind]
    for number in (0, 5):
        spoil(images / "yes" / f"{number}.png")  # type: ignore[no-untyped-call]
    with pytest.raises(DataError) as caught:
        load_folder(str(images), test_fraction=0.2)
    text = str(caught.value)
    assert text.startswith(f"{images}: 2 of 20 files cannot be used for training (yes/0.png: {reason}")
    assert "; yes/5.png: " in text
    assert text.endswith(";\nfix or remove them, or skip them with data.bad_files=skip")
    found = load_folder(str(images), test_fraction=0.2, bad_files="skip")
    assert torch.bincount(torch.cat([found.train.labels, found.test.labels])).tolist() == [10, 8]
    names = found.notes["skipped"]
    assert isinstance(names, list)
    assert [name.partition(": ")[0] for name in names] == ["yes/0.png", "yes/5.png"]


def test_only_bad_files_are_refused(images: Path) -> None:
    for path in images.rglob("*.*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"images: none of its 20 files can be used for training \(no/0\.png: empty\)"):
        load_folder(str(images), test_fraction=0.2, bad_files="skip")


def test_linked_folders_are_not_followed(images: Path) -> None:
    """They could lead in a circle or out of the folder, and their images would be in the data set twice."""
    (images / "yes" / "loop").symlink_to(images / "yes")
    (images / "other").symlink_to(images / "no")
    with pytest.raises(
        DataError, match=r"images: 2 of 22 files cannot be used for training \(other: a link; yes/loop: a link\)"
    ):
        load_folder(str(images), test_fraction=0.2)
    (images / "other").unlink()
    found = load_folder(str(images), test_fraction=0.2, bad_files="skip")
    assert len(found.train) + len(found.test) == 20


def test_hidden_folders_are_not_classes(images: Path) -> None:
    (images / ".thumbnails").mkdir()
    assert load_folder(str(images), test_fraction=0.2).classes == ("no", "yes")


def test_unprintable_file_names_are_escaped(images: Path, command: Command) -> None:
    """Neither invalid UTF-8 nor an escape sequence reaches the terminal."""
    for name in (b"\xff.png", b"\x1b[2K.png"):
        Path(os.fsdecode(os.fsencode(images / "no") + b"/" + name)).touch()
    options = ["data=folder", f"data.root={images}", "trainer.epochs=1", "logger=metrics", "hydra.run.dir=run"]
    done = command(*options)
    assert done.code == 1
    assert r"2 of 22 files cannot be used for training (no/\x1b[2K.png: empty; no/\udcff.png: empty)" in done.err
    shutil.rmtree("run")
    done = command(*options, "data.bad_files=skip")
    assert done.code == 0
    assert r"no/\x1b[2K.png: empty; no/\udcff.png: empty" in done.out
    assert done.out == Path("run/train.log").read_text()
