"""Jobs are submitted, watched and stopped, on a launcher that only pretends to run them."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from digitnet.config.compose import load_config
from digitnet.config.launcher_schema import LocalLauncherConfig
from digitnet.lock import locked
from digitnet.report.terminal import JobRow, SweepView
from digitnet.runs.formats import RunSummary, read_summary, write_summary
from digitnet.signals import Stop
from digitnet.sweep.manifest import Sweep
from digitnet.sweep.scheduler import Scheduler
from sweeping import SWEEP


class ScriptedLauncher:
    """Each call of `poll` returns the next of `polls`, and before that writes what it says into summaries."""

    def __init__(self, *polls: dict[str, tuple[str, str | None]]) -> None:
        self.polls: Iterator[dict[str, Any]] = iter(polls)
        self.submitted: list[list[str]] = []
        self.stopped: list[list[str] | None] = []
        self.not_started: list[str] = []

    def submit(self, names: list[str]) -> None:
        self.submitted.append(names)

    def poll(self, seconds: float) -> dict[str, str | None]:
        ended: dict[str, str | None] = {}
        for name, result in next(self.polls).items():
            status, failure = result
            if status:
                write(name, status, 4, 2.0)
            ended[name] = failure
        return ended

    def stop(self, names: list[str] | None = None) -> list[str]:
        self.stopped.append(names)
        return self.not_started

    def close(self) -> list[str]:
        return []


def write(job: str, status: str, epochs: int, seconds: float) -> None:
    """The summary of a job of four epochs."""
    (SWEEP / job).mkdir(parents=True, exist_ok=True)
    final = {"val_acc": 0.5} if epochs else None
    summary = RunSummary(status, "", 0, {}, epochs=epochs, seconds=seconds, final=final, config=CONFIG)
    write_summary(SWEEP / job / "summary.json", summary)


CONFIG = load_config(["data=digits", "trainer.epochs=4"]).model_dump(mode="json")


def scheduler_of(launcher: ScriptedLauncher) -> Scheduler:
    sweep = Sweep(SWEEP, "digitnet -m", ".", LocalLauncherConfig(name="local", jobs=2, threads=1, gpus=1))
    return Scheduler(sweep, launcher, SweepView(), Stop())


def test_run_returns_accuracies_of_finished_jobs_and_prints_each(capsys: pytest.CaptureFixture[str]) -> None:
    launcher = ScriptedLauncher({"a": ("finished", None)}, {}, {"b": ("diverged", None)})
    assert scheduler_of(launcher).run(["a", "b"]) == [0.5, None]
    assert launcher.submitted == [["a", "b"], [], []]
    assert capsys.readouterr().out.splitlines()[:2] == ["a: 50.00 %, 0:02", "b: diverged"]


def test_next_jobs_are_submitted_as_others_end() -> None:
    launcher = ScriptedLauncher({"a": ("finished", None)}, {"b": ("finished", None)})
    more = {("a",): [], (): ["b"]}
    scheduler = scheduler_of(launcher)
    asked: list[list[str]] = []

    def next_jobs(unfinished: list[str]) -> list[str]:
        asked.append(list(unfinished))
        return more.pop(tuple(unfinished), [])

    assert scheduler.run(["a"], next_jobs) == [0.5]
    assert launcher.submitted == [["a"], ["b"]]
    assert asked == [["a"], [], []]


def test_job_whose_process_was_killed_is_marked_failed() -> None:
    write("a", "running", 2, 1.0)
    scheduler = scheduler_of(ScriptedLauncher({"a": ("", "killed by SIGKILL")}))
    assert scheduler.run(["a"]) == [None]
    summary = read_summary(SWEEP / "a" / "summary.json")
    assert (summary.status, summary.error) == ("failed", "killed by SIGKILL")
    assert scheduler.failures == {"a": "killed by SIGKILL"}


def test_summary_stays_when_another_process_works_in_the_folder() -> None:
    write("a", "running", 2, 1.0)
    with locked(SWEEP / "a"):
        scheduler_of(ScriptedLauncher({"a": ("", "killed by SIGKILL")})).run(["a"])
    assert read_summary(SWEEP / "a" / "summary.json").status == "running"


def test_signal_stops_running_jobs_and_drops_waiting_ones(capsys: pytest.CaptureFixture[str]) -> None:
    launcher = ScriptedLauncher({}, {"a": ("interrupted", None)})
    launcher.not_started = ["b"]
    scheduler = scheduler_of(launcher)

    def signal_comes(unfinished: list[str]) -> list[str]:
        if launcher.submitted:
            scheduler.stop.received = "SIGTERM"
        return []

    assert scheduler.run(["a", "b"], signal_comes) == [None, None]
    assert launcher.submitted == [["a", "b"]]
    assert launcher.stopped == [None]
    assert scheduler.failures == {}
    out = capsys.readouterr().out
    assert out.startswith("a: interrupted\nStopping: saving each running job …\n")
    with pytest.raises(KeyboardInterrupt, match="Stopped by SIGTERM"):
        scheduler.run(["c"])


def test_no_job_begins_once_a_signal_has_come() -> None:
    launcher = ScriptedLauncher({}, {})
    scheduler = scheduler_of(launcher)

    def signal_comes(unfinished: list[str]) -> list[str]:
        scheduler.stop.received = "SIGTERM"
        return ["b"]

    assert scheduler.run(["a"], signal_comes) == [None]
    assert launcher.submitted == []


def test_summary_replaced_within_the_clocks_grain_is_read_again() -> None:
    write("a", "running", 2, 1.0)
    path = SWEEP / "a" / "summary.json"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    scheduler = scheduler_of(ScriptedLauncher({}))
    assert scheduler.summary("a") == read_summary(path)
    write("a", "finished", 2, 1.0)
    os.utime(path, ns=times)
    assert scheduler.summary("a") == read_summary(path)


def test_summary_is_read_again_when_its_job_ends_even_if_nothing_tells_the_files_apart() -> None:
    """A network file system shows the attributes of the previous file for some seconds."""
    write("a", "diverged", 4, 1.0)
    path = SWEEP / "a" / "summary.json"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    scheduler = scheduler_of(ScriptedLauncher({}, {"a": ("", None)}))

    def finish_in_place(unfinished: list[str]) -> list[str]:
        summary = scheduler.summary("a")
        assert summary is not None
        path.write_bytes(path.read_bytes().replace(b"diverged", b"finished"))
        os.utime(path, ns=times)
        return []

    assert scheduler.run(["a"], finish_in_place) == [0.5]


@pytest.mark.parametrize("damage", [{"config": {"seed": 0}}, {"config": {}}, {"seconds": float("nan")}])
def test_summary_of_another_version_or_damaged_stops_no_sweep(
    damage: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write("a", "running", 2, 1.0)
    path = SWEEP / "a" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    launcher = ScriptedLauncher({}, {"a": ("", "not a run's")}, {"b": ("finished", None)})
    assert scheduler_of(launcher).run(["a", "b"]) == [None, 0.5]
    assert capsys.readouterr().out.splitlines()[:2] == ["a: failed: not a run's", "b: 50.00 %, 0:02"]


def test_pruned_job_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = scheduler_of(ScriptedLauncher({"a": ("interrupted", "Slurm job 1 is CANCELLED")}))
    scheduler.pruned.add("a")
    scheduler.run(["a"])
    assert scheduler.failures == {}
    assert capsys.readouterr().out == "a: pruned after epoch 4\n"


def test_time_of_a_job_goes_on_within_an_epoch() -> None:
    scheduler = scheduler_of(ScriptedLauncher())
    write("a", "running", 1, 10)
    path = SWEEP / "a" / "summary.json"
    os.utime(path, (time.time() - 5, time.time() - 5))  # written five seconds ago
    scheduler._update_view(["a"])
    (row,) = scheduler.view._rows
    assert 15 <= row.elapsed < 20
    assert row.left == pytest.approx(40 - row.elapsed)


def test_time_left_is_estimated_from_epochs_and_finished_jobs() -> None:
    scheduler = scheduler_of(ScriptedLauncher())
    write("a", "running", 0, 3)
    scheduler._update_view(["a", "b", "c"])
    assert scheduler.view._below == "1 running, 2 waiting"
    write("a", "running", 1, 10)
    write("b", "running", 2, 10)
    scheduler._update_view(["a", "b", "c"])
    rows = [replace(row, elapsed=round(row.elapsed)) for row in scheduler.view._rows]
    assert rows == [JobRow("a", 1, 4, 0.5, 40.0, 10), JobRow("b", 2, 4, 0.5, 20.0, 10)]
    assert scheduler.view._below == "2 running, 1 waiting; 0:35 left"  # (30 + 10 + 30) / 2
    write("b", "finished", 4, 20)
    scheduler._job_ended("b", None)
    write("c", "running", 0, 0)
    scheduler._update_view(["a", "c"])
    assert scheduler.view._below == "1 finished, 2 running; 0:25 left"  # (30 + 20) / 2
