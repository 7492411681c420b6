"""What a run prints beside its figures."""

import pytest
import torch

from conftest import TINY, Command


def test_bf16_without_hardware_support_logs_a_warning(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "warning: trainer.precision=bf16: this CPU has no bfloat16 arithmetic; fp32 is faster on it"
    for capabilities, warned in (({"avx2": True, "avx512_bf16": False}, True), ({"avx512_bf16": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        done = command(*TINY, "device=cpu", "trainer.epochs=1", "trainer.precision=bf16", "data.enlarge_to=1437")
        assert done.code == 0
        assert (words in done.out) == warned


def test_cuda_graph_on_a_cpu_logs_a_warning(command: Command) -> None:
    done = command(*TINY, "device=cpu", "trainer.epochs=1", "trainer.cuda_graph=true")
    assert done.code == 0
    assert "warning: trainer.cuda_graph=true: has no effect on CPU\n" in done.out
