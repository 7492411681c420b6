"""Sweeps on a real Ray cluster: a head and a second node, each with a core and, on paper, a GPU."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import TINY, Command, write
from digitnet.runs.formats import read_summary
from sweeping import CUSTOM, NETWORK, SWEEP, started, status_of, summary_of, wait_for

RAY = Path(sys.executable).with_name("ray")
ADDRESS = "127.0.0.1:46379"
ON_RAY = ["-m", *TINY, "trainer.epochs=1", "hydra/launcher=ray", f"hydra.launcher.address={ADDRESS}"]

pytestmark = pytest.mark.engine


def start(*arguments: str) -> None:
    command = [RAY, "start", *arguments, "--num-cpus=1", "--num-gpus=1", "--disable-usage-stats"]
    subprocess.run([*command, "--node-ip-address=127.0.0.1"], check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    start("--head", f"--port={ADDRESS.partition(':')[2]}", "--include-dashboard=false")
    try:
        start(f"--address={ADDRESS}")
        yield
    finally:
        subprocess.run([RAY, "stop", "--force"], capture_output=True, timeout=120)


def node_of(job: str) -> int:
    """The process that started the job's: a node's raylet."""
    process = summary_of(job).process["pid"]  # type: ignore[union-attr]
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_sweep_runs_on_a_cluster_of_two_nodes(shell: Command) -> None:
    done = shell(*ON_RAY, "optimizer.lr=0.1,1e30", "seed=0,1", "hydra.sweep.dir=sweep")
    assert (done.code, done.err) == (1, "error: 2 jobs of 4 failed\n")
    assert {path.parent.name: read_summary(path).status for path in SWEEP.glob("*/summary.json")} == {
        "lr=0.1,seed=0": "finished",
        "lr=0.1,seed=1": "finished",
        "lr=1e+30,seed=0": "diverged",
        "lr=1e+30,seed=1": "diverged",
    }


def test_jobs_share_gpus_of_a_cluster_named_by_the_environment(shell: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six jobs with 0.3 GPUs each run at a time on two nodes."""
    write(Path("mine.py"), NETWORK)
    monkeypatch.setenv("RAY_ADDRESS", ADDRESS)
    shares = ["hydra.launcher.address=auto", "hydra.launcher.cpus=0.25", "hydra.launcher.gpus=0.3"]
    jobs = [f"seed={seed}" for seed in range(6)]
    options = [*ON_RAY, *CUSTOM, "model.kwargs={how:waits}", "seed=range(6)", "hydra.sweep.dir=sweep"]
    with started(*options, *shares) as sweep:
        wait_for(lambda: all(status_of(job) == "running" for job in jobs), sweep)
        write(Path("go"), "")
        _, err = sweep.communicate(timeout=120)
    assert (sweep.returncode, err) == (0, "")
    assert [summary_of(job).device["threads"] for job in jobs] == [1] * 6  # type: ignore[union-attr]


def test_killed_worker_and_interrupted_sweep_are_resumed(shell: Command) -> None:
    """Both nodes run jobs. Ray restarts a killed worker, which resumes its job; the rest is resumed later."""
    write(Path("mine.py"), NETWORK)
    options = [*ON_RAY, *CUSTOM, "model.kwargs={how:waits}", "seed=0,1,2", "hydra.sweep.dir=sweep"]
    options += ["hydra.launcher.jobs=2"]  # otherwise the third job would start instead
    with started(*options) as sweep:
        wait_for(lambda: status_of("seed=0") == status_of("seed=1") == "running", sweep)
        assert node_of("seed=0") != node_of("seed=1")
        killed = summary_of("seed=1").process["pid"]  # type: ignore[union-attr]
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: len(summary_of("seed=1").resumed) == 1, sweep)  # type: ignore[union-attr]
        sweep.send_signal(signal.SIGTERM)
        _, err = sweep.communicate(timeout=60)
    assert err.endswith("Stopped by SIGTERM. Continue with:\ndigitnet resume sweep --trust\n")
    assert sweep.returncode == 130
    assert [status_of(f"seed={seed}") for seed in range(3)] == ["interrupted", "interrupted", "waiting"]

    write(Path("go"), "")
    done = shell("resume", "sweep", "--trust")
    assert (done.code, done.err) == (0, "")
    assert [status_of(f"seed={seed}") for seed in range(3)] == ["finished"] * 3
