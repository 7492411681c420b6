"""Data sets as uint8 tensors with exact splits."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from digitnet.data.dataset import Dataset, Split
    from digitnet.data.digits import load_digits
    from digitnet.data.idx import load_idx
    from digitnet.data.image_folder import load_folder
    from digitnet.data.pixel_csv import load_csv
    from digitnet.data.usps import load_usps

__all__ = ["Dataset", "Split", "load_csv", "load_digits", "load_folder", "load_idx", "load_usps"]

_MODULES = {
    "Dataset": "dataset",
    "Split": "dataset",
    "load_csv": "pixel_csv",
    "load_digits": "digits",
    "load_folder": "image_folder",
    "load_idx": "idx",
    "load_usps": "usps",
}


def __getattr__(name: str) -> object:
    """Import on first use: `digitnet.data.sizes` must be importable without torch."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
