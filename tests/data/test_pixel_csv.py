"""Images in CSV files: what is read, how it is split, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import Command, summary_in, write
from digitnet.data import Split, load_csv, load_digits, pixel_csv
from digitnet.errors import DataError

HEADER = "label," + ",".join(f"pixel{number}" for number in range(784)) + "\n"


def digits(count: int = 200) -> Split:
    return load_digits(enlarge_to=1437).train[:count]


def rows(split: Split, *, labels: bool = True) -> str:
    pixels = split.images.flatten(1).numpy().astype(int)
    table = np.column_stack([split.labels.numpy(), pixels]) if labels else pixels
    return "".join(",".join(map(str, row)) + "\n" for row in table.tolist())


def bag(split: Split) -> set[tuple[int, bytes]]:
    return {(int(label), image.numpy().tobytes()) for image, label in zip(split.images, split.labels, strict=True)}


def test_kaggles_files_are_read_and_split(tmp_path: Path) -> None:
    """Its test.csv has no labels."""
    whole = digits()
    write(tmp_path / "train.csv", HEADER + rows(whole))
    write(tmp_path / "test.csv", HEADER.removeprefix("label,") + rows(whole, labels=False))
    found = load_csv(str(tmp_path), test_fraction=0.2)
    assert bag(found.train) | bag(found.test) == bag(whole)
    assert len(found.train) + len(found.test) == 200
    assert len(found.test) == pytest.approx(40, abs=5)
    assert not bag(found.train) & bag(found.test)
    assert (found.train.images.dtype, found.train.labels.dtype) == (torch.uint8, torch.int64)
    assert found.classes == tuple("0123456789")
    assert found.notes["warnings"] == ["test.csv is not used: it has no labels"]
    assert found.source == str(tmp_path / "train.csv")
    again = load_csv(str(tmp_path / "train.csv"), test_fraction=0.2, validation=30)
    assert torch.equal(again.test.images, found.test.images)
    assert len(again.validation) == 30
    assert not bag(again.train) & bag(again.validation)


def test_a_test_file_with_labels_is_the_test_set(tmp_path: Path) -> None:
    whole = digits()
    write(tmp_path / "mnist_train.csv", rows(whole[:150]))  # without a header
    write(
        tmp_path / "mnist_test.csv", "\ufeff" + HEADER.replace("\n", "\r\n") + rows(whole[150:]).replace("\n", "\r\n")
    )
    found = load_csv(str(tmp_path), test_fraction=0.2)
    assert torch.equal(found.train.images, whole[:150].images)
    assert torch.equal(found.test.labels, whole[150:].labels)
    assert found.validates_on_test
    assert found.source == str(tmp_path)


def test_column_of_labels_may_be_the_last(tmp_path: Path) -> None:
    whole = digits(50)
    table = np.column_stack([whole.images.flatten(1).numpy(), whole.labels.numpy()]).tolist()
    text = "".join(",".join(f"{value}.0" for value in row) + "\n" for row in table)
    write(tmp_path / "a.csv", HEADER.removeprefix("label,").replace("\n", ",class\n") + text)
    assert bag(load_csv(str(tmp_path / "a.csv"), 0.2).train) < bag(whole)


def test_labels_need_not_be_without_gaps(tmp_path: Path) -> None:
    """As EMNIST's letters, from 1 to 26, or two digits of MNIST."""
    whole = digits()
    kept = whole[(whole.labels == 3) | (whole.labels == 8)]
    write(tmp_path / "train.csv", rows(kept))
    found = load_csv(str(tmp_path), test_fraction=0.2)
    assert found.classes == ("3", "8")
    pairs = [*found.train.labels.tolist(), *found.test.labels.tolist()]
    assert pairs.count(0) == int((whole.labels == 3).sum())
    assert pairs.count(1) == int((whole.labels == 8).sum())
    write(tmp_path / "test.csv", rows(whole[whole.labels == 8]) + rows(whole[whole.labels == 5]))
    with pytest.raises(DataError) as caught:
        load_csv(str(tmp_path), test_fraction=0.2)
    assert str(caught.value) == f"{tmp_path}/test.csv: has the label 5, of which {tmp_path}/train.csv has no image"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_values_may_be_quoted_and_separated_otherwise(tmp_path: Path, separator: str) -> None:
    whole = digits(50)
    text = HEADER + rows(whole)
    write(tmp_path / "plain.csv", text)
    quoted = "\n".join(",".join(f'"{value}"' for value in line.split(",")) for line in text.splitlines())
    write(tmp_path / "quoted.csv", quoted.replace(",", separator))
    plain, other = (load_csv(str(tmp_path / f"{name}.csv"), 0.2) for name in ("plain", "quoted"))
    assert torch.equal(plain.train.images, other.train.images)
    assert torch.equal(plain.test.labels, other.test.labels)


@pytest.mark.parametrize("name", ["target", "digit", "labels"])
def test_pixels_may_have_numbers_for_names(tmp_path: Path, name: str) -> None:
    """As pandas calls them."""
    whole = digits(50)
    write(tmp_path / "train.csv", ",".join([name, *map(str, range(784))]) + "\n" + rows(whole))
    found = load_csv(str(tmp_path), 0.2)
    assert bag(found.train) | bag(found.test) == bag(whole)


def test_copies_stay_on_one_side(tmp_path: Path) -> None:
    whole = digits(60)
    write(tmp_path / "train.csv", rows(whole) + rows(whole))
    found = load_csv(str(tmp_path), test_fraction=0.3, validation=20)
    splits = [bag(split) for split in (found.train, found.validation, found.test)]
    assert sum(map(len, splits)) == len(set.union(*splits)) == len(bag(whole))
    write(tmp_path / "test.csv", rows(whole[:10]))
    found = load_csv(str(tmp_path), test_fraction=0.3)
    assert not bag(found.train) & bag(found.test)
    assert found.notes["warnings"] == [
        "20 images left out of training: copies are in the test set",
        "50 images are copies of others in their split",
    ]


ZEROS = ",".join(["0"] * 784)
COLUMNS = "there should be 785: label,pixel0,…,pixel783"
FAULTS = {
    "few": ("1,2,3\n", f": its first row has 3 values; {COLUMNS}"),
    "one": ("1\n", f": its first row has 1 value; {COLUMNS}"),
    "empty": ("", f": is empty; {COLUMNS}"),
    "blank": ("\ufeff\n \n", f": is empty; {COLUMNS}"),
    "names alone": (HEADER, ": has no images"),
    "no labels": (ZEROS + "\n", f": has no labels; {COLUMNS}"),
    "a pixel less": (HEADER.replace(",pixel783", ""), f": its first row has 784 values; {COLUMNS}"),
    "an index": (f",{HEADER}", f": its first row has 786 values; {COLUMNS}"),
    "ragged": (f"{HEADER}1,{ZEROS}\n\n2,{ZEROS},0\n", ":4: 786 values; the first row has 785"),
    "a word": (f"1,{ZEROS}\nx,{ZEROS}\n", ":2: value 1, 'x', is not a number"),
    "a word in the first row": (f"?,{ZEROS}\n2,{ZEROS}\n", ":1: value 1, '?', is not a number"),
    "nothing": (f"1,{ZEROS}\n1,{ZEROS[:-1]}\n", ":2: value 785, '', is not a number"),
    "a fraction": (
        f"1,0.5{ZEROS[1:]}\n2,{ZEROS}\n",
        ":1: the grey value 0.5; it should be a whole number from 0 to",
    ),
    "too light": (f"{HEADER}1,256{ZEROS[1:]}\n2,{ZEROS}\n", ":2: the grey value 256; it should be"),
    "nan": (f"2,{ZEROS}\nnan,{ZEROS}\n", ":2: the label nan; it should be a whole number from 0 to 16,777,215"),
    "negative": (f"-1,{ZEROS}\n0,{ZEROS}\n", ":1: the label -1; it should be a whole number"),
    "one class": (f"3,{ZEROS}\n3,{ZEROS}\n", ": its labels are all 3; there should be from 2 to 1,000 classes"),
    "many classes": (
        "".join(f"{label},{ZEROS}\n" for label in range(1001)),
        ": has 1,001 labels; there should be from 2 to 1,000 classes",
    ),
    "one image": (
        f"0,1{ZEROS[1:]}\n0,2{ZEROS[1:]}\n7,{ZEROS}\n",
        ": class 7 has 1 image; a class needs one to train and one to test",
    ),
    "no text": ("\udcff", f": not a CSV file in UTF-8; {COLUMNS}"),
    "a picture": ("\udc89PNG\r\n\x1a\n\0\0", f": not a CSV file in UTF-8; {COLUMNS}"),
    "zeros": ("P5\n\0\0", f": not a CSV file in UTF-8; {COLUMNS}"),
    "UTF-16": ("\udcff\udcfel\0a\0", ": is UTF-16; save it as UTF-8"),
    "gzip": ("\x1f\udc8b\b\0", ": is packed; unpack it first"),
    "zip": ("PK\x03\x04", ": is packed; unpack it first"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_of_another_kind_are_refused(tmp_path: Path, fault: str) -> None:
    content, message = FAULTS[fault]
    write(tmp_path / "x.csv", content.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as caught:
        load_csv(str(tmp_path / "x.csv"), 0.2)
    assert str(caught.value).startswith(f"{tmp_path / 'x.csv'}{message}")


def test_missing_and_endless_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"no such CSV file, nor a folder with train\.csv or mnist_train\.csv"):
        load_csv(str(tmp_path), 0.2)
    monkeypatch.setattr(pixel_csv, "LARGEST_FILE", 100)
    write(tmp_path / "train.csv", HEADER)
    with pytest.raises(DataError, match="has more than 100 bytes"):
        load_csv(str(tmp_path), 0.2)


def test_run_trains_on_a_csv_file_and_resumes(command: Command, tmp_path: Path) -> None:
    write(Path("digits.csv"), HEADER + rows(digits()))
    options = ["data=csv", "data.root=digits.csv", "trainer.epochs=1", "logger=metrics", "hydra.run.dir=run"]
    done = command(*options, "optimizer.lr=0.1")
    assert (done.code, done.err) == (0, "")
    assert summary_in(Path("run"))["dataset"]["train"] + summary_in(Path("run"))["dataset"]["test"] == 200
    assert command("resume", "run", "trainer.epochs=2").code == 0
    Path("digits.csv").write_text(HEADER + rows(digits(150)))
    done = command("resume", "run", "trainer.epochs=3")
    assert done.code != 0
