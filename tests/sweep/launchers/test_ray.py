"""Ray's launcher without a cluster; tests/system/test_ray_cluster.py has one."""

import sys
from pathlib import Path

import pytest

from conftest import Command


def test_without_a_cluster_the_message_says_how_to_start_one(command: Command) -> None:
    done = command("-m", "seed=0,1", "hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:9")
    assert (done.code, done.err) == (
        1,
        "error: hydra.launcher.address=127.0.0.1:9: no Ray cluster answers there ([Errno 111] Connection refused);\n"
        "start one with `ray start --head`, or set hydra.launcher.address=HOST:PORT\n",
    )
    assert not list(Path("outputs").glob("sweeps/*"))


def test_without_ray_the_extra_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = command("-m", "seed=0,1", "hydra/launcher=ray")
    assert (done.code, done.err) == (
        2,
        "error: hydra/launcher=ray: Ray is not installed; pip install 'digitnet[ray]'\n",
    )
