"""The usual PyTorch script, after pytorch/examples/mnist: torchvision's MNIST, transforms, a DataLoader."""

import sys

import networks
import torch
import torch.nn.functional as F
from pace import Pace
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def main(folder: str) -> None:
    pace = Pace()
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train = DataLoader(datasets.MNIST(folder, train=True, transform=transform), batch_size=32, shuffle=True)
    test = DataLoader(datasets.MNIST(folder, train=False, transform=transform), batch_size=1000)
    model, optimizer = networks.lenet5()
    while True:
        pace.begin()
        model.train()
        for index, (images, labels) in enumerate(train):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            if index % 10 == 0:
                print(f"{index}: {loss.item():.6f}")
        model.eval()
        loss_sum, correct = 0.0, 0
        with torch.no_grad():
            for images, labels in test:
                logits = model(images)
                loss_sum += F.cross_entropy(logits, labels, reduction="sum").item()
                correct += int((logits.argmax(1) == labels).sum())


if __name__ == "__main__":
    main(*sys.argv[1:])
