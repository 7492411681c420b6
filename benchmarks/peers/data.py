"""MNIST's four files, uncompressed, as torchvision keeps them: distorted copies of the embedded digits.

python benchmarks/peers/data.py FOLDER 60000 10000
"""

import struct
import sys
from pathlib import Path

from digitnet.data import load_digits


def main(folder: str, images: int, test_images: int) -> None:
    everything = load_digits(images + test_images).train
    raw = Path(folder) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, split in (("train", everything[:images]), ("t10k", everything[images:])):
        header = struct.pack(">4i", 0x803, len(split), 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + split.images.numpy().tobytes())
        header = struct.pack(">2i", 0x801, len(split))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + split.labels.byte().numpy().tobytes())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
