"""Runs in processes of their own that are stopped, killed, or whose folder is moved; and how much memory they take."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import forking
from conftest import TINY, Command, figures
from digitnet.runs.formats import read_summary
from digitnet.training import checkpoint

LONG = [*TINY, "trainer.epochs=1000", "trainer.threads=1", "hydra.run.dir=here"]
HERE = Path("here")


Started = Callable[..., forking.Process]


@pytest.fixture
def started() -> Iterator[Started]:
    """`started(*overrides)`: a run in a process of its own, which has finished an epoch."""
    processes: list[forking.Process] = []

    def start(*overrides: str) -> forking.Process:
        process = forking.digitnet(*LONG, *overrides)
        processes.append(process)
        deadline = time.monotonic() + 120
        while not (HERE / "metrics.csv").exists() or not figures(HERE):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_writes_a_checkpoint_within_the_epoch(started: Started, number: signal.Signals) -> None:
    process = started("checkpoint.every_minutes=null", "data.enlarge_to=10000")
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    summary = read_summary(HERE / "summary.json")
    assert summary.status == "interrupted"
    last = checkpoint.load_checkpoint(HERE / "checkpoints" / "last.pt")
    step = last["step"]
    assert step == summary.steps
    assert last["underway"] is not None
    assert step % 313 % 32 == 0  # of an epoch's 313 batches; they are trained on in chunks of 32
    assert len(figures(HERE)) == summary.epochs == last["epoch"] >= 1
    where = f"in epoch {summary.epochs + 1} of 1000"
    assert err == f"Stopped {where}; progress saved. Continue with:\ndigitnet resume here\n"
    assert (HERE / "train.log").read_text().endswith(err)


def test_run_stopped_before_training_can_be_started_or_resumed(command: Command) -> None:
    """Importing torch takes seconds, as it does in a new interpreter; a signal then ends the run with a message."""
    process = subprocess.Popen([sys.executable, "-m", "digitnet", *LONG], stderr=subprocess.PIPE, text=True)
    while not (HERE / ".lock").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("Stopped")
    if (HERE / "summary.json").exists():
        assert command("resume", "here", "trainer.epochs=1").code == 0
    else:
        assert not HERE.exists()
        assert command(*TINY, "hydra.run.dir=here").code == 0


def test_second_process_is_refused_and_told_the_first(command: Command, started: Started) -> None:
    process = started()
    for arguments in (["resume", "here"], [*TINY, "hydra.run.dir=here"]):
        done = command(*arguments)
        assert done.code == 1
        host = os.uname().nodename
        assert done.err == (
            f"error: here: process {process.pid} on {host} is working in this folder; wait for it, or stop it first\n"
        )
    process.kill()
    process.communicate()
    done = command("resume", "here", f"trainer.epochs={len(figures(HERE)) + 2}")  # the lock of the dead is nobody's
    assert (done.code, done.err) == (0, "")


def test_removed_folder_is_named(started: Started) -> None:
    process = started()
    HERE.rename("elsewhere")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("error: here/")
    assert err.endswith(": No such file or directory\n")


def test_run_whose_folder_another_run_has_taken_writes_nothing(started: Started, command: Command) -> None:
    """A lock is on a file; if that is removed, and made anew, two could have one."""
    process = started("trainer.threads=1")
    process.send_signal(signal.SIGSTOP)
    shutil.rmtree(HERE)
    assert command(*TINY, "hydra.run.dir=here", "seed=1").code == 0
    before = {path: path.read_bytes() for path in HERE.rglob("*") if path.is_file()}
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "error: here: was removed, and another run is in its place\n")
    assert {path: path.read_bytes() for path in HERE.rglob("*") if path.is_file()} == before


def test_epoch_without_a_checkpoint_is_trained_again(command: Command, started: Started) -> None:
    """metrics.csv may know of more epochs than last.pt: they are dropped, and no epoch is there twice."""
    # A network that learns nothing: its best epoch, of which there is a checkpoint, is the first.
    options = ["checkpoint.every_epochs=1000", "optimizer.lr=1e-30"]
    process = started(*options)
    while len(figures(HERE)) < 3:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    known = len(figures(HERE))
    assert checkpoint.load_checkpoint(HERE / "checkpoints" / "last.pt")["epoch"] == 1
    assert command("resume", "here", f"trainer.epochs={known}").code == 0
    assert [epoch for epoch, *_ in figures(HERE)] == list(range(1, known + 1))
    whole = [*TINY, *options, "trainer.threads=1", "hydra.run.dir=whole"]
    assert command(*whole, f"trainer.epochs={known}").code == 0
    assert figures(HERE) == figures(Path("whole"))


@pytest.mark.engine
def test_three_hundred_epochs_use_no_more_memory_than_fifty(started: Started) -> None:
    """Memory, open files and threads of one process, read from outside; with few steps an epoch, to be quick."""
    process = started("trainer.epochs=300", "trainer.batch_size=128")
    proc = Path(f"/proc/{process.pid}")
    if not proc.exists():
        pytest.skip("there is no /proc")
    seen: dict[int, tuple[int, int, int]] = {}
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended
            epochs = len(figures(HERE))
            pages = int((proc / "statm").read_text().split()[1])
            seen[epochs] = (pages, len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir())))
        time.sleep(0.02)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, ""), out
    early = [seen[epochs] for epochs in seen if 10 <= epochs < 50]
    late = [seen[epochs] for epochs in seen if 260 <= epochs < 299]  # at the very end it gives all back
    assert early
    assert late
    # The lowest: another may meet an epoch's checkpoint in memory, and its file open.
    for before, after, factor in zip(map(min, *early), map(min, *late), (1.05, 1, 1), strict=True):
        assert after <= factor * before
