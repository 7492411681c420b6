"""Data sets as uint8 tensors with exact splits."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from digitnet.data.dataset import Dataset, Split
    from digitnet.data.digits import load_digits
    from digitnet.data.idx import load_idx
    from digitnet.data.image_folder import load_folder

__all__ = ["Dataset", "Split", "load_digits", "load_folder", "load_idx"]

_MODULES = {
    "Dataset": "dataset",
    "Split": "dataset",
    "load_digits": "digits",
    "load_folder": "image_folder",
    "load_idx": "idx",
}


def __getattr__(name: str) -> object:
    """Import on first use: `digitnet.data.sizes` must be importable without torch."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
