"""Sweeps and searches that are killed or interrupted at any moment, and resumed."""

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import TINY, Command, write
from digitnet.runs.formats import read_metrics, read_summary
from digitnet.training.record import EpochRecord
from searching import UNTRUSTED, accuracy, states, summaries, tune
from sweeping import SWEEP, started, status_of, wait_for

pytestmark = pytest.mark.engine

OPTIONS = [*TINY, "data.enlarge_to=2000", "trainer.epochs=3", "trainer.threads=1", "optimizer=adam"]
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


def test_sweep_killed_at_any_moment_and_resumed_equals_an_uninterrupted_one(shell: Command) -> None:
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


def test_interrupted_sweep_is_resumed_with_its_original_configuration(
    shell: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the YAML has changed; running jobs wrote a checkpoint, and finished ones are not run again."""
    write(Path("conf/optimizer/mine.yaml"), "# Mine.\ndefaults: [adam]\nlr: 0.001\n")
    options = ["-m", *OPTIONS, "optimizer=mine", "seed=0,1,2", "hydra.sweep.dir=sweep"]
    with started(*options) as process:
        wait_for(lambda: status_of("seed=1") == "running", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "Stopped. Continue with:\ndigitnet resume sweep\n"
    assert "Stopping: saving each running job …" in out
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


def test_killed_sweep_ends_its_jobs_and_until_then_locks_its_folder(command: Command) -> None:
    options = ["-m", *OPTIONS, "trainer.epochs=1000", "seed=0,1", "hydra.sweep.dir=sweep"]
    with started(*options) as process:
        wait_for((SWEEP / "seed=0" / "checkpoints" / "last.pt").exists, process)
        for arguments in (["resume", "sweep"], options):
            done = command(*arguments)
            assert done.code == 1
            assert done.err.endswith(
                "sweep: another process is working in this folder; wait for it, or stop it first\n"
            )
        job = int(read_summary(SWEEP / "seed=0" / "summary.json").process["pid"])
        process.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{job}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert status_of("seed=0") == "interrupted"


def epochs_of(trial: int) -> int:
    return sum(len(read_metrics(path)) for path in SWEEP.glob(f"{trial},*/metrics.csv"))


def test_killed_and_resumed_search_equals_an_uninterrupted_one(command: Command) -> None:
    words = tune("Slow", "trainer.epochs=3", "--trials", "3")

    def press_ctrl_c() -> None:
        wait_for(lambda: epochs_of(0) == 3)
        Path("slow").touch()
        wait_for(lambda: epochs_of(1) == 1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press_ctrl_c)
    thread.start()
    interrupted = command(*words)
    thread.join()
    assert interrupted.code == 130
    assert interrupted.err == "Stopped. Continue with:\ndigitnet resume sweep --trust\n"
    first, second = summaries()
    assert summaries()[second].status == "interrupted"
    assert f"\nbest: {100 * accuracy(summaries()[first]):.2f} %, sweep/{first}\n" in interrupted.out
    assert states() == ["COMPLETE", "RUNNING"]
    untrusted = command("resume", "sweep")
    assert (untrusted.code, untrusted.err) == (2, UNTRUSTED.format("Slow"))

    with started("resume", "sweep", "--trust") as process:
        wait_for(lambda: epochs_of(2) == 1, process)
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    Path("slow").unlink()
    finished = command("resume", "sweep", "--trust")
    assert (finished.code, finished.err) == (0, "")
    assert states() == ["COMPLETE"] * 3

    shutil.move("sweep", "other")
    assert command(*words).code == 0
    assert list(summaries()) == list(summaries(Path("other")))
    for name in summaries():
        ours, others = (read_metrics(folder / name / "metrics.csv") for folder in (SWEEP, Path("other")))
        assert [(record.epoch, record.val_loss) for record in ours] == [
            (record.epoch, record.val_loss) for record in others
        ]
