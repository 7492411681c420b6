"""Names of classes and runs, and figures, that are not what people write: control letters, mathematics, no UTF-8."""

import csv
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import CHECKOUT, Command, summary_in
from digitnet.report import plots
from digitnet.report.plots import as_label, draw_confusion, draw_misclassified
from digitnet.runs.formats import read_summary
from digitnet.text import LONGEST_LINE, one_line, printable, shown
from run_folders import make_run

NAMES = ["$_$", "$x$", r"\$", "数字", "\x1b[31mred", "a\rb", "\u202eevil", "\udcff", "x" * 5000, "ünï", "$", "a$b"]


def test_whatever_comes_from_outside_is_shown_escaped() -> None:
    assert printable("\x1b[31m\u202e\r\udcff\u2066數\n") == "\\x1b[31m\\u202e\\r\\udcff\\u2066數\n"
    assert shown("a" * 5000 + "\nb") == f"{'a' * (LONGEST_LINE // 2)} … {'a' * (LONGEST_LINE // 2)}\nb"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError(""), "ValueError"),
        (ValueError("\n\n  what it is\nmore"), "ValueError: what it is"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_exception_in_one_line_says_something(error: Exception, text: str) -> None:
    assert one_line(error) == text


@pytest.mark.parametrize("words", [["validate", "logger=\x1b[31m"], ["help", "\u202eabc"], ["compare", "a\rb"]])
def test_no_control_letter_of_a_command_line_reaches_the_terminal(command: Command, words: list[str]) -> None:
    done = command(*words)
    assert done.code == 2
    assert (done.out + done.err).replace("\n", "").isprintable()


def test_message_about_a_long_name_is_cut_in_its_middle(command: Command) -> None:
    done = command("resume", "n" * 5000)
    assert done.code in (1, 2)
    assert " … " in done.err
    assert len(done.err) < 1100


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_drawn_without_a_warning(name: str, tmp_path: Path) -> None:
    images, labels = torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(tmp_path / "confusion.png", labels, 1 - labels, [name, "b"])
        draw_misclassified(tmp_path / "misclassified.png", images, labels, 1 - labels, labels.float(), [name, name])
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.width < 1000


def test_label_is_drawn_as_it_is() -> None:
    assert as_label("$x$") == r"\$x\$"
    assert as_label("x" * 99) == "x" * 23 + "…"
    assert as_label("ü") == "ü"


def test_letters_without_a_glyph_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "_available_fonts", lambda: [plots.DEFAULT_FONT])
    assert as_label("ü数") == r"ü\u6570"


def test_runs_with_any_names_are_compared_and_drawn(command: Command) -> None:
    for number, name in enumerate(["$_$", "a\rb", "数", "\x1b[31m"]):
        make_run(f"runs/{name}", (0.5, 0.9), optimizer__lr=float(number))
    done = command("compare", "runs", "--plot", "y.png", "--group-by", "seed")
    assert (done.code, done.err) == (0, "")
    assert done.out.replace("\n", "").isprintable()


def test_json_of_a_comparison_has_null_for_what_json_does_not_have(command: Command) -> None:
    path = make_run("runs/a", (0.5,), optimizer__lr=77.5, aug__scale=88.5) / "summary.json"
    path.write_text(path.read_text().replace("77.5", "NaN").replace("88.5", "-Infinity"))  # no run of ours has them
    make_run("runs/b", (0.5,), optimizer__lr=1e300, aug__scale=1.0)
    done = command("compare", "runs", "--format", "json")
    rows = json.loads(done.out, parse_constant=lambda name: pytest.fail(name))
    assert {row["optimizer.lr"] for row in rows} == {None, 1e300}


def test_figures_that_no_run_can_have_are_not_drawn(command: Command) -> None:
    for name in ("a", "b"):
        make_run(f"runs/{name}", (0.5, 0.9), optimizer__lr=1e300 if name == "a" else 1.0)
    path = Path("runs/a/metrics.csv")
    lines = path.read_text().splitlines()
    column = lines[0].split(",").index("val_acc")
    cells = lines[1].split(",")
    cells[column] = "1e300"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = command("compare", "runs", "--plot", "y.png")
    assert (done.code, done.err) == (0, "")


def test_classes_of_any_names_train_and_the_summary_is_read_again(command: Command) -> None:
    for label, name in enumerate([b"$_$", b"\xff\xfe", "数字".encode()]):
        folder = Path(os.fsdecode(b"images/" + name))
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng(10 * label + number).integers(0, 255, (28, 28)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    done = command("data=folder", "data.root=images", "trainer.epochs=1", "hydra.run.dir=run", "trainer.batch_size=4")
    assert (done.code, done.err) == (0, "")
    assert read_summary(Path("run/summary.json")).dataset["classes"] == ["$_$", "数字", r"\udcff\udcfe"]
    assert command("compare", "run").code == 0


def test_confusion_matrix_of_many_classes_shows_the_most_confused_and_has_a_table_of_all(tmp_path: Path) -> None:
    code = (
        "import resource, sys, torch; from pathlib import Path; from digitnet.report.plots import draw_confusion\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "labels = torch.arange(300).repeat(20); predicted = labels.roll(7) \n"
        "draw_confusion(Path(sys.argv[1]), labels, predicted, [f'class {n}' for n in range(300)])\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    path = tmp_path / "confusion.png"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 800  # MB, beyond importing torch; drawing all took 16 GB
    with Image.open(path) as picture:
        assert max(picture.size) < 3000


def test_table_of_confusions_is_written_where_the_picture_does_not_show_all(command: Command) -> None:
    rng = np.random.default_rng(0)
    for label in range(plots.MOST_CLASSES + 1):
        Path(f"images/{label}").mkdir(parents=True)
        for number in range(2):
            Image.fromarray(rng.integers(0, 255, (28, 28)).astype(np.uint8)).save(f"images/{label}/{number}.png")
    done = command("data=folder", "data.root=images", "trainer.epochs=1", "hydra.run.dir=run", "trainer.batch_size=31")
    assert (done.code, done.err) == (0, "")
    rows = list(csv.DictReader(Path("run/confusion.csv").read_text().splitlines()))
    assert sum(int(row["count"]) for row in rows) == summary_in(Path("run"))["test"]["n"] == 31
    assert " images of 31 classes (0, 1, 10, 11, 12, 13, 14, 15, 16, 17, …); " in done.out
    assert (CHECKOUT / "docs" / "run-folder.md").read_text().count("confusion.csv") == 1
