"""Cores and GPUs that this process may use."""

import os
from pathlib import Path

import pytest

from conftest import write
from digitnet.hardware import available_cores, gpu_count


def test_cores_are_counted_by_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert available_cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


@pytest.mark.parametrize(("value", "count"), [("0,1,3", 3), ("", 0), ("-1", 0), ("GPU-a,GPU-b", 2)])
def test_gpus_are_counted_by_cuda_visible_devices(monkeypatch: pytest.MonkeyPatch, value: str, count: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert gpu_count() == count


def test_gpus_are_counted_by_nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_count() == 0
    write(tmp_path / "nvidia-smi", "#!/bin/sh\necho 'GPU 0: A'\necho 'GPU 1: A'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert gpu_count() == 2
    write(tmp_path / "nvidia-smi", "#!/bin/sh\necho 'No driver'\nexit 9\n")
    assert gpu_count() == 0
