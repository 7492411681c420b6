"""Jobs on this machine; tests/system/ runs them."""

from pathlib import Path

import pytest

from digitnet.config.schema import LocalLauncherConfig
from digitnet.sweep.launchers.local import LocalLauncher


@pytest.mark.parametrize(
    ("slots", "share", "gpus"), [(3, 1.0, [0, 1, 2]), (4, 0.5, [0, 0, 1, 1]), (2, 2.0, [0, 2]), (3, 0.4, [0, 0, 0])]
)
def test_jobs_are_spread_over_gpus_by_their_shares(slots: int, share: float, gpus: list[int]) -> None:
    options = LocalLauncherConfig(name="local", jobs=None, threads=1, gpus=share)
    launcher = LocalLauncher(Path("sweep"), options, slots, trust=False)
    assert [launcher.gpu_of(slot) for slot in range(slots)] == gpus
