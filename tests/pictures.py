"""What tests ask of PNG files."""

from pathlib import Path

import numpy as np
from PIL import Image


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def count_pixels(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    """The pixels of about this colour."""
    return int((np.abs(picture - colour).sum(2) < 60).sum())
