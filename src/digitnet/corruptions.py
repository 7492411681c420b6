"""Corrupted test images, of the shape of MNIST-C; and images that are translated or rotated.

Source: Mu and Gilmer 2019, "MNIST-C: A Robustness Benchmark for Computer Vision", section 3 and figure 1; the strengths
are those of the published set.

Differs from the published set:

- The draws are digitnet's own, so single images differ from the published ones.
- Motion blur is computed by NumPy, not by ImageMagick.
- Glass blur blurs in both directions; the published one blurs vertically only.
- Fog is taken from windows of 64 fractals, not from one for each image.
- The zigzag ends on its middle line; the published one ends about a third of a pixel beside it.
- Canny's edges are scikit-image's but for ties: on MNIST, one pixel in 15,000 differs.
"""

import itertools
import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 1000  # images at a time: memory stays flat
SIDE = 28
MIDDLE = (SIDE - 1) / 2

Images = np.ndarray  # (N, 28, 28) float32 from 0 to 1
Generator = np.random.Generator


def corrupt(images: Tensor, name: str, seed: int = 0) -> Tensor:
    """(N, 1, 28, 28) uint8 -> (N, 1, 28, 28) uint8, on the CPU, by one of CORRUPTIONS.

    The same images, `name` and `seed` give the same result. An image's draws depend on its place, and with some of the
    corruptions on the number and content of the images before and after it, too: corrupt a whole test set at once.
    Raises ValueError for an unknown name. Source: Mu and Gilmer 2019, section 3; see the list "Differs" above.
    """
    if name not in _FUNCTIONS:
        raise ValueError(f"no corruption '{name}'; there are {', '.join(CORRUPTIONS)}")
    parts = []
    for number, chunk in enumerate(images.split(CHUNK)):
        generator = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
        values = _FUNCTIONS[name](chunk[:, 0].numpy().astype(np.float32) / 255, generator)
        parts.append(torch.from_numpy((values.clip(0, 1) * 255).round().astype(np.uint8)).unsqueeze(1))
    return torch.cat(parts)


def translated(images: Tensor, across: float, down: float = 0.0) -> Tensor:
    """(N, 1, 28, 28) uint8, moved by so many pixels to the right and down; bilinear, zeros outside."""
    maps = torch.tensor([[1, 0, -2 * across / SIDE], [0, 1, -2 * down / SIDE]]).expand(len(images), 2, 3)
    return _resampled(images, maps)


def rotated(images: Tensor, angle_deg: float) -> Tensor:
    """(N, 1, 28, 28) uint8, turned counter-clockwise about the middle; bilinear, zeros outside."""
    sine, cosine = math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))
    return _resampled(images, torch.tensor([[cosine, -sine, 0], [sine, cosine, 0]]).expand(len(images), 2, 3))


def _resampled(images: Tensor, maps: Tensor) -> Tensor:
    """Images by affine maps (N, 2, 3) float32 from places in the result to places in the image, from -1 to 1."""
    parts = []
    for chunk, some in zip(images.split(CHUNK), maps.split(CHUNK), strict=True):
        grid = F.affine_grid(some.float(), [*chunk.shape], align_corners=False)
        values = F.grid_sample(chunk.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        parts.append(values.round().to(torch.uint8))
    return torch.cat(parts)


def _affine(images: Images, matrices: np.ndarray, shifts: np.ndarray | float = 0.0) -> Images:
    """By matrices (N, 2, 2) from places in the result to places in the image, about the middle; `shifts` in pixels."""
    shift = np.broadcast_to(shifts, (len(images), 2)) * (2 / SIDE)
    maps = torch.from_numpy(np.concatenate([matrices, shift[..., None]], 2).astype(np.float32))
    grid = F.affine_grid(maps, [len(images), 1, SIDE, SIDE], align_corners=False)
    return F.grid_sample(torch.from_numpy(images).unsqueeze(1), grid, align_corners=False)[:, 0].numpy()


def _signs(count: int, generator: Generator, of_each: int = 1) -> np.ndarray:
    return generator.choice([-1.0, 1.0], (count, of_each))


def _shot_noise(images: Images, generator: Generator) -> Images:
    """Photons: three of them are white."""
    return generator.poisson(images * 3).astype(np.float32) / 3


def _impulse_noise(images: Images, generator: Generator) -> Images:
    """17 % of the pixels are black or white."""
    draws = generator.random(images.shape)
    return np.where(draws < 0.17, draws < 0.085, images).astype(np.float32)


def _glass_blur(images: Images, generator: Generator) -> Images:
    """Pixels change places with neighbours, twice, between two blurs."""
    from scipy import ndimage

    blurred = ndimage.gaussian_filter(images, (0, 0.7, 0.7), mode="nearest")
    every = np.arange(len(images))
    for _ in range(2):
        for row in range(SIDE - 1, 1, -1):
            for column in range(SIDE - 1, 1, -1):
                swaps = generator.random(len(images)) < 0.5
                which = every[swaps]
                rows, columns = (place - generator.integers(0, 2, len(which)) for place in (row, column))
                here, there = blurred[which, row, column], blurred[which, rows, columns]
                blurred[which, row, column], blurred[which, rows, columns] = there, here
    return np.asarray(ndimage.gaussian_filter(blurred, (0, 0.7, 0.7), mode="nearest"))


def _motion_blur(images: Images, generator: Generator) -> Images:
    """The camera moves in a direction within 45 degrees of the horizontal; half a Gaussian of 3 pixels, cut at 20."""
    angles = np.radians(generator.uniform(-45, 45, len(images)))[:, None, None]
    rows, columns = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    weights = np.exp(-0.5 * (np.arange(21) / 3) ** 2)
    result = np.zeros_like(images)
    for step, weight in enumerate(weights / weights.sum()):
        from_rows = (rows + np.rint(step * np.sin(angles)).astype(int)).clip(0, SIDE - 1)
        from_columns = (columns + np.rint(step * np.cos(angles)).astype(int)).clip(0, SIDE - 1)
        result += weight * images[np.arange(len(images))[:, None, None], from_rows, from_columns]
    return result


def _shear(images: Images, generator: Generator) -> Images:
    """By an angle of 0.4 in either direction."""
    angles = 0.4 * _signs(len(images), generator)[:, 0]
    one, zero = np.ones_like(angles), np.zeros_like(angles)
    return _affine(images, np.stack([np.stack([one, -np.sin(angles)], 1), np.stack([zero, np.cos(angles)], 1)], 1))


def _scale(images: Images, generator: Generator) -> Images:
    """To 0.7 of the size."""
    return _affine(images, np.broadcast_to(np.eye(2) / 0.7, (len(images), 2, 2)))


def _rotate(images: Images, generator: Generator) -> Images:
    """By an angle of 0.4 (23 degrees) in either direction."""
    angles = 0.4 * _signs(len(images), generator)[:, 0]
    sine, cosine = np.sin(angles), np.cos(angles)
    return _affine(images, np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1))


def _brightness(images: Images, generator: Generator) -> Images:
    return images + 0.5


def _translate(images: Images, generator: Generator) -> Images:
    """By three pixels, diagonally."""
    return _affine(
        images, np.broadcast_to(np.eye(2), (len(images), 2, 2)), 3 * _signs(len(images), generator, of_each=2)
    )


def _stripe(images: Images, generator: Generator) -> Images:
    """All but the middle half is inverted."""
    result = 1 - images
    result[:, :, 7:21] = images[:, :, 7:21]
    return result


def _fog(images: Images, generator: Generator) -> Images:
    """Three times as strong as the image, which keeps its highest grey level."""
    # The published code multiplies its amplitude, 1.4 times smaller at each halving, by a draw of the same size.
    maps = _fractals(64, 256, 1.4**2, generator)
    which = generator.integers(0, len(maps), len(images))
    tops, lefts = (generator.integers(0, 256, len(images)) for _ in range(2))
    rows = (tops[:, None, None] + np.arange(SIDE)[:, None]) % 256  # the maps are periodic
    columns = (lefts[:, None, None] + np.arange(SIDE)) % 256
    highest = images.max((1, 2), keepdims=True)
    return np.asarray((images + 3 * maps[which[:, None, None], rows, columns]) * highest / (highest + 3))


def _fractals(count: int, side: int, decay: float, generator: Generator) -> np.ndarray:
    """(count, side, side) float32 from 0 to 1, by the diamond-square algorithm (Fournier et al. 1982), periodic.

    `side` is a power of two; `decay` divides the displacement after each halving of the step.
    """
    maps = np.zeros((count, side, side), np.float32)
    step, size = side, 1.0

    def displaced(sums: np.ndarray) -> np.ndarray:
        return sums / 4 + size * generator.uniform(-1, 1, sums.shape).astype(np.float32)

    while step >= 2:
        half = step // 2
        corners = maps[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, 1)
        maps[:, half::step, half::step] = displaced(pairs + np.roll(pairs, -1, 2))
        middles = maps[:, half::step, half::step]
        beside = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 2)
        maps[:, ::step, half::step] = displaced(beside)
        below = middles + np.roll(middles, 1, 2) + corners + np.roll(corners, -1, 1)
        maps[:, half::step, ::step] = displaced(below)
        step, size = half, size / decay
    maps -= maps.min((1, 2), keepdims=True)
    return np.asarray(maps / maps.max((1, 2), keepdims=True))


def _spatter(images: Images, generator: Generator) -> Images:
    """Dark grey drops of mud."""
    from scipy import ndimage

    liquid = ndimage.gaussian_filter(generator.normal(0.65, 0.3, images.shape), (0, 1, 1), mode="nearest")
    drops = ndimage.gaussian_filter((liquid > 0.65).astype(np.float32), (0, 1.5, 1.5), mode="nearest")
    drops[drops < 0.8] = 0
    return np.asarray(images * (1 - drops) + drops * (63 / 255))


def _line(first: Sequence[np.ndarray], last: Sequence[np.ndarray]) -> np.ndarray:
    """(N, 28, 28): lines from `first` to `last`, each (columns, rows) of shape (N,), that fade to their sides."""
    (left, top), (right, bottom) = ([place[:, None, None] for place in point] for point in (first, last))
    columns, rows = np.arange(SIDE), np.arange(SIDE)[:, None]
    width = np.where(right == left, 1, right - left)
    distance = np.abs(rows - (top + (bottom - top) / width * (columns - left)))
    ink = (np.log(1 - distance.clip(0, 2.3 - 1e-9) / 2.3) + 1).clip(0, 1)
    inside = (columns >= np.floor(left)) & (columns < np.ceil(right)) & (right != left)
    return np.asarray(np.where(inside, ink, 0))


def _dotted_line(images: Images, generator: Generator) -> Images:
    """A line from the left to the right edge; two of four columns are drawn."""
    n = len(images)
    ends = generator.integers(0, 27, (2, n)).astype(float)
    line = _line((np.zeros(n), ends[0]), (np.full(n, 27.0), ends[1]))
    return np.asarray(images + line * (np.arange(SIDE) // 2 % 2 == 1))


def _zigzag(images: Images, generator: Generator) -> Images:
    """A line that swings by two pixels to both sides, every four pixels, from column 2 to 25."""
    n, size = len(images), 2.0
    top = generator.integers(0, 27, n).astype(float)
    rise = generator.integers(-5, 5, n).astype(float)
    angle = np.arctan(rise / 23)
    length = 23 / np.cos(angle)
    along = [np.zeros(n), *(np.minimum((2 * turn + 1) * size, length) for turn in range(6)), length]
    aside = [np.zeros(n), *(np.full(n, (-1) ** turn * size) for turn in range(6)), np.zeros(n)]
    points = [
        (2 + a * np.cos(angle) - b * np.sin(angle), top + a * np.sin(angle) + b * np.cos(angle))
        for a, b in zip(along, aside, strict=True)
    ]
    result = images
    for first, last in itertools.pairwise(points):
        result = (result + _line(first, last)).clip(0, 1)
    return result


def _canny_edges(images: Images, generator: Generator) -> Images:
    """Canny 1986: a Gaussian of one pixel, thin edges, hysteresis between 0.1 and 0.2 of Sobel's magnitude."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(images, (0, 1, 1), mode="constant")
    down, across = (
        ndimage.correlate1d(ndimage.correlate1d(smooth, [-1, 0, 1], axis), [1, 2, 1], other)  # Sobel's, of each image
        for axis, other in ((1, 2), (2, 1))
    )
    size = np.hypot(down, across)
    longest = np.maximum(np.maximum(np.abs(down), np.abs(across)), 1e-12)
    numbers, rows, columns = np.meshgrid(*(np.arange(length) for length in size.shape), indexing="ij")
    is_top = size > 0.1
    for sign in (1, -1):  # the magnitude one pixel further, on both sides of the edge
        places = [numbers, rows + sign * down / longest, columns + sign * across / longest]
        is_top &= size >= ndimage.map_coordinates(size, places, order=1, mode="nearest")
    is_top[:, [0, -1]] = False
    is_top[:, :, [0, -1]] = False
    neighbours = np.zeros((3, 3, 3))
    neighbours[1] = 1  # in the same image
    labels, count = ndimage.label(is_top, neighbours)
    strong = np.zeros(count + 1, bool)
    strong[labels[is_top & (size > 0.2)]] = True
    strong[0] = False
    return np.asarray(strong[labels], np.float32)


_FUNCTIONS: dict[str, Callable[[Images, Generator], Images]] = {
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "shear": _shear,
    "scale": _scale,
    "rotate": _rotate,
    "brightness": _brightness,
    "translate": _translate,
    "stripe": _stripe,
    "fog": _fog,
    "spatter": _spatter,
    "dotted_line": _dotted_line,
    "zigzag": _zigzag,
    "canny_edges": _canny_edges,
}
CORRUPTIONS = tuple(_FUNCTIONS)
