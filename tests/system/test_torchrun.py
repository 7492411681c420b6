"""One run in several processes, started by the real torchrun: the same result, one message, no process left behind."""

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import forking
from conftest import TINY, Command, Outcome, figures, files_in, run_folder, write
from digitnet.runs.formats import read_summary
from digitnet.training import checkpoint

pytestmark = pytest.mark.engine

LONG = [*TINY, "trainer.epochs=300", "trainer.plateau_epochs=null"]


# Writes the process id of each rank to a file, runs the test's own code, then does as `python -m digitnet` does.
SCRIPT = """
import os, sys, time
from pathlib import Path
from digitnet import cli
from digitnet.training import distributed
Path("pid." + os.environ["RANK"]).write_text(str(os.getpid()))
{0}
sys.exit(cli.main())
"""


@contextlib.contextmanager
def torchrun(processes: int, *arguments: str, first: str | None = None) -> Iterator[forking.Process]:
    """torchrun with so many processes of digitnet; `first` is Python code that each runs at its start."""
    digitnet = ["-m", "digitnet"]
    if first is not None:
        Path("script.py").write_text(SCRIPT.format(first))
        digitnet = ["script.py"]
    ours = [sys.executable, "-W", "error", *digitnet, *arguments]
    options = ["--standalone", f"--nproc-per-node={processes}", "--no-python"]
    process = forking.module("torch.distributed.run", *options, *ours)
    try:
        yield process
    finally:
        process.terminate()  # it ends the others
        process.communicate()


def outcome(process: forking.Process) -> Outcome:
    """How it ends by itself; fails if it hangs, or if torchrun has to kill a process, after 30 seconds."""
    out, err = process.communicate(timeout=100)
    assert "forcefully exiting" not in err
    return Outcome(process.returncode, out, err)


def together(processes: int, *arguments: str, first: str | None = None) -> Outcome:
    with torchrun(processes, *arguments, first=first) as process:
        return outcome(process)


def error_in(done: Outcome) -> str:
    """digitnet's only message, among much of torchrun's, whose exit code for any failure is 1."""
    assert done.code == 1
    (message,) = re.findall(
        r"^(?:error: |Stopped).*\n(?:(?:to resume|lower|HYDRA|digitnet)\b.*\n)?", done.err, re.MULTILINE
    )
    assert done.err.count("Traceback (most recent call last):") == 1  # torchrun's own
    assert not re.search(r"^\[rank\d\]:", done.err, re.MULTILINE)  # as PyTorch's compiled code begins
    assert done.out.count("\ntraining: ") <= 1
    return str(message)


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if found := what():
                return found
        time.sleep(0.02)
    raise AssertionError("not within 60 seconds")


def send(rank: int, number: int) -> None:
    os.kill(int(Path(f"pid.{rank}").read_text()), number)


def an_epoch_is_done() -> bool:
    return read_summary(run_folder() / "summary.json").epochs > 0


def check_alike(ours: Path, theirs: Path) -> None:
    """Two runs within rounding: figures, weights, and how far they came."""
    for left, right in zip(figures(ours), figures(theirs), strict=True):
        assert left == pytest.approx(right, rel=1e-4)
    left, right = (checkpoint.load_checkpoint(folder / "checkpoints" / "last.pt") for folder in (ours, theirs))
    assert (left["epoch"], left["step"], left["underway"]) == (right["epoch"], right["step"], None)
    assert left["model"].keys() == right["model"].keys()
    for name, weights in left["model"].items():
        torch.testing.assert_close(weights, right["model"][name], rtol=0, atol=2e-5)
    assert torch.equal(left["generator"], right["generator"])


def test_result_matches_a_single_process(command: Command) -> None:
    """Also with distortions, and where the last batch of an epoch has an image for one of three processes only."""
    options = [
        *TINY,
        "trainer.epochs=3",
        "model.dropout=0",
        "optimizer.lr=0.3",
        "optimizer.momentum=0.9",
        "trainer.plateau_epochs=null",
    ]
    options += ["trainer.batch_size=359", "aug=distort", "aug.warmup_epochs=1", "logger.predictions=true"]
    done = together(3, *options)
    assert (done.code, done.err) == (0, "")
    run_dir = run_folder()
    assert len(list(Path("outputs").glob("*/*"))) == 1  # rank 0 alone has a folder
    lines = done.out.splitlines()
    assert lines[2].endswith("on CPU (1 thread), 3 processes")
    assert [line.split()[0] for line in lines[4:8]] == ["epoch", "1/3", "2/3", "3/3"]
    assert lines[8].startswith("test accuracy ")
    assert lines[9:] == [str(run_dir)]
    assert (run_dir / "train.log").read_text() == done.out

    assert command(*options, "trainer.threads=1", "hydra.run.dir=alone").code == 0
    check_alike(run_dir, Path("alone"))
    assert files_in(run_dir) == files_in(Path("alone"))
    ours, theirs = (read_summary(folder / "summary.json") for folder in (run_dir, Path("alone")))
    assert (ours.device["processes"], theirs.device["processes"]) == (3, 1)
    assert ours.test is not None
    assert theirs.test is not None
    assert ours.test["errors"] == theirs.test["errors"]


def test_resume_with_different_world_size_matches(command: Command) -> None:
    options = [*TINY, "data.enlarge_to=6000", "trainer.threads=1", "checkpoint.every_minutes=0.0001", "model.dropout=0"]
    options += ["optimizer.lr=0.3", "optimizer.momentum=0.9"]
    run_dir = Path("run")
    with torchrun(2, *options, "hydra.run.dir=run", first="") as process:
        wait_for((run_dir / "checkpoints" / "last.pt").exists)
        send(1, signal.SIGKILL)
        done = outcome(process)
    summary = read_summary(run_dir / "summary.json")
    assert 0 < summary.steps < 188  # of the epoch
    why = "another process of this run has ended (rank 0 noticed)"
    kept = f"checkpoints/last.pt is of step {summary.steps}"
    check_ended(done, run_dir, "failed", f"{why}; {kept};\nto resume: digitnet resume {run_dir}", "error: ")

    with torchrun(3, "resume", "run", "trainer.threads=null") as process:
        wait_for(lambda: read_summary(run_dir / "summary.json").steps > summary.steps)
        process.send_signal(signal.SIGINT)  # to torchrun: Ctrl-C reaches no other, each has a session of its own
        done = outcome(process)
    assert f"\nresuming from epoch 1, step {summary.steps} of 188\n" in done.out
    assert "(processes was 2, is 3)" in done.out
    summary = read_summary(run_dir / "summary.json")
    how = f"Stopped in epoch 1 of 2; progress saved. Continue with:\ndigitnet resume {run_dir}"
    check_ended(done, run_dir, "interrupted", how)

    assert command("resume", "run", "trainer.threads=1").code == 0
    assert command(*options, "hydra.run.dir=whole").code == 0
    check_alike(run_dir, Path("whole"))


def check_ended(done: Outcome, run_dir: Path, status: str, how: str, prefix: str = "") -> None:
    """The same message on the terminal and in the run's folder."""
    assert error_in(done) == f"{prefix}{how}\n"
    summary = read_summary(run_dir / "summary.json")
    assert (summary.status, summary.error) == (status, how)
    assert (run_dir / "train.log").read_text().endswith(f"\n{prefix}{how}\n")


def test_killed_rank_0_is_reported_by_another() -> None:
    with torchrun(2, *LONG, first="distributed.RANK_0_SECONDS = 0.5") as process:
        wait_for(an_epoch_is_done)
        send(0, signal.SIGKILL)
        done = outcome(process)
    summary = read_summary(run_folder() / "summary.json")
    assert summary.status == "running"  # as after any SIGKILL
    assert error_in(done) == (
        "error: another process of this run has ended (rank 1 noticed); "
        f"checkpoints/last.pt is of step {summary.steps};\nto resume: digitnet resume {run_folder()}\n"
    )


NETWORK = """
import os
import torch
from torch import nn

class Hungry(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.seldom = nn.Linear(784, 10), nn.Linear(784, 10)
        self.steps = 0
    def forward(self, images):
        self.steps += self.training
        if self.steps == 60 and os.environ.get("RANK") == "1":
            raise torch.OutOfMemoryError("CUDA out of memory")
        layers = [self.used, self.seldom] if self.steps == 1 else [self.used]
        return sum(layer(images.flatten(1)) for layer in layers)
"""


def test_unused_weights_and_memory_error_of_one_process(command: Command) -> None:
    """Weights that not every step uses are trained as in one process. Where memory does not suffice, no smaller batch
    is tried: a step takes all processes.
    """
    write(Path("mine.py"), NETWORK)
    options = [*TINY, "trainer.threads=1", "model=custom", "model.target=mine:Hungry", "optimizer.lr=0.1"]
    done = together(2, *options, "trainer.epochs=2", "hydra.run.dir=run", first="distributed.RANK_0_SECONDS = 0.5")
    assert error_in(done) == "error: trainer.batch_size=32: a step needs more memory than cpu has; lower it\n"
    summary = read_summary(Path("run/summary.json"))
    assert (summary.status, summary.steps) == ("failed", 45)
    assert str(summary.error).startswith("another process of this run has ended (rank 0 noticed); checkpoints/last.pt")

    assert command(*options, "trainer.epochs=1", "hydra.run.dir=alone").code == 0
    check_alike(Path("run"), Path("alone"))


NAN = """
import os
from torch import nn

class Nan(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.steps = nn.Linear(784, 10), 0
    def forward(self, images):
        self.steps += self.training
        alone = self.steps == 3 and os.environ.get("RANK") == "1"
        return self.linear(images.flatten(1)) * (float("nan") if alone else 1)
"""


def test_step_of_a_nan_in_one_process_is_named() -> None:
    write(Path("mine.py"), NAN)
    done = together(2, *TINY, "model=custom", "model.target=mine:Nan", "optimizer.lr=0.1")
    assert error_in(done) == DIVERGED.replace("step 2", "step 3").replace("1e+30", "0.1").join(["error: ", "\n"])


def test_process_that_does_not_answer_is_given_up() -> None:
    """As all are that wait for a GPU which waits for a dead one: Python hears no signal."""
    with torchrun(2, *LONG, first="distributed.EXIT_SECONDS = 0.5") as process:
        wait_for(an_epoch_is_done)
        send(1, signal.SIGSTOP)
        time.sleep(0.5)  # so that rank 0 is waiting
        send(0, signal.SIGTERM)
        wait_for(lambda: read_summary(run_folder() / "summary.json").status == "failed")
        wait_for(lambda: not is_alive(0))
        send(1, signal.SIGCONT)
        done = outcome(process)
    steps = read_summary(run_folder() / "summary.json").steps
    why = "another process of this run does not answer (rank 0 waited for it)"
    how = f"{why}; checkpoints/last.pt is of step {steps};\nto resume: digitnet resume {run_folder()}"
    check_ended(done, run_folder(), "failed", how, "error: ")


def is_alive(rank: int) -> bool:
    """Until torchrun has waited for it."""
    try:
        send(rank, 0)
    except ProcessLookupError:
        return False
    return True


DIVERGED = (
    "epoch 1, step 2 of 45: the loss is nan;\nlower optimizer.lr (it was 1e+30), or warm up the learning rate: "
    "schedule=onecycle"
)
TAKEN = "taken: holds a run already, and runs never share a folder; choose another"


@pytest.mark.parametrize(
    ("override", "message", "codes"),
    [
        ("trainer.epocs=3", "no key 'trainer.epocs' … did you mean 'trainer.epochs'?", [2]),
        ("hydra.run.dir=taken", TAKEN, [2, 130]),  # the other, which waits, is interrupted
        ("optimizer.lr=1e30", DIVERGED, [1]),
    ],
    ids=["configuration", "folder", "divergence"],
)
def test_error_is_printed_once(override: str, message: str, codes: list[int]) -> None:
    write(Path("taken/summary.json"), "{}")
    done = together(2, *TINY, override, first="time.sleep(1.0 * (os.environ['RANK'] == '0'))")  # the other is first
    assert error_in(done) == f"error: {message}\n"
    for code in codes:
        assert f"exitcode  : {code} (" in done.err  # as torchrun prints it
    found = [read_summary(path).status for path in Path("outputs").rglob("summary.json")]
    assert found == (["diverged"] if message == DIVERGED else [])
