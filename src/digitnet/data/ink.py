"""Ink on a picture: how much each pixel differs from the paper around it, and the connected pieces of what does."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

LONGEST, SHORTEST = 800, 112  # pixels a side: larger pictures are reduced, smaller ones enlarged
CONTRAST = 16.0  # grey levels between ink and paper: less is nothing
NOISE = 5.0  # standard deviations of the paper's grey levels: less is nothing
MOST_PIECES = 200  # of ink that are looked at, the largest ones


@dataclass(frozen=True)
class Box:
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
    def around(cls, boxes: Sequence["Box"]) -> "Box":
        return cls(
            min(box.top for box in boxes),
            min(box.left for box in boxes),
            max(box.bottom for box in boxes),
            max(box.right for box in boxes),
        )


@dataclass(frozen=True)
class Piece(Box):
    """Connected ink: `mask` says which pixels of the box."""

    mask: np.ndarray

    def of(self, picture: np.ndarray) -> np.ndarray:
        """The values (n,) of its pixels in a picture."""
        values: np.ndarray = picture[self.top : self.bottom, self.left : self.right][self.mask]
        return values


def is_ink_dark(picture: np.ndarray) -> bool:
    """Whether the few pixels of a picture (H, W) that differ from its paper are darker than it.

    The paper is a median over a third of the picture, which follows the edges of shadows and passes over strokes. The
    margin does not count: there the median may be that of the table on which the paper lies.
    """
    from scipy import ndimage

    small = Image.fromarray(picture.astype(np.float32))
    small.thumbnail((64, 64), Image.Resampling.BOX)
    values = np.asarray(small)
    differences = values - ndimage.median_filter(values, max(values.shape) // 3, mode="nearest")
    margin = min(6, min(values.shape) // 8)
    inside = differences[margin : values.shape[0] - margin, margin : values.shape[1] - margin]
    return float((inside * np.abs(inside)).sum()) <= 0  # squared, with the sign: noise hardly counts


def resized(grey: np.ndarray) -> np.ndarray:
    """The picture as (H, W) float32 of a size that the rest is made for, slightly smoothed if it is large."""
    from scipy import ndimage  # a fifth of a second

    image = Image.fromarray(grey.astype(np.float32))
    scale = min(1.0, LONGEST / max(image.size)) * max(1.0, SHORTEST / max(image.size))
    if scale != 1:
        size = [max(1, round(side * scale)) for side in image.size]
        image = image.resize((size[0], size[1]), Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    picture = np.asarray(image)
    return np.asarray(ndimage.gaussian_filter(picture, max(picture.shape) / LONGEST))


def ink_strength(picture: np.ndarray, is_dark: bool) -> np.ndarray:
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


def ink_pieces(strength: np.ndarray) -> list[Piece]:
    """The largest connected pieces of ink, by its strength (H, W); empty if there is none.

    Without pieces that lie along the picture's edge or lead out of it, and without boxes around others.
    """
    threshold = max(CONTRAST, float(np.median(strength)) + NOISE * _deviation(strength))
    kept = _without_edges(_labelled(strength > threshold), strength.shape)
    if not kept:
        return []
    # Of ink that is this strong, all that is connected with it counts, too, so that faint parts of strokes do.
    level = float(np.percentile(np.concatenate([piece.of(strength) for piece in kept]), 90))
    found = _labelled(strength > max(threshold, 0.3 * level))
    strong = [piece for piece in found if piece.of(strength).max() > 0.5 * level]
    return _without_frames(_without_edges(strong, strength.shape))


def _without_edges(pieces: Sequence[Piece], shape: tuple[int, ...]) -> list[Piece]:
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


def _labelled(mask: np.ndarray) -> list[Piece]:
    """The MOST_PIECES largest connected parts of a mask (H, W), corners count as connections."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = ndimage.find_objects(labels)
    return [
        Piece(rows.start, columns.start, rows.stop, columns.stop, labels[rows, columns] == number + 1)
        for number in np.argsort(-sizes, kind="stable")[:MOST_PIECES].tolist()
        for rows, columns in [boxes[number]]
    ]


def _touches_edge(box: Box, shape: tuple[int, ...]) -> bool:
    return box.top == 0 or box.left == 0 or box.bottom == shape[0] or box.right == shape[1]


def _without_frames(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces but for boxes that are drawn or printed around others, as in forms."""
    return [piece for piece in pieces if not (_is_frame(piece) and any(_encloses(piece, other) for other in pieces))]


def _encloses(frame: Box, other: Box) -> bool:
    """Whether `other`, which is no speck, is inside the box."""
    across = frame.left < other.left and other.right < frame.right
    return across and frame.top < other.top and other.bottom < frame.bottom and other.height >= 0.25 * frame.height


def _is_frame(piece: Piece) -> bool:
    """Whether ink lies along nearly all of the four sides of its box."""
    rows, columns = (max(1, round(0.1 * side)) for side in piece.mask.shape)
    sides = (piece.mask[:rows], piece.mask[-rows:], piece.mask[:, :columns].T, piece.mask[:, -columns:].T)
    return all(side.any(0).mean() > 0.85 for side in sides)


def _lies_along_edge(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Whether more than half of its length is at an edge of the picture."""
    contacts = [
        piece.mask[0].sum() if piece.top == 0 else 0,
        piece.mask[-1].sum() if piece.bottom == shape[0] else 0,
        piece.mask[:, 0].sum() if piece.left == 0 else 0,
        piece.mask[:, -1].sum() if piece.right == shape[1] else 0,
    ]
    return max(contacts) > 0.5 * max(piece.height, piece.width)
