"""A user's own images: one subfolder a class."""

import os
import warnings
from pathlib import Path

import numpy as np
import torch

from digitnet.data.dataset import Dataset, Split, split_validation
from digitnet.errors import DataError, one_line

SIDE = 28


def load_folder(
    root: str,
    test_fraction: float,
    invert: bool = False,
    validation: str | int = "test",
    bad_files: str = "refuse",
) -> Dataset:
    """Load every image below `root`/CLASS/, grey, 28x28, padded to a square with the grey of its upper left corner.

    Files count as images by the ending of their name, of any format that Pillow knows; transparent places are ground:
    black, with `invert` white.
    `test_fraction` of each class, rounded, at least one image, is the test set: the same for every seed. Raises
    DataError if the folder is missing or empty, or holds fewer than two classes. Files that are empty, unreadable,
    links out of their class's folder or, unpacked, beyond all size raise DataError too, or are left out with
    `bad_files="skip"`; their names are in `notes["skipped"]` then.
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

    read, targets, bad = [], [], []
    for path, target in found.samples:
        try:
            read.append(_read(Path(path), folder / found.classes[target], invert))
            targets.append(target)
        except ValueError as error:
            bad.append(f"{Path(path).relative_to(folder)}: {error}")
    if bad and bad_files == "refuse":
        shown = "; ".join(bad[:3]) + ("; …" if len(bad) > 3 else "")
        raise DataError(
            f"{folder}: {len(bad):,} of {len(found.samples):,} files cannot be trained on ({shown});\n"
            "mend or remove them, or leave them out with data.bad_files=skip"
        )
    if not read:
        raise DataError(f"{folder}: none of its {len(bad):,} files can be trained on ({bad[0]})")
    images, labels = torch.stack(read), torch.tensor(targets)
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
    notes: dict[str, object] = {"skipped": bad} if bad else {}
    return Dataset("folder", train, test, held_out, tuple(found.classes), str(folder), notes)


def _read(path: Path, folder: Path, invert: bool) -> torch.Tensor:
    """One image of the class in `folder`, (1, 28, 28) uint8. Raises ValueError if it is none that can be trained on."""
    from PIL import Image, ImageOps

    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError("a link out of its class's folder")
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("not a regular file")
    if path.stat().st_size == 0:
        raise ValueError("empty")
    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(path) as image,
        ):
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith(("I", "F")):  # 16 bits and more, which Pillow would cut off at 255
                values = np.asarray(upright, np.float32)
                top = 65535.0 if values.max() > 255 else 255.0
                upright = Image.fromarray((values.clip(0, top) * (255 / top)).astype(np.uint8))
            ink = upright.convert("RGBA")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"unpacked beyond all size: more than {Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"not a readable image ({one_line(error)})") from error
    paper = Image.new("RGBA", ink.size, "white" if invert else "black")
    grey = Image.alpha_composite(paper, ink).convert("L")
    if invert:
        grey = ImageOps.invert(grey)
    corner = np.asarray(grey)[0, 0].item()
    square = ImageOps.pad(grey, (SIDE, SIDE), color=corner)
    return torch.from_numpy(np.array(square)).unsqueeze(0)
