"""The embedded digits: the test set of UCI's optical recognition of handwritten digits (see optdigits.LICENSE)."""

import gzip
from importlib.resources import files

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from digitnet.augment import distort
from digitnet.data.dataset import Dataset, Split, split_validation
from digitnet.data.sizes import DIGITS_TRAIN
from digitnet.errors import DataError

CHUNK = 2000  # images distorted at once, to bound memory


def load_digits(enlarge_to: int, validation: str | int = "test") -> Dataset:
    """Load the 1,797 digits in MNIST's format, the training part enlarged to `enlarge_to` images.

    `validation` is "test" or the number of training images to hold out. These are split off first, so that no distorted
    copy of them is in the training set. The enlarged set is the same for every run. Raises DataError if `enlarge_to` is
    less than the number of real images.
    """
    rows = np.loadtxt(
        gzip.decompress(files(__package__).joinpath("optdigits.csv.gz").read_bytes()).decode().splitlines(),
        delimiter=",",
        dtype=np.uint8,
    )
    images = _as_mnist(torch.from_numpy(rows[:, :64].reshape(-1, 1, 8, 8)))
    labels = torch.from_numpy(rows[:, 64]).long()
    whole = Split(images, labels)
    test = whole[DIGITS_TRAIN:]
    train, held_out = split_validation(whole[:DIGITS_TRAIN], test, validation)
    if enlarge_to < len(train):
        raise DataError(f"data.enlarge_to={enlarge_to}: the embedded training set has {len(train)} images already")
    return Dataset(
        "digits",
        _enlarge(train, enlarge_to),
        test,
        held_out,
        tuple("0123456789"),
        "embedded",
        {"real_training_images": len(train)},
    )


def _as_mnist(images: Tensor) -> Tensor:
    """(N, 1, 8, 8) uint8, 0 to 16 -> (N, 1, 28, 28) uint8, 0 to 255: enlarged to 20x20 and centred, as in MNIST."""
    enlarged = F.interpolate(images.float() * (255 / 16), size=(20, 20), mode="bicubic", align_corners=False)
    return F.pad(enlarged.round().clamp(0, 255).to(torch.uint8), (4, 4, 4, 4))


def _enlarge(train: Split, count: int) -> Split:
    """The images, followed by distorted copies of each in turn, `count` in all; the generator's seed is fixed."""
    if count == len(train):
        return train
    order = torch.arange(count) % len(train)
    images = torch.empty(count, *train.images.shape[1:], dtype=torch.uint8)
    images[: len(train)] = train.images
    generator = torch.Generator().manual_seed(0)
    for start in range(len(train), count, CHUNK):
        chunk = order[start : start + CHUNK]
        copies = distort(
            train.images[chunk].float(),
            rotation_deg=10.0,
            shift=0.05,
            scale=0.1,
            shear_deg=10.0,
            squeeze=0.1,
            generator=generator,
        )
        images[start : start + CHUNK] = copies.round().to(torch.uint8)
    return Split(images, train.labels[order])
