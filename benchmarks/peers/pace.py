"""What every peer shares: its data, and the turns that `speed.py` gives it."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Pace:
    """A line on standard output says that a peer is ready for a turn, a line on standard input begins it.

    The end of the input ends the peer.
    """

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a peer prints is not part of the conversation

    def begin(self) -> None:
        """End the turn before, if there was one, and wait for the next."""
        print("ready", file=self._answers, flush=True)
        if not sys.stdin.readline():
            os._exit(0)  # at once: what a peer does at its end is not measured, and some would train on


def load_idx(folder: Path, part: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Images (N, 28, 28) uint8 and labels (N,) uint8 of "train" or "t10k"."""
    raw = folder / "MNIST" / "raw"
    images = np.fromfile(raw / f"{part}-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 28, 28)
    return images, np.fromfile(raw / f"{part}-labels-idx1-ubyte", np.uint8, offset=8)
