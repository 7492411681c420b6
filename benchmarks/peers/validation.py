"""The test set through LeNet-5: digitnet's exact evaluation, or a bare loop that sums losses of batches.

python benchmarks/peers/validation.py FOLDER digitnet
"""

import sys
from pathlib import Path

import networks
import torch
import torch.nn.functional as F
from pace import Pace, load_idx

from digitnet.metrics import evaluate
from digitnet.models import LeNet5
from digitnet.training import runtime

REPEATS = 10  # a turn would be too short to be timed


def main(folder: str, who: str) -> None:
    pace = Pace()
    images, labels = (torch.from_numpy(array) for array in load_idx(Path(folder), "t10k"))
    images, labels = images.unsqueeze(1), labels.long()
    if who == "digitnet":
        runtime.reuse_memory()
        ours = LeNet5().to(memory_format=torch.channels_last)
        while True:
            pace.begin()
            for _ in range(REPEATS):
                evaluate(ours, images, labels)
    floats, (model, _) = images.float() / 255, networks.lenet5()
    model.eval()
    while True:
        pace.begin()
        for _ in range(REPEATS):
            with torch.no_grad():
                for x, y in zip(floats.split(500), labels.split(500), strict=True):
                    logits = model(x)
                    F.cross_entropy(logits, y, reduction="sum").item()
                    (logits.argmax(1) == y).sum().item()


if __name__ == "__main__":
    main(*sys.argv[1:])
