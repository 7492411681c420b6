"""`digitnet clean` and `digitnet list`: what they remove, what they leave alone, what they ask."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY, Command, write
from digitnet.lock import locked
from digitnet.runs import space
from digitnet.runs.folder import WRITTEN, RunFolder
from digitnet.runs.reader import find_runs
from run_folders import changing_summary, make_run

pytestmark = pytest.mark.slow


@pytest.fixture
def runs() -> None:
    """In outputs/: runs of every status, each with three checkpoints of 1,000 bytes."""
    day = Path("outputs/2026-11-27")
    for status in ("finished", "diverged", "failed", "interrupted", "running"):  # running: killed, no process holds it
        folder = make_run(day / status, status=status, model__name="lenet5", data__name="digits")
        for name in ("last", "best", "epoch_1"):
            write(folder / "checkpoints" / f"{name}.pt", "x" * 1000)
    write(day / "broken/.hydra/config.yaml", "x: 1\n")
    write(day / "broken/.lock", "")


def left() -> set[str]:
    return {path.name for path in Path("outputs/2026-11-27").iterdir()}


ALL = {"finished", "diverged", "failed", "interrupted", "running", "broken"}


@pytest.mark.parametrize(
    ("flags", "removed"),
    [
        ([], {"failed", "broken"}),
        (["--failed"], {"failed"}),
        (["--broken"], {"broken"}),
        (["--unfinished"], {"interrupted", "running"}),
        (["--failed", "--unfinished", "--broken"], {"failed", "broken", "interrupted", "running"}),
        (["--checkpoints"], set()),
    ],
)
def test_only_runs_of_the_chosen_kinds_are_removed(
    runs: None, command: Command, flags: list[str], removed: set[str]
) -> None:
    dry = command("clean", *flags, "--dry-run")
    assert (dry.code, left()) == (0, ALL)
    assert dry.out.splitlines()[-1].startswith("would remove: ")
    done = command("clean", *flags, "--yes")
    assert (done.code, done.err, left()) == (0, "", ALL - removed)
    assert done.out.splitlines()[:-1] == dry.out.splitlines()[:-1]


def test_of_a_finished_run_the_best_checkpoint_stays(runs: None, command: Command) -> None:
    done = command("clean", "--checkpoints", "--yes")
    assert done.out == "outputs/2026-11-27/finished: 2 checkpoints, 2.0 kB\nremoved: 2.0 kB\n"
    assert [path.name for path in Path("outputs/2026-11-27/finished/checkpoints").iterdir()] == ["best.pt"]
    assert len([*Path("outputs/2026-11-27/diverged/checkpoints").iterdir()]) == 3
    assert command("clean", "--checkpoints", "--yes").out == "nothing to remove (checkpoints)\n"


def test_files_of_the_user_stay(runs: None, command: Command) -> None:
    write(Path("outputs/2026-11-27/failed/notes.txt"), "mine")
    write(Path("outputs/2026-11-27/failed/checkpoints/mine.pt"), "mine")
    Path("elsewhere").mkdir()
    write(Path("elsewhere/file"), "mine")
    Path("outputs/2026-11-27/broken/.hydra/config.yaml").unlink()
    Path("outputs/2026-11-27/broken/.hydra").rmdir()
    Path("outputs/2026-11-27/broken/.hydra").symlink_to(Path("elsewhere").resolve())
    assert command("clean", "--yes").code == 0
    kept = {str(path.relative_to("outputs/2026-11-27/failed")) for path in Path("outputs/2026-11-27/failed").rglob("*")}
    assert kept == {"notes.txt", ".lock", "checkpoints", "checkpoints/mine.pt"}
    assert Path("elsewhere/file").read_text() == "mine"


def test_run_at_work_is_left_alone(runs: None, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunFolder(Path("outputs/2026-11-27/failed")).locked():
        assert command("clean", "--failed", "--yes").out == "nothing to remove (failed)\n"
        monkeypatch.setattr(RunFolder, "is_locked", lambda _: False)  # it began between the list and the answer
        done = command("clean", "--failed", "--yes")
    assert done.code == 1
    assert done.err.startswith("error: outputs/2026-11-27/failed: another process is working in this folder")
    assert left() == ALL


def test_jobs_of_a_sweep_at_work_are_left_alone(runs: None, command: Command) -> None:
    Path("outputs/2026-11-27").rename("sweep")
    write(Path("sweep/sweep.json"), '{"jobs": {}}')
    with locked(Path("sweep")):
        done = command("clean", "sweep", "--yes", "--failed")
        assert done.out == "nothing to remove (failed)\n"
    assert "removed: " in command("clean", "sweep", "--yes", "--failed").out


def test_working_directory_can_be_a_run(runs: None, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("outputs/2026-11-27/failed").absolute()
    monkeypatch.chdir(folder)
    done = command("clean", ".", "--yes", "--failed")
    assert (done.code, done.err) == (0, "")
    assert not (folder / "summary.json").exists()


def test_run_whose_removal_fails_is_still_a_run(runs: None, command: Command) -> None:
    folder = Path("outputs/2026-11-27/failed")
    (folder / "train.log").unlink(missing_ok=True)
    (folder / "train.log").mkdir()
    done = command("clean", "--yes", "--failed")
    assert done.code == 1
    assert "train.log" in done.err
    assert (folder / "summary.json").exists()
    (folder / "train.log").rmdir()
    assert command("clean", "--yes", "--failed").code == 0
    assert not folder.exists()


def test_folders_that_are_no_runs_are_left_alone(command: Command) -> None:
    make_run("outputs/run")
    write(Path("outputs/sweep/sweep.json"), "no sweep")  # listed as broken
    write(Path("other/file"), "mine")
    assert command("clean", "outputs", "other", "--yes").out == "nothing to remove (failed, broken)\n"
    assert Path("outputs/sweep/sweep.json").exists()


def test_results_of_other_programs_are_left_alone(command: Command) -> None:
    make_run("outputs/run")
    write(Path("outputs/hydra/.hydra/config.yaml"), "x: 1\n")
    write(Path("outputs/lightning/metrics.csv"), "a,b\n")
    assert command("clean", "--yes").out == "nothing to remove (failed, broken)\n"
    assert Path("outputs/hydra/.hydra/config.yaml").exists()
    assert Path("outputs/lightning/metrics.csv").exists()


def test_links_are_not_followed(runs: None, command: Command) -> None:
    Path("outputs/2026-11-27/finished/checkpoints").rename("elsewhere")
    Path("outputs/2026-11-27/finished/checkpoints").symlink_to(Path("elsewhere").resolve())
    assert command("clean", "--checkpoints", "--yes").out == "nothing to remove (checkpoints)\n"
    assert len([*Path("elsewhere").iterdir()]) == 3


def test_run_that_was_resumed_before_the_answer_stays(runs: None) -> None:
    (found,) = space.removals(find_runs(["outputs/2026-11-27/interrupted"]), ["unfinished"])
    changing_summary(status="finished")(Path("outputs/2026-11-27/interrupted"))
    assert space.remove_all([found])[1] == [
        "outputs/2026-11-27/interrupted: has changed meanwhile; run digitnet clean again"
    ]
    assert left() == ALL


def test_empty_day_is_removed(command: Command) -> None:
    make_run("outputs/2026-11-27/a", status="failed")
    make_run("outputs/b", status="failed")
    assert command("clean", "--yes").code == 0
    assert [*Path("outputs").iterdir()] == []


def test_without_a_terminal_nothing_is_removed_unasked(runs: None, command: Command) -> None:
    done = command("clean")
    assert (done.code, left()) == (2, ALL)
    assert done.err == "error: there is no terminal to ask at; add --yes, or --dry-run to remove nothing\n"


@pytest.mark.parametrize(("answer", "removed"), [("y\n", {"failed", "broken"}), ("\n", set()), ("\x04", set())])
def test_answer_decides(runs: None, answer: str, removed: set[str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "digitnet", "clean"], stdin=theirs, stdout=subprocess.PIPE, text=True
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert "Remove 2 runs, 3." in out
    assert ("nothing removed" in out) == (not removed)
    assert left() == ALL - removed


def test_all_that_a_run_writes_is_removed(command: Command) -> None:
    words = ["trainer.epochs=1", "aug=distort", "aug.warmup_epochs=0", "logger=full", "hydra.run.dir=run"]
    assert command(*TINY, *words).code == 0
    names = {path.name for path in Path("run").iterdir()}
    assert names <= {*WRITTEN, ".hydra", "checkpoints", ".lock"}
    summary = json.loads(Path("run/summary.json").read_text())
    write(Path("run/summary.json"), json.dumps(summary | {"status": "failed"}))
    assert command("clean", "run", "--yes").code == 0
    assert not Path("run").exists()


def test_list_has_status_and_size_of_each_run(runs: None, command: Command) -> None:
    done = command("list")
    lines = done.out.splitlines()
    assert lines[0] == "outputs/2026-11-27:"
    assert lines[1].split() == ["status", "model", "data", "epochs", "size", "folder"]
    rows = {line.split()[-1]: line for line in lines[2:8]}
    size = space.disk_usage(Path("outputs/2026-11-27/finished"))
    assert rows["finished"].split() == ["finished", "lenet5", "digits", "2", f"{size / 1000:.1f}", "kB", "finished"]
    assert rows["running"].startswith("killed")
    assert lines[-1].startswith("6 runs, ")
    table = json.loads(command("list", "--format", "json").out)
    assert {row["folder"].rpartition("/")[2]: row["size"] for row in table}["finished"] == size
    assert command("list", "nowhere").err.startswith("error: nowhere: no such folder")
