"""`digitnet resume SWEEP_DIR`: whatever stopped a sweep, gone on with it is the sweep that was left alone."""

import json
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, Command, write
from digitnet.runs.formats import read_metrics, read_summary
from digitnet.sweep.manifest import read_manifest
from digitnet.training.record import EpochRecord
from sweeping import SWEEP, started, status_of, wait_for

OPTIONS = [*TINY, "data.enlarge_to=4000", "trainer.epochs=3", "trainer.threads=1", "optimizer=adam"]
LONG = ["-m", *OPTIONS, "optimizer.lr=0.001,0.003", "seed=0,1", "hydra/launcher=local", "hydra.launcher.jobs=2"]
JOBS = ["lr=0.001,seed=0", "lr=0.001,seed=1", "lr=0.003,seed=0", "lr=0.003,seed=1"]


def timeless(folder: Path, job: str) -> list[EpochRecord]:
    records = read_metrics(folder / job / "metrics.csv")
    return [replace(record, epoch_seconds=0, images_per_second=0) for record in records]


def table_of(out: str) -> list[list[str]]:
    """The last table that was printed, without the times."""
    lines = out.splitlines()
    first = max(number for number, line in enumerate(lines) if line.endswith(" folder"))
    rows = [re.split("  +", line.strip()) for line in "\n".join(lines[first:]).partition("\n\n")[0].splitlines()]
    return [row[:-2] + row[-1:] for row in rows]


def test_killed_at_any_moment_and_resumed_it_is_the_sweep_that_was_left_alone(shell: Command) -> None:
    moments: list[Callable[[], bool]] = [
        (SWEEP / "sweep.json").exists,  # before a job has begun
        lambda: any((SWEEP / job / "checkpoints" / "last.pt").exists() for job in JOBS),
        lambda: any(status_of(job) == "finished" for job in JOBS),
        lambda: status_of(JOBS[3]) == "running",
    ]
    command = [*LONG, "hydra.sweep.dir=sweep"]
    for moment in moments:
        with started(*command) as process:
            wait_for(moment, process)
            process.kill()
        command = ["resume", "sweep"]
    killed = shell(*command)
    assert (killed.code, killed.err) == (0, "")
    alone = shell(*LONG[:-2], "hydra.sweep.dir=alone")  # one after the other
    assert table_of(killed.out) == table_of(alone.out)
    assert len(table_of(alone.out)) == 5
    for job in JOBS:
        assert timeless(SWEEP, job) == timeless(Path("alone"), job)
        assert read_summary(SWEEP / job / "summary.json").test == read_summary(Path("alone", job, "summary.json")).test


def test_an_interrupted_sweep_goes_on_with_what_it_was_when_it_started(
    shell: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever became of the YAML; jobs under way wrote a checkpoint, those that are finished are left alone."""
    write(Path("conf/optimizer/mine.yaml"), "# Mine.\ndefaults: [adam]\nlr: 0.001\n")
    options = ["-m", *OPTIONS, "optimizer=mine", "seed=0,1,2", "hydra.sweep.dir=sweep"]
    with started(*options) as process:
        wait_for(lambda: status_of("seed=1") == "running", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "error: interrupted by SIGINT; to go on: digitnet resume sweep\n"
    assert "SIGINT: each job under way writes a checkpoint and ends" in out
    assert [status_of(f"seed={seed}") for seed in range(3)] == ["finished", "interrupted", "waiting"]
    assert [row[-1] for row in table_of(out)[1:]] == ["seed=0", "seed=1", "seed=2"]
    write(Path("conf/optimizer/mine.yaml"), "# Mine.\ndefaults: [adam]\nlr: 5.0\n")
    finished = (SWEEP / "seed=0" / "summary.json").read_bytes()

    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    done = shell("resume", "../sweep")
    assert (done.code, done.err) == (0, "")
    monkeypatch.chdir("..")
    assert (SWEEP / "seed=0" / "summary.json").read_bytes() == finished
    for seed in range(3):
        summary = read_summary(SWEEP / f"seed={seed}" / "summary.json")
        assert (summary.status, summary.config["optimizer"]["lr"], summary.seed) == ("finished", 0.001, seed)


def test_a_sweep_at_work_is_left_alone(command: Command) -> None:
    with started(*LONG, "hydra.sweep.dir=sweep") as process:
        wait_for(lambda: status_of(JOBS[0]) == "running", process)
        for arguments in (["resume", "sweep"], [*LONG, "hydra.sweep.dir=sweep"]):
            done = command(*arguments)
            assert done.code == 1
            assert done.err.endswith("sweep: another process is at work there; wait for it, or stop it first\n")


def test_jobs_end_when_their_sweep_is_killed() -> None:
    with started("-m", *OPTIONS, "trainer.epochs=1000", "seed=0,1", "hydra.sweep.dir=sweep") as process:
        wait_for((SWEEP / "seed=0" / "checkpoints" / "last.pt").exists, process)
        job = int(read_summary(SWEEP / "seed=0" / "summary.json").process["pid"])
        process.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{job}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert status_of("seed=0") == "interrupted"


@pytest.fixture
def small(command: Command) -> Path:
    """A sweep of two jobs, of which one is not finished."""
    assert command("-m", *TINY, "trainer.epochs=1", "seed=0,1", "hydra.sweep.dir=sweep").code == 0
    (SWEEP / "seed=1" / "summary.json").unlink()
    return SWEEP


def test_what_cannot_be_resumed(command: Command, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small / "sweep.json"
    content: dict[str, Any] = json.loads(path.read_text())

    def error(*arguments: str) -> str:
        done = command("resume", *arguments)
        assert done.code in (1, 2)
        return done.err

    assert error("sweep", "optimizer.lr=3") == (
        "error: optimizer.lr=3: cannot be changed in a sweep, only hydra/launcher and its keys; "
        "of one run it can: digitnet resume sweep/JOB optimizer.lr=3\n"
    )
    assert error("sweep", "hydra/launcher=locl").startswith(
        "error: hydra/launcher=locl: no such option … did you mean 'local'?"
    )
    assert error("outputs") == "error: outputs: not a folder; give that of a run\n"
    Path("outputs").mkdir()
    assert error("outputs") == "error: outputs: no summary.json there; give the folder of a run or of a sweep\n"

    path.write_text("{")
    assert error("sweep").startswith("error: sweep/sweep.json: not a sweep's (Expecting property name")
    del content["search"]
    path.write_text(json.dumps({**content, "jobs": {"../x": {}}}))
    assert error("sweep").startswith("error: sweep/sweep.json: not a sweep's (")
    job = content["jobs"]["seed=1"]
    path.write_text(json.dumps({**content, "jobs": {"../x": job}}))
    assert error("sweep") == "error: sweep/sweep.json: '../x' is not the name of a job\n"
    network = {"name": "custom", "target": "mine:Net", "kwargs": None}
    foreign = {**job, "config": {**job["config"], "model": network}}
    path.write_text(json.dumps({**content, "jobs": {"seed=1": foreign}}))
    write(Path("mine.py"), "open('sprung', 'w').close()\n")
    assert error("sweep") == (
        "error: sweep: its network is mine:Net, which would be imported and run;\n"
        "if you trust whom the folder is from, add --trust\n"
    )
    (small / "seed=1" / "link").symlink_to("/")
    path.write_text(json.dumps(content))
    (small / "linked").symlink_to("/")
    assert error("sweep") == "error: sweep/linked: a link, which no run makes; replace it by what it stands for\n"
    assert not Path("sprung").exists()


def test_a_sweep_goes_on_elsewhere(command: Command, small: Path) -> None:
    """Here with another launcher; its jobs keep the threads that they had."""
    threads = read_manifest(small).jobs["seed=1"].config["trainer"]["threads"]
    done = command("resume", "sweep", "hydra/launcher=local", "hydra.launcher.jobs=1")
    assert (done.code, done.err) == (0, "")
    assert status_of("seed=1") == "finished"
    assert read_manifest(small).jobs["seed=1"].config["trainer"]["threads"] == threads


def test_a_job_that_failed_is_tried_again_and_one_that_diverged_is_not(shell: Command) -> None:
    write(
        Path("mine.py"),
        "import os\n"
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, how):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
        "        if how == 'fails' and not os.path.exists('mended'): raise ValueError('not yet')\n",
    )
    networks = ["model=custom", "model.target=mine:Net", "model.kwargs={how:fails},{how:works}"]
    options = ["-m", *TINY, "trainer.epochs=1", *networks, "optimizer.lr=0.1,1e30", "hydra.sweep.dir=sweep"]
    done = shell(*options)
    assert done.err == "error: 3 jobs of 4 failed; to try again: digitnet resume sweep\n"
    write(Path("mended"), "")
    done = shell("resume", "sweep", "--trust")
    assert (done.code, done.err) == (1, "error: 2 jobs of 4 failed\n")
    assert status_of("kwargs=how_fails,lr=0.1") == "finished"
    assert status_of("kwargs=how_fails,lr=1e+30") == status_of("kwargs=how_works,lr=1e+30") == "diverged"
