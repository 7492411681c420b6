"""FastNet, which is no paper's network: its counts by arithmetic, and its crop."""

import pytest
import torch

from digitnet.models import FastNet
from layer_facts import counts, dense, shapes, shapes_in_comments


def test_parameter_count_layer_by_layer() -> None:
    # 24 -5+1-> 20 -/2-> 10 -5+1-> 6 -/2-> 3; no biases before the normalization, which has a scale and a shift.
    expected = [16 * 25, 32 * 16 * 25, dense(32 * 3 * 3, 128), dense(128, 10)]
    model = FastNet()
    assert counts(model) == expected
    assert sum(p.numel() for p in model.parameters()) == sum(expected) + 2 * 16 + 2 * 32 == 51_578


def test_shapes_are_those_in_the_comments() -> None:
    assert shapes(FastNet().layers) == shapes_in_comments(FastNet)


@pytest.mark.parametrize("classes", [10, 7])
def test_output_shape(classes: int) -> None:
    assert FastNet(classes)(torch.rand(3, 1, 28, 28)).shape == (3, classes)


def test_only_the_24x24_pixels_in_the_middle_matter() -> None:
    model, images = FastNet().eval(), torch.rand(3, 1, 28, 28)
    without_border = images.clone()
    without_border[:, :, [0, 1, 26, 27], :] = without_border[:, :, :, [0, 1, 26, 27]] = 0
    assert torch.equal(model(images), model(without_border))
    without_border[:, :, 2:26, 2:26] = 0
    assert not torch.equal(model(images), model(without_border))
