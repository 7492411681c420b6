"""A user's own network: imported by name, built, and its output checked."""

import pytest
import torch
from torch import nn

from digitnet.errors import ConfigError
from digitnet.models import build_custom, check_output


class Wide(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(784, width)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dense(images.flatten(1))


class Pair(Wide):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return super().forward(images), None


def test_own_network_is_built_and_its_output_accepted() -> None:
    model = build_custom(f"{__name__}:Wide", {"width": 10})
    check_output(model, torch.rand(2, 1, 28, 28), classes=10)


@pytest.mark.parametrize(
    ("target", "kwargs", "message"),
    [
        ("Wide", {}, "model.target=Wide: not of the form package.module:Class"),
        ("nowhere.at_all:Net", {}, "cannot build it from {} (ModuleNotFoundError: No module named 'nowhere')"),
        (f"{__name__}:Narrow", {}, "has no attribute 'Narrow'"),
        (f"{__name__}:Wide", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("builtins:dict", {}, "dict is not a subclass of torch.nn.Module"),
    ],
)
def test_network_that_cannot_be_built_is_refused(target: str, kwargs: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_custom(target, kwargs)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Wide(7), "its output has shape (2, 7), not (B, classes) = (2, 10); fix its last layer"),
        (Pair(10), "its output is a tuple, not a tensor (B, classes) = (2, 10) of logits"),
        (nn.Linear(3, 10), "no forward pass of images (2, 1, 28, 28)"),
    ],
)
def test_wrong_output_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_output(model, torch.rand(2, 1, 28, 28), classes=10)
    assert message in str(caught.value)
    assert model.training
