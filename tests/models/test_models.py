"""Parameter counts layer by layer from the papers' arithmetic, initial draws, shapes."""

import math

import pytest
import torch
from torch import nn

from digitnet.errors import ConfigError
from digitnet.models import AllConv, FastNet, LeNet5, build_custom, check_output


def convolution(inputs: int, outputs: int, kernel: int) -> int:
    return outputs * (inputs * kernel * kernel + 1)


def dense(inputs: int, outputs: int) -> int:
    return outputs * (inputs + 1)


def counts(model: nn.Module) -> list[int]:
    return [
        sum(p.numel() for p in layer.parameters())
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]


def test_lenet5_counts() -> None:
    # 28 -5+1-> 24 -/2-> 12 -5+1-> 8 -/2-> 4: the 120 maps are 4x4.
    expected = [
        convolution(1, 6, 5),  # C1 of the paper: 156
        convolution(6, 16, 5),  # C3, fully connected
        convolution(16, 120, 1),
        dense(120 * 4 * 4, 84),  # F6
        dense(84, 10),
    ]
    assert counts(LeNet5()) == expected
    assert sum(expected) == 166_826


def test_allconv_counts() -> None:
    expected = [
        convolution(1, 96, 5),
        convolution(96, 192, 5),
        convolution(192, 192, 3),
        convolution(192, 192, 1),
        convolution(192, 10, 1),
    ]
    assert counts(AllConv()) == expected
    assert sum(expected) == 834_442


def test_fastnet_counts() -> None:
    # 24 -5+1-> 20 -/2-> 10 -5+1-> 6 -/2-> 3; no biases before the normalization, which has a scale and a shift.
    expected = [16 * 25, 32 * 16 * 25, dense(32 * 3 * 3, 128), dense(128, 10)]
    model = FastNet()
    assert counts(model) == expected
    assert sum(p.numel() for p in model.parameters()) == sum(expected) + 2 * 16 + 2 * 32 == 51_578


def test_fastnet_looks_at_the_middle() -> None:
    model, images = FastNet().eval(), torch.rand(3, 1, 28, 28)
    bare = images.clone()
    bare[:, :, [0, 1, 26, 27], :] = bare[:, :, :, [0, 1, 26, 27]] = 0
    assert torch.equal(model(images), model(bare))
    bare[:, :, 2:26, 2:26] = 0
    assert not torch.equal(model(images), model(bare))


@pytest.mark.parametrize("network", [LeNet5, AllConv, FastNet])
@pytest.mark.parametrize("classes", [10, 7])
def test_output_shape(network: type[LeNet5] | type[AllConv] | type[FastNet], classes: int) -> None:
    assert network(classes)(torch.rand(3, 1, 28, 28)).shape == (3, classes)


def test_final_relu() -> None:
    images = torch.rand(8, 1, 28, 28)
    plain, clipped = (AllConv(final_relu=relu, generator=torch.Generator().manual_seed(0)) for relu in (False, True))
    assert plain(images).min() < 0
    torch.testing.assert_close(clipped(images), plain(images).relu())


@pytest.mark.parametrize("init", ["glorot", "glorot_keras2016"])
def test_initial_draw(init: str) -> None:
    model = LeNet5(init=init, generator=torch.Generator().manual_seed(0))
    second = model.layers[3]
    assert isinstance(second, nn.Conv2d)
    fan_out = 16 * 25 if init == "glorot" else 16
    bound = math.sqrt(6 / (6 * 25 + fan_out))
    assert 0.99 * bound < second.weight.abs().max() <= bound
    assert second.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert all(not p.any() for name, p in model.named_parameters() if name.endswith("bias"))


def test_the_generator_decides_the_draw() -> None:
    first, same, other = (LeNet5(generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)


class Wide(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(784, width)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dense(images.flatten(1))


class Pair(Wide):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return super().forward(images), None


def test_custom() -> None:
    model = build_custom(f"{__name__}:Wide", {"width": 10})
    check_output(model, torch.rand(2, 1, 28, 28), classes=10)


@pytest.mark.parametrize(
    ("target", "kwargs", "message"),
    [
        ("Wide", {}, "model.target=Wide: not of the form package.module:Class"),
        ("nowhere.at_all:Net", {}, "cannot build it from {} (ModuleNotFoundError: No module named 'nowhere')"),
        (f"{__name__}:Narrow", {}, "has no attribute 'Narrow'"),
        (f"{__name__}:Wide", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("builtins:dict", {}, "dict is not a class of torch.nn.Module's kind"),
    ],
)
def test_custom_that_cannot_be_built(target: str, kwargs: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_custom(target, kwargs)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Wide(7), "its output has shape (2, 7), not (B, classes) = (2, 10); mend its last layer"),
        (Pair(10), "its output is a tuple, not a tensor (B, classes) = (2, 10) of logits"),
        (nn.Linear(3, 10), "no forward pass of images (2, 1, 28, 28)"),
    ],
)
def test_custom_with_a_wrong_output(model: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_output(model, torch.rand(2, 1, 28, 28), classes=10)
    assert message in str(caught.value)
    assert model.training
