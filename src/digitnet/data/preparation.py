"""One's own pictures of digits -> (1, 28, 28) uint8, prepared as the images of MNIST were: LeCun et al. 1998, III.A."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from digitnet.data.images import SIDE, decode_grey

Ink = Literal["auto", "dark", "light"]
INKS = ("auto", "dark", "light")
BOX = 20  # pixels: the digit fits into a square of so many, LeCun et al. 1998, section III.A
MIDDLE = 14.5  # where MNIST's centres of mass are, in pixels from the edge: on average 14.50 across and 14.49 down
FAINT = 0.1  # of the strongest ink: less is not part of the digit
LONGEST, SHORTEST = 800, 112  # pixels a side: larger pictures are reduced, smaller ones enlarged
CONTRAST = 16.0  # grey levels between ink and paper: less is nothing
NOISE = 5.0  # standard deviations of the paper's grey levels: less is nothing
STROKE = 0.11  # of the digit's longer side: thinner strokes are thickened; MNIST's are 0.1 to 0.2
NOTHING = "nothing on it looks like a digit"
MOST_PIECES = 200  # of ink that are looked at, the largest ones


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
    "auto" finds out. Specks, and lines that leave the picture, are dropped; pieces of one digit are kept together.
    """
    picture = _resized(grey)
    strength = _strength(picture, is_ink_dark(picture) if ink == "auto" else ink == "dark")
    threshold = max(CONTRAST, float(np.median(strength)) + NOISE * _deviation(strength))
    pieces = _pieces(strength, threshold)
    if not pieces:
        return []
    tallest = max(piece.height for piece in pieces)
    groups = _grouped([piece for piece in pieces if max(piece.height, piece.width) >= 0.15 * tallest], tallest)
    boxes = [_Box.around(group) for group in groups]
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


def is_ink_dark(picture: np.ndarray) -> bool:
    """Whether the few pixels of a picture (H, W) that differ from its paper are darker than it.

    The paper is a median over half of the picture, which follows the edges of shadows and passes over strokes.
    """
    from scipy import ndimage

    small = Image.fromarray(picture.astype(np.float32))
    small.thumbnail((64, 64), Image.Resampling.BOX)
    values = np.asarray(small)
    differences = values - ndimage.median_filter(values, max(values.shape) // 2, mode="nearest")
    return float((differences**3).sum()) <= 0  # cubed: noise hardly counts


def _resized(grey: np.ndarray) -> np.ndarray:
    """The picture as (H, W) float32 of a size that the rest is made for, slightly smoothed if it is large."""
    from scipy import ndimage  # a fifth of a second

    image = Image.fromarray(grey.astype(np.float32))
    scale = min(1.0, LONGEST / max(image.size)) * max(1.0, SHORTEST / max(image.size))
    if scale != 1:
        size = [max(1, round(side * scale)) for side in image.size]
        image = image.resize((size[0], size[1]), Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    picture = np.asarray(image)
    return np.asarray(ndimage.gaussian_filter(picture, max(picture.shape) / LONGEST))


def _strength(picture: np.ndarray, is_dark: bool) -> np.ndarray:
    """How much each pixel differs from the paper around it, (H, W) float32 grey levels: a black top-hat.

    A closing by a square fills what is narrower than the square, the strokes, and follows shadows (Serra 1982).
    """
    from scipy import ndimage

    lightness = picture if is_dark else 255 - picture
    side = max(3, min(picture.shape) // 3)
    paper = ndimage.grey_closing(lightness, (side, side), mode="nearest")
    return np.asarray(paper - lightness, np.float32)


def _deviation(values: np.ndarray) -> float:
    """The standard deviation of most values: of normal ones, 1.4826 times their median distance from the median."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


@dataclass(frozen=True)
class _Box:
    """Pixels: `top` and `left` are within, `bottom` and `right` are not."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @classmethod
    def around(cls, boxes: Sequence["_Box"]) -> "_Box":
        return cls(
            min(box.top for box in boxes),
            min(box.left for box in boxes),
            max(box.bottom for box in boxes),
            max(box.right for box in boxes),
        )


@dataclass(frozen=True)
class _Piece(_Box):
    """Connected ink: `mask` says which pixels of the box."""

    mask: np.ndarray

    def of(self, picture: np.ndarray) -> np.ndarray:
        """The values (n,) of its pixels in a picture."""
        values: np.ndarray = picture[self.top : self.bottom, self.left : self.right][self.mask]
        return values


def _pieces(strength: np.ndarray, threshold: float) -> list[_Piece]:
    """The largest connected pieces of ink, without those that lie along the picture's edge or lead out of it."""
    kept = _without_edges(_labelled(strength > threshold), strength.shape)
    if not kept:
        return []
    # Of ink that is this strong, all that is connected with it counts, too, so that faint parts of strokes do.
    level = float(np.percentile(np.concatenate([piece.of(strength) for piece in kept]), 90))
    found = _labelled(strength > max(threshold, 0.3 * level))
    return _without_edges([piece for piece in found if piece.of(strength).max() > 0.5 * level], strength.shape)


def _without_edges(pieces: Sequence[_Piece], shape: tuple[int, ...]) -> list[_Piece]:
    """The pieces but for the edges of shadows and tables, and for lines, unless these are all that there is.

    A digit may touch the edge of a picture that was cut closely.
    """
    inside = [piece for piece in pieces if not _touches_edge(piece, shape)]
    tallest = max((piece.height for piece in inside), default=0)
    kept = [
        piece
        for piece in pieces
        if not _touches_edge(piece, shape) or (piece.height > 4 * tallest and not _lies_along_edge(piece, shape))
    ]
    return kept or list(pieces)


def _labelled(mask: np.ndarray) -> list[_Piece]:
    """The MOST_PIECES largest connected parts of a mask (H, W), corners count as connections."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = ndimage.find_objects(labels)
    return [
        _Piece(rows.start, columns.start, rows.stop, columns.stop, labels[rows, columns] == number + 1)
        for number in np.argsort(-sizes, kind="stable")[:MOST_PIECES].tolist()
        for rows, columns in [boxes[number]]
    ]


def _touches_edge(box: _Box, shape: tuple[int, ...]) -> bool:
    return box.top == 0 or box.left == 0 or box.bottom == shape[0] or box.right == shape[1]


def _lies_along_edge(piece: _Piece, shape: tuple[int, ...]) -> bool:
    """Whether more than half of its length is at an edge of the picture."""
    contacts = [
        piece.mask[0].sum() if piece.top == 0 else 0,
        piece.mask[-1].sum() if piece.bottom == shape[0] else 0,
        piece.mask[:, 0].sum() if piece.left == 0 else 0,
        piece.mask[:, -1].sum() if piece.right == shape[1] else 0,
    ]
    return max(contacts) > 0.5 * max(piece.height, piece.width)


def _grouped(pieces: Sequence[_Piece], tallest: int) -> list[list[_Piece]]:
    """The pieces of each digit: one above the other, as the bar of a 5, or nearly touching."""
    groups: list[list[_Piece]] = []
    for piece in pieces:
        near = [group for group in groups if any(_belong_together(piece, other, tallest) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([piece, *(other for group in near for other in group)])
    return groups


def _belong_together(one: _Box, other: _Box, tallest: int) -> bool:
    across = max(one.left, other.left) - min(one.right, other.right)  # the gap; negative if they overlap
    down = max(one.top, other.top) - min(one.bottom, other.bottom)
    is_above = -across >= 0.5 * min(one.width, other.width) and down <= 0.25 * tallest
    return is_above or max(across, down) <= 0.04 * tallest


def _as_found(box: _Box, mask: np.ndarray, strength: np.ndarray) -> FoundDigit:
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
