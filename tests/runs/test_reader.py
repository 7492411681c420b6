"""Finding runs in folders: whole ones, damaged ones, and jobs of sweeps that have not started."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import write
from digitnet.lock import locked
from digitnet.report.comparison import tabulate
from digitnet.report.tables import failure_lines
from digitnet.runs.reader import find_runs
from run_folders import changing_summary, make_run, names, remove_summary, write_or_pipe


def test_run_reached_by_several_paths_is_found_once() -> None:
    for name in ("outputs/1/b", "outputs/1/a", "outputs/2"):
        make_run(name)
    Path("link").symlink_to("outputs/1")
    runs = find_runs(["link", "outputs", "outputs/../outputs/2"])
    assert [str(run.folder.relative_to(Path.cwd())) for run in runs] == ["link/a", "link/b", "outputs/2"]


def test_run_inside_a_run_folder_is_found() -> None:
    make_run("outputs")
    make_run("outputs/later")
    assert names(find_runs(["outputs"])) == ["outputs", "later"]


def test_hidden_folders_checkpoints_and_links_are_not_searched() -> None:
    for name in ("there/.trash/run", "there/checkpoints/run", "elsewhere/run", "there/run"):
        make_run(name)
    Path("there/link").symlink_to("../elsewhere")
    Path("there/round").symlink_to(".")
    assert [run.folder for run in find_runs(["there"])] == [Path.cwd() / "there" / "run"]


def test_folder_without_a_run_is_listed_as_broken_and_files_are_ignored() -> None:
    make_run("run")
    Path("empty").mkdir()
    write(Path("notes.txt"), "x")
    runs = find_runs(["empty", "notes.txt", "run"])
    assert [(run.folder.name, run.status, run.error) for run in runs] == [
        ("run", "finished", ""),
        ("empty", "broken", "no run in it"),
    ]


def holding(content: bytes | str) -> Callable[[Path], None]:
    return lambda folder: write(folder / "summary.json", content)


def with_a_folder(folder: Path) -> None:
    remove_summary(folder)
    (folder / "summary.json").mkdir()


def with_a_pipe(folder: Path) -> None:
    remove_summary(folder)
    write_or_pipe(folder / "summary.json", "pipe")


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (remove_summary, "never started training: it has no summary.json"),
    (with_a_folder, "summary.json: not a file"),
    (with_a_pipe, "summary.json: not a file"),
    (holding(""), "summary.json: not a run's (Invalid JSON: EOF while parsing a value at line 1 column 0)"),
    (
        holding('{\n"status": "fini'),
        "summary.json: not a run's (Invalid JSON: EOF while parsing a string at line 2 column 15)",
    ),
    (holding(b"\x89PNG\xff"), "summary.json: not a run's (Invalid JSON: expected value at line 1 column 1)"),
    (holding("[1, 2]"), "summary.json: not a run's (Input should be an object)"),
    (holding('{"status": "COMPLETED"}'), "summary.json: not a run's (command: Field required)"),
    (holding("[" * 9999), "summary.json: not a run's (Invalid JSON: recursion limit exceeded at line 1 column 202)"),
    (changing_summary(final={"val_acc": "high"}), "summary.json: not a run's (final.val_acc='high' is not a number)"),
    (changing_summary(test={"errors": True}), "summary.json: not a run's (test.errors=True is not a number)"),
    (
        changing_summary(final={"val_loss": float("nan")}),
        "summary.json: not a run's (final.val_loss=nan is not a number)",
    ),
    (changing_summary(seconds=float("inf")), "summary.json: not a run's (seconds=inf is not a number)"),
    (changing_summary(final={"val_acc": "x" * 999}), f"summary.json: not a run's (final.val_acc='{'x' * 172}"),
]


@pytest.mark.parametrize(("damage", "why"), BROKEN, ids=[why[:80] for _, why in BROKEN])
def test_broken_run_has_a_reason(damage: Callable[[Path], None], why: str) -> None:
    make_run("good")
    damage(make_run("bad"))
    table = tabulate(find_runs(["."]))
    assert [row.get("status") for row in table.rows] == ["finished", "broken"]
    assert failure_lines(table) == [f"bad: broken: {why}"]
    assert [row.get("n") for row in tabulate(find_runs(["."]), ["seed"]).rows] == [1, 0]


def test_settings_of_a_run_from_an_old_version_come_from_hydra_config() -> None:
    changing_summary(config={})(make_run("old"))
    write(Path("old/.hydra/config.yaml"), "optimizer: {name: sgd, lr: 1}\nseed: 3\n")
    make_run("new", optimizer__name="sgd", optimizer__lr=0.5, seed=3)
    table = tabulate(find_runs(["."]), sort="lr")
    assert (table.columns[0], [row["optimizer.lr"] for row in table.rows]) == ("optimizer.lr", [0.5, 1])


@pytest.mark.parametrize("content", [None, b"a: [", b"\xff\xfe\x00", b"3", b"- a", "pipe"])
def test_without_hydra_config_settings_come_from_the_summary(content: bytes | str | None) -> None:
    changing_summary(config={}, seed=3, model="allconv")(make_run("old"))
    write_or_pipe(Path("old/.hydra/config.yaml"), content)
    (run,) = find_runs(["old"])
    assert (run.status, run.settings) == ("finished", {"model": "allconv", "seed": 3})


def test_running_run_without_a_lock_counts_as_killed() -> None:
    make_run("run", status="running", process={"pid": 123, "host": "node7"})
    write(Path("run/.lock"), "")
    with locked(Path("run")):
        assert [run.status for run in find_runs(["run"])] == ["running"]
        assert failure_lines(tabulate(find_runs(["run"]))) == []
    assert failure_lines(tabulate(find_runs(["run"]))) == ["run: killed: its process 123 on node7 is gone"]
    changing_summary(process={})(Path("run"))
    Path("run/.lock").unlink()
    assert failure_lines(tabulate(find_runs(["run"]))) == ["run: killed: its process is gone"]


def test_run_that_finishes_while_being_read_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(folder: Path) -> bool:
        changing_summary(status="finished")(folder)
        return False

    make_run("run", status="running")
    monkeypatch.setattr("digitnet.runs.folder.is_locked", finish)
    assert [run.status for run in find_runs(["run"])] == ["finished"]


def test_lock_that_is_a_link_is_not_followed() -> None:
    make_run("run", status="running")
    write(Path("precious"), "mine")
    Path("run/.lock").symlink_to("../precious")
    assert [run.status for run in find_runs(["run"])] == ["killed"]
    assert Path("precious").read_text() == "mine"


def make_sweep(**jobs: float) -> None:
    content = {name: {"config": {"optimizer": {"lr": lr}, "seed": 0}} for name, lr in jobs.items()}
    write(Path("sweep/sweep.json"), json.dumps({"jobs": content}))


def test_jobs_that_have_not_started_are_waiting() -> None:
    make_sweep(a=0.1, b=0.2, c=0.3)
    make_run("sweep/b", optimizer__lr=0.2)
    write(Path("sweep/c/.hydra/config.yaml"), "")  # made with the sweep
    make_run("sweep/left", optimizer__lr=0.2)  # of no job
    table = tabulate(find_runs(["sweep"]))
    assert [(row["optimizer.lr"], row["status"], Path(row["folder"]).name) for row in table.rows] == [
        (0.2, "finished", "b"),
        (0.2, "finished", "left"),
        (0.1, "waiting", "a"),
        (0.3, "waiting", "c"),
    ]
    assert failure_lines(table) == []


def test_waiting_job_with_data_auto_has_no_data_settings() -> None:
    config = {"data": {"name": "auto", "root": "somewhere"}, "seed": 0}
    write(Path("sweep/sweep.json"), json.dumps({"jobs": {"a": {"config": config}, "b": {"config": config}}}))
    make_run("sweep/b", data={"name": "mnist", "root": "somewhere"})
    runs = find_runs(["sweep"])
    assert [(run.status, run.get("data")) for run in runs] == [("waiting", None), ("finished", "mnist")]
    assert "data" not in tabulate(runs).columns


def test_job_names_cannot_leave_the_sweep_folder() -> None:
    make_sweep(**{"..": 0.1, "../other": 0.2, ".hidden": 0.3, "job": 0.4, "": 0.5, "a/b": 0.6, str(Path.cwd()): 0.7})
    make_run("other")
    assert [run.folder for run in find_runs(["sweep"])] == [Path.cwd() / "sweep" / "job"]


@pytest.mark.parametrize(
    "content", [b'{"jobs": [', b"[]", b'{"jobs": 3}', b'{"jobs": {"a": 3}}', b"[" * 99999, b"{}", b"\xff", "pipe"]
)
def test_damaged_sweep_file_leaves_the_finished_runs_readable(content: bytes | str) -> None:
    make_run("sweep/a")
    write_or_pipe(Path("sweep/sweep.json"), content)
    broken, good = find_runs(["sweep"])
    assert (good.folder.name, good.status) == ("a", "finished")
    assert (broken.folder.name, broken.status) == ("sweep", "broken")
    assert broken.error == "sweep.json: not a sweep's; jobs that have not started are not listed"


def test_failure_reported_by_the_sweep_takes_precedence_over_the_folder() -> None:
    make_sweep(a=0.1, b=0.2)
    make_run("sweep/b", status="running")
    why = {Path.cwd() / "sweep" / name: f"{name} was killed by signal 9" for name in "ab"}
    assert [(run.status, run.error) for run in find_runs(["sweep"], why)] == [
        ("failed", "a was killed by signal 9"),
        ("failed", "b was killed by signal 9"),
    ]
