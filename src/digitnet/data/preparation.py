"""One's own pictures of digits -> (1, 28, 28) uint8, prepared as the images of MNIST were: LeCun et al. 1998, III.A."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from digitnet.data.images import SIDE, decode_grey
from digitnet.data.ink import LONGEST, Box, Piece, ink_pieces, ink_strength, is_ink_dark, resized

Ink = Literal["auto", "dark", "light"]
INKS = ("auto", "dark", "light")
BOX = 20  # pixels: the digit fits into a square of so many, LeCun et al. 1998, section III.A
MIDDLE = 14.5  # where MNIST's centres of mass are, in pixels from the edge: on average 14.50 across and 14.49 down
FAINT = 0.1  # of the strongest ink: less is not part of the digit
STROKE = 0.11  # of the digit's longer side: thinner strokes are thickened; MNIST's are 0.1 to 0.2
NOTHING = "nothing on it looks like a digit"


@dataclass(frozen=True)
class FoundDigit:
    """Something on a picture that looks like a digit: `image` (1, 28, 28) uint8, and where it is.

    `left`, `top`, `right` and `bottom` are fractions of the picture's width and height.
    """

    image: Tensor
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top


def find_digits(grey: np.ndarray, ink: Ink = "auto") -> list[FoundDigit]:
    """What looks like a digit on a picture (H, W) uint8, from left to right; empty if nothing does.

    Ink is what differs from the paper around it, so shadows do not matter; `ink` says whether it is dark or light,
    "auto" finds out. Specks, lines that leave the picture, and boxes around digits are dropped; pieces of one digit
    are kept together.
    """
    picture = resized(grey)
    strength = ink_strength(picture, is_ink_dark(picture) if ink == "auto" else ink == "dark")
    pieces = ink_pieces(strength)
    if not pieces:
        return []
    tallest = max(piece.height for piece in pieces)
    groups = _grouped([piece for piece in pieces if max(piece.height, piece.width) >= 0.15 * tallest], tallest)
    boxes = [Box.around(group) for group in groups]
    tallest = max(box.height for box in boxes)
    found = []
    for box, group in zip(boxes, groups, strict=True):
        if box.height >= 0.5 * tallest:
            mask = np.zeros(strength.shape, bool)
            for piece in group:
                mask[piece.top : piece.bottom, piece.left : piece.right] |= piece.mask
            found.append(_as_found(box, mask, strength))
    return sorted(found, key=lambda digit: digit.left + digit.right)


def largest(found: Sequence[FoundDigit]) -> FoundDigit:
    """The digit that covers most of the picture."""
    return max(found, key=lambda digit: digit.height * (digit.right - digit.left))


def prepared_digit(content: bytes, ink: Ink = "auto") -> Tensor:
    """The largest digit of an image file's content, (1, 28, 28) uint8. Raises ValueError if there is none."""
    if found := find_digits(decode_grey(content, LONGEST), ink):
        return largest(found).image
    raise ValueError(NOTHING)


def fit_digit(ink: np.ndarray) -> Tensor:
    """(H, W) float ink, from 0 (none) to 1 -> (1, 28, 28) uint8: the digit cropped, fitted, centred.

    It fits into 20x20 with its proportions kept, and its centre of mass is at the middle of the 28x28 pixels, at
    MIDDLE. Raises ValueError if there is no ink.
    """
    strongest = float(ink.max(initial=0.0))
    if strongest <= 0:
        raise ValueError("has no ink")
    rows, columns = (np.flatnonzero((ink > FAINT * strongest).any(axis)) for axis in (1, 0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    height, width = (max(1, round(side * BOX / max(cropped.shape))) for side in cropped.shape)
    # Bicubic, with the support of a pixel of the result: smooth edges, whether the digit grows or shrinks.
    fitted = np.asarray(Image.fromarray(cropped).resize((width, height), Image.Resampling.BICUBIC)).clip(0)
    fitted = fitted / fitted.max()
    top, left = (_start(fitted.sum(axis), size) for axis, size in ((1, height), (0, width)))
    placed = np.zeros((SIDE, SIDE), np.float32)
    placed[top : top + height, left : left + width] = fitted
    return torch.from_numpy((255 * placed).round().astype(np.uint8)).unsqueeze(0)


def _start(masses: np.ndarray, size: int) -> int:
    """Where, of 28 pixels, a profile of `size` masses starts, so that its centre is at MIDDLE; all of it inside."""
    centre = float((masses * (np.arange(size) + 0.5)).sum() / masses.sum())
    return int(np.clip(round(MIDDLE - centre), 0, SIDE - size))


def _grouped(pieces: Sequence[Piece], tallest: int) -> list[list[Piece]]:
    """The pieces of each digit: one above the other, as the bar of a 5, or nearly touching."""
    groups: list[list[Piece]] = []
    for piece in pieces:
        near = [group for group in groups if any(_belong_together(piece, other, tallest) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([piece, *(other for group in near for other in group)])
    return groups


def _belong_together(one: Box, other: Box, tallest: int) -> bool:
    across = max(one.left, other.left) - min(one.right, other.right)  # the gap; negative if they overlap
    down = max(one.top, other.top) - min(one.bottom, other.bottom)
    is_above = -across >= 0.5 * min(one.width, other.width) and down <= 0.25 * tallest
    return is_above or max(across, down) <= 0.04 * tallest


def _as_found(box: Box, mask: np.ndarray, strength: np.ndarray) -> FoundDigit:
    from scipy import ndimage

    margin = 2 + round(STROKE * max(box.height, box.width))
    rows = slice(max(0, box.top - margin), box.bottom + margin)
    columns = slice(max(0, box.left - margin), box.right + margin)
    part, inside = strength[rows, columns], mask[rows, columns]
    level = np.percentile(part[inside], 75)
    # Beyond the threshold, edges fade; other ink nearby does not count.
    ink = np.where(ndimage.binary_dilation(inside, iterations=2), part / level, 0).clip(0, 1)
    # The distance of a stroke's pixels from its edges is on average a quarter of its width.
    stroke = 4 * float(ndimage.distance_transform_edt(inside)[inside].mean())
    if (missing := STROKE * max(box.height, box.width) - stroke) > 0:
        ink = np.maximum(ink, ndimage.distance_transform_edt(~inside) <= missing / 2)
    height, width = mask.shape
    return FoundDigit(fit_digit(ink), box.left / width, box.top / height, box.right / width, box.bottom / height)
