"""Runs side by side: what is found in folders, whole or not, what differs, and means by hand-computed values."""

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from conftest import write
from digitnet.lock import locked
from digitnet.report import comparison, plots
from digitnet.report.comparison import Table, tabulate, where
from digitnet.report.plots import Curve
from digitnet.runs import reader
from digitnet.runs.formats import RunSummary, write_metrics, write_summary
from digitnet.runs.reader import Run, find_runs
from digitnet.training.record import EpochRecord

ACCURACIES = (0.5, 0.9)


def make_run(folder: str | Path, accuracies: tuple[float, ...] = ACCURACIES, **settings: Any) -> Path:
    """A finished run on 1,000 test images; `optimizer__lr=1.0` is a setting of a group, `status` and others are not."""
    path = Path(folder)
    path.mkdir(parents=True)
    told = {name: settings.pop(name) for name in ("status", "error", "seconds", "process") if name in settings}
    config: dict[str, Any] = {"model": {"name": "lenet5"}, "trainer": {"epochs": len(accuracies or "0")}, "seed": 0}
    for key, value in settings.items():
        group, _, leaf = key.partition("__")
        if leaf:
            config.setdefault(group, {})[leaf] = value
        else:
            config[group] = value
    records = [EpochRecord(n, 0.1, 1.0, acc, 1 - acc, acc, 2.0, 500.0) for n, acc in enumerate(accuracies, start=1)]
    write_metrics(path / "metrics.csv", records)
    summary = RunSummary(
        **{"status": "finished", "seconds": 65.25, **told},
        command="digitnet",
        seed=config["seed"],
        versions={},
        model=config["model"]["name"],
        parameters=10,
        epochs=len(records),
        final=asdict(records[-1]) if records else None,
        best={"val_acc": max(accuracies)} if records else None,
        config=config,
    )
    if summary.status == "finished":
        errors = round(1000 * (1 - accuracies[-1]))
        summary.test = {"loss": 0.1, "accuracy": accuracies[-1], "errors": errors, "n": 1000}
    write_summary(path / "summary.json", summary)
    return path


def names(runs: list[Run]) -> list[str]:
    return [run.folder.name for run in reader]


def column(table: Table, key: str) -> list[Any]:
    return [row.get(key) for row in table.rows]


# What differs.


def test_only_the_settings_that_differ_are_columns() -> None:
    make_run("a", optimizer__name="sgd", optimizer__lr=0.1, trainer__threads=1, checkpoint__keep=0)
    make_run("b", optimizer__name="sgd", optimizer__lr=0.3, trainer__threads=2, checkpoint__keep=3)
    table = tabulate(find_runs(["."]))
    assert table.columns == [
        *["optimizer.lr", "status", "epochs", "val_acc", "best_val_acc", "test_acc", "test_errors", "seconds", "folder"]
    ]  # neither threads nor checkpoint.keep, which make no other run of it


def test_options_epochs_and_device_are_among_them() -> None:
    make_run("a", (0.5,), optimizer__name="sgd", device__name="cpu")
    make_run("b", optimizer__name="adam", device__name="cuda")
    assert comparison.differing(find_runs(["."])) == ["trainer.epochs", "optimizer", "device"]


def test_what_a_run_has_not_is_no_difference_and_stays_empty() -> None:
    make_run("adam", optimizer__name="adam")
    make_run("one", optimizer__name="sgd", optimizer__momentum=None)
    make_run("two", optimizer__name="sgd", optimizer__momentum=None)
    assert comparison.differing(find_runs(["."])) == ["optimizer"]
    make_run("three", optimizer__name="sgd", optimizer__momentum=0.9)
    headings, cells = comparison.in_print(tabulate(find_runs(["."]), sort="folder"))
    assert headings[:2] == ["optimizer", "momentum"]
    assert [line[:2] for line in cells] == [["adam", ""], ["sgd", "null"], ["sgd", "0.9"], ["sgd", "null"]]


def test_a_whole_number_is_the_same_with_and_without_its_point() -> None:
    make_run("old", optimizer__lr=1, schedule__phases=[{"epochs": 2, "factor": 1}])
    make_run("new", optimizer__lr=1.0, schedule__phases=[{"epochs": 2, "factor": 1.0}])
    assert comparison.differing(find_runs(["."])) == []
    assert column(tabulate(find_runs(["."]), ["lr"]), "n") == [2]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1.0, "1"),
        (1_000_000.0, "1000000"),
        (0.123456789, "0.123456789"),
        (1e-08, "1e-08"),
        (1e20, "1e+20"),
        (7, "7"),
        ("test", "test"),
        ([0.9, 0.999], "[0.9, 0.999]"),
        ([{"epochs": 2, "factor": 1.0}], "[{epochs: 2, factor: 1}]"),
    ],
)
def test_values_are_said_as_the_command_line_has_them(value: Any, words: str) -> None:
    assert comparison.in_words(value) == words


def test_a_long_value_is_cut_in_its_middle_and_in_print_alone() -> None:
    phases = [{"epochs": 2, "factor": 1.0}, {"epochs": 3, "factor": 0.8}]
    make_run("a", schedule__phases=phases)
    make_run("b", schedule__phases=[])
    table = tabulate(find_runs(["."]), sort="folder")
    assert comparison.in_print(table)[1][0][0] == "[{epochs: 2, factor…hs: 3, factor: 0.8}]"
    assert json.loads(comparison.as_json(table))[0]["schedule.phases"] == phases


def test_headings_are_as_short_as_they_can_be_told_apart() -> None:
    make_run("a", (0.5,), aug__shift=1, data__shift=1, optimizer__lr=1)
    make_run("b", aug__shift=2, data__shift=2, optimizer__lr=2)
    headings, _ = comparison.in_print(tabulate(find_runs(["."])))
    assert headings[:5] == ["trainer.epochs", "aug.shift", "data.shift", "lr", "epochs"]


# Which runs.


def test_runs_are_found_once_each_whatever_path_leads_there() -> None:
    for name in ("outputs/1/b", "outputs/1/a", "outputs/2"):
        make_run(name)
    Path("link").symlink_to("outputs/1")
    reader = find_runs(["link", "outputs", "outputs/../outputs/2"])
    assert [str(run.folder.relative_to(Path.cwd())) for run in reader] == ["link/a", "link/b", "outputs/2"]


def test_a_run_in_the_folder_of_a_run_is_found() -> None:
    make_run("outputs")
    make_run("outputs/later")
    assert names(find_runs(["outputs"])) == ["outputs", "later"]


def test_hidden_folders_checkpoints_and_links_in_a_folder_are_not_entered() -> None:
    for name in ("there/.trash/run", "there/checkpoints/run", "elsewhere/run", "there/run"):
        make_run(name)
    Path("there/link").symlink_to("../elsewhere")
    Path("there/round").symlink_to(".")
    assert [run.folder for run in find_runs(["there"])] == [Path.cwd() / "there" / "run"]


def test_folders_without_a_run_among_others_are_listed_and_files_passed_over() -> None:
    make_run("run")
    Path("empty").mkdir()
    write(Path("notes.txt"), "x")
    reader = find_runs(["empty", "notes.txt", "run"])
    assert [(run.folder.name, run.status, run.error) for run in reader] == [
        ("run", "finished", ""),
        ("empty", "broken", "no run in it"),
    ]


def without_summary(folder: Path) -> None:
    (folder / "summary.json").unlink()


def holding(content: bytes | str) -> Callable[[Path], None]:
    return lambda folder: write(folder / "summary.json", content)


def changed(**keys: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "summary.json").read_bytes())
        write(folder / "summary.json", json.dumps(content | keys))

    return change


def write_or_pipe(path: Path, content: bytes | str | None) -> None:
    """A file, none at all, or a pipe, for which whoever reads it waits for ever."""
    if isinstance(content, bytes):
        write(path, content)
    elif content is not None:
        path.parent.mkdir(exist_ok=True)
        os.mkfifo(path)


def with_a_folder(folder: Path) -> None:
    without_summary(folder)
    (folder / "summary.json").mkdir()


def with_a_pipe(folder: Path) -> None:
    without_summary(folder)
    write_or_pipe(folder / "summary.json", "pipe")


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (without_summary, "no summary.json: it did not get as far as training, or was cleared"),
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
    (changed(final={"val_acc": "high"}), "summary.json: not a run's (val_acc='high' is no number)"),
    (changed(test={"errors": True}), "summary.json: not a run's (test_errors=True is no number)"),
    (changed(final={"val_loss": float("nan")}), "summary.json: not a run's (val_loss=nan is no number)"),
    (changed(seconds=float("inf")), "summary.json: not a run's (seconds=inf is no number)"),
    (changed(final={"val_acc": "x" * 999}), f"summary.json: not a run's (val_acc='{'x' * 178}"),
]


@pytest.mark.parametrize(("damage", "why"), BROKEN, ids=[why[:80] for _, why in BROKEN])
def test_a_broken_run_says_why(damage: Callable[[Path], None], why: str) -> None:
    make_run("good")
    damage(make_run("bad"))
    table = tabulate(find_runs(["."]))
    assert column(table, "status") == ["finished", "broken"]
    assert comparison.failures(table) == [f"bad: broken: {why}"]
    assert column(tabulate(find_runs(["."]), ["seed"]), "n") == [1, 0]


def test_a_run_of_an_old_version_has_its_settings_from_hydra() -> None:
    changed(config={})(make_run("old"))
    write(Path("old/.hydra/config.yaml"), "optimizer: {name: sgd, lr: 1}\nseed: 3\n")
    make_run("new", optimizer__name="sgd", optimizer__lr=0.5, seed=3)
    table = tabulate(find_runs(["."]), sort="lr")
    assert (table.columns[0], column(table, "optimizer.lr")) == ("optimizer.lr", [0.5, 1])


@pytest.mark.parametrize("content", [None, b"a: [", b"\xff\xfe\x00", b"3", b"- a", "pipe"])
def test_without_those_it_has_what_its_summary_says(content: bytes | str | None) -> None:
    changed(config={}, seed=3, model="allconv")(make_run("old"))
    write_or_pipe(Path("old/.hydra/config.yaml"), content)
    (run,) = find_runs(["old"])
    assert (run.status, run.settings) == ("finished", {"model": "allconv", "seed": 3})


def test_a_running_run_that_nobody_holds_was_killed() -> None:
    make_run("run", status="running", process={"pid": 123, "host": "node7"})
    write(Path("run/.lock"), "")
    with locked(Path("run")):
        assert [run.status for run in find_runs(["run"])] == ["running"]
        assert comparison.failures(tabulate(find_runs(["run"]))) == []
    assert comparison.failures(tabulate(find_runs(["run"]))) == ["run: killed: its process 123 on node7 is gone"]
    changed(process={})(Path("run"))
    Path("run/.lock").unlink()
    assert comparison.failures(tabulate(find_runs(["run"]))) == ["run: killed: its process is gone"]


def test_a_run_that_ends_while_it_is_looked_at_was_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(folder: Path) -> bool:
        changed(status="finished")(folder)
        return False

    make_run("run", status="running")
    monkeypatch.setattr(reader, "is_locked", ends)
    assert [run.status for run in find_runs(["run"])] == ["finished"]


def test_a_lock_that_is_a_link_leads_nowhere() -> None:
    make_run("run", status="running")
    write(Path("precious"), "mine")
    Path("run/.lock").symlink_to("../precious")
    assert [run.status for run in find_runs(["run"])] == ["killed"]
    assert Path("precious").read_text() == "mine"


def make_sweep(**jobs: float) -> None:
    content = {name: {"config": {"optimizer": {"lr": lr}, "seed": 0}} for name, lr in jobs.items()}
    write(Path("sweep/sweep.json"), json.dumps({"jobs": content}))


def test_jobs_of_a_sweep_that_have_not_begun_wait() -> None:
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
    assert comparison.failures(table) == []


def test_which_data_auto_is_nobody_knows_of_a_job_that_waits() -> None:
    config = {"data": {"name": "auto", "root": "somewhere"}, "seed": 0}
    write(Path("sweep/sweep.json"), json.dumps({"jobs": {"a": {"config": config}, "b": {"config": config}}}))
    make_run("sweep/b", data={"name": "mnist", "root": "somewhere"})
    reader = find_runs(["sweep"])
    assert [(run.status, run.get("data")) for run in reader] == [("waiting", None), ("finished", "mnist")]
    assert "data" not in tabulate(reader).columns


def test_names_of_jobs_lead_to_no_other_folder() -> None:
    make_sweep(**{"..": 0.1, "../other": 0.2, ".hidden": 0.3, "job": 0.4, "": 0.5, "a/b": 0.6, str(Path.cwd()): 0.7})
    make_run("other")
    assert [run.folder for run in find_runs(["sweep"])] == [Path.cwd() / "sweep" / "job"]


@pytest.mark.parametrize(
    "content", [b'{"jobs": [', b"[]", b'{"jobs": 3}', b'{"jobs": {"a": 3}}', b"[" * 99999, b"{}", b"\xff", "pipe"]
)
def test_a_damaged_sweep_has_the_runs_that_are_there(content: bytes | str) -> None:
    make_run("sweep/a")
    write_or_pipe(Path("sweep/sweep.json"), content)
    broken, good = find_runs(["sweep"])
    assert (good.folder.name, good.status) == ("a", "finished")
    assert (broken.folder.name, broken.status) == ("sweep", "broken")
    assert broken.error == "sweep.json: not a sweep's; which jobs wait is not known"


def test_what_a_sweep_knows_of_a_job_goes_before_what_its_folder_says() -> None:
    make_sweep(a=0.1, b=0.2)
    make_run("sweep/b", status="running")
    why = {Path.cwd() / "sweep" / name: f"{name} was killed by signal 9" for name in "ab"}
    assert [(run.status, run.error) for run in find_runs(["sweep"], why)] == [
        ("failed", "a was killed by signal 9"),
        ("failed", "b was killed by signal 9"),
    ]


# Conditions.


@pytest.fixture
def three() -> list[Run]:
    make_run("a", (0.90,), optimizer__lr=0.1, data__validation="test", trainer__threads=None)
    make_run("b", (0.95,), optimizer__lr=0.3, data__validation=5000, model__pool=True)
    make_run("c", (0.80,), optimizer__lr=3.0, status="diverged", error="diverged in epoch 2")
    Path("d").mkdir()
    return find_runs("abcd")


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        (["optimizer.lr=0.3"], "b"),
        (["lr=0.30"], "b"),
        (["lr==3e-1"], "b"),
        (["lr!=0.3"], "acd"),
        (["lr>0.1"], "bc"),
        (["lr >= 0.1"], "abc"),
        (["lr<0.3"], "a"),
        (["lr<=0.3"], "ab"),
        (["lr>0.1", "lr<1"], "b"),
        (["val_acc>0"], "abc"),
        (["test_errors>=50"], "ab"),
        (["validation=test"], "a"),
        (["validation>=1000"], "b"),
        (["threads=null"], "a"),
        (["pool=true"], "b"),
        (["status=finished"], "ab"),
        (["status!=finished"], "cd"),
        (["status=broken"], "d"),
        (["model.name=lenet5"], "abc"),
    ],
)
def test_conditions(three: list[Run], conditions: list[str], left: str) -> None:
    assert names(where(three, conditions)) == [*left]


def test_a_list_is_compared_whatever_its_spaces() -> None:
    make_run("a", optimizer__betas=[0.9, 0.999])
    make_run("b", optimizer__betas=[0.9, 0.99])
    assert names(where(find_runs(["."]), ["betas=[0.9,0.999]"])) == ["a"]


# Order and means.


def test_the_best_is_first_and_what_did_not_finish_last() -> None:
    make_run("second", (0.9,))
    make_run("best", (0.95,))
    make_run("stopped", (0.99,), status="interrupted")
    make_run("nothing", (), status="failed")
    assert names([run for (run,) in tabulate(find_runs(["."])).runs]) == ["best", "second", "stopped", "nothing"]


def test_of_equal_accuracies_the_lower_loss_is_first() -> None:
    changed(final={"val_acc": 0.9, "val_loss": 0.2})(make_run("a"))
    changed(final={"val_acc": 0.9, "val_loss": 0.1})(make_run("b"))
    assert names([run for (run,) in tabulate(find_runs(["."])).runs]) == ["b", "a"]


@pytest.mark.parametrize(
    ("key", "order"),
    [
        ("lr", "run9 run10 run1"),
        ("-lr", "run1 run10 run9"),
        ("optimizer", "run10 run1 run9"),
        ("-optimizer", "run9 run10 run1"),
        ("folder", "run1 run9 run10"),
        ("val_loss", "run1 run10 run9"),
        ("test_errors", "run1 run10 run9"),
        ("-seconds", "run9 run1 run10"),
    ],
)
def test_sorted_by_any_key(key: str, order: str) -> None:
    make_run("run1", (0.9,), optimizer__lr=10.0, optimizer__name="adam", seconds=5.0)
    make_run("run9", (0.7,), optimizer__lr=0.5, optimizer__name="sgd", seconds=7.0)
    make_run("run10", (0.8,), optimizer__lr=2.0, optimizer__name="adam", seconds=3.0)
    found = [run for (run,) in tabulate(find_runs(["."]), sort=key).runs]
    if key == "optimizer":  # equal ones: by their loss
        order = "run1 run10 run9"
    elif key == "-optimizer":
        order = "run9 run1 run10"
    assert names(found) == order.split()


def grouped(**keywords: Any) -> Table:
    """Three seeds of lr 0.1, one of 0.3 besides one that diverged."""
    for seed, accuracy in enumerate((0.90, 0.94, 0.98)):
        make_run(f"a{seed}", (0.99, accuracy), optimizer__lr=0.1, seed=seed, seconds=60.0 + seed)
    make_run("b0", (0.5, 0.96), optimizer__lr=0.3)
    make_run("b1", (0.1,), optimizer__lr=0.3, seed=1, status="diverged", error="diverged in epoch 2")
    return tabulate(find_runs(["."]), ["lr"], **keywords)


def test_means_standard_deviations_and_n() -> None:
    table = grouped()
    assert table.columns == [
        *["optimizer.lr", "n", "unfinished", "val_acc", "val_acc_std", "best_val_acc", "best_val_acc_std"],
        *["test_acc", "test_acc_std", "test_errors", "test_errors_std", "seconds", "seconds_std"],
    ]
    one, three = table.rows  # 0.96 before 0.94
    assert (one["optimizer.lr"], one["n"], one["unfinished"]) == (0.3, 1, 1)
    assert (one["val_acc"], one["val_acc_std"], one["test_errors"]) == (0.96, None, 40)
    assert (three["optimizer.lr"], three["n"], three["unfinished"]) == (0.1, 3, None)
    # (0.90 + 0.94 + 0.98) / 3, and the root of (0.04² + 0² + 0.04²) / 2
    assert (three["val_acc"], three["val_acc_std"]) == (pytest.approx(0.94), pytest.approx(0.04))
    assert (three["best_val_acc"], three["best_val_acc_std"]) == (pytest.approx(0.99), pytest.approx(0))
    assert (three["test_errors"], three["test_errors_std"]) == (pytest.approx(60), pytest.approx(40))  # 100, 60, 20
    assert (three["seconds"], three["seconds_std"]) == (pytest.approx(61), pytest.approx(1))


def test_means_in_print(capsys: pytest.CaptureFixture[str]) -> None:
    comparison.show_comparison(grouped())
    assert capsys.readouterr().out == (
        "mean ± standard deviation over seed\n"
        " lr  n  unfinished         val acc    best val acc        test acc       errors  time\n"
        "0.3  1           1         96.00 %         96.00 %         96.00 %         40.0  1:05\n"
        "0.1  3              94.00 ± 4.00 %  99.00 ± 0.00 %  94.00 ± 4.00 %  60.0 ± 40.0  1:01\n"
        "\n"
        "b1: diverged in epoch 2\n"
    )


def test_groups_are_sorted_too() -> None:
    assert column(grouped(sort="lr"), "optimizer.lr") == [0.1, 0.3]
    reader = find_runs(["."])
    assert column(tabulate(reader, ["lr"], sort="-val_acc_std"), "optimizer.lr") == [0.1, 0.3]
    assert column(tabulate(reader, ["lr"], sort="n"), "n") == [1, 3]
    assert column(tabulate(reader, ["lr"], sort="-parameters"), "n") == [1, 3]  # of no column: as their first runs


def test_what_else_is_in_a_mean_is_said() -> None:
    for number, momentum in enumerate((0.0, 0.9)):
        make_run(f"{number}", optimizer__lr=0.1, optimizer__momentum=momentum, seed=number)
        make_run(f"{number}x", optimizer__lr=0.3, optimizer__momentum=0.9, seed=0)
    assert comparison.averaged_over(tabulate(find_runs(["."]), ["lr"])) == ["seed", "optimizer.momentum"]
    assert comparison.averaged_over(tabulate(find_runs(["."]))) == []


def test_groups_by_several_keys_and_by_what_some_have_not() -> None:
    make_run("a", optimizer__name="sgd", optimizer__momentum=None, seed=0)
    make_run("b", optimizer__name="sgd", optimizer__momentum=None, seed=1)
    make_run("c", optimizer__name="adam", seed=0)
    table = tabulate(find_runs(["."]), ["optimizer", "momentum", "optimizer.name"], sort="n")
    assert table.columns[:3] == ["optimizer", "optimizer.momentum", "n"]
    assert comparison.in_print(table)[1][0][:3] == ["adam", "", "1"]
    assert comparison.in_print(table)[1][1][:3] == ["sgd", "null", "2"]


def test_groups_by_what_came_out() -> None:
    for number, accuracy in enumerate((0.9, 0.9, 0.8)):
        make_run(f"{number}", (accuracy,), seed=number)
    make_run("4", (0.8,), seed=4, status="failed")
    table = tabulate(find_runs(["."]), ["test_errors"], sort="test_errors")
    assert table.columns[:3] == ["test_errors", "n", "unfinished"]
    assert table.columns.count("test_errors") == 1
    assert (column(table, "test_errors"), column(table, "n")) == ([100, 200, None], [2, 1, 0])
    assert column(tabulate(find_runs(["."]), ["status"], sort="status"), "status") == ["failed", "finished"]


# On paper.


def test_csv_has_full_precision_and_fractions() -> None:
    make_run("a", (0.1 + 0.2,), optimizer__lr=0.1, model__pool=True, optimizer__betas=[0.9, 0.5])
    make_run("b", (0.5,), optimizer__lr=0.2, model__pool=False, optimizer__betas=None)
    assert comparison.as_csv(tabulate(find_runs(["."]))) == (
        "model.pool,optimizer.lr,optimizer.betas,status,epochs,val_acc,best_val_acc,test_acc,test_errors,seconds,folder\n"
        f"false,0.2,,finished,1,0.5,0.5,0.5,500,65.25,{Path.cwd()}/b\n"
        f'true,0.1,"[0.9, 0.5]",finished,1,0.30000000000000004,0.30000000000000004,0.30000000000000004,700,65.25,'
        f"{Path.cwd()}/a\n"
    )


def test_json_is_a_list_of_objects() -> None:
    make_run("a", (0.1 + 0.2,), model__pool=True, optimizer__betas=[0.9, 0.5])
    make_run("b", (0.5,), model__pool=False, status="failed", error="ValueError: x\nmore")
    write(Path("b/.hydra/config.yaml"), "x: 2026-01-31\n")
    changed(config={})(Path("b"))
    assert json.loads(comparison.as_json(tabulate(find_runs(["."]), sort="folder"))) == [
        {
            "status": "finished",
            "epochs": 1,
            "val_acc": 0.30000000000000004,
            "best_val_acc": 0.30000000000000004,
            "test_acc": 0.30000000000000004,
            "test_errors": 700,
            "seconds": 65.25,
            "folder": f"{Path.cwd()}/a",
            "error": None,
        },
        {
            "status": "failed",
            "epochs": 1,
            "val_acc": 0.5,
            "best_val_acc": 0.5,
            "test_acc": None,
            "test_errors": None,
            "seconds": 65.25,
            "folder": f"{Path.cwd()}/b",
            "error": "ValueError: x\nmore",
        },
    ]


def test_json_of_what_json_has_not() -> None:
    for name, day in (("a", "2026-01-31"), ("b", "2026-02-01")):
        changed(config={})(make_run(name))
        write(Path(name, ".hydra/config.yaml"), f"model: {{kwargs: {{day: {day}}}}}\nseed: 0\n")
    rows = json.loads(comparison.as_json(tabulate(find_runs(["."]), sort="folder")))
    assert [row["model.kwargs.day"] for row in rows] == ["2026-01-31", "2026-02-01"]


def test_markdown_is_a_table() -> None:
    make_run("a|b", (0.9,), optimizer__lr=0.1)
    make_run("c", (0.8,), optimizer__lr=0.3, status="interrupted")
    assert comparison.as_markdown(tabulate(find_runs(["."]))) == (
        "| lr | status | epochs | val acc | best val acc | test acc | errors | time | folder |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| 0.1 | finished | 1 | 90.00 % | 90.00 % | 90.00 % | 100 | 1:05 | a\\|b |\n"
        "| 0.3 | interrupted | 1 | 80.00 % | 80.00 % |  |  | 1:05 | c |\n"
    )


def test_the_table_with_the_reasons_below(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("all/a", (0.9,), optimizer__lr=0.00001)
    make_run("all/b", (0.8,), optimizer__lr=0.3, status="interrupted", error="interrupted; no checkpoint;\nto go on: x")
    make_run("all/c", (), status="failed", error="ValueError: no\nmore")
    comparison.show_comparison(tabulate(find_runs(["all"])))
    assert capsys.readouterr().out == (
        "all:\n"
        "   lr  status       epochs  val acc  best val acc  test acc  errors  time  folder\n"
        "1e-05  finished          1  90.00 %       90.00 %   90.00 %     100  1:05  a\n"
        "  0.3  interrupted       1  80.00 %       80.00 %                    1:05  b\n"
        "       failed            0                                           1:05  c\n"
        "\n"
        "b: interrupted; no checkpoint\n"
        "c: failed: ValueError: no\n"
    )


def test_a_run_alone_has_its_whole_folder_and_no_status(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("outputs/a", (0.9,))
    comparison.show_comparison(tabulate(find_runs(["outputs"])))
    assert capsys.readouterr().out == (
        "epochs  val acc  best val acc  test acc  errors  time  folder\n"
        "     1  90.00 %       90.00 %   90.00 %     100  1:05  outputs/a\n"
    )


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        (80, "lr epochs val acc best val acc test acc errors time folder"),
        (60, "lr epochs val acc test acc errors time folder"),
        (50, "lr val acc test acc errors time folder"),
        (40, "lr val acc test acc errors folder"),
        (10, "lr test acc folder"),
    ],
)
def test_a_narrow_terminal_leaves_columns_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, headings: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    make_run("a", (0.9,), optimizer__lr=0.1)
    make_run("b", (0.8,), optimizer__lr=0.3)
    comparison.show_comparison(tabulate(find_runs(["."])))
    assert "best val acc" in capsys.readouterr().out  # into a pipe: everything
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    comparison.show_comparison(tabulate(find_runs(["."])))
    heading = capsys.readouterr().out.splitlines()[0]
    assert " ".join(heading.removeprefix("\x1b[1m").removesuffix("\x1b[0m").split()) == headings


def test_names_that_cannot_be_shown_break_neither_lines_nor_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    if os.name != "posix":
        pytest.skip("the system has no such names")
    make_run(os.fsdecode(b"x/bad\xff"), (0.9,))
    make_run("x/two\nlines", (0.8,))
    make_run("x/\x1b[31mred", (0.7,), status="failed", error="\x1b]0;title\x07")
    make_run("x/数字", (0.6,))
    Path("x").rename("x\x1b[0m")
    table = tabulate(find_runs(["x\x1b[0m"]))
    comparison.show_comparison(table)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == r"x\x1b[0m:"
    shown = [r"bad\udcff", r"two\nlines", "数字", r"\x1b[31mred"]
    assert [line.split()[-1] for line in lines[2:6]] == shown
    assert lines[7:] == [r"\x1b[31mred: failed: \x1b]0;title\x07"]
    assert [line.split(" | ")[-1] for line in comparison.as_markdown(table).splitlines()[2:]] == [
        f"{n} |" for n in shown
    ]
    rows = list(csv.DictReader(io.StringIO(comparison.as_csv(table))))
    assert [row["folder"].rpartition("/")[2] for row in rows] == [shown[0], "two\nlines", *shown[2:]]
    make_run("y/a", **{"model__\x1b\n": 1})
    make_run("y/b", **{"model__\x1b\n": 2})
    assert comparison.in_print(tabulate(find_runs(["y"])))[0][0] == r"\x1b\n"
    for text in (comparison.as_csv(table), comparison.as_markdown(table), comparison.as_json(table)):
        text.encode()


def test_numbers_stand_at_the_right_and_wide_letters_take_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("a", model__kind="数字数字", optimizer__momentum=None, seed=1)
    make_run("b", model__kind="x", optimizer__momentum=1e-05, seed=2)
    make_run("c", model__kind="y", optimizer__momentum=0.9, seed=3)
    comparison.show_comparison(tabulate(find_runs(["."]), sort="seed"))
    assert [line[:18] for line in capsys.readouterr().out.splitlines()] == [
        "kind      seed  mo",
        "数字数字     1      nu",
        "x            2    ",
        "y            3    ",
    ]
    comparison.show_comparison(tabulate(find_runs(["."]), ["momentum"], sort="momentum"))
    lines = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in lines] == ["momentum", "   1e-05", "     0.9", "    null"]


# In a picture.


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Curve], str | None, str]]:
    """`drawn(*keys)`: the curves of the runs below the working directory, what was swept, and what is measured."""
    calls: list[tuple[list[Curve], str | None, str]] = []
    monkeypatch.setattr(plots, "draw_comparison", lambda _, *of: calls.append(of))

    def call(*keys: str) -> tuple[list[Curve], str | None, str]:
        comparison.plot(find_runs(["."]), keys, Path("unused.png"))
        return calls[-1]

    return call


def test_runs_that_differ_in_their_seed_alone_are_one_curve(drawn: Callable[..., Any]) -> None:
    for lr in (10.0, 0.5, 2.0):
        for seed in (0, 1):
            make_run(f"{lr}-{seed}", (0.5, 0.9 + seed / 100), optimizer__lr=lr, seed=seed)
    make_run("10.0-2", (0.1,), optimizer__lr=10.0, seed=2, trainer__epochs=2, status="diverged")
    make_run("10.0-3", (), optimizer__lr=10.0, seed=3, trainer__epochs=2, status="failed")
    make_run("10.0-4", (0.2,), optimizer__lr=10.0, seed=4, trainer__epochs=2, status="running")
    without_summary(make_run("broken"))
    curves, swept, measure = drawn()
    assert (swept, measure) == ("optimizer.lr", "Test error")
    assert [(curve.label, curve.at, curve.series) for curve in curves] == [
        ("lr 0.5", 0.5, ""),
        ("lr 2", 2.0, ""),
        ("lr 10", 10.0, ""),
    ]
    assert [(curve.runs, curve.final, curve.lost) for curve in curves] == [
        ([[0.5, 0.9], [0.5, 0.91]], [0.9, 0.91], 0),
        ([[0.5, 0.9], [0.5, 0.91]], [0.9, 0.91], 0),
        ([[0.5, 0.9], [0.5, 0.91]], [0.9, 0.91], 2),
    ]
    assert curves[2].unfinished == [[0.1], [], [0.2]]


def test_of_two_sweeps_that_of_more_numbers_is_the_axis_unless_keys_say_otherwise(drawn: Callable[..., Any]) -> None:
    for lr in (0.1, 0.2, 0.3):
        for size in (32, 128):
            make_run(f"{lr}-{size}", optimizer__lr=lr, trainer__batch_size=size, aug__name=f"a{size}")
    curves, swept, _ = drawn()
    assert swept == "optimizer.lr"
    assert curves[0].series == "batch_size 32, aug a32"
    assert [curve.at for curve in curves] == [0.1, 0.2, 0.3, 0.1, 0.2, 0.3]
    curves, swept, _ = drawn("batch_size", "lr")
    assert (swept, curves[0].label, curves[0].series) == ("trainer.batch_size", "batch_size 32, lr 0.1", "lr 0.1")
    curves, swept, _ = drawn("aug", "lr")
    assert (swept, curves[0].at, curves[1].at) == ("aug", "a32", "a128")  # in the order of their numbers
    curves, swept, _ = drawn("seed", "lr")
    assert (swept, curves[0].label, curves[0].series) == ("optimizer.lr", "seed 0, lr 0.1", "")


def test_numbers_go_before_more_words(drawn: Callable[..., Any]) -> None:
    for name in ("none", "distort", "shear"):
        for lr in (1.0, 2.0):
            make_run(f"{name}-{lr}", aug__name=name, optimizer__lr=lr)
    assert drawn()[1] == "optimizer.lr"


def test_what_comes_with_an_option_is_not_swept(drawn: Callable[..., Any]) -> None:
    make_run("a", optimizer__name="sgd", optimizer__lr=1.0, optimizer__momentum=0.9)
    make_run("b", optimizer__name="adam", optimizer__lr=0.001)
    curves, swept, _ = drawn()
    assert (swept, [(curve.label, curve.at) for curve in curves]) == (
        "optimizer",
        [("optimizer adam", "adam"), ("optimizer sgd", "sgd")],
    )
    make_run("c", optimizer__name="sgd", optimizer__lr=2.0, optimizer__momentum=0.9)
    assert drawn()[1] == "optimizer.lr"


def test_a_value_that_some_have_not_is_no_place(drawn: Callable[..., Any]) -> None:
    make_run("a", optimizer__momentum=None)
    make_run("b", optimizer__momentum=True)
    make_run("c", optimizer__momentum=0.9)
    make_run("d")
    curves, swept, _ = drawn()
    assert swept == "optimizer.momentum"
    assert {curve.label: curve.at for curve in curves} == {
        "momentum 0.9": 0.9,
        "momentum null": "null",
        "momentum true": "true",
        "d": None,
    }


@pytest.mark.parametrize("keys", [(), ("seed",)])
def test_seeds_alone_are_a_curve_each(drawn: Callable[..., Any], keys: tuple[str, ...]) -> None:
    for seed in (10, 9):
        make_run(f"{seed}", seed=seed)
    curves, swept, _ = drawn(*keys)
    assert (swept, [curve.label for curve in curves]) == (None, ["seed 9", "seed 10"])


def test_a_run_alone_is_called_as_its_folder(drawn: Callable[..., Any]) -> None:
    make_run("outputs/12-00-00")
    curves, swept, _ = drawn()
    assert (swept, [curve.label for curve in curves]) == (None, ["12-00-00"])
    curves, swept, _ = drawn("seed", "model")  # of one value each
    assert (swept, [curve.label for curve in curves]) == (None, ["seed 0, model lenet5"])


def test_without_a_test_result_the_last_validation_is_measured(drawn: Callable[..., Any]) -> None:
    make_run("a", (0.7, 0.8), optimizer__lr=1.0)
    changed(test=None)(make_run("b", (0.5, 0.6), optimizer__lr=2.0))
    curves, _, measure = drawn()
    assert measure == "Validation error"
    assert [curve.final for curve in curves] == [[0.8], [0.6]]


@pytest.mark.parametrize(
    "content", [None, b"", b"epoch,lr\nx,y\n", b"\xff\xfe", b"epoch\n1\n", b"lr\n1\n", b"lr\n" + b"1" * 200_000, "pipe"]
)
def test_figures_that_cannot_be_read_are_no_curve(drawn: Callable[..., Any], content: bytes | str | None) -> None:
    make_run("a", optimizer__lr=1.0)
    make_run("c", optimizer__lr=2.0)
    Path("c/metrics.csv").unlink()
    write_or_pipe(Path("c/metrics.csv"), content)
    curves, _, _ = drawn()
    assert [curve.runs for curve in curves] == [[list(ACCURACIES)], [[]]]
