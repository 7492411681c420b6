"""A new sweep, before its first job; tests/system/test_sweeps.py runs some."""

from pathlib import Path

import pytest

from digitnet.config.files import Tree
from digitnet.errors import ConfigError
from digitnet.sweep.multirun import run_sweep


def test_sweep_refuses_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29511")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"^a sweep does not run under torchrun, which started 2 processes"):
        run_sweep(["seed=0,1"], Tree.at())


def test_invalid_job_leaves_no_folder() -> None:
    with pytest.raises(ConfigError, match="seed=x: should be a valid integer"):
        run_sweep(["seed=0,x", "hydra.sweep.dir=sweep"], Tree.at())
    assert not Path("sweep").exists()
