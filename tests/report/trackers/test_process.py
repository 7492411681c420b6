"""Trackers get all of a run once, and whatever happens to them, the run goes on."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conftest import TINY, Command, summary_in
from digitnet.report.terminal import Terminal
from digitnet.report.trackers import process
from digitnet.report.trackers.tracker import TrackedRun, Values
from digitnet.runs.formats import read_metrics
from tracking import fake_trackers, numbers, read_notes

pytestmark = pytest.mark.slow

TWICE = [*TINY, "hydra.run.dir=run"]


def test_tracker_gets_the_whole_run(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = fake_trackers(monkeypatch, ["start prints"])
    done = command(*TWICE, "logger=full", "tracker.every_steps=20")
    assert (done.code, done.err) == (0, "")
    assert "noise" not in done.out
    assert "noise" in Path("run/trackers/fake0.log").read_text()
    (first, run), *others, (last, outcome) = read_notes(file)
    assert (first, last) == ("start", "end")
    assert (run["name"], run["group"], run["folder"]) == ("run", None, str(Path("run").resolve()))
    assert run["parameters"]["optimizer.lr"] == 1
    assert run["parameters"]["trainer.early_stop"] is None
    assert not [key for key in run["parameters"] if key.startswith("tracker.")]
    assert (run["tags"]["data"], "debug" in run["tags"], "resumed" in run["tags"]) == ("digits", False, False)
    assert json.loads(run["parameters"]["schedule.phases"])[0] == {"epochs": 2, "factor": 1.0}
    assert run["tags"]["command"].startswith("digitnet data=digits ")
    assert run["tags"]["version_torch"] == summary_in(Path("run"))["versions"]["torch"]
    records = read_metrics(Path("run/metrics.csv"))
    epochs = [content for kind, content in others if kind == "epoch"]
    assert [(number, values["val_acc"], values["lr"]) for number, values in epochs] == [
        (record.epoch, record.val_acc, record.lr) for record in records
    ]
    steps = [content for kind, content in others if kind == "step"]
    assert [number for number, _ in steps] == [20, 40, 60, 80]
    assert all(values.keys() == {"step_loss", "step_lr"} and values["step_lr"] == 1 for _, values in steps)
    test = summary_in(Path("run"))["test"]
    assert outcome["test"] == {
        "test_accuracy": test["accuracy"], "test_loss": test["loss"], "test_errors": test["errors"],
    }  # fmt: skip
    assert (outcome["status"], outcome["epoch"]) == ("finished", 2)
    assert [Path(path).name for path in outcome["pictures"]] == ["confusion.png", "curves.png", "misclassified.png"]


def test_steps_are_not_sent_by_default(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = fake_trackers(monkeypatch, [""])
    assert command(*TWICE).code == 0
    assert (numbers(file), numbers(file, "step")) == ([1, 2], [])


def test_job_of_a_sweep_has_its_name_as_its_group(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = fake_trackers(monkeypatch, [""])
    assert command("-m", *TINY, "seed=1,2", "hydra.sweep.dir=sweeps/mine").code == 0  # in processes, without trackers
    assert command("resume", "sweeps/mine/seed=2", "trainer.epochs=3").code == 0
    (run,) = [content for kind, content in read_notes(file) if kind == "start"]
    assert (run["group"], run["name"]) == ("mine", "seed=2")


@pytest.mark.parametrize("when", ["start", "epoch", "end"])
def test_tracker_that_fails_is_warned_of_once_and_the_run_goes_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    bad, good = fake_trackers(monkeypatch, [f"{when} raises", ""])
    done = command(*TWICE)
    warning = (
        "warning: tracker=fake0: ConnectionError: the server is gone; the run goes on without it "
        "(run/trackers/fake0.log). To send what is missing: digitnet resume run\n"
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.count("tracker=") == 1
    assert warning in done.out
    assert Path("run/train.log").read_text().count(warning) == 1
    assert summary_in(Path("run"))["status"] == "finished"
    assert "second line" in Path("run/trackers/fake0.log").read_text()
    assert [kind for kind, _ in read_notes(bad)][-1] == when
    assert [kind for kind, _ in read_notes(good)] == ["start", "epoch", "epoch", "end"]


def test_tracker_that_exits_is_warned_of(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_trackers(monkeypatch, ["epoch exits"])
    done = command(*TWICE)
    assert done.code == 0
    assert done.out.count("warning: tracker=fake0: its process ended with exit status 3; the run goes on") == 1


def test_process_that_is_killed_between_two_messages_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_trackers(monkeypatch, [])
    import fake_tracker  # type: ignore[import-not-found]

    link = process._Link(fake_tracker.FakeTracker("notes"))
    link.open(TrackedRun("run", None, Path().resolve(), {}, {}))
    while link._answered < 1:
        assert link.failure(30) is None
        time.sleep(0.05)
    assert link._process is not None
    link._process.kill()
    while link.failure(30) is None:
        time.sleep(0.05)
    assert link.failure(30) == "its process ended with exit status -9"
    link.kill()
    assert link._thread is not None
    link._thread.join()


@pytest.mark.parametrize("when", ["epoch", "end"])
def test_tracker_that_hangs_is_given_up(command: Command, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    _, good = fake_trackers(monkeypatch, [f"{when} hangs", ""])
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 3)
    done = command(*TWICE)
    assert done.code == 0
    assert len(re.findall(r"warning: tracker=fake0: no answer in \d s; the run goes on without it", done.out)) == 1
    assert summary_in(Path("run"))["status"] == "finished"
    assert [kind for kind, _ in read_notes(good)] == ["start", "epoch", "epoch", "end"]
    assert not [thread for thread in threading.enumerate() if "_work" in thread.name and thread.is_alive()]


def test_import_may_take_longer_than_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_trackers(monkeypatch, [])
    import fake_tracker  # type: ignore[import-not-found]

    link = process._Link(fake_tracker.FakeTracker("notes"))
    link.send(None)  # type: ignore[arg-type]
    link._waits_since = time.monotonic() - 60
    assert link.failure(30) is None
    assert link.failure(0) == "no answer in 60 s"
    link._answered, link._sent = 1, 2
    assert link.failure(30) == "no answer in 60 s"
    assert link.failure(90) is None


def test_log_that_cannot_be_written_is_warned_of(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = fake_trackers(monkeypatch, [""])
    assert command(*TWICE, "trainer.epochs=1").code == 0
    Path("run/trackers").rename("gone")
    Path("run/trackers").write_text("")
    done = command("resume", "run", "trainer.epochs=2")
    assert done.code == 0
    assert "warning: tracker=fake0: FileExistsError: [Errno 17] File exists: 'run/trackers'" in done.out.replace(
        str(Path.cwd()) + "/", ""
    )
    assert numbers(file) == [1]


def test_resumed_run_sends_nothing_twice(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = fake_trackers(monkeypatch, [""])
    assert command(*TWICE, "tracker.every_steps=20").code == 0
    assert command("resume", "run", "trainer.epochs=3").code == 0
    starts = [content["previous"] for kind, content in read_notes(file) if kind == "start"]
    assert starts == [None, "new"]
    last = [content for kind, content in read_notes(file) if kind == "start"][-1]
    assert last["tags"]["resumed"] == "digitnet resume run trainer.epochs=3"
    assert (numbers(file), numbers(file, "step")) == ([1, 2, 3], [20, 40, 60, 80, 100, 120])


def test_tracked_run_that_is_gone_gets_all_anew(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = fake_trackers(monkeypatch, [""])
    assert command(*TWICE).code == 0
    content = json.loads(Path("run/trackers/fake0.json").read_text())
    assert content == {"run": "new", "epoch": 2, "step": 0, "is_ended": True}
    Path("run/trackers/fake0.json").write_text(json.dumps({**content, "run": "other"}))
    fake_trackers(monkeypatch, ["is new"])
    assert command("resume", "run", "trainer.epochs=3").code == 0
    assert numbers(file) == [1, 2, 1, 2, 3]


@pytest.mark.parametrize(
    "damage",
    ["{damaged", "[" * 100_000, '{"run": "new", "epoch": 1e999, "step": 0, "is_ended": true}', '{"run": 1}',
     '{"run": "new", "epoch": -1, "step": 0, "is_ended": true}'],
)  # fmt: skip
def test_damaged_record_of_what_was_sent_is_as_none(
    command: Command, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    (file,) = fake_trackers(monkeypatch, [""])
    assert command(*TWICE, "tracker=tensorboard").code == 0
    Path("run/trackers/fake0.json").write_text(damage)
    assert command("resume", "run", "trainer.epochs=3").code == 0
    assert numbers(file) == [1, 2, 1, 2, 3]
    assert [content["previous"] for kind, content in read_notes(file) if kind == "start"] == [None, None]


def test_finished_run_has_its_summary_before_it_waits(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = fake_trackers(monkeypatch, ["end hangs"])
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 3)
    monkeypatch.setattr(process, "SILENT_SECONDS", 1)
    said: list[tuple[str, str]] = []
    say = Terminal.line
    monkeypatch.setattr(
        Terminal, "line",
        lambda self, text="", *style, **options: (
            said.append((text, summary_in(Path("run"))["status"])), say(self, text, *style, **options),
        ),
    )  # fmt: skip
    assert command(*TWICE).code == 0
    assert ("waiting for fake0; Ctrl-C ends the wait", "finished") in said
    assert [kind for kind, _ in read_notes(file)] == ["start", "epoch", "epoch", "end"]


def test_ctrl_c_ends_the_wait_and_not_the_run(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_trackers(monkeypatch, ["end hangs"])
    monkeypatch.setattr(process, "SILENT_SECONDS", 0.5)
    say = Terminal.line

    def interrupted(self: Terminal, text: str = "", *style: str, **options: bool) -> None:
        say(self, text, *style, **options)
        if text.startswith("waiting for"):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Terminal, "line", interrupted)
    done = command(*TWICE)
    assert (done.code, done.err) == (0, "")
    assert len(re.findall(r"warning: tracker=fake0: no answer in \d s;", done.out)) == 1
    assert summary_in(Path("run"))["status"] == "finished"


def test_debug_run_is_marked(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = fake_trackers(monkeypatch, [""])
    assert "; debug=fast: no result\n" in command(*TINY, "debug=fast").out
    assert read_notes(file)[0][1]["tags"]["debug"] == "fast"


@pytest.mark.engine
def test_process_of_a_tracker_that_hangs_ends_after_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the run is killed, and nobody is left to end it."""
    (file,) = fake_trackers(monkeypatch, ["epoch hangs"])
    import fake_tracker  # type: ignore[import-not-found]

    code = (
        "import pickle, subprocess, sys; from digitnet.report.trackers import child\n"
        "child.EXIT_SECONDS = 1\n"
        "child.main()"
    )
    process_of_tracker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process_of_tracker.stdin is not None
    run = TrackedRun("run", None, Path("run").resolve(), {}, {})
    Path("run/trackers").mkdir(parents=True)
    for message in (fake_tracker.FakeTracker(file, "epoch hangs"), run, Values("epoch", 1, {})):
        pickle.dump(message, process_of_tracker.stdin)
    process_of_tracker.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        process_of_tracker.wait(3)
    process_of_tracker.stdin.close()
    assert process_of_tracker.wait(30) == 1
    assert process_of_tracker.stdout is not None
    process_of_tracker.stdout.close()


def test_what_a_failed_tracker_misses_is_sent_by_resume(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = fake_trackers(monkeypatch, ["end raises"])
    assert command(*TWICE, "tracker=tensorboard").code == 0
    monkeypatch.setattr("digitnet.config.schema.TrackerConfig.chosen", ["fake0"])
    fake_trackers(monkeypatch, [""])
    assert "test accuracy" in command("resume", "run").out
    assert [kind for kind, _ in read_notes(file)] == ["start", "epoch", "epoch", "end", "start", "end"]
    assert "finished" in command("resume", "run").out
    assert len(read_notes(file)) == 6


def test_tracker_is_told_that_a_run_diverged(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = fake_trackers(monkeypatch, [""])
    assert command(*TWICE, "model=allconv", "optimizer.lr=1e20").code == 1
    assert [kind for kind, _ in read_notes(file)] == ["start", "end"]
    assert read_notes(file)[-1][1] == {"status": "diverged", "epoch": 0, "test": {}, "pictures": []}


def test_missing_library_is_an_error_that_names_the_extra(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("digitnet.report.trackers.mlflow.MlflowTracker.package", "no-such-package")
    done = command(*TWICE, "tracker=[tensorboard,mlflow]")
    assert (done.code, done.err) == (
        2, "error: tracker=mlflow: no-such-package is not installed; pip install 'digitnet[mlflow]'\n",
    )  # fmt: skip
    assert not Path("run").exists()
    assert command(*TWICE).code == 0
    done = command("resume", "run", "trainer.epochs=3", "tracker=mlflow")
    assert (done.code, done.err.partition(";")[0]) == (2, "error: tracker=mlflow: no-such-package is not installed")


@pytest.mark.parametrize(
    ("words", "destination"),
    [
        (["tracker=mlflow", "tracker.mlflow.uri=http://127.0.0.1:9"], "tracker.mlflow.uri=http://127.0.0.1:9"),
        (["tracker=tensorboard", "tracker.tensorboard.folder=/tmp/x"], "tracker.tensorboard.folder=/tmp/x"),
    ],
)
def test_figures_go_where_a_folder_says_only_if_it_is_trusted(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: list[str], destination: str
) -> None:
    (file,) = fake_trackers(monkeypatch, [""])
    assert command(*TWICE, *words).code == 0
    done = command("resume", "run", "trainer.epochs=3")
    assert (done.code, done.err) == (
        2,
        f"error: run: its figures would go to {destination};\n"
        "if the run is your own, or you trust where it comes from, add --trust\n",
    )  # fmt: skip
    assert command("resume", "run", "trainer.epochs=3", words[1]).code == 0
    assert command("resume", "run", "trainer.epochs=4", "--trust").code == 0
    assert command("resume", "run", "trainer.epochs=5", "tracker=none").code == 0
    assert numbers(file) == [1, 2, 3, 4, 5]
    assert command("-m", *TINY, *words, "seed=1,2", "hydra.sweep.dir=sweep").code == 0
    manifest = json.loads(Path("sweep/seed=1/summary.json").read_text())
    Path("sweep/seed=1/summary.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
    done = command("resume", "sweep")
    assert (done.code, done.err.partition(";")[0]) == (2, f"error: sweep: its figures would go to {destination}")
    assert command("resume", "sweep", "--trust").code == 0
