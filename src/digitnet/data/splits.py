"""Splits of a user's own images, so that no image is on two sides: copies, by their content, are always together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from digitnet.data.dataset import Split, hold_out_order, split_validation
from digitnet.data.images import is_blank
from digitnet.errors import DataError
from digitnet.text import plural

PARTS = ("train", "validation", "test")


def groups_of_copies(images: Tensor) -> list[int]:
    """For each image (N, 1, 28, 28) a number that it shares with those of equal content."""
    numbers: dict[bytes, int] = {}
    return [numbers.setdefault(image.numpy().tobytes(), len(numbers)) for image in images]


def drawn_splits(
    every: Split,
    groups: Sequence[int],
    folder: Path,
    classes: Sequence[str],
    test_fraction: float,
    validation: str | int,
    warnings: list[str],
) -> tuple[Split, Split, Split]:
    """(training, test, validation split), the same for every seed of a run; images of equal content are together."""
    in_test, sizes = torch.zeros(len(every), dtype=torch.bool), Counter(groups)
    generator = torch.Generator().manual_seed(0)  # not the run's: every seed has the same test set
    for label, name in enumerate(classes):
        members = (every.labels == label).nonzero().flatten()
        if len(members) < 2:
            found = plural(len(members), "image")
            raise DataError(f"{folder}: class {name} has {found}; a class needs one to train and one to test")
        count = min(max(1, round(test_fraction * len(members))), len(members) - 1)
        drawn = _draw(members[torch.randperm(len(members), generator=generator)].tolist(), groups, sizes, count)
        if not drawn:
            warnings.append(f"{name}: its {len(members):,} images are all the same; the test set has none of them")
        in_test[drawn] = True
    in_test = _with_copies(in_test, groups)
    warnings += _copies(groups)
    train, test = every[~in_test], every[in_test]
    if not len(test):
        raise DataError(f"{folder}: the images of each class are all the same")
    if isinstance(validation, str):
        return train, test, test
    rest = [group for group, is_drawn in zip(groups, in_test.tolist(), strict=True) if not is_drawn]
    chosen = torch.zeros(len(train), dtype=torch.bool)
    chosen[_draw(hold_out_order(train, validation).tolist(), rest, Counter(rest), validation)] = True
    held_out = _with_copies(chosen, rest)
    return train[~held_out], test, train[held_out]


def _draw(order: Sequence[int], groups: Sequence[int], sizes: Mapping[int, int], count: int) -> list[int]:
    """The first `count` images in `order` that have no copies; if they are too few, one of each group of copies too.

    Never one of the last group: something must be left to train on. `sizes` are those of the groups.
    """
    single = [index for index in order if sizes[groups[index]] == 1]
    firsts = {groups[index]: index for index in reversed(order) if sizes[groups[index]] > 1}
    return [*single, *firsts.values()][: min(count, len(single) + len(firsts) - 1)]


def _with_copies(chosen: Tensor, groups: Sequence[int]) -> Tensor:
    """(N,) bool: the chosen images, and all of equal content."""
    found = {group for group, is_chosen in zip(groups, chosen.tolist(), strict=True) if is_chosen}
    return torch.tensor([group in found for group in groups])


def given_splits(
    every: Split, parts: Sequence[str], groups: Sequence[int], validation: str | int, warnings: list[str]
) -> tuple[Split, Split, Split]:
    """(training, test, validation split) of a data set that is divided; a copy stays in the last split that has it.

    Without a test set, the validation set is it. Adds to `warnings` how many copies were left out.
    """
    masks = {part: torch.tensor([other == part for other in parts]) for part in PARTS}
    if not masks["test"].any():
        masks["test"], masks["validation"] = masks["validation"], masks["test"]
    left_out = 0
    for part, later in (("validation", ("test",)), ("train", ("validation", "test"))):
        for other in later:
            copies = masks[part] & _with_copies(masks[other], groups)
            masks[part], left_out = masks[part] & ~copies, left_out + int(copies.sum())
    if left_out:
        places = "test or validation set" if masks["validation"].any() else "test set"
        what = "a copy is" if left_out == 1 else "copies are"
        warnings.append(f"{plural(left_out, 'image')} left out of training: {what} in the {places}")
    kept = torch.stack([*masks.values()]).any(0).nonzero().flatten().tolist()
    warnings += _copies([groups[index] for index in kept])
    train, test, given = (every[masks[part]] for part in ("train", "test", "validation"))
    if not len(train) or not len(test):
        raise DataError(f"data.root: the {'training' if len(test) else 'test'} set has no images that it alone has")
    if len(given):
        if not isinstance(validation, str):
            raise DataError(f"data.validation={validation}: the data set has a validation set of its own; leave it out")
        return train, test, given
    train, held_out = split_validation(train, test, validation)
    return train, test, held_out


def _copies(groups: Sequence[int]) -> list[str]:
    """A warning if images have copies, which are in the same split then."""
    copies = len(groups) - len(set(groups))
    what = "is a copy of another one in its split" if copies == 1 else "are copies of others in their split"
    return [f"{plural(copies, 'image')} {what}"] if copies else []


def unusual_images(images: Tensor) -> list[str]:
    """Warnings about images that may not be what they should."""
    blank = sum(is_blank(image) for image in images)
    return [f"{blank:,} of {len(images):,} images are blank: all of one grey"] if blank else []
