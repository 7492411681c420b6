"""LeNet-5 against the paper (LeCun, Bottou, Bengio and Haffner 1998, section II.B)."""

import pytest
import torch

from digitnet.models import LeNet5
from layer_facts import convolution, counts, dense, shapes, shapes_in_comments


def test_arithmetic_gives_the_papers_own_counts() -> None:
    c1 = convolution(1, 6, 5)
    s2 = 6 * 2  # a coefficient and a bias per map
    c3 = (
        6 * convolution(3, 1, 5) + 9 * convolution(4, 1, 5) + convolution(6, 1, 5)
    )  # table I: maps connected to 3, 4, 6
    s4 = 16 * 2
    c5 = convolution(16, 120, 5)
    f6 = dense(120, 84)
    assert [c1, s2, c3, s4, c5, f6] == [156, 12, 1_516, 32, 48_120, 10_164]  # all in the paper's text
    assert c1 + s2 + c3 + s4 + c5 + f6 == 60_000  # "only 60,000 trainable free parameters"


def test_parameter_count_layer_by_layer() -> None:
    # 28 -5+1-> 24 -/2-> 12 -5+1-> 8 -/2-> 4: the 120 maps are 4x4.
    expected = [
        convolution(1, 6, 5),  # C1; 156 in the paper, too
        convolution(6, 16, 5),  # C3, connected to all six maps; 1,516 in the paper
        convolution(16, 120, 1),  # C5, 1x1; 48,120 in the paper
        dense(120 * 4 * 4, 84),  # F6, of 1,920 inputs; 10,164 in the paper
        dense(84, 10),  # the paper has 10 radial basis units of fixed weights
    ]
    assert expected == [156, 2_416, 2_040, 161_364, 850]
    assert counts(LeNet5()) == expected
    assert sum(p.numel() for p in LeNet5().parameters()) == sum(expected) == 166_826


def test_shapes_are_those_in_the_comments() -> None:
    assert shapes(LeNet5().layers) == shapes_in_comments(LeNet5)


@pytest.mark.parametrize("classes", [10, 7])
def test_output_shape(classes: int) -> None:
    assert LeNet5(classes)(torch.rand(3, 1, 28, 28)).shape == (3, classes)


def test_both_memory_layouts_give_the_same_logits() -> None:
    model, images = LeNet5().eval(), torch.rand(8, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(model.to(memory_format=torch.channels_last)(images), model(images))
