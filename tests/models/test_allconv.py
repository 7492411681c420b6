"""The all-convolutional network against the paper (Springenberg et al. 2014, table 1, model A)."""

import pytest
import torch

from digitnet.models import AllConv
from layer_facts import convolution, counts, shapes, shapes_in_comments


def test_parameter_count_layer_by_layer() -> None:
    # Kernel sizes and widths are the paper's own; it gives no counts per layer.
    expected = [
        convolution(1, 96, 5),  # on CIFAR's three channels: 7,296
        convolution(96, 192, 5),
        convolution(192, 192, 3),
        convolution(192, 192, 1),
        convolution(192, 10, 1),
    ]
    assert expected == [2_496, 460_992, 331_968, 37_056, 1_930]
    assert counts(AllConv()) == expected
    assert sum(p.numel() for p in AllConv().parameters()) == sum(expected) == 834_442


@pytest.mark.parametrize("final_relu", [False, True])
def test_shapes_are_those_in_the_comments(final_relu: bool) -> None:
    assert shapes(AllConv(final_relu=final_relu).layers) == shapes_in_comments(AllConv)


@pytest.mark.parametrize("classes", [10, 7])
def test_output_shape(classes: int) -> None:
    assert AllConv(classes)(torch.rand(3, 1, 28, 28)).shape == (3, classes)


def test_final_relu_clips_the_logits() -> None:
    images = torch.rand(8, 1, 28, 28)
    plain, clipped = (AllConv(final_relu=relu, generator=torch.Generator().manual_seed(0)) for relu in (False, True))
    assert plain(images).min() < 0
    torch.testing.assert_close(clipped(images), plain(images).relu())
