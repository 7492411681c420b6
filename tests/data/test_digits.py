"""The embedded digits: their format, the enlarged training set, and that no copy leaks from the validation split."""

import hashlib
from importlib.resources import files

import pytest
import torch

from digitnet.data import load_digits
from digitnet.errors import DataError


def test_file_is_that_of_scikit_learn() -> None:
    content = files("digitnet.data").joinpath("optdigits.csv.gz").read_bytes()
    licence = files("digitnet.data").joinpath("optdigits.LICENSE").read_text()
    assert hashlib.sha256(content).hexdigest() in licence
    assert "CC BY 4.0" in licence


def test_format_is_mnists() -> None:
    digits = load_digits(enlarge_to=3000)
    assert digits.train.images.shape == (3000, 1, 28, 28)
    assert digits.test.images.shape == (360, 1, 28, 28)
    assert digits.notes["real_training_images"] == 1437
    for images in (digits.train.images[:1437], digits.test.images):
        assert images.dtype == torch.uint8
        assert images.max() == 255
        framed = images.clone()
        framed[:, :, 4:24, 4:24] = 0
        assert not framed.any()  # 20x20 in the middle
    assert torch.bincount(digits.test.labels, minlength=10).min() >= 32


def test_enlarged_set_is_the_same_every_time() -> None:
    first, second = load_digits(enlarge_to=4000), load_digits(enlarge_to=4000)
    assert torch.equal(first.train.images, second.train.images)
    copies = first.train.images[1437:]
    assert torch.equal(first.train.labels[1437 : 2 * 1437], first.train.labels[:1437])
    assert not (copies[:1437] == first.train.images[:1437]).flatten(1).all(1).any()  # all distorted
    assert len({image.numpy().tobytes() for image in copies}) == len(copies)


def test_held_out_images_have_no_copies_in_the_training_set() -> None:
    digits = load_digits(enlarge_to=5000, validation=237)
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (5000, 237, 360)
    held = {image.numpy().tobytes() for image in digits.validation.images}
    originals = [image.numpy().tobytes() for image in digits.train.images[:1200]]
    assert held.isdisjoint(originals)
    # The copies are of the 1,200 in turn: labels repeat with that period and no other.
    labels = digits.train.labels
    assert torch.equal(labels[1200:5000], labels[torch.arange(1200, 5000) % 1200])


def test_enlarging_to_fewer_images_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.enlarge_to=1000: the embedded training set has 1437 images already"):
        load_digits(enlarge_to=1000)
