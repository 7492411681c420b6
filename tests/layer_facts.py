"""What the tests of networks share: parameter counts by the arithmetic of a layer, and shapes after each layer."""

import inspect
import re

import torch
from torch import nn


def convolution(inputs: int, outputs: int, kernel: int) -> int:
    """Parameters of a convolution with biases."""
    return outputs * (inputs * kernel * kernel + 1)


def dense(inputs: int, outputs: int) -> int:
    """Parameters of a dense layer with biases."""
    return outputs * (inputs + 1)


def counts(model: nn.Module) -> list[int]:
    """Parameters of each convolution and dense layer."""
    return [
        sum(p.numel() for p in layer.parameters())
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]


def shapes(layers: nn.Sequential, batch: int = 3) -> list[tuple[int, ...]]:
    """The shape of the output of each layer, for images (batch, 1, 28, 28)."""
    found, values = [], torch.rand(batch, 1, 28, 28)
    for layer in layers:
        values = layer(values)
        found.append(tuple(values.shape))
    return found


def shapes_in_comments(network: type[nn.Module], batch: int = 3, classes: int = 10) -> list[tuple[int, ...]]:
    """The shapes that the source of `network` gives behind its layers, as `# (B, 6, 24, 24)`."""
    comments = re.findall(r"#.*?\((B[\w, ]*)\)", inspect.getsource(network.__init__))
    sizes = {"B": batch, "classes": classes}
    return [tuple(sizes.get(size) or int(size) for size in comment.split(", ")) for comment in comments]
