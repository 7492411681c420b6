"""Slurm's launcher, where Slurm's commands are scripts; tests/system/test_slurm_cluster.py has a real one."""

import json
import sys
from pathlib import Path

import pytest

from conftest import Command, write
from digitnet.config.launcher_schema import SlurmLauncherConfig
from digitnet.errors import DigitnetError
from digitnet.sweep.launchers import slurm
from digitnet.sweep.launchers.slurm import SlurmLauncher

OPTIONS = SlurmLauncherConfig(
    name="slurm", jobs=None, minutes=60, requeues=10, grace_seconds=90, cpus=1, gpus=0, memory_gb=None,
    partition=None, account=None, qos=None, constraint=None,
)  # fmt: skip


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What squeue prints; scancel writes its arguments to the file `cancelled`."""
    scripts = {"squeue": "cat queue", "scancel": "echo $* >> cancelled", "sbatch": "exit 1", "srun": "exit 1"}
    scripts["scontrol"] = 'echo "JobId=$3 JobState=FAILED"'
    for name, line in scripts.items():
        write(tmp_path / "bin" / name, f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(slurm, "QUERY_SECONDS", 0.0)
    write(Path("queue"), "7_0 RUNNING\n7_1 PENDING\n9 RUNNING\n")
    return Path("queue")


@pytest.fixture
def launcher(queue: Path) -> SlurmLauncher:
    """A resumed sweep's, whose jobs a and b Slurm still has."""
    write(Path("sweep/.slurm/jobs.json"), json.dumps({"a": "7_0", "b": "7_1", "c": "6", "evil": "1; rm -r x"}))
    launcher = SlurmLauncher(Path("sweep").absolute(), OPTIONS, trust=False)
    launcher.submit(["a", "b"])
    return launcher


def test_resumed_sweep_waits_for_jobs_that_slurm_still_has(launcher: SlurmLauncher, queue: Path) -> None:
    assert launcher.poll(0) == {}
    write(queue, "7_1 RUNNING\n")
    log = Path("sweep/.slurm").absolute() / "7_0_0_log.out"
    assert launcher.poll(0) == {"a": f"Slurm job 7_0 is FAILED; see {log}"}
    write(Path("sweep/.failures/b"), "too much")
    write(queue, "")
    assert launcher.poll(0) == {"b": "too much"}


def test_nothing_of_the_working_directory_is_importable_in_jobs(launcher: SlurmLauncher) -> None:
    assert launcher._executor.python == f"{sys.executable} -P"


def test_slurm_is_not_asked_when_there_is_nothing_to_submit(launcher: SlurmLauncher, tmp_path: Path) -> None:
    write(tmp_path / "bin" / "squeue", "#!/bin/sh\nexit 1\n")
    launcher.submit([])


def test_stop_cancels_jobs_and_returns_pending_ones(launcher: SlurmLauncher) -> None:
    assert launcher.stop() == ["b"]
    assert Path("cancelled").read_text() == "7_0 7_1\n"


def test_failing_sbatch_and_squeue_are_reported(launcher: SlurmLauncher, tmp_path: Path) -> None:
    with pytest.raises(DigitnetError, match="hydra/launcher=slurm: "):
        launcher.submit(["d"])
    write(tmp_path / "bin" / "squeue", "#!/bin/sh\necho 'slurm_load_jobs error: no controller' >&2\nexit 1\n")
    with pytest.raises(DigitnetError) as error:
        launcher.poll(0)
    assert str(error.value) == "squeue: slurm_load_jobs error: no controller; digitnet resume continues the sweep"


def test_without_sbatch_the_message_names_the_local_launcher(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = command("-m", "seed=0,1", "hydra/launcher=slurm")
    assert (done.code, done.err) == (
        1,
        "error: hydra/launcher=slurm: this machine has no sbatch; start the sweep where Slurm is, on a login node,\n"
        "or on this machine: hydra/launcher=local\n",
    )
    assert not list(Path("outputs").glob("sweeps/*"))


def test_without_submitit_the_extra_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    done = command("-m", "seed=0,1", "hydra/launcher=slurm")
    assert (done.code, done.err) == (
        2,
        "error: hydra/launcher=slurm: submitit is not installed; pip install 'digitnet[slurm]'\n",
    )
