"""Draws pictures of digits as people make them: with several pens, as photos with shadows, on boards, tilted."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
Stroke = list[Point]  # in a square of side 1; x to the right, y down


def arc(x: float, y: float, across: float, down: float, start_deg: float, end_deg: float) -> Stroke:
    """Part of an ellipse; 0 degrees is to the right, 90 down."""
    angles = [math.radians(start_deg + (end_deg - start_deg) * step / 24) for step in range(25)]
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


SHAPES: dict[int, list[list[Stroke]]] = {  # of each digit two ways of writing it
    0: [[arc(0.5, 0.5, 0.3, 0.5, -90, 270)], [arc(0.5, 0.5, 0.4, 0.48, -60, 300)]],
    1: [[[(0.5, 0), (0.5, 1)]], [[(0.32, 0.2), (0.55, 0), (0.5, 1)]]],
    2: [
        [[*arc(0.5, 0.27, 0.32, 0.27, -170, 40), (0.15, 1), (0.85, 1)]],
        [[*arc(0.48, 0.25, 0.33, 0.25, -150, 60), (0.3, 0.85), (0.2, 0.95), (0.5, 0.88), (0.9, 1)]],
    ],
    3: [
        [[*arc(0.45, 0.26, 0.3, 0.26, -150, 90), *arc(0.45, 0.76, 0.35, 0.24, -90, 150)]],
        [[(0.2, 0.03), (0.8, 0.03), (0.45, 0.4), *arc(0.42, 0.7, 0.38, 0.3, -70, 140)]],
    ],
    4: [
        [[(0.2, 0), (0.12, 0.6), (0.9, 0.6)], [(0.7, 0.15), (0.66, 1)]],
        [[(0.25, 0.02), (0.15, 0.5), (0.8, 0.48)], [(0.82, 0), (0.75, 1)]],
    ],
    5: [
        [[(0.85, 0), (0.25, 0), (0.22, 0.42), *arc(0.45, 0.7, 0.36, 0.3, -110, 140)]],
        [[(0.25, 0.05), (0.22, 0.45), *arc(0.42, 0.7, 0.36, 0.3, -100, 150)], [(0.25, 0.03), (0.85, 0)]],
    ],
    6: [
        [[(0.65, 0), (0.35, 0.3), (0.2, 0.65), *arc(0.48, 0.75, 0.28, 0.25, 180, 540)]],
        [[(0.75, 0.03), (0.4, 0.2), (0.18, 0.6), *arc(0.5, 0.72, 0.32, 0.28, 180, 540)]],
    ],
    7: [[[(0.12, 0.02), (0.85, 0), (0.4, 1)]], [[(0.1, 0.1), (0.15, 0.03), (0.9, 0.05), (0.6, 0.5), (0.45, 1)]]],
    8: [
        [arc(0.5, 0.25, 0.25, 0.25, 90, 450), arc(0.5, 0.74, 0.3, 0.26, -90, 270)],
        [[*arc(0.52, 0.24, 0.26, 0.24, -30, -280), *arc(0.48, 0.74, 0.3, 0.26, -80, 270), (0.75, 0.15)]],
    ],
    9: [
        [[*arc(0.48, 0.28, 0.3, 0.28, 0, -360), (0.78, 0.28), (0.72, 1)]],
        [[*arc(0.45, 0.27, 0.28, 0.27, -30, -340), (0.72, 0.1), (0.72, 0.6), (0.5, 1)]],
    ],
}


def draw_ink(
    strokes: Sequence[Stroke], size: tuple[int, int], place: tuple[float, float, float], pen: float, tilt_deg: float = 0
) -> np.ndarray:
    """(H, W) float32, 0 is paper and 1 ink; `place` is (left, top, height), `pen` a width, both in pixels."""
    left, top, height = place
    width, sine, cosine = 0.7 * height, math.sin(math.radians(tilt_deg)), math.cos(math.radians(tilt_deg))
    image = Image.new("L", (2 * size[0], 2 * size[1]))  # twice as large, so that edges are smooth
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        around = [((x - 0.5) * width, (y - 0.5) * height) for x, y in stroke]
        turned = [(cosine * x - sine * y, sine * x + cosine * y) for x, y in around]
        points = [(2 * (left + width / 2 + x), 2 * (top + height / 2 + y)) for x, y in turned]
        draw.line(points, fill=255, width=max(1, round(2 * pen)), joint="curve")
        for x, y in (points[0], points[-1]):  # round ends
            draw.ellipse((x - pen, y - pen, x + pen, y + pen), fill=255)
    return np.asarray(image.resize(size, Image.Resampling.BOX), np.float32) / 255


def _paper(ink: np.ndarray, light: float, dark: float, noise: float, generator: np.random.Generator) -> np.ndarray:
    values = (
        light + (dark - light) * ink + generator.normal(0, noise, ink.shape) if noise else light + (dark - light) * ink
    )
    return np.asarray(values).clip(0, 255).astype(np.uint8)


def _photo(ink: np.ndarray, generator: np.random.Generator, darkness: float = 0.7) -> np.ndarray:
    """On paper that is lit from one side, with the shadow of whoever takes the photo."""
    height, width = ink.shape
    down, across = np.mgrid[0:height, 0:width] / max(height, width)
    slope = generator.normal(size=2)
    paper = 190 + 45 * (slope[0] * (across - 0.5) + slope[1] * (down - 0.5)) / np.hypot(*slope)
    edge = across + 0.3 * down - generator.uniform(0.2, 0.9)
    paper = paper * (1 - 0.4 / (1 + np.exp(-25 * edge)))
    return np.asarray(paper * (1 - darkness * ink) + generator.normal(0, 4, ink.shape)).clip(0, 255).astype(np.uint8)


def _specks(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    image = image.astype(np.int16)
    for _ in range(30):
        top, left = (int(generator.integers(5, side - 12)) for side in image.shape)
        image[top : top + int(generator.integers(2, 6)), left : left + int(generator.integers(2, 6))] -= 110
    return image.clip(0, 255).astype(np.uint8)


Draw = Callable[[Sequence[Stroke], np.random.Generator], np.ndarray]
KINDS: dict[str, Draw] = {
    "fine pen": lambda s, g: _paper(draw_ink(s, (400, 400), (80, 60, 280), 5), 255, 0, 0, g),
    "marker": lambda s, g: _paper(draw_ink(s, (400, 400), (80, 60, 280), 44), 250, 30, 2, g),
    "pencil": lambda s, g: _paper(draw_ink(s, (700, 900), (150, 200, 400), 9), 232, 150, 5, g),
    "photo": lambda s, g: _photo(draw_ink(s, (1000, 1000), (300, 250, 420), 30), g),
    "photo, specks": lambda s, g: _specks(_photo(draw_ink(s, (1000, 750), (180, 120, 500), 40), g), g),
    "white on black": lambda s, g: _paper(draw_ink(s, (200, 200), (40, 30, 140), 14), 10, 245, 3, g),
    "blackboard": lambda s, g: 255 - _photo(draw_ink(s, (1000, 800), (250, 150, 500), 28), g),
    "off-centre": lambda s, g: _paper(draw_ink(s, (900, 600), (620, 300, 260), 20), 245, 40, 3, g),
    "small": lambda s, g: _photo(draw_ink(s, (1200, 1000), (150, 800, 90), 8), g),
    "tilted": lambda s, g: _paper(draw_ink(s, (500, 500), (130, 90, 300), 24, g.uniform(-14, 14)), 240, 60, 3, g),
    "28 pixels": lambda s, g: _paper(draw_ink(s, (28, 28), (7, 4, 20), 2.2), 0, 255, 0, g),
}  # fmt: skip


def drawn_pictures(seed: int = 0) -> Iterator[tuple[str, int, np.ndarray]]:
    """(kind, digit, (H, W) uint8) of every digit and kind; both ways of writing take turns."""
    generator = np.random.default_rng(seed)
    for number, (kind, draw) in enumerate(KINDS.items()):
        for digit, shapes in SHAPES.items():
            yield kind, digit, draw(shapes[(digit + number) % 2], generator)
