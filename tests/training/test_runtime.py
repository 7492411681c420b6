"""What is configured once for the process: that malloc keeps memory."""

import platform
import subprocess
import sys

import pytest

from digitnet.training import runtime

GLIBC = platform.libc_ver()[0] == "glibc"
FREED = """
import sys
from pathlib import Path
import torch
from digitnet.training import runtime
if sys.argv[1] == "kept":
    runtime.reuse_memory()
    assert runtime.reuses_memory()
torch.ones(2**20) + 1  # starts the threads
size = lambda: int(Path("/proc/self/statm").read_text().split()[1])  # resident, pages
before = size()
images = torch.ones(2**26)  # 256 MiB
during = size()
del images
print((size() - before) / (during - before))
"""


@pytest.mark.slow
@pytest.mark.skipif(not GLIBC, reason="not glibc's malloc")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """Else the system would have to clear and map it again."""
    kept = {}
    for mode in ("kept", "returned"):
        done = subprocess.run([sys.executable, "-c", FREED, mode], capture_output=True, text=True, check=True)
        kept[mode] = float(done.stdout)
    assert kept["kept"] > 0.9
    assert kept["returned"] < 0.1


def test_malloc_other_than_glibc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_reuses_memory", False)
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("called"))
    runtime.reuse_memory()
    assert not runtime.reuses_memory()


def test_malloc_that_refuses_the_limit_gets_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
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
