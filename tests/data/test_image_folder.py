"""A user's own images: splits, bad files, links, names."""

import csv
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
from digitnet.data import Split, load_folder
from digitnet.errors import DataError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Classes "no" (dark) and "yes" (bright), ten images each, of several formats and sizes, no two the same."""
    root = tmp_path / "images"
    for name, grey in (("no", 10), ("yes", 240)):
        (root / name).mkdir(parents=True)
        for number in range(10):
            kind = ("png", "jpg", "bmp", "gif", "TIFF")[number % 5]
            picture = np.full((20 + number, 30, 3), grey, np.uint8)
            picture[10:12, : 2 * number + 2] = 2 * number + 100  # most of the frame is as the whole: no polarity
            Image.fromarray(picture).save(root / name / f"{number}.{kind}")
    return root


def test_splits_have_the_fraction_of_each_class(images: Path) -> None:
    found = load_folder(str(images), test_fraction=0.3, invert=False)
    assert found.classes == ("no", "yes")
    assert (len(found.train), len(found.test)) == (14, 6)
    assert torch.bincount(found.test.labels).tolist() == [3, 3]
    assert found.train.images.shape == (14, 1, 28, 28)
    for split in (found.train, found.test):
        assert torch.equal(split.images.float().mean((1, 2, 3)) > 128, split.labels == 1)
    assert torch.equal(load_folder(str(images), test_fraction=0.3, invert=False).test.images, found.test.images)


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
    with pytest.raises(DataError, match=r"images: class perhaps has 1 image; a class needs one to train and one to te"):
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
    "a bomb": (lambda path: bomb(path, 30_000), "too large when unpacked: more than 67,108,864 pixels"),
    "a small bomb": (lambda path: bomb(path, 9_000), "too large when unpacked: more than 67,108,864 pixels"),
    "a link elsewhere": (
        lambda path: relink(path, Path(__file__)),
        "a link out of data.root; to follow it: data.links=follow",
    ),
    "a dead link": (lambda path: relink(path, path.with_name("nowhere")), "a link to nothing"),
    "a link in a circle": (lambda path: relink(path, path), "a link to nothing"),
    "a phone's": (
        lambda path: path.rename(path.with_suffix(".HEIC")),
        "HEIC, which is not read: convert it to PNG or JPEG",
    ),
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
    names = [f"yes/{number}.{'HEIC' if 'phone' in kind else 'png'}" for number in (0, 5)]
    assert text.startswith(f"{images}: 2 of 20 files cannot be used for training ({names[0]}: {reason}")
    assert f"; {names[1]}: " in text
    assert text.endswith(";\nfix or remove them, or skip them with data.bad_files=skip")
    found = load_folder(str(images), test_fraction=0.2, bad_files="skip")
    assert torch.bincount(torch.cat([found.train.labels, found.test.labels])).tolist() == [10, 8]
    skipped = found.notes["skipped"]
    assert isinstance(skipped, list)
    assert [name.partition(": ")[0] for name in skipped] == names


def test_bad_files_that_leave_a_class_too_few_images_are_to_be_fixed(images: Path) -> None:
    """Skipping them would be refused in its turn."""
    for number in range(9):
        (path,) = (images / "no").glob(f"{number}.*")
        path.write_bytes(b"")
    with pytest.raises(DataError) as raised:
        load_folder(str(images))
    advice = str(raised.value).rpartition(";\n")[2]
    assert advice == "fix them: without them, class no has 1 image, too few to skip them"
    with pytest.raises(DataError, match="class no has 1 image"):
        load_folder(str(images), bad_files="skip")


def test_predictions_name_the_files(images: Path, command: Command) -> None:
    (images / "no" / "a, b.png").symlink_to(next((images / "no").glob("0.*")))
    words = ["data=folder", f"data.root={images}", "trainer.epochs=1", "trainer.batch_size=8", "hydra.run.dir=run"]
    assert command(*words).code == 0
    with Path("run/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    test = load_folder(str(images)).test
    assert [row["file"] for row in rows] == list(test.files)
    assert all(row["file"].startswith(f"{('no', 'yes')[int(row['label'])]}/") for row in rows)
    assert {*test.files} < {str(path.relative_to(images)) for path in images.rglob("*.*")}


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
    assert not Path("run").exists()
    done = command(*options, "data.bad_files=skip")
    assert done.code == 0
    assert r"no/\x1b[2K.png: empty; no/\udcff.png: empty" in done.out
    assert done.out == Path("run/train.log").read_text()


def draw(path: Path, seed: int, ink: int = 255, ground: int = 0) -> None:
    """An image like no other: a dozen dots."""
    picture = np.full((28, 28), ground, np.uint8)
    for y, x in np.random.default_rng(seed).integers(4, 24, (12, 2)):
        picture[y : y + 2, x : x + 2] = ink
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def contents(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.images}


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".deeper/still"])
def test_copies_that_systems_make_are_passed_over_at_every_depth(images: Path, name: str) -> None:
    clean = load_folder(str(images), test_fraction=0.3)
    for folder in (images, images / "yes", images / "yes" / "more"):
        (folder / name).mkdir(parents=True)
        shutil.copy(images / "yes" / "0.png", folder / name / "0-copy.png")
    (images / "no" / "._0.png").write_bytes(b"of macOS")
    found = load_folder(str(images), test_fraction=0.3)
    assert found.classes == ("no", "yes")
    assert found.notes == clean.notes
    assert torch.equal(found.test.images, clean.test.images)


@pytest.mark.parametrize("validation", ["test", 20])
def test_identical_images_are_never_on_both_sides_of_a_split(tmp_path: Path, validation: str | int) -> None:
    for label in ("0", "1"):
        for number in range(30):
            draw(tmp_path / "mine" / label / f"{number}.png", seed=100 * int(label) + number)
            if number % 3 == 0:
                shutil.copy(tmp_path / "mine" / label / f"{number}.png", tmp_path / "mine" / label / f"{number}b.png")
    shutil.copy(tmp_path / "mine/0/0.png", tmp_path / "mine/1/confused.png")
    found = load_folder(str(tmp_path / "mine"), test_fraction=0.5, validation=validation)
    splits = [found.train, found.test, *([] if validation == "test" else [found.validation])]
    assert sum(map(len, splits)) == 81
    assert sum(len(contents(split)) for split in splits) == 60
    assert found.notes["warnings"] == ["21 images are copies of others in their split"]
    assert len(found.test) == 40


def test_without_copies_the_test_set_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """So that their runs can be resumed."""
    for label in ("0", "1"):
        for number in range(10):
            draw(tmp_path / "mine" / label / f"{number}.png", seed=100 * int(label) + number)
    found = load_folder(str(tmp_path / "mine"), test_fraction=0.3, invert=False, validation=5)
    generator = torch.Generator().manual_seed(0)
    drawn = [label * 10 + torch.randperm(10, generator=generator)[:3] for label in (0, 1)]
    expected = [int(index) for part in drawn for index in part.sort().values]
    pixels = {(int(path.parent.name), int(path.stem)): np.asarray(Image.open(path)) for path in tmp_path.rglob("*.png")}
    order = sorted(pixels, key=lambda key: (key[0], str(key[1])))  # as files are sorted
    assert [image[0].numpy().tolist() for image in found.test.images] == [
        pixels[order[index]].tolist() for index in expected
    ]
    rest = torch.randperm(14, generator=torch.Generator().manual_seed(0))[:5].sort().values
    kept = [key for index, key in enumerate(order) if index not in expected]
    assert [image[0].numpy().tolist() for image in found.validation.images] == [
        pixels[kept[int(index)]].tolist() for index in rest
    ]


def layout(root: Path, *parts: str, images: int = 5) -> None:
    """A data set of the classes "no" and "yes", divided into `parts`."""
    for seed, part in enumerate(parts):
        for number in range(images):
            for label, name in enumerate(("no", "yes")):
                draw(root / part / name / f"{number}.png", seed=1000 * seed + 100 * label + number)


@pytest.mark.parametrize(
    ("parts", "counts", "why"),
    [
        (("train", "test"), (10, 10, 10), "with train/, test/"),
        (("Training", "Testing"), (10, 10, 10), "with Training/, Testing/"),
        (("train", "val"), (10, 10, 10), "with train/, val/"),
        (("train", "test", "valid"), (10, 10, 10), "with train/, valid/, test/"),
    ],
)
def test_folders_for_training_and_testing_are_the_splits(
    tmp_path: Path, parts: tuple[str, ...], counts: tuple[int, ...], why: str
) -> None:
    layout(tmp_path / "mine", *parts)
    (tmp_path / "mine" / "labels").mkdir()
    found = load_folder(str(tmp_path / "mine"), test_fraction=0.2)
    assert found.classes == ("no", "yes")
    assert (len(found.train), len(found.test), len(found.validation)) == counts
    assert found.notes["why"] == why
    assert found.validates_on_test == (len(parts) == 2)
    assert not contents(found.train) & contents(found.test)


def test_copies_between_given_splits_leave_the_training_set(tmp_path: Path) -> None:
    layout(tmp_path / "mine", "train", "test")
    shutil.copy(tmp_path / "mine/test/no/0.png", tmp_path / "mine/train/no/again.png")
    found = load_folder(str(tmp_path / "mine"), test_fraction=0.2)
    assert (len(found.train), len(found.test)) == (10, 10)
    assert found.notes["warnings"] == [
        "1 image left out of training: a copy is in the test set",
    ]


def test_class_that_only_the_test_set_has_is_refused(tmp_path: Path) -> None:
    layout(tmp_path / "mine", "train", "test")
    draw(tmp_path / "mine/test/perhaps/0.png", seed=7)
    with pytest.raises(DataError) as caught:
        load_folder(str(tmp_path / "mine"), test_fraction=0.2)
    assert (
        str(caught.value) == f"{tmp_path}/mine/test/perhaps: a class without training images in {tmp_path}/mine/train"
    )


def test_validation_set_of_its_own_and_held_out_images_exclude_each_other(tmp_path: Path) -> None:
    layout(tmp_path / "mine", "train", "val", "test")
    with pytest.raises(DataError) as caught:
        load_folder(str(tmp_path / "mine"), test_fraction=0.2, validation=3)
    assert str(caught.value) == "data.validation=3: the data set has a validation set of its own; leave it out"


def test_classes_named_train_and_test_are_classes(tmp_path: Path) -> None:
    """If there are no folders in them."""
    for number in range(5):
        draw(tmp_path / "mine" / "train" / f"{number}.png", seed=number)
        draw(tmp_path / "mine" / "test" / f"{number}.png", seed=100 + number)
    assert load_folder(str(tmp_path / "mine"), test_fraction=0.2).classes == ("test", "train")


@pytest.mark.parametrize(("ink", "ground"), [(0, 255), (255, 0), (40, 200)])
def test_polarity_is_found_by_the_frames_of_the_images(tmp_path: Path, ink: int, ground: int) -> None:
    for number in range(5):
        for name in ("a", "b"):
            draw(tmp_path / "mine" / name / f"{number}.png", seed=number + 10 * (name == "b"), ink=ink, ground=ground)
    found = load_folder(str(tmp_path / "mine"), test_fraction=0.2)
    assert found.notes["inverted"] == (ink < ground)
    assert found.train.images[:, 0, 0, 0].float().mean() < 100
    wrong = load_folder(str(tmp_path / "mine"), test_fraction=0.2, invert=ink > ground)
    assert wrong.notes["warnings"] == [
        f"data.invert={str(ink > ground).lower()}: on 10 of 10 images the ink seems to be "
        f"{'dark' if ink < ground else 'light'}; leave it out, and digitnet finds out"
    ]


def test_images_of_both_polarities_are_reported(tmp_path: Path) -> None:
    for number in range(10):
        draw(tmp_path / "mine" / "a" / f"{number}.png", seed=number)
        draw(
            tmp_path / "mine" / "b" / f"{number}.png",
            seed=50 + number,
            ink=0 if number < 3 else 255,
            ground=255 * (number < 3),
        )
    found = load_folder(str(tmp_path / "mine"), test_fraction=0.2)
    assert found.notes["warnings"] == ["data.invert=auto: on 3 of 20 images the ink seems to be dark"]


def test_blank_images_and_classes_of_one_image_are_reported(tmp_path: Path) -> None:
    for number in range(5):
        draw(tmp_path / "mine" / "a" / f"{number}.png", seed=number)
        draw(tmp_path / "mine" / "b" / f"{number}.png", seed=0, ink=9)
    found = load_folder(str(tmp_path / "mine"), test_fraction=0.2)
    assert found.notes["warnings"] == [
        "b: its 5 images are all the same; the test set has none of them",
        "4 images are copies of others in their split",
        "5 of 10 images are blank: all of one grey",
    ]
    shutil.rmtree(tmp_path / "mine" / "a")
    for number in range(5):
        draw(tmp_path / "mine" / "a" / f"{number}.png", seed=1)
    with pytest.raises(DataError, match="mine: the images of each class are all the same"):
        load_folder(str(tmp_path / "mine"), test_fraction=0.2)


def test_data_set_of_links_is_read(images: Path) -> None:
    """git-annex, DVC and others keep the contents elsewhere, mostly within the data set's folder."""
    expected = load_folder(str(images), test_fraction=0.3)
    store = images / ".annex"
    store.mkdir()
    for path in [path for path in images.rglob("*.*") if path.is_file()]:
        path.rename(store / f"{path.parent.name}{path.name}")
        path.symlink_to(store / f"{path.parent.name}{path.name}")
    found = load_folder(str(images), test_fraction=0.3)
    assert found.notes == expected.notes
    assert torch.equal(found.test.images, expected.test.images)
    store.rename(images.parent / "elsewhere")
    for path in [path for path in images.rglob("*.*") if path.is_symlink()]:
        name = path.readlink().name
        relink(path, images.parent / "elsewhere" / name)
    (images / "yes" / "circle").symlink_to(images / "yes")
    found = load_folder(str(images), test_fraction=0.3, links="follow")
    assert found.notes == expected.notes


def test_folders_of_digitnets_runs_are_no_classes(
    images: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images)
    options = ["data=folder", "data.root=.", "trainer.epochs=1"]
    for _ in range(2):  # the first leaves pictures in outputs/
        done = command(*options)
        assert (done.code, done.err) == (0, "")
        assert " images of 2 classes (no, yes); validation on the test set" in done.out


@pytest.mark.parametrize("data", ["auto", "mnist"])
def test_images_given_to_another_data_set_are_noticed_and_nothing_is_left(
    images: Path, command: Command, data: str
) -> None:
    before = sorted(images.rglob("*"))
    done = command(f"data={data}", f"data.root={images}")
    assert (done.code, done.err) == (
        1,
        f"error: data=mnist: {images} has no MNIST/raw, but subfolders of images;\n"
        f"did you mean data=folder data.root={images}?\n",
    )
    assert sorted(images.rglob("*")) == before


@pytest.mark.parametrize("data", ["folder", "mnist", "auto"])
def test_empty_root_is_not_the_working_directory(command: Command, data: str) -> None:
    done = command(f"data={data}", "data.root=")
    assert (done.code, done.err) == (2, "error: data.root=: is empty; name a folder, or leave it out\n")
