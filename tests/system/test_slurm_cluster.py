"""Sweeps on a real Slurm of one node, where there is one."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import TINY, Command, write
from digitnet.runs.formats import read_summary
from sweeping import CUSTOM, NETWORK, SWEEP, started, status_of, summary_of, wait_for

ON_SLURM = ["-m", *TINY, "hydra/launcher=slurm", *CUSTOM, "hydra.sweep.dir=sweep"]

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def slurm() -> Iterator[None]:
    if shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True).returncode != 0:
        pytest.skip("no Slurm runs on this machine")
    write(Path("mine.py"), NETWORK)
    yield
    subprocess.run(["scancel", "--me", "--signal=KILL", "--full"], capture_output=True)
    subprocess.run(["scancel", "--me"], capture_output=True)


def queue() -> dict[str, str]:
    """Slurm's jobs and their states."""
    done = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())


def test_job_at_its_time_limit_is_requeued_and_a_resumed_sweep_finds_its_jobs() -> None:
    limits = ["hydra.launcher.minutes=1", "hydra.launcher.grace_seconds=35"]  # 25 s to begin, on a busy machine too
    jobs = ["seed=0", "seed=1"]
    with started(*ON_SLURM, "model.kwargs={how:waits}", "seed=0,1", *limits) as sweep:
        wait_for(lambda: all(status_of(job) != "waiting" for job in jobs))
        numbers = set(queue())
        sweep.kill()
    with started("resume", "sweep", "--trust") as sweep:
        wait_for(lambda: all(status_of(job) == "interrupted" for job in jobs))  # the limit came
        wait_for(lambda: set(queue().values()) == {"PENDING"})
        assert set(queue()) == numbers  # none was submitted twice
        write(Path("go"), "")
        for number in numbers:  # Slurm would wait for two minutes
            subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], check=True)
        out, err = sweep.communicate(timeout=240)
    assert (sweep.returncode, err) == (0, "")
    assert out.count("%") >= 2
    for job in jobs:
        summary = summary_of(job)
        assert summary is not None
        assert (summary.status, summary.epochs, len(summary.resumed)) == ("finished", 60, 1)
        assert summary.device["threads"] == 1
        assert summary.config["trainer"]["threads"] == 1


def test_killed_job_leaves_others_alone_and_a_signal_cancels_the_queue(shell: Command) -> None:
    """A signal to the sweep interrupts running jobs, and removes waiting ones from Slurm's queue."""
    networks = "model.kwargs={how:dies},{how:waits}"
    with started(*ON_SLURM, networks, "seed=0,1,2", "hydra.launcher.jobs=2") as sweep:
        wait_for(lambda: status_of("kwargs=how_waits,seed=0") == status_of("kwargs=how_waits,seed=1") == "running")
        sweep.send_signal(signal.SIGTERM)
        out, err = sweep.communicate(timeout=100)
    assert sweep.returncode == 130
    assert err == "Stopped by SIGTERM. Continue with:\ndigitnet resume sweep --trust\n"
    assert "kwargs=how_dies,seed=0: failed: Slurm job " in out
    dead = next(line for line in out.splitlines() if line.startswith("kwargs=how_dies,seed=0: failed: "))
    log = dead.partition("; see ")[2]
    assert " is FAILED; see " in dead
    assert Path(log).exists()
    statuses = [status_of(f"kwargs=how_waits,seed={seed}") for seed in range(3)]
    assert statuses == ["interrupted", "interrupted", "waiting"]
    wait_for(lambda: not queue())

    write(Path("mine.py"), NETWORK.replace("'dies'", "'died'"))
    write(Path("go"), "")
    done = shell("resume", "sweep", "--trust", "hydra/launcher=local")
    assert (done.code, done.err) == (0, "")
    assert {read_summary(path).status for path in SWEEP.glob("*/summary.json")} == {"finished"}
    assert len(list(SWEEP.glob("*/summary.json"))) == 6
