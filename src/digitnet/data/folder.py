"""A user's own images: one subfolder a class."""

import os
from pathlib import Path

import numpy as np
import torch

from digitnet.data.dataset import Dataset, Split, split_validation
from digitnet.errors import DataError

SIDE = 28


def load_folder(root: str, test_fraction: float, invert: bool = False, validation: str | int = "test") -> Dataset:
    """Load every image below `root`/CLASS/, grey, 28x28, padded to a square with the grey of its upper left corner.

    Files count as images by the ending of their name, of any format that Pillow knows; transparent places are ground:
    black, with `invert` white.
    `test_fraction` of each class, rounded, at least one image, is the test set: the same for every seed. Raises
    DataError if the folder is missing, empty or holds unreadable images, or fewer than two classes.
    """
    from PIL import Image
    from torchvision.datasets import ImageFolder  # 2 seconds, spared to all others

    folder = Path(os.path.expanduser(root))
    if not folder.is_dir():
        raise DataError(f"data.root={root}: no such folder; give one with a subfolder of images for each class")
    endings = Image.registered_extensions().keys()
    try:
        # Empty classes pass here and are counted below, with a message of ours.
        found = ImageFolder(
            str(folder), is_valid_file=lambda path: Path(path).suffix.lower() in endings, allow_empty=True
        )
    except FileNotFoundError:
        raise DataError(f"{folder}: has no subfolders; put the images of each class into one") from None
    if not found.samples:
        raise DataError(f"{folder}: no images in its subfolders; put the images of each class into one")
    if len(found.classes) < 2:
        raise DataError(f"{folder}: one class, {found.classes[0]}; there must be two at least")

    images = torch.stack([_read(path, invert) for path, _ in found.samples])
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


def _read(path: str, invert: bool) -> torch.Tensor:
    """One image, (1, 28, 28) uint8."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith(("I", "F")):  # 16 bits and more, which Pillow would cut off at 255
                values = np.asarray(upright, np.float32)
                top = 65535.0 if values.max() > 255 else 255.0
                upright = Image.fromarray((values.clip(0, top) * (255 / top)).astype(np.uint8))
            ink = upright.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({error}); mend or remove it") from error
    paper = Image.new("RGBA", ink.size, "white" if invert else "black")
    grey = Image.alpha_composite(paper, ink).convert("L")
    if invert:
        grey = ImageOps.invert(grey)
    corner = np.asarray(grey)[0, 0].item()
    square = ImageOps.pad(grey, (SIDE, SIDE), color=corner)
    return torch.from_numpy(np.array(square)).unsqueeze(0)
