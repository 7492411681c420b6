"""A bare loop over tensors in memory: what remains of training when everything else is left out.

python benchmarks/peers/bare.py FOLDER lenet5 32
"""

import os
import sys
from pathlib import Path

import networks
import torch
import torch.nn.functional as F
from pace import Pace, load_idx
from torch import Tensor


def load(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    images, labels = (torch.from_numpy(array).to(os.environ["DEVICE"]) for array in load_idx(folder, part))
    return images.unsqueeze(1).float() / 255, labels.long()


def main(folder: str, network: str, batch_size: str) -> None:
    pace = Pace()
    images, labels = load(Path(folder), "train")
    test_images, test_labels = load(Path(folder), "t10k")
    model, optimizer = getattr(networks, network)()
    model.to(os.environ["DEVICE"])
    while True:
        pace.begin()
        model.train()
        for batch in torch.randperm(len(images), device=images.device).split(int(batch_size)):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            correct = [
                (model(x).argmax(1) == y).sum()
                for x, y in zip(test_images.split(500), test_labels.split(500), strict=True)
            ]
            torch.stack(correct).sum().item()


if __name__ == "__main__":
    main(*sys.argv[1:])
