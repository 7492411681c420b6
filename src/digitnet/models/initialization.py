"""Glorot-uniform weights and zero biases (Glorot and Bengio 2010, section 4.2.1, equation 16)."""

import math

import torch
from torch import Generator, nn


@torch.no_grad()
def glorot_(module: nn.Module, fans: str = "glorot", generator: Generator | None = None) -> None:
    """Draw the weights of every convolution and dense layer from U(-a, a), a = sqrt(6 / (fan_in + fan_out)).

    `fans="glorot"` counts a convolution's fan_out as filters x kernel area (the paper has dense layers only).
    `fans="glorot_keras2016"` counts the filters alone, as the Keras of early 2016 did (`initializations.get_fans`);
    its convolution weights are larger, and LeNet-5 with sigmoids leaves its first plateau sooner.
    """
    for layer in module.modules():
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        area = layer.weight[0, 0].numel()  # of the kernel; 1 for a dense layer
        fan_in, fan_out = layer.weight.shape[1] * area, layer.weight.shape[0] * area
        if fans == "glorot_keras2016":
            fan_out = layer.weight.shape[0]
        bound = math.sqrt(6 / (fan_in + fan_out))
        layer.weight.uniform_(-bound, bound, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()
