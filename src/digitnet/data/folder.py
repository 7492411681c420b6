"""A user's own images: one subfolder a class."""

from pathlib import Path

import numpy as np
import torch

from digitnet.data.dataset import Dataset, Split, split_validation
from digitnet.errors import DataError

SIDE = 28


def load_folder(root: str, test_fraction: float, invert: bool = False, validation: str | int = "test") -> Dataset:
    """Load every image below `root`/CLASS/, grey, 28x28, padded to a square with the grey of its upper left corner.

    `test_fraction` of each class, rounded, at least one image, is the test set: the same for every seed. Raises
    DataError if the folder is missing, empty or holds unreadable images, or a class too few.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError
    from torchvision.datasets import ImageFolder  # 2 seconds, spared to all others

    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"data.root={root}: no such folder; give one with a subfolder of images for each class")
    try:
        # Empty classes pass here and are counted below, with a message of ours.
        found = ImageFolder(str(folder), allow_empty=True)
    except FileNotFoundError:
        raise DataError(f"{folder}: has no subfolders; put the images of each class into one") from None
    if not found.samples:
        raise DataError(f"{folder}: no images in its subfolders; put the images of each class into one")

    def read(path: str) -> torch.Tensor:
        try:
            with Image.open(path) as image:
                grey = image.convert("L")
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: not a readable image ({error}); mend or remove it") from error
        if invert:
            grey = ImageOps.invert(grey)
        corner = np.asarray(grey)[0, 0].item()
        square = ImageOps.pad(grey, (SIDE, SIDE), color=corner)
        return torch.from_numpy(np.array(square)).unsqueeze(0)

    images = torch.stack([read(path) for path, _ in found.samples])
    labels = torch.tensor(found.targets)
    in_test = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    for number, name in enumerate(found.classes):
        members = (labels == number).nonzero().flatten()
        if len(members) < 2:
            raise DataError(f"{folder / name}: {len(members)} image(s); a class needs one to train and one to test")
        count = min(max(1, round(test_fraction * len(members))), len(members) - 1)
        in_test[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    test = Split(images[in_test], labels[in_test])
    train, held_out = split_validation(Split(images[~in_test], labels[~in_test]), test, validation)
    return Dataset("folder", train, test, held_out, tuple(found.classes), str(folder))
