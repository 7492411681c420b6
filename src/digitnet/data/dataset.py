"""A data set as tensors: uint8 images, so that all of MNIST takes 47 MB and fits on the device that trains."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from digitnet.errors import DataError


@dataclass(frozen=True)
class Split:
    """`images` (N, 1, 28, 28) uint8 from 0 (background) to 255 (ink); `labels` (N,) int64.

    `files` names the N files that the images are from, relative to the data set's folder; empty if they are from none
    of their own.
    """

    images: Tensor
    labels: Tensor
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device), self.files)

    def __getitem__(self, index: Tensor | slice) -> "Split":
        chosen = torch.arange(len(self))[index].tolist() if self.files else []
        return Split(self.images[index], self.labels[index], tuple(self.files[number] for number in chosen))


@dataclass(frozen=True)
class Dataset:
    """Three splits. Without held-out images, `validation` is the test set itself, as in the notebook."""

    name: str
    train: Split
    test: Split
    validation: Split
    classes: tuple[str, ...]
    source: str  # its folder, or `embedded`
    notes: dict[str, object] = field(default_factory=dict)  # further facts for summary.json
    wrong_labels: tuple[int, ...] = ()  # indices of test images whose labels are known to be wrong

    @property
    def validates_on_test(self) -> bool:
        return self.validation is self.test

    def to(self, device: torch.device) -> "Dataset":
        test = self.test.to(device)
        validation = test if self.validates_on_test else self.validation.to(device)
        return replace(self, train=self.train.to(device), test=test, validation=validation)


def hold_out_order(train: Split, count: int) -> Tensor:
    """The training images (N,), those to be held out first: a permutation, the same for every seed of a run.

    Raises DataError if no training image would be left without `count` of them.
    """
    if count >= len(train):
        raise DataError(f"data.validation={count}: the training set has only {len(train)} images; hold out fewer")
    return torch.randperm(len(train), generator=torch.Generator().manual_seed(0))


def hold_out(train: Split, count: int) -> tuple[Split, Split]:
    """(training split, held-out split of `count` images). Raises as `hold_out_order`."""
    order = hold_out_order(train, count)
    kept, held_out = order[count:].sort().values, order[:count].sort().values
    return train[kept], train[held_out]


def split_validation(train: Split, test: Split, validation: str | int) -> tuple[Split, Split]:
    """(training split, validation split) for `validation`: "test", or the number of training images to hold out."""
    return (train, test) if isinstance(validation, str) else hold_out(train, validation)
