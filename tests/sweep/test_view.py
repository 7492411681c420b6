"""What a sweep shows while it goes on."""

import io

import pytest
from rich.console import Console

from digitnet.config.compose import load_config
from digitnet.config.schema import LocalLauncherConfig
from digitnet.report.terminal import JobRow, SweepView
from digitnet.runs.formats import RunSummary, write_summary
from digitnet.signals import Stop
from digitnet.sweep.launchers.local import LocalLauncher
from digitnet.sweep.manifest import Sweep
from digitnet.sweep.scheduler import Scheduler
from sweeping import SWEEP


def shown(view: SweepView, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    view._console = console  # type: ignore[assignment]
    console.print(view._look())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_as_many_jobs_are_shown_as_have_room() -> None:
    view = SweepView()
    rows = [JobRow(f"lr={n},seed=0", n, 10, 0.9 + n / 100 if n else None, 60.0 if n else None) for n in range(4)]
    view.update(rows, "4 running, 2 waiting; 1:30 left")
    assert shown(view, 80, 24) == [
        "job          epoch  val acc  left",
        "lr=0,seed=0   0/10",
        "lr=1,seed=0   1/10  91.00 %  0:54",
        "lr=2,seed=0   2/10  92.00 %  0:48",
        "lr=3,seed=0   3/10  93.00 %  0:42",
        "4 running, 2 waiting; 1:30 left",
    ]
    assert shown(view, 80, 6) == [
        "job          epoch  val acc  left",
        "lr=0,seed=0   0/10",
        "lr=1,seed=0   1/10  91.00 %  0:54",
        "and 2 more",
        "4 running, 2 waiting; 1:30 left",
    ]
    assert all(len(line) <= 28 for line in shown(view, 28, 24)[:-1])


@pytest.fixture
def drive() -> Scheduler:
    sweep = Sweep(SWEEP, "digitnet -m", ".", LocalLauncherConfig(name="local", jobs=2, threads=1, gpus=1))
    return Scheduler(sweep, LocalLauncher(SWEEP, sweep.launcher, 2, trust=True), SweepView(), Stop())  # type: ignore[arg-type]


def write(job: str, status: str, epochs: int, seconds: float) -> None:
    (SWEEP / job).mkdir(parents=True, exist_ok=True)
    config = load_config(["data=digits", "trainer.epochs=4"]).model_dump(mode="json")
    final = {"val_acc": 0.5} if epochs else None
    summary = RunSummary(status, "", 0, {}, epochs=epochs, seconds=seconds, final=final, config=config)
    write_summary(SWEEP / job / "summary.json", summary)


def test_the_time_that_is_left(drive: Scheduler) -> None:
    """By the epochs that are done, and from the first job on by those that have finished."""
    write("a", "running", 0, 3)
    drive._show(["a", "b", "c"])
    assert drive.view._below == "1 running, 2 waiting"
    write("a", "running", 1, 10)
    write("b", "running", 2, 10)
    drive._show(["a", "b", "c"])
    assert drive.view._rows == [JobRow("a", 1, 4, 0.5, 40.0), JobRow("b", 2, 4, 0.5, 20.0)]
    assert drive.view._below == "2 running, 1 waiting; 0:35 left"  # (30 + 10 + 30) / 2
    write("b", "finished", 4, 20)
    drive._end("b", None)
    write("c", "running", 0, 0)
    drive._show(["a", "c"])
    assert drive.view._below == "1 finished, 2 running; 0:25 left"  # (30 + 20) / 2
