"""`digitnet compare` on the command line: messages, formats, pipes, permissions, and what it does not import."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY, Command, unprivileged, write
from digitnet.runs.formats import read_metrics, read_summary
from run_folders import make_run

HINT = "outputs/ for instance"
METRICS = "status, epochs, val_acc, val_loss, best_val_acc, test_acc, test_errors, seconds, parameters"
MISTAKES = [
    ("", f"outputs: no such folder; give those of runs or sweeps, {HINT}"),
    ("nowhere", f"nowhere: no such folder; give those of runs or sweeps, {HINT}"),
    ("runs nowhere", f"nowhere: no such folder; give those of runs or sweeps, {HINT}"),
    ("empty", f"empty: no run there; give the folder of runs or sweeps, {HINT}"),
    ("notes.txt", f"notes.txt: no run there; give the folder of runs or sweeps, {HINT}"),
    ("empty notes.txt", f"empty and 1 more: no run there; give the folder of runs or sweeps, {HINT}"),
    ("runs --sort lrr", "no key 'lrr' in these runs … did you mean 'optimizer.lr'?"),
    ("runs --sort=-lrr", "no key 'lrr' in these runs … did you mean 'optimizer.lr'?"),
    ("runs --group-by lr,sede", "no key 'sede' in these runs … did you mean 'seed'?"),
    ("runs --group-by nowhere", f"no key 'nowhere' in these runs; metrics are {METRICS}"),
    ("runs --sort n", f"no key 'n' in these runs; metrics are {METRICS}"),
    ("runs --group-by kind", "'kind' is more than one key: model.kind, aug.kind"),
    ("runs --where lr", "--where lr: is not KEY=VALUE, nor with !=, <, <=, > or >="),
    ("runs --where =3", "--where =3: is not KEY=VALUE, nor with !=, <, <=, > or >="),
    ("runs --where lrr=1", "no key 'lrr' in these runs … did you mean 'optimizer.lr'?"),
    ("runs --where lr>high", "--where lr>high: 'high' is not a number; words are compared with = and !="),
    ("runs --where lr=7", "--where lr=7: no run is left; optimizer.lr has the values 0.1, 0.3"),
    ("runs --where lr=0.1 --where lr=0.3", "--where lr=0.3: no run is left; optimizer.lr has the value 0.1"),
    ("runs --where test_acc=0.5", "--where test_acc=0.5: no run is left; test_acc has the values 0.8, 0.9"),
    ("runs --where test_acc>=98", "--where test_acc>=98: no run is left; accuracies are fractions"),
    ("runs --plot lr.gif", "--plot lr.gif: ends in none of .png, .svg, .pdf"),
    ("runs --plot lr", "--plot lr: ends in none of .png, .svg, .pdf"),
    ("runs --plot no/lr.png", "--plot no/lr.png: the folder no does not exist; make it first"),
    ("runs --where model=lent5", "--where model=lent5: no run is left; model has the value lenet5"),
    ("runs --sort -lrr", "no key 'lrr' in these runs … did you mean 'optimizer.lr'?"),
    ("runs --sort", "argument --sort: expected one argument; see digitnet compare --help"),
    ("runs --sort --format csv", "argument --sort: expected one argument; see digitnet compare --help"),
    ("runs --over data", "--over needs --group-by: without it there is a row for each run"),
    ("runs --group-by lr --over sede", "no key 'sede' in these runs … did you mean 'seed'?"),
    ("runs --columns lr,nowhere", f"no key 'nowhere' in these runs; metrics are {METRICS}"),
    (
        "runs --colour",
        "unrecognized arguments: --colour; values are set without dashes, KEY=VALUE; see digitnet compare",
    ),
]


def make_runs() -> None:
    make_run("runs/a", (0.5, 0.9), optimizer__lr=0.1, model__kind="x", aug__kind="y")
    make_run("runs/b", (0.5, 0.8), optimizer__lr=0.3, model__kind="x", aug__kind="y")


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_mistake_ends_in_a_message(command: Command, arguments: str, message: str) -> None:
    make_runs()
    Path("empty").mkdir()
    write(Path("notes.txt"), "x")
    done = command("compare", *arguments.split())
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {message}")
    assert done.err.removeprefix(f"error: {message}") in ("\n", " --help\n")


def test_unknown_format_is_refused(command: Command) -> None:
    make_runs()
    done = command("compare", "runs", "--format", "xml")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: argument --format: invalid choice: 'xml' (choose from ")  # quoted or not


def test_plot_without_metrics_is_refused(command: Command) -> None:
    make_runs()
    for name in "ab":
        Path(f"runs/{name}/metrics.csv").unlink()
    done = command("compare", "runs", "--plot", "lr.png")
    assert done.code == 2
    assert done.err == (
        "error: --plot lr.png: nothing to draw, no run has figures in a metrics.csv; leave out --plot\n"
    )
    assert not Path("lr.png").exists()


def test_json_of_a_trained_run_matches_its_files(command: Command) -> None:
    assert command(*TINY, "trainer.epochs=1", "seed=3", "hydra.run.dir=run").code == 0
    summary = read_summary(Path("run/summary.json"))
    done = command("compare", "run", "--format", "json")
    assert (done.code, done.err) == (0, "")
    assert summary.test is not None
    accuracy = read_metrics(Path("run/metrics.csv"))[-1].val_acc
    assert json.loads(done.out) == [
        {
            "status": "finished",
            "epochs": 1,
            "val_acc": accuracy,
            "best_val_acc": accuracy,
            "test_acc": summary.test["accuracy"],
            "test_errors": summary.test["errors"],
            "seconds": summary.seconds,
            "folder": str(Path.cwd() / "run"),
        }
    ]
    conditions = ["seed=3", "optimizer=sgd", "trainer.epochs=1", "data=digits", "model=lenet5", "aug=none"]
    assert command("compare", "run", *(word for one in conditions for word in ("--where", one))).code == 0


def test_all_options_together(command: Command) -> None:
    make_runs()
    for seed in (1, 2):
        make_run(f"more/a{seed}", (0.5, 0.9 - 0.04 * seed), optimizer__lr=0.1, seed=seed)
        make_run(f"more/b{seed}", (0.5, 0.8), optimizer__lr=0.3, seed=seed, status="diverged")
    options = ["--group-by", "lr,", "--where", "seed!=2", "--where", "val_acc>0.1", "--sort=-lr", "--format", "csv"]
    done = command("compare", "runs", "more", *options, "--plot", "lr.svg")
    drawn = "validation error over the epochs, final error against optimizer.lr"
    assert (done.code, done.err) == (0, f"wrote lr.svg: {drawn}; 4 runs\n")  # stdout is a table for programs
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [(row["optimizer.lr"], row["n"], row["unfinished"]) for row in rows] == [("0.3", "1", "1"), ("0.1", "2", "")]
    assert float(rows[1]["test_acc"]) == pytest.approx(0.88)  # 0.90 and 0.86
    assert float(rows[1]["test_acc_std"]) == pytest.approx(0.02 * 2**0.5)
    assert Path("lr.svg").read_bytes().startswith(b"<?xml")


def test_markdown_on_stdout(command: Command) -> None:
    make_runs()
    assert command("compare", "runs", "--format", "md").out == (
        "| lr | epochs | test_acc | test_errors | seconds | folder |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| 0.1 | 2 | 90.00 % | 100 | 1:05 | a |\n"
        "| 0.3 | 2 | 80.00 % | 200 | 1:05 | b |\n"
    )


@pytest.mark.parametrize("name", ["p.png", "p.PNG", "p.svg", "p.pdf"])
def test_plot_in_every_format(command: Command, name: str) -> None:
    make_runs()
    done = command("compare", "runs", "--plot", name)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("runs:\n")
    assert done.out.splitlines()[-1] == (
        f"wrote {name}: validation error over the epochs, final error against optimizer.lr; 2 runs"
    )
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[name[2:].lower()]
    assert Path(name).read_bytes().startswith(start)
    assert {path.name for path in Path.cwd().iterdir()} == {
        "runs",
        name,
    }  # nothing is written into the folders of the runs
    assert {path.name for path in Path("runs/a").iterdir()} == {"metrics.csv", "summary.json"}


def test_title_and_folders_from_another_working_directory(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    make_runs()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    lines = command("compare", "../runs").out.splitlines()
    assert lines[0].endswith("/runs:")
    assert [line.split()[-1] for line in lines[1:]] == ["folder", "a", "b"]


@pytest.mark.parametrize("form", ["table", "csv", "json", "md"])
def test_closed_pipe_is_no_error(form: str) -> None:
    make_run("run", status="failed", error="no")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "digitnet", "compare", "run", "--format", form],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_full_disk_is_reported(command: Command) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    make_runs()
    for form in ("table", "csv"):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "digitnet", "compare", "runs", "--format", form],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert (done.returncode, done.stderr) == (
            1,
            "error: standard output: No space left on device\n",
        )
    Path("p.png").mkdir()
    done = command("compare", "runs", "--plot", "p.png")
    assert (done.code, done.err) == (2, "error: --plot p.png: a folder; name a file in it\n")


@pytest.mark.skipif(sys.platform != "linux", reason="dropping root's privileges needs Linux")
def test_unreadable_folders_are_listed_as_broken() -> None:
    make_runs()
    make_run("runs/closed")
    make_run("runs/unread")
    Path("runs/closed").chmod(0)
    Path("runs/unread/summary.json").chmod(0)
    try:
        done = unprivileged("compare", "runs")
        closed = unprivileged("compare", "runs/closed/checkpoints")
    finally:
        Path("runs/closed").chmod(0o700)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == [
        "closed: broken: Permission denied",
        "unread: broken: summary.json: Permission denied",
    ]
    assert (closed.returncode, closed.stderr) == (1, "error: runs/closed/checkpoints: Permission denied\n")


def imported(*arguments: str) -> set[str]:
    """The packages that the command line has imported when it is done."""
    code = (
        "import sys; from digitnet.cli import main; code = main(sys.argv[1:])\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0
    return set(done.stderr.split())


def test_compare_does_not_import_torch_or_hydra() -> None:
    make_runs()
    heavy = {"torch", "torchvision", "hydra", "omegaconf", "ray", "submitit", "optuna", "PIL"}
    table = imported("compare", "runs", "--group-by", "lr")
    assert not table & (heavy | {"matplotlib", "numpy"})
    assert "rich" in table
    drawn = imported("compare", "runs", "--plot", "p.png")
    assert not drawn & (heavy - {"PIL"})  # with which matplotlib writes PNG
    assert "matplotlib" in drawn


def test_help_does_not_import_what_reads_runs() -> None:
    code = "import sys, digitnet.commands.compare_command; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"digitnet.report.comparison", "digitnet.report.tables", "pydantic", "rich"} & set(done.stdout.split())


def test_help_lists_every_metric(command: Command) -> None:
    done = command("compare", "--help")
    assert done.code == 0
    assert METRICS in done.out.replace("\n", " ")


def test_compare_alone_compares_outputs_and_sorts_by_minus_key(command: Command) -> None:
    make_runs()
    Path("runs").rename("outputs")
    done = command("compare", "--sort", "-lr")
    assert [line.split()[0] for line in done.out.splitlines()] == ["outputs:", "lr", "0.3", "0.1"]
    assert command("compare", "--sort=-lr").out == done.out


def test_every_heading_is_a_key_that_the_options_take(command: Command) -> None:
    make_run("runs/a", (0.95, 0.9), optimizer__lr=0.1, model__kind="x", aug__kind="y", seed=1)
    make_run("runs/b", (0.85, 0.8), optimizer__lr=0.3, model__kind="z", aug__kind="w", status="diverged")
    for options in ([], ["--group-by", "lr"]):
        headings = command("compare", "runs", *options).out.splitlines()[1].split()
        assert {"lr", "best_val_acc"} < {*headings}
        for heading in headings:
            done = command("compare", "runs", *options, "--sort", f"-{heading}", "--columns", heading)
            assert (done.code, done.out.splitlines()[1].strip()) == (0, heading)
