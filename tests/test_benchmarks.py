"""The benchmark's peers train what digitnet trains."""

import sys

import pytest
import torch

from conftest import CHECKOUT
from digitnet.config.compose import load_config
from digitnet.experiment import build


@pytest.mark.parametrize("preset", ["lenet5", "allconv"])
def test_same_networks_and_optimizers(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(CHECKOUT / "benchmarks" / "peers"), *sys.path])
    import networks

    config = load_config([f"experiment={preset}"])
    ours = build.model(config.model, 10)
    theirs, optimizer = getattr(networks, preset)()
    assert [p.shape for p in theirs.parameters()] == [p.shape for p in ours.parameters()]
    theirs.load_state_dict({key.removeprefix("layers."): value for key, value in ours.state_dict().items()})
    images = torch.rand(4, 1, 28, 28)
    assert torch.equal(theirs.eval()(images), ours.eval()(images))
    mine = build.optimizer(config.optimizer, ours)
    assert type(optimizer) is type(mine)
    assert {k: v for k, v in optimizer.param_groups[0].items() if k != "params"} == {
        k: v for k, v in mine.param_groups[0].items() if k not in ("params", "initial_lr")
    }
