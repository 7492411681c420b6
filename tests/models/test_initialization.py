"""The bounds of the initial weights, and that the generator decides them."""

import math

import pytest
import torch
from torch import nn

from digitnet.models import LeNet5


@pytest.mark.parametrize("init", ["glorot", "glorot_keras2016"])
def test_weights_fill_the_bounds_and_biases_are_zero(init: str) -> None:
    model = LeNet5(init=init, generator=torch.Generator().manual_seed(0))
    second = model.layers[3]
    assert isinstance(second, nn.Conv2d)
    fan_out = 16 * 25 if init == "glorot" else 16
    bound = math.sqrt(6 / (6 * 25 + fan_out))
    assert 0.99 * bound < second.weight.abs().max() <= bound
    assert second.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert all(not p.any() for name, p in model.named_parameters() if name.endswith("bias"))


def test_same_generator_seed_gives_the_same_weights() -> None:
    first, same, other = (LeNet5(generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)
