"""LeNet-5 of 1998 against the paper's own figures (LeCun, Bottou, Bengio and Haffner 1998, section II.B)."""

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from digitnet.models import OriginalLeNet5
from digitnet.models.lenet5_1998 import TABLE, RadialBasis, ScaledTanh, Subsampling, TableConv2d, digit_codes
from layer_facts import shapes, shapes_in_comments

PAPER = {  # layer: (trained parameters, connections), all from the text of section II.B
    "C1": (156, 122_304),
    "S2": (12, 5_880),
    "C3": (1_516, 151_600),
    "S4": (32, 2_000),
    "C5": (48_120, 48_120),
    "F6": (10_164, 10_164),
}


def with_outputs(model: OriginalLeNet5) -> Iterator[tuple[nn.Module, Tensor]]:
    values = torch.zeros(1, 1, 28, 28)
    for layer in model.layers:
        values = layer(values)
        yield layer, values


def connections(layer: nn.Module, output: Tensor) -> int:
    """Of each unit of the output: its inputs, each by its own connection, and its bias."""
    units = output[0].numel()
    if isinstance(layer, Subsampling):
        return units * (4 + 1)
    if isinstance(layer, RadialBasis):
        return layer.codes.numel()
    return sum(p.numel() for p in layer.parameters()) * units // len(output[0])


def test_parameters_and_connections_layer_by_layer_are_the_papers() -> None:
    found = [
        (sum(p.numel() for p in layer.parameters()), connections(layer, output))
        for layer, output in with_outputs(OriginalLeNet5())
        if any(True for _ in layer.parameters())
    ]
    assert found == list(PAPER.values())


def test_totals_are_the_papers() -> None:
    model = OriginalLeNet5()
    assert sum(p.numel() for p in model.parameters()) == 60_000
    weighted = (nn.Conv2d, nn.Linear, Subsampling, TableConv2d, RadialBasis)
    found = [connections(layer, output) for layer, output in with_outputs(model) if isinstance(layer, weighted)]
    assert found[-1] == 840  # fixed codes; only with them the sum is the paper's
    assert sum(found) == 340_908


def test_shapes_are_those_in_the_comments() -> None:
    assert shapes(OriginalLeNet5().layers) == shapes_in_comments(OriginalLeNet5)


def test_input_has_the_papers_white_and_ink_and_a_margin() -> None:
    images = torch.zeros(1, 1, 28, 28)
    images[0, 0, 0, 0] = 1
    framed = OriginalLeNet5().layers[0](images)
    assert framed.shape == (1, 1, 32, 32)
    assert framed[0, 0, 2, 2].item() == pytest.approx(1.175)
    framed[0, 0, 2, 2] = -0.1
    torch.testing.assert_close(framed, torch.full_like(framed, -0.1))


def test_activation_has_the_papers_properties() -> None:
    f = ScaledTanh()
    torch.testing.assert_close(f(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([-1.0, 0.0, 1.0]), atol=1e-4, rtol=0)
    assert f(torch.tensor(100.0)).item() == pytest.approx(1.7159)


def test_table_connects_as_table_i_of_the_paper() -> None:
    layer = TableConv2d(TABLE, 6)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    images = torch.randn(2, 6, 14, 14)
    kernels = iter(layer.weight.view(-1, 5, 5))
    for number, maps in enumerate(TABLE):
        expected = (
            layer.bias[number] + sum(F.conv2d(images[:, [int(m)]], next(kernels)[None, None]) for m in maps)[:, 0]
        )
        torch.testing.assert_close(layer(images)[:, number], expected, atol=1e-4, rtol=1e-4)
    assert [len(maps) for maps in TABLE] == [3] * 6 + [4] * 9 + [6]
    assert sorted("".join(TABLE)) == sorted("012345" * 10)  # "each S2 map goes to ten of C3's"


def test_subsampling_is_a_trained_multiple_of_the_sum() -> None:
    layer = Subsampling(1)
    with torch.no_grad():
        layer.weight.fill_(2)
        layer.bias.fill_(0.5)
    assert layer(torch.arange(16.0).view(1, 1, 4, 4)).flatten().tolist() == [20.5, 36.5, 84.5, 100.5]


def test_codes_are_bitmaps_of_twelve_rows_of_seven_pixels() -> None:
    codes = digit_codes()
    assert codes.shape == (10, 84)
    assert codes.unique().tolist() == [-1, 1]
    one = codes[1].view(12, 7)
    assert (one[3:9] == torch.tensor([-1, -1, -1, 1, 1, -1, -1])).all()  # the stem of the 1
    assert torch.pdist(codes).square().min() >= 4 * 10  # no two digits differ in less than ten pixels


def test_logits_are_minus_half_the_squared_distances() -> None:
    codes, values = digit_codes(), torch.randn(3, 84)
    expected = -0.5 * (values[:, None] - codes).square().sum(2)
    torch.testing.assert_close(RadialBasis(codes)(values), expected)


@pytest.mark.parametrize(("init", "bound"), [("lush", lambda n: 1 / math.sqrt(n)), ("paper", lambda n: 2.4 / n)])
def test_weights_are_uniform_by_the_inputs_of_their_unit(init: str, bound: "type[object]") -> None:
    model = OriginalLeNet5(init=init, generator=Generator().manual_seed(0))
    c1, c3, c5 = (model.layers[number] for number in (1, 5, 10))
    for weights, fan_in in ((c1.weight, 25), (c3.weight[:3], 75), (c3.weight[-6:], 150), (c5.weight, 400)):
        assert bound(fan_in) * 0.9 < weights.abs().max() <= bound(fan_in)


def test_other_numbers_of_classes_need_trained_units() -> None:
    with pytest.raises(ValueError, match="codes are of 10 digits, not of 7 classes"):
        OriginalLeNet5(7)
    model = OriginalLeNet5(7, output="units")
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 7)
    assert sum(p.numel() for p in model.parameters()) == 60_000 + 7 * 85
