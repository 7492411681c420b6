"""Data sets as uint8 tensors with exact splits."""

from digitnet.data.dataset import Dataset, Split
from digitnet.data.digits import load_digits
from digitnet.data.folder import load_folder
from digitnet.data.idx import load_idx

__all__ = ["Dataset", "Split", "load_digits", "load_folder", "load_idx"]
