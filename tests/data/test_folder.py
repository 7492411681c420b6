"""A user's own images."""

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


def test_load(images: Path) -> None:
    found = load_folder(str(images), test_fraction=0.3)
    assert found.classes == ("no", "yes")
    assert (len(found.train), len(found.test)) == (14, 6)
    assert torch.bincount(found.test.labels).tolist() == [3, 3]
    assert found.train.images.shape == (14, 1, 28, 28)
    for split in (found.train, found.test):
        assert torch.equal(split.images.float().mean((1, 2, 3)) > 128, split.labels == 1)
    assert torch.equal(load_folder(str(images), test_fraction=0.3).test.images, found.test.images)


def test_invert(images: Path) -> None:
    found = load_folder(str(images), test_fraction=0.3, invert=True)
    assert torch.equal(found.train.images.float().mean((1, 2, 3)) < 128, found.train.labels == 1)


def ink_of(image: Image.Image, tmp_path: Path, invert: bool, **options: object) -> np.ndarray:
    """What `load_folder` makes of `image`, (28, 28)."""
    for name in "ab":
        (tmp_path / "one" / name).mkdir(parents=True)
        for number in range(2):
            image.save(tmp_path / "one" / name / f"{number}.png", **options)
    return load_folder(str(tmp_path / "one"), test_fraction=0.5, invert=invert).train.images[0, 0].numpy()


@pytest.mark.parametrize("invert", [True, False])
def test_ink_on_a_transparent_ground(tmp_path: Path, invert: bool) -> None:
    image = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255) if invert else (255, 255, 255, 255), (10, 4, 14, 24))
    ink = ink_of(image, tmp_path, invert)
    assert (ink[4:24, 10:14] == 255).all()
    assert ink.sum() == 255 * 80


def test_sixteen_bits(tmp_path: Path) -> None:
    picture = np.zeros((28, 28), np.uint16)
    picture[4:24, 10:14] = 30000
    ink = ink_of(Image.fromarray(picture), tmp_path, invert=False)
    assert (ink[4:24, 10:14] == 30000 * 255 // 65535).all()
    assert (ink > 0).sum() == 80


def test_a_turned_photograph_is_upright(tmp_path: Path) -> None:
    image = Image.new("L", (28, 28))
    image.paste(255, (0, 0, 28, 10))  # the upper part
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    ink = ink_of(image, tmp_path, invert=False, exif=exif)
    assert ink[18:].all()
    assert not ink[:17].any()


def test_held_out(images: Path) -> None:
    found = load_folder(str(images), test_fraction=0.3, validation=5)
    assert (len(found.train), len(found.validation), len(found.test)) == (9, 5, 6)


def test_proportions_are_kept(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(2):
            tall = np.zeros((40, 20), np.uint8)
            tall[:, 8:12] = 255
            Image.fromarray(tall).save(tmp_path / name / f"{number}.png")
    found = load_folder(str(tmp_path), test_fraction=0.5)
    columns = found.train.images[0, 0].float().mean(0)
    assert (columns > 30).sum() <= 6  # 4 of 20, in 14 of 28 columns: not stretched over the whole width


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "data.root={root}: no such folder"),
        (lambda root: root.mkdir(), "{root}: has no subfolders"),
        (lambda root: (root / "a").mkdir(parents=True), "{root}: no images in its subfolders"),
    ],
)
def test_empty(tmp_path: Path, make: object, message: str) -> None:
    root = tmp_path / "images"
    make(root)  # type: ignore[operator]
    with pytest.raises(DataError) as caught:
        load_folder(str(root), test_fraction=0.2)
    assert str(caught.value).startswith(message.format(root=root))


def test_a_class_of_one(images: Path) -> None:
    (images / "perhaps").mkdir()
    (images / "yes" / "0.png").rename(images / "perhaps" / "0.png")
    with pytest.raises(DataError, match=r"perhaps: 1 image\(s\); a class needs one to train and one to test"):
        load_folder(str(images), test_fraction=0.2)


def test_one_class(images: Path) -> None:
    shutil.rmtree(images / "no")
    with pytest.raises(DataError, match=r"images: one class, yes; there must be two at least"):
        load_folder(str(images), test_fraction=0.2)


def bomb(path: Path, side: int) -> None:
    """A PNG of many pixels in a few bytes: its header says so, and more nobody reads."""
    Image.new("L", (1, 1)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = side.to_bytes(4) * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    path.write_bytes(content)


BAD = {
    "no picture": (lambda path: path.write_bytes(b"not a picture"), "none of PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM"),
    "half a picture": (lambda path: path.write_bytes(path.read_bytes()[:60]), "not a readable image ("),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "a bomb": (lambda path: bomb(path, 30_000), "unpacked beyond all size: more than 33,554,432 pixels"),
    "a small bomb": (lambda path: bomb(path, 6_000), "unpacked beyond all size: more than 33,554,432 pixels"),
    "a link elsewhere": (lambda path: relink(path, Path(__file__)), "a link"),
    "a link to another class": (lambda path: relink(path, path.parents[1] / "no/0.png"), "a link"),
    "a dead link": (lambda path: relink(path, path.with_name("nowhere")), "a link"),
    "a link in a circle": (lambda path: relink(path, path), "a link"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
    "a program": (lambda path: path.write_bytes(POSTSCRIPT), "none of PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM"),
    "larger than memory": (lambda path: os.truncate(path, 2**40), "beyond all size: 1,099,511,627,776 bytes"),
}
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


def relink(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


@pytest.fixture(autouse=True)
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A program that Pillow would start for PostScript, whatever the name of the file."""
    write(tmp_path / ".bin" / "gs", "#!/bin/sh\ntouch ran\nexit 1\n")
    (tmp_path / ".bin" / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / ".bin"), prepend=os.pathsep)
    yield
    assert not Path("ran").exists()


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_by_name_or_skipped(images: Path, kind: str) -> None:
    spoil, reason = BAD[kind]
    for number in (0, 5):
        spoil(images / "yes" / f"{number}.png")  # type: ignore[no-untyped-call]
    with pytest.raises(DataError) as caught:
        load_folder(str(images), test_fraction=0.2)
    text = str(caught.value)
    assert text.startswith(f"{images}: 2 of 20 files cannot be trained on (yes/0.png: {reason}")
    assert "; yes/5.png: " in text
    assert text.endswith(";\nmend or remove them, or leave them out with data.bad_files=skip")
    found = load_folder(str(images), test_fraction=0.2, bad_files="skip")
    assert torch.bincount(torch.cat([found.train.labels, found.test.labels])).tolist() == [10, 8]
    names = found.notes["skipped"]
    assert isinstance(names, list)
    assert [name.partition(": ")[0] for name in names] == ["yes/0.png", "yes/5.png"]


def test_nothing_but_bad_files(images: Path) -> None:
    for path in images.rglob("*.*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"images: none of its 20 files can be trained on \(no/0\.png: empty\)"):
        load_folder(str(images), test_fraction=0.2, bad_files="skip")


def test_links_between_folders_lead_nowhere(images: Path) -> None:
    """Not in a circle, and not out of the folder; what is below them would be there twice."""
    (images / "yes" / "loop").symlink_to(images / "yes")
    (images / "other").symlink_to(images / "no")
    with pytest.raises(
        DataError, match=r"images: 2 of 22 files cannot be trained on \(other: a link; yes/loop: a link\)"
    ):
        load_folder(str(images), test_fraction=0.2)
    (images / "other").unlink()
    found = load_folder(str(images), test_fraction=0.2, bad_files="skip")
    assert len(found.train) + len(found.test) == 20


def test_hidden_folders_are_no_classes(images: Path) -> None:
    (images / ".thumbnails").mkdir()
    assert load_folder(str(images), test_fraction=0.2).classes == ("no", "yes")


def test_names_that_are_no_text(images: Path, command: Command) -> None:
    """Neither a byte that is no UTF-8 nor an escape sequence reaches a terminal."""
    for name in (b"\xff.png", b"\x1b[2K.png"):
        Path(os.fsdecode(os.fsencode(images / "no") + b"/" + name)).touch()
    options = ["data=folder", f"data.root={images}", "trainer.epochs=1", "logger=metrics", "hydra.run.dir=here"]
    done = command(*options)
    assert done.code == 1
    assert r"2 of 22 files cannot be trained on (no/\x1b[2K.png: empty; no/\udcff.png: empty)" in done.err
    shutil.rmtree("here")
    done = command(*options, "data.bad_files=skip")
    assert done.code == 0
    assert r"no/\x1b[2K.png: empty; no/\udcff.png: empty" in done.out
    assert done.out == Path("here/train.log").read_text()
