"""A run that is killed again and again, at any moment, and resumed: every file is whole, and the result the same."""

import random
import select
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import forking
from conftest import TINY
from digitnet import run
from digitnet.errors import CheckpointError
from digitnet.runs.formats import read_metrics, read_summary
from digitnet.training import checkpoint
from digitnet.training.record import EpochRecord

OPTIONS = [*TINY, "data.enlarge_to=4000", "trainer.epochs=8", "trainer.threads=1", "optimizer=adam", "aug=distort"]
OPTIONS += ["checkpoint.every_minutes=0.001", "checkpoint.keep=2", "schedule=cosine"]
KILLS = 30


def timeless(run_dir: Path) -> list[EpochRecord]:
    return [replace(record, epoch_seconds=0, images_per_second=0) for record in read_metrics(run_dir / "metrics.csv")]


def check_files(run_dir: Path) -> None:
    """Every file that there is can be read, and they agree."""
    if (run_dir / "summary.json").exists():
        assert read_summary(run_dir / "summary.json").status in ("running", "finished")
    if (run_dir / "metrics.csv").exists():
        epochs = [record.epoch for record in read_metrics(run_dir / "metrics.csv")]
        assert epochs == list(range(1, len(epochs) + 1))
    for path in run_dir.glob("checkpoints/[!.]*"):
        try:
            checkpoint.load_checkpoint(path)
        except CheckpointError:
            if path.exists() or path.name in ("last.pt", "best.pt"):  # not one that is kept no longer
                raise


def train(run_dir: Path, stall: int, seconds: float) -> str:
    """Start or resume the run, and kill it when it stalls in a write, or after so long; returns how it ended."""
    with Path("errors.txt").open("wb") as errors:
        process = forking.call("stalling:train", str(stall), str(run_dir), *OPTIONS, stderr=errors.fileno())
    with process:
        assert process.stdout is not None
        deadline = time.monotonic() + seconds
        stalled = False
        while process.poll() is None and time.monotonic() < deadline and not stalled:
            check_files(run_dir)  # at every moment
            stalled = bool(select.select([process.stdout], [], [], 0.02)[0])
        process.kill()
        out, _ = process.communicate()
    check_files(run_dir)
    assert process.returncode in (0, -signal.SIGKILL), Path("errors.txt").read_text()
    if process.returncode == 0:
        return "finished"
    return "stalled" if out == "stalled\n" else "running"


@pytest.mark.engine
def test_run_killed_thirty_times_matches_an_uninterrupted_run(tmp_path: Path) -> None:
    dice, killed = random.Random(0), Counter[str]()
    runs = [tmp_path / "killed"]  # on a fast machine one is done before it was killed as often, and another begun
    while True:
        enough = killed.total() >= KILLS
        stall = dice.randint(1, 40) if killed.total() % 3 == 2 and not enough else 0  # every third inside a write
        how = train(runs[-1], stall, 600 if stall or enough else dice.uniform(0.02, 0.9))
        if how != "finished":
            killed[how] += 1
        elif enough:
            break
        else:
            runs.append(tmp_path / f"killed{len(runs)}")
    assert killed["stalled"] >= KILLS // 6

    whole = run(*OPTIONS, run_dir=tmp_path / "whole").run_dir
    for run_dir in runs:
        assert timeless(run_dir) == timeless(whole)
        ours, theirs = (read_summary(folder / "summary.json") for folder in (run_dir, whole))
        assert (ours.status, ours.test, ours.steps) == ("finished", theirs.test, theirs.steps)
        names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) for folder in (run_dir, whole)]
        assert names[0] == names[1]  # nor is anything unfinished left
        for name in ("last.pt", "best.pt", "epoch_7.pt", "epoch_8.pt"):
            left, right = (checkpoint.load_checkpoint(folder / "checkpoints" / name) for folder in (run_dir, whole))
            assert all(torch.equal(left["model"][key], right["model"][key]) for key in right["model"])
            assert torch.equal(left["generator"], right["generator"])
