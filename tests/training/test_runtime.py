"""What is told to the process: memory kept, choices for the machine, and that they are written down."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, Command, run_folder
from digitnet.config.compose import load_config
from digitnet.experiment import build
from digitnet.runs.formats import read_summary
from digitnet.training import runtime

GLIBC = platform.libc_ver()[0] == "glibc"
FREED = """
import sys
from pathlib import Path
import torch
from digitnet import machine
if sys.argv[1] == "kept":
    machine.reuse_memory()
    assert machine.reuses_memory()
torch.ones(2**20) + 1  # starts the threads
size = lambda: int(Path("/proc/self/statm").read_text().split()[1])  # resident, pages
before = size()
images = torch.ones(2**26)  # 256 MiB
during = size()
del images
print((size() - before) / (during - before))
"""


@pytest.mark.skipif(not GLIBC, reason="not glibc's malloc")
def test_memory_is_kept_for_the_next_step() -> None:
    """It would have to be cleared and mapped again by the system."""
    kept = {}
    for mode in ("kept", "returned"):
        done = subprocess.run([sys.executable, "-c", FREED, mode], capture_output=True, text=True, check=True)
        kept[mode] = float(done.stdout)
    assert kept["kept"] > 0.9
    assert kept["returned"] < 0.1


def test_another_malloc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_reuses_memory", False)
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("called"))
    runtime.reuse_memory()
    assert not runtime.reuses_memory()


def test_a_malloc_that_takes_only_the_old_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    class Libc:
        @staticmethod
        def mallopt(key: int, value: int) -> int:
            called.append((key, value))
            return int(key == runtime.M_TRIM_THRESHOLD or value <= 2**25)

    monkeypatch.setattr(runtime, "_reuses_memory", False)
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.31"))
    monkeypatch.setattr("ctypes.CDLL", lambda _: Libc)
    runtime.reuse_memory()
    assert runtime.reuses_memory()
    assert called[1:] == [(runtime.M_MMAP_THRESHOLD, 2**25), (runtime.M_TRIM_THRESHOLD, runtime.KEPT)]


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
def test_choices_for_the_device(device: str, overrides: list[str], channels_last: bool, cuda_graph: bool) -> None:
    config = load_config(overrides)
    assert build.channels_last(config, torch.device(device)) == channels_last
    assert build.cuda_graph(config, torch.device(device)) == cuda_graph


def device() -> dict[str, Any]:
    """What the run's summary says of it."""
    return read_summary(run_folder() / "summary.json").device


def test_choices_are_written_down(command: Command) -> None:
    assert command(*TINY, "device=cpu", "trainer.epochs=1").code == 0
    assert device().items() >= {"channels_last": True, "cuda_graph": False, "reuses_memory": GLIBC}.items()


def test_choices_can_be_undone(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_network_that_wants_its_own_layout_gets_it(command: Command) -> None:
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


def test_bf16_without_hardware_is_said_aloud(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "warning: trainer.precision=bf16: this processor has no such arithmetic; fp32 is faster on it"
    for capabilities, doubted in (({"avx2": True, "avx512_bf16": False}, True), ({"avx512_bf16": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        done = command(*TINY, "device=cpu", "trainer.epochs=1", "trainer.precision=bf16", "data.enlarge_to=1437")
        assert done.code == 0
        assert (words in done.out) == doubted


def test_a_graph_that_cannot_be_is_said_aloud(command: Command) -> None:
    done = command(*TINY, "device=cpu", "trainer.epochs=1", "trainer.cuda_graph=true")
    assert done.code == 0
    assert "warning: trainer.cuda_graph=true: there is none on CPU\n" in done.out
