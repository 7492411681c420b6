"""All objects of a run: what is chosen for its device, and what its summary says of that."""

import platform
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, Command, run_folder
from digitnet.config.compose import load_config
from digitnet.experiment import build
from digitnet.experiment.components import build_components
from digitnet.runs.formats import read_summary
from digitnet.training import runtime

CHOICES = [
    # device, overrides, channels_last, cuda_graph
    ("cpu", [], True, False),
    ("cpu", ["trainer.channels_last=false", "trainer.cuda_graph=true"], False, False),
    ("cpu", ["model=custom", "model.target=mine:Net"], False, False),
    ("cpu", ["model=custom", "model.target=mine:Net", "trainer.channels_last=true"], True, False),
    ("cuda", [], False, True),
    ("cuda", ["trainer.precision=bf16"], True, True),
    ("cuda", ["trainer.cuda_graph=false", "trainer.channels_last=true"], True, False),
    ("cuda", ["model=custom", "model.target=mine:Net", "trainer.precision=bf16"], False, False),
    ("cuda", ["model=custom", "model.target=mine:Net", "trainer.cuda_graph=true"], False, True),
    ("mps", ["trainer.precision=bf16", "trainer.cuda_graph=true"], False, False),
]


@pytest.mark.parametrize(("device", "overrides", "channels_last", "cuda_graph"), CHOICES)
def test_layout_and_recording_are_chosen_for_the_device(
    device: str, overrides: list[str], channels_last: bool, cuda_graph: bool
) -> None:
    config = load_config(overrides)
    assert build.channels_last(config, torch.device(device)) == channels_last
    assert build.cuda_graph(config, torch.device(device)) == cuda_graph


def device() -> dict[str, Any]:
    """`device` of the run's summary."""
    return read_summary(run_folder() / "summary.json").device


def test_choices_are_recorded_in_the_summary(command: Command) -> None:
    assert command(*TINY, "device=cpu", "trainer.epochs=1").code == 0
    assert (
        device().items()
        >= {"channels_last": True, "cuda_graph": False, "reuses_memory": platform.libc_ver()[0] == "glibc"}.items()
    )


def test_choices_can_be_overridden(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_reuses_memory", False)
    monkeypatch.setattr(runtime, "reuse_memory", lambda: pytest.fail("asked for"))
    layouts = []
    forward = torch.nn.Conv2d.forward

    def watched(layer: torch.nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
        layouts.append(layer.weight.is_contiguous())
        return forward(layer, images)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    off = ["trainer.channels_last=false", "trainer.reuse_memory=false"]
    assert command(*TINY, "device=cpu", "trainer.epochs=1", *off).code == 0
    assert device().items() >= {"channels_last": False, "reuses_memory": False}.items()
    assert all(layouts)


def test_custom_network_gets_the_layout_that_it_needs(command: Command) -> None:
    Path("mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv, self.out = nn.Conv2d(1, 4, 5, stride=4), nn.Linear(144, 10)\n"
        "    def forward(self, images):\n"
        "        return self.out(self.conv(images).view(len(images), -1))\n"  # fails where channels come last
    )
    custom = [*TINY, "trainer.epochs=1", "optimizer.lr=0.01", "model=custom", "model.target=mine:Net"]
    assert command(*custom).code == 0
    done = command(*custom, "trainer.channels_last=true")
    assert done.code == 2
    assert done.err.startswith("error: model: no forward pass of images (2, 1, 28, 28) (RuntimeError: view size is not")


def test_label_smoothing_reaches_the_step_and_not_the_reported_loss() -> None:
    components = build_components(load_config([*TINY, "loss.label_smoothing=0.3"]))
    assert isinstance(components.step, partial)
    logits, labels = torch.tensor([[4.0, 0, 0]]), torch.tensor([0])
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.3)
    assert components.step.keywords["loss"](logits, labels, reduction="mean") == expected
    images, targets = components.data.test.images, components.data.test.labels
    plain = torch.nn.functional.cross_entropy(components.predict(components.state.model, images), targets)
    assert components.evaluate(components.state.model, images, targets).loss == pytest.approx(plain.item(), rel=1e-5)


def test_clip_norm_reaches_the_step() -> None:
    components = build_components(load_config([*TINY, "trainer.clip_norm=0.5"]))
    assert isinstance(components.step, partial)
    assert components.step.keywords["clip_norm"] == 0.5
