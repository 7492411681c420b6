"""The IDX format: arrays of bytes or 32-bit integers, gzipped or not (LeCun et al., the page of MNIST)."""

import math
import struct
import zlib

import numpy as np
import torch
from torch import Tensor

MAX_BYTES = 2**28  # unpacked; EMNIST's training images are 188 million
KINDS = {1: "labels", 2: "labels with their sources", 3: "images"}  # by the number of dimensions
BYTE, INTEGER = 8, 12  # types of values, in the header


class _NotPacked:
    """As zlib's decompressor, for bytes that are not packed."""

    def __init__(self) -> None:
        self.unconsumed_tail, self.eof = b"", False

    def decompress(self, content: bytes, size: int) -> bytes:
        self.unconsumed_tail = content[size:]
        self.eof = not self.unconsumed_tail
        return content[:size]


def parse_idx(content: bytes, dimensions: int, classes: int, is_packed: bool = True) -> Tensor:
    """Images (N, 28, 28), or labels (N,) from 0 to `classes` - 1, both uint8, from an IDX file, by default gzipped.

    The format: two zero bytes, the type of the values, the number of dimensions, each size as a big-endian 32-bit
    integer, the values. They are bytes (8) or, of two dimensions, as QMNIST's labels, big-endian 32-bit integers (12),
    whose first column is returned. At most one byte more than the sizes require is unpacked. Raises ValueError
    if `content` is anything else.
    """
    if not content:
        raise ValueError("it is empty")
    if content[:100].lstrip()[:1] == b"<":
        raise ValueError("it is a web page, not an archive")
    gzip, header = zlib.decompressobj(wbits=31) if is_packed else _NotPacked(), 4 + 4 * dimensions
    try:
        start = gzip.decompress(content, header)
        kind = INTEGER if dimensions == 2 else BYTE
        if not bytes([0, 0, kind]).startswith(start[:3]):
            raise ValueError(f"it is not an IDX file (it begins with {start[:4].hex(' ')})")
        if len(start) > 3 and start[3] != dimensions:
            actual = KINDS.get(start[3], f"values of {start[3]} dimensions")
            raise ValueError(f"it holds {actual} instead of {KINDS[dimensions]}")
        if len(start) < header:
            raise ValueError("it is cut off in its header")
        shape = struct.unpack(f">{dimensions}I", start[4:])
        size = math.prod(shape) * (4 if kind == INTEGER else 1)
        if size == 0:
            raise ValueError("it holds no values")
        if size > MAX_BYTES:
            raise ValueError(f"its header says {shape}, which is more than any data set in this format has")
        values = gzip.decompress(gzip.unconsumed_tail, size + 1)
        complete = gzip.eof or (len(values) == size and not gzip.decompress(gzip.unconsumed_tail, 1) and gzip.eof)
    except zlib.error as error:
        raise ValueError(f"it is not a complete gzip archive ({error})") from error
    if len(values) < size and not gzip.eof:
        raise ValueError(f"it is cut off, after {len(values):,} of {size:,} bytes")
    if len(values) != size:
        more = "or more " if len(values) > size else ""
        raise ValueError(f"it holds {len(values):,} {more}bytes, its header says {shape}")
    if not complete:
        raise ValueError("it is not a complete gzip archive (its end is missing)")
    if dimensions == 3 and shape[1:] != (28, 28):
        raise ValueError(f"its images are {shape[1]}x{shape[2]}, not 28x28")
    if kind == INTEGER:
        labels = torch.from_numpy(np.frombuffer(values, ">i4").reshape(shape)[:, 0].astype(np.int64))
    else:
        labels = torch.frombuffer(bytearray(values), dtype=torch.uint8).view(shape)
    if dimensions < 3 and len(wrong := labels[(labels < 0) | (labels >= classes)]):
        raise ValueError(f"it holds the label {int(wrong[0])}; there are {classes} classes, numbered from 0")
    return labels
