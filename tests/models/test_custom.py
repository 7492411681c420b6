"""A user's own network: imported by name, built, and its output checked."""

import copy
import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import write
from digitnet.data import Split
from digitnet.errors import ConfigError
from digitnet.experiment import components
from digitnet.models import build_custom, check_output
from digitnet.training.distributed import SINGLE_PROCESS


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


def test_files_beside_the_network_do_not_stand_for_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, as the module must not be imported yet; what the network imports late is found."""
    network = (
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def forward(self, images):\n"
        "        import only_here\n"
        "        return super().forward(images.flatten(1))\n"
    )
    write(tmp_path / "first_of_this_name.py", network)
    write(tmp_path / "only_here.py", "")
    for name in ("statistics", "html"):
        write(tmp_path / f"{name}.py", "raise RuntimeError('this file is not the module')")
    monkeypatch.chdir(tmp_path)
    for name in ("statistics", "html", "html.entities"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for _ in range(2):
        model = build_custom("first_of_this_name:Net", {"in_features": 784, "out_features": 10})
    check_output(model, torch.rand(2, 1, 28, 28), classes=10)
    for name in ("statistics", "html"):
        importlib.import_module(name)
    assert sys.path.count(str(tmp_path)) == 1


class Normalized(Wide):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.norm(super().forward(images)), training=self.training)


@pytest.mark.parametrize(
    ("images", "size", "message"),
    [
        (
            33,
            32,
            "trainer.batch_size=32: of 33 training images the last batch of an epoch has one image, on which this "
            "network cannot be trained (ValueError: Expected more than 1 value per channel when training, got input "
            "size torch.Size([1, 10]));\nset trainer.batch_size=31",
        ),
        (4, 3, r"set trainer.batch_size=2"),
        (7, 3, r"set trainer.batch_size=4"),
        (9, 1, r"set trainer.batch_size=3"),
    ],
)
def test_last_batch_of_one_image_is_found_before_training(images: int, size: int, message: str) -> None:
    train = Split(torch.zeros(images, 1, 28, 28, dtype=torch.uint8), torch.zeros(images, dtype=torch.int64))
    model, other = Normalized(10), Wide(10)
    before = torch.get_rng_state(), copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigError) as caught:
        components._check_last_batch(model, train, size, SINGLE_PROCESS)
    assert message in str(caught.value)
    components._check_last_batch(model, train[: images - 1], max(size, 2), SINGLE_PROCESS)
    components._check_last_batch(other, train, size, SINGLE_PROCESS)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(weights, before[1][name]) for name, weights in model.state_dict().items())
