"""Tables for people and for programs: layout, precision, what a narrow terminal drops, unprintable names."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from conftest import write
from digitnet.report.comparison import tabulate
from digitnet.report.tables import (
    abbreviated,
    as_csv,
    as_json,
    as_markdown,
    displayed,
    show_comparison,
    status_and_reason,
)
from digitnet.runs.reader import find_runs
from run_folders import changing_summary, make_run


@pytest.mark.parametrize(
    ("value", "text"),
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
def test_values_are_written_as_on_the_command_line(value: Any, text: str) -> None:
    assert abbreviated(value) == text


def test_long_value_is_abbreviated_for_people_only() -> None:
    phases = [{"epochs": 2, "factor": 1.0}, {"epochs": 3, "factor": 0.8}]
    make_run("a", schedule__phases=phases)
    make_run("b", schedule__phases=[])
    table = tabulate(find_runs(["."]), sort="folder")
    assert displayed(table)[1][0][0] == "[{epochs: 2, factor…hs: 3, factor: 0.8}]"
    assert json.loads(as_json(table))[0]["schedule.phases"] == phases


def test_headings_are_as_short_as_they_stay_distinct() -> None:
    make_run("a", (0.5,), aug__shift=1, data__shift=1, optimizer__lr=1)
    make_run("b", aug__shift=2, data__shift=2, optimizer__lr=2)
    headings, _ = displayed(tabulate(find_runs(["."])))
    assert headings[:5] == ["trainer.epochs", "aug.shift", "data.shift", "lr", "epochs"]


def test_losses_are_compared_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    """`loss` is also the name of a figure, of digitnet evaluate."""
    for name in ("map", "mse"):
        make_run(name, loss__name=name)
    show_comparison(tabulate(find_runs(["."])))
    show_comparison(tabulate(find_runs(["."]), ["loss"]))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines if line and line[0] in ("loss", "map", "mse")] == ["loss", "map", "mse"] * 2


def test_means_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for seed, accuracy in enumerate((0.90, 0.94, 0.98)):
        make_run(f"a{seed}", (0.99, accuracy), optimizer__lr=0.1, seed=seed, seconds=60.0 + seed)
    make_run("b0", (0.5, 0.96), optimizer__lr=0.3)
    make_run("b1", (0.1,), optimizer__lr=0.3, seed=1, trainer__epochs=2, status="diverged", error="diverged in epoch 2")
    show_comparison(tabulate(find_runs(["."]), ["lr"]))
    assert capsys.readouterr().out == (
        "mean ± standard deviation over seed\n"
        " lr       n  unfinished    best_val_acc        test_acc      95 % interval  test_errors  seconds\n"
        "0.3  1 (<3)           1         96.00 %         96.00 %                            40.0     1:05\n"
        "0.1       3              99.00 ± 0.00 %  94.00 ± 4.00 %  84.06 to 100.00 %  60.0 ± 40.0     1:01\n"
        "\n"
        "warning: of fewer than 3 runs, interval and p-value say little; add seeds\n"
        "\n"
        "b1: diverged in epoch 2\n"
    )


def test_csv_has_full_precision_and_fractions() -> None:
    make_run("a", (0.1 + 0.2,), optimizer__lr=0.1, model__pool=True, optimizer__betas=[0.9, 0.5])
    make_run("b", (0.5,), optimizer__lr=0.2, model__pool=False, optimizer__betas=None)
    assert as_csv(tabulate(find_runs(["."]))) == (
        "model.pool,optimizer.lr,optimizer.betas,status,epochs,val_acc,best_val_acc,test_acc,test_errors,seconds,folder\n"
        f"false,0.2,,finished,1,0.5,0.5,0.5,500,65.25,{Path.cwd()}/b\n"
        f'true,0.1,"[0.9, 0.5]",finished,1,0.30000000000000004,0.30000000000000004,0.30000000000000004,700,65.25,'
        f"{Path.cwd()}/a\n"
    )


def test_json_is_a_list_of_objects() -> None:
    make_run("a", (0.1 + 0.2,), model__pool=True, optimizer__betas=[0.9, 0.5])
    make_run("b", (0.5,), model__pool=False, status="failed", error="ValueError: x\nmore")
    write(Path("b/.hydra/config.yaml"), "x: 2026-01-31\n")
    changing_summary(config={})(Path("b"))
    assert json.loads(as_json(tabulate(find_runs(["."]), sort="folder"))) == [
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


def test_json_has_dates_as_strings() -> None:
    for name, day in (("a", "2026-01-31"), ("b", "2026-02-01")):
        changing_summary(config={})(make_run(name))
        write(Path(name, ".hydra/config.yaml"), f"model: {{kwargs: {{day: {day}}}}}\nseed: 0\n")
    rows = json.loads(as_json(tabulate(find_runs(["."]), sort="folder")))
    assert [row["model.kwargs.day"] for row in rows] == ["2026-01-31", "2026-02-01"]


def test_markdown_is_a_table() -> None:
    make_run("a|b", (0.9,), optimizer__lr=0.1)
    make_run("c", (0.8,), optimizer__lr=0.3, status="interrupted")
    assert as_markdown(tabulate(find_runs(["."]))) == (
        "| lr | status | epochs | val_acc | test_acc | test_errors | seconds | folder |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| 0.1 | finished | 1 | 90.00 % | 90.00 % | 100 | 1:05 | a\\|b |\n"
        "| 0.3 | interrupted | 1 | 80.00 % |  |  | 1:05 | c |\n"
    )


def test_table_is_followed_by_the_reasons_of_failures(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("all/a", (0.9,), optimizer__lr=0.00001)
    make_run("all/b", (0.8,), optimizer__lr=0.3, status="interrupted", error="interrupted; no checkpoint;\nto go on: x")
    make_run("all/c", (), status="failed", error="ValueError: no\nmore")
    show_comparison(tabulate(find_runs(["all"])))
    assert capsys.readouterr().out == (
        "all:\n"
        "   lr  status       epochs  val_acc  test_acc  test_errors  seconds  folder\n"
        "1e-05  finished          1  90.00 %   90.00 %          100     1:05  a\n"
        "  0.3  interrupted       1  80.00 %                            1:05  b\n"
        "       failed            0                                     1:05  c\n"
        "\n"
        "b: interrupted; no checkpoint\n"
        "c: failed: ValueError: no\n"
    )


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        ("failed", "ValueError: no\nmore", "failed: ValueError: no"),
        ("diverged", "diverged: epoch 1", "diverged: epoch 1"),
        ("killed", "", "killed"),
        (
            "interrupted",
            "Stopped in epoch 3 of 4; progress saved. Continue with:\ndigitnet resume x",
            "interrupted in epoch 3 of 4; progress saved",
        ),
    ],
)
def test_reason_is_one_line_without_the_status_twice(status: str, error: str, text: str) -> None:
    assert status_and_reason(status, error) == text


def test_single_run_is_shown_with_its_whole_folder_and_no_status(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("outputs/a", (0.9,))
    show_comparison(tabulate(find_runs(["outputs"])))
    assert capsys.readouterr().out == (
        "epochs  test_acc  test_errors  seconds  folder\n     1   90.00 %          100     1:05  outputs/a\n"
    )


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        (80, "lr epochs val_acc best_val_acc test_acc test_errors seconds folder"),
        (60, "lr epochs val_acc test_acc test_errors seconds folder"),
        (57, "lr val_acc test_acc test_errors seconds folder"),
        (44, "lr val_acc test_acc test_errors folder"),
        (25, "lr test_acc folder"),
        (15, "lr test_acc"),
    ],
)
def test_narrow_terminal_drops_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, headings: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, (lr, best, last, test) in {"a": (0.1, 0.92, 0.9, 0.91), "b": (0.3, 0.82, 0.8, 0.81)}.items():
        run = make_run(name, (best, last), optimizer__lr=lr)
        changing_summary(test={"loss": 0.1, "accuracy": test, "errors": 100, "n": 1000})(run)
    show_comparison(tabulate(find_runs(["."])))
    assert "best_val_acc" in capsys.readouterr().out  # nothing is dropped in a pipe
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    show_comparison(tabulate(find_runs(["."])))
    heading = capsys.readouterr().out.splitlines()[0]
    assert " ".join(heading.removeprefix("\x1b[1m").removesuffix("\x1b[0m").split()) == headings


def test_each_run_takes_one_line_of_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [f"outputs/sweeps/2026-11-27/10-00-00-12345678/{'long' * 9},seed={seed}" for seed in (1, 2)]
    for seed, folder in enumerate(folders, start=1):
        settings = {f"model__kwargs_{letter}": f"{letter * 12}{seed}" for letter in "abcdefg"}
        make_run(folder, (0.9,), seed=seed, **settings)
    for name, value in {"COLUMNS": "80", "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    show_comparison(tabulate(find_runs(["outputs"])))
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2
    assert all(cell_len(row) <= 80 for row in rows)
    assert "…" in rows[0]
    assert [row[-3:] for row in rows] == ["d=1", "d=2"]  # the ends, which differ, stay


def test_unprintable_names_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    if os.name != "posix":
        pytest.skip("needs file names that are not UTF-8")
    make_run(os.fsdecode(b"x/bad\xff"), (0.9,))
    make_run("x/two\nlines", (0.8,))
    make_run("x/\x1b[31mred", (0.7,), status="failed", error="\x1b]0;title\x07")
    make_run("x/数字", (0.6,))
    Path("x").rename("x\x1b[0m")
    table = tabulate(find_runs(["x\x1b[0m"]))
    show_comparison(table)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == r"x\x1b[0m:"
    shown = [r"bad\udcff", r"two\nlines", "数字", r"\x1b[31mred"]
    assert [line.split()[-1] for line in lines[2:6]] == shown
    assert lines[7:] == [r"\x1b[31mred: failed: \x1b]0;title\x07"]
    assert [line.split(" | ")[-1] for line in as_markdown(table).splitlines()[2:]] == [f"{n} |" for n in shown]
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [row["folder"].rpartition("/")[2] for row in rows] == [shown[0], "two\nlines", *shown[2:]]
    make_run("y/a", **{"model__\x1b\n": 1})
    make_run("y/b", **{"model__\x1b\n": 2})
    assert displayed(tabulate(find_runs(["y"])))[0][0] == r"\x1b\n"
    for text in (as_csv(table), as_markdown(table), as_json(table)):
        text.encode()


def test_numbers_are_right_aligned_and_wide_letters_take_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("a", model__kind="数字数字", optimizer__momentum=None, seed=1)
    make_run("b", model__kind="x", optimizer__momentum=1e-05, seed=2)
    make_run("c", model__kind="y", optimizer__momentum=0.9, seed=3)
    show_comparison(tabulate(find_runs(["."]), sort="seed"))
    assert [line[:18] for line in capsys.readouterr().out.splitlines()] == [
        "kind      seed  mo",
        "数字数字     1      nu",
        "x            2    ",
        "y            3    ",
    ]
    show_comparison(tabulate(find_runs(["."]), ["momentum"], sort="momentum"))
    lines = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in lines] == ["momentum", "   1e-05", "     0.9", "    null", "", "not aver"]
