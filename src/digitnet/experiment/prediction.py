"""Predicts what is on one's own pictures: prepares them as the training images were, and asks a trained network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from digitnet.data.images import MAX_BYTES, decode_grey, decode_image, image_files, is_blank, read_content
from digitnet.data.ink import LONGEST
from digitnet.data.preparation import NOTHING, Ink, find_digits, largest
from digitnet.errors import DataError
from digitnet.experiment.trained import TrainedNetwork, mean_probabilities

STANDARD_INPUT = Path("-")
SHOWN_BAD = 2  # files that are named in an error


@dataclass(frozen=True)
class Prediction:
    """The two most probable classes, by their names, with their probabilities from 0 to 1."""

    predicted: str
    confidence: float
    runner_up: str
    runner_up_confidence: float


@dataclass(frozen=True)
class PicturePrediction(Prediction):
    """Of a digit on a picture: `image` (1, 28, 28) uint8 is what the network saw; `position` counts from the left.

    `found` is how many things on the picture look like digits.
    """

    file: str
    position: int
    found: int
    image: Tensor


def predictions(probabilities: Tensor, classes: Sequence[str]) -> list[Prediction]:
    """N predictions, by the probabilities (N, classes)."""
    best = probabilities.topk(2, 1)
    return [
        Prediction(classes[first], high, classes[second], low)
        for (first, second), (high, low) in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def picture_files(paths: Sequence[str | Path]) -> list[tuple[Path, str | None]]:
    """The files, and the images in and below the folders, each with the reason why it cannot be read, or None.

    Raises DataError if a folder has no images.
    """
    files: list[tuple[Path, str | None]] = []
    for path in map(Path, paths):
        if not path.is_dir():
            fault = None if path.exists() or path == STANDARD_INPUT else "no such file"
            files.append((path, fault))
        elif inside := list(image_files(path, path, follow_links=True)):
            files += inside
        else:
            raise DataError(f"{path}: no images in it; give files, or folders of PNG, JPEG, BMP, GIF, TIFF or WebP")
    return files


def prepared_images(content: bytes, prepare: str, ink: Ink, split: bool) -> tuple[list[Tensor], int]:
    """(images (1, 28, 28) uint8, how many things look like digits) of an image file's content.

    The image is one, the largest digit, or with `split` all of them from left to right. Raises ValueError if the
    content is no image, or has nothing on it.
    """
    if prepare == "plain":
        decoded = decode_image(content)
        is_dark = decoded.is_dark_ink if ink == "auto" else ink == "dark"
        image = decoded.inverted if is_dark else decoded.plain
        if is_blank(image):
            raise ValueError("blank: all of one grey")
        return [image], 1
    found = find_digits(decode_grey(content, LONGEST), ink)
    if not found:
        raise ValueError(NOTHING)
    return [digit.image for digit in (found if split else [largest(found)])], len(found)


def predict_picture(
    networks: Sequence[TrainedNetwork],
    file: str,
    content: bytes,
    prepare: str | None = None,
    ink: Ink | None = None,
    split: bool = False,
) -> list[PicturePrediction]:
    """The prediction for a picture, by the mean of the networks' probabilities; with `split`, one for each digit on it.

    `prepare` is "mnist" or "plain", `ink` what the digits are drawn with; None: as the first network's training images.
    Raises ValueError as `prepared_images`.
    """
    first = networks[0]
    images, count = prepared_images(content, prepare or first.prepare, ink or first.ink, split)
    found = predictions(mean_probabilities(networks, torch.stack(images)), first.classes)
    return [
        PicturePrediction(**vars(one), file=file, position=position, found=count, image=image)
        for position, (one, image) in enumerate(zip(found, images, strict=True), start=1)
    ]


def read_pictures(
    files: Sequence[tuple[Path, str | None]], bad: list[str], stdin: BinaryIO
) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file that can be read, `-` is `stdin`; `path: reason` of the others is added to `bad`."""
    for path, fault in files:
        is_stdin = path == STANDARD_INPUT
        name = "standard input" if is_stdin else str(path)
        try:
            if fault is not None:
                raise ValueError(fault)
            yield name, _read_stream(stdin) if is_stdin else read_content(path)
        except ValueError as error:
            bad.append(f"{name}: {error}")


def _read_stream(stream: BinaryIO) -> bytes:
    content = stream.read(MAX_BYTES + 1)
    if not content or len(content) > MAX_BYTES:
        raise ValueError(f"too large: more than {MAX_BYTES:,} bytes" if content else "empty")
    return content


def refuse_bad(bad: Sequence[str], count: int) -> None:
    """Raise DataError if some of `count` pictures could not be predicted; `bad` has `path: reason` of each."""
    if not bad:
        return
    if count == 1:
        raise DataError(bad[0])
    more = [f"and {len(bad) - SHOWN_BAD:,} more"] if len(bad) > SHOWN_BAD else []
    raise DataError("\n".join([f"{len(bad):,} of {count:,} images could not be read:", *bad[:SHOWN_BAD], *more]))
