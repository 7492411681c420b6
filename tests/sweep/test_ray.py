"""Sweeps on a real Ray cluster: a head and a second node, each with a core."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import TINY, Command
from digitnet.records import read_summary

SWEEP = Path("sweep")
RAY = Path(sys.executable).with_name("ray")
ON_RAY = ["hydra/launcher=ray"]


def start(*arguments: str) -> None:
    command = [RAY, "start", *arguments, "--num-cpus=1", "--num-gpus=1", "--disable-usage-stats"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; the two nodes have a core and (on paper) a GPU each."""
    # Ray's sockets are in there, whose paths may not be long.
    start("--head", "--port=46379", "--include-dashboard=false", "--node-ip-address=127.0.0.1")
    try:
        start("--address=127.0.0.1:46379", "--node-ip-address=127.0.0.1")
        yield "127.0.0.1:46379"
    finally:
        subprocess.run([RAY, "stop", "--force"], capture_output=True, timeout=120)


def wait_for(moment: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not moment():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def job_of(name: str) -> int:
    return int(read_summary(SWEEP / name / "summary.json").process["pid"])


def node_of(process: int) -> int:
    """The process that started it: a node's raylet."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def is_running(name: str) -> bool:
    try:
        summary = read_summary(SWEEP / name / "summary.json")
    except OSError:
        return False
    return summary.status == "running" and summary.epochs > 0


def test_a_sweep_on_ray(shell: Command, cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster is found by its address, `auto` by the environment; a job that fails stops no other."""
    options = ["-m", *TINY, "trainer.epochs=1", "hydra.sweep.dir=sweep", *ON_RAY]
    done = shell(*options, f"hydra.launcher.address={cluster}", "optimizer.lr=0.1,1e30", "seed=0,1")
    assert (done.code, done.err) == (1, "error: 2 jobs of 4 failed\n")
    statuses = {path.parent.name: read_summary(path).status for path in SWEEP.glob("*/summary.json")}
    assert statuses == {
        "lr=0.1,seed=0": "finished",
        "lr=0.1,seed=1": "finished",
        "lr=1e+30,seed=0": "diverged",
        "lr=1e+30,seed=1": "diverged",
    }
    assert read_summary(SWEEP / "lr=0.1,seed=0" / "summary.json").device["threads"] == 1

    monkeypatch.setenv("RAY_ADDRESS", cluster)
    options[-2] = "hydra.sweep.dir=shared"
    done = shell(*options, "hydra.launcher.gpus=0.5", "hydra.launcher.cpus=0.25", "seed=0,1,2")
    assert (done.code, done.err) == (0, "")
    assert len(list(Path("shared").glob("*/summary.json"))) == 3


def test_a_killed_worker_a_signal_and_a_resume(cluster: str, shell: Command) -> None:
    """Both nodes work; what a worker was killed in goes on, and so does what was interrupted."""
    options = [*TINY, "data.enlarge_to=4000", "optimizer=adam", *ON_RAY, f"hydra.launcher.address={cluster}"]
    command = [sys.executable, "-m", "digitnet", "-m", *options, "trainer.epochs=60", "seed=0,1,2"]
    sweep = subprocess.Popen(
        [*command, "hydra.sweep.dir=sweep"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: is_running("seed=0") and is_running("seed=1"))
        assert node_of(job_of("seed=0")) != node_of(job_of("seed=1"))
        killed = job_of("seed=1")
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: len(read_summary(SWEEP / "seed=1" / "summary.json").resumed) == 1)
        assert job_of("seed=1") != killed
        sweep.send_signal(signal.SIGTERM)
        _, err = sweep.communicate(timeout=60)
    finally:
        sweep.kill()
    assert sweep.returncode == 130
    assert err.endswith("error: interrupted by SIGTERM; to go on: digitnet resume sweep\n")
    statuses = [read_summary(SWEEP / f"seed={seed}" / "summary.json").status for seed in (0, 1)]
    assert statuses == ["interrupted", "interrupted"]
    assert not (SWEEP / "seed=2" / "summary.json").exists()

    done = shell("resume", "sweep")
    assert (done.code, done.err) == (0, "")
    statuses = [read_summary(SWEEP / f"seed={seed}" / "summary.json").status for seed in (0, 1, 2)]
    assert statuses == ["finished"] * 3
