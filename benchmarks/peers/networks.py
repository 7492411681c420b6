"""The networks of torch.nn's own layers, as a PyTorch user writes them, and the optimizers of digitnet's presets."""

import torch
from torch import nn


def lenet5() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.MaxPool2d(2),
        nn.Sigmoid(),
        nn.Conv2d(6, 16, 5),
        nn.MaxPool2d(2),
        nn.Sigmoid(),
        nn.Dropout(0.5),
        nn.Conv2d(16, 120, 1),
        nn.Flatten(),
        nn.Linear(1920, 84),
        nn.Sigmoid(),
        nn.Linear(84, 10),
    )
    return model, torch.optim.SGD(model.parameters(), lr=1.0)


def allconv() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(
        nn.Conv2d(1, 96, 5),
        nn.MaxPool2d(3, stride=2),
        nn.ReLU(),
        nn.Conv2d(96, 192, 5),
        nn.MaxPool2d(3, stride=2),
        nn.ReLU(),
        nn.Conv2d(192, 192, 3),
        nn.ReLU(),
        nn.Conv2d(192, 192, 1),
        nn.ReLU(),
        nn.Conv2d(192, 10, 1),
        nn.Flatten(),
    )
    return model, torch.optim.RMSprop(model.parameters(), lr=0.001, alpha=0.9, eps=1e-6)
