"""The command line in processes of their own: every file of a run, pipes, runs started together, tracebacks."""

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import digitnet
import forking
from conftest import TINY, Command, files_in, run_folder, summary_in
from digitnet.significance import wilson_interval

CONTRACT = {
    ".hydra/config.yaml",
    ".hydra/hydra.yaml",
    ".hydra/overrides.yaml",
    ".lock",
    "checkpoints/best.pt",
    "checkpoints/last.pt",
    "confusion.png",
    "curves.png",
    "metrics.csv",
    "misclassified.png",
    "predictions.csv",
    "summary.json",
    "train.log",
}


def test_run_writes_every_file_and_they_agree(interpreter: Command) -> None:
    done = interpreter(*TINY, "logger=full", "aug=distort", "aug.warmup_epochs=1", "optimizer=adam")
    assert (done.code, done.err) == (0, "")
    run_dir = run_folder()
    assert re.fullmatch(r"outputs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-[0-9a-f]{8}", str(run_dir))
    assert files_in(run_dir) == CONTRACT | {"distorted.png"}

    summary = summary_in(run_dir)
    assert (summary["status"], summary["epochs"], summary["parameters"]) == ("finished", 2, 166_826)
    assert summary["dataset"]["validation_on"] == summary["best"]["chosen_on"] == "test set"
    with (run_dir / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "label", "predicted", "confidence"]
    assert [int(row["index"]) for row in rows] == list(range(360))
    assert sum(row["label"] != row["predicted"] for row in rows) == summary["test"]["errors"]
    assert all(0.1 <= float(row["confidence"]) <= 1 for row in rows)
    accuracy = 100 * summary["test"]["accuracy"]

    low, high = (100 * end for end in wilson_interval(360 - summary["test"]["errors"], 360))
    lines = done.out.splitlines()
    assert lines[0].startswith(
        "data: digits (embedded), 1,437 training and 360 test images of 10 classes, 0 to 9; validation on the test set"
    )
    assert lines[-2:] == [
        f"test accuracy {accuracy:.2f} % ({summary['test']['errors']} errors of 360; 95 %: {low:.2f} to {high:.2f})",
        f"{run_dir}: confusion.png, curves.png, distorted.png, misclassified.png",
    ]
    assert (run_dir / "train.log").read_text() == done.out  # no terminal: plain lines, no colours
    assert lines[3] == "note: trainer.epochs=2 is less than the schedule's 20: it ends in phase 1 of 5"
    assert [line.split()[0] for line in lines[4:7]] == ["epoch", "1/2", "2/2"]


def test_module_and_console_script_print_the_version(interpreter: Command) -> None:
    done = interpreter("--version")
    assert (done.code, done.out) == (0, f"digitnet {digitnet.__version__}\n")
    script = subprocess.run([Path(sys.executable).with_name("digitnet"), "--version"], capture_output=True, text=True)
    assert script.stdout == done.out


def test_runs_started_together_get_separate_folders() -> None:
    runs = [forking.digitnet(*TINY, "trainer.epochs=1", "trainer.threads=1") for _ in range(3)]
    assert [run.communicate(timeout=120)[1] for run in runs] == [""] * 3
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(list(Path("outputs").rglob("summary.json"))) == 3


@pytest.mark.engine
def test_fifty_runs_started_in_the_same_second_get_fifty_folders() -> None:
    """Forks of one process, so that they begin together; each claims a folder as a run does."""
    code = """
import os, sys
from digitnet.config.compose import compose_run
from digitnet.config.files import Tree
from digitnet.runs.folder import RunFolder
ready, go = os.pipe()
for _ in range(50):
    if os.fork() == 0:
        os.close(go)
        os.read(ready, 1)  # until the parent lets go
        ready = compose_run(sys.argv[1:], Tree.at(None))
        with RunFolder.claim(ready.run_dir, ready.hydra_files()):
            pass
        os._exit(0)
os.close(go)
sys.exit(any(os.wait()[1] for _ in range(50)))
"""
    assert subprocess.run([sys.executable, "-c", code, *TINY]).returncode == 0
    assert len(list(Path("outputs").glob("*/*/.hydra/config.yaml"))) == 50


def test_closed_pipe_does_not_stop_a_run() -> None:
    line = shlex.join([sys.executable, "-m", "digitnet", *TINY])
    done = subprocess.run(f"{line} | head -1", shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("data: digits")
    assert done.stderr == ""
    summary = summary_in(run_folder())
    assert (summary["status"], summary["epochs"]) == ("finished", 2)
    assert "test accuracy" in (run_folder() / "train.log").read_text()


def test_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m digitnet --cfg job | head -1", shell=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("model:\n", "")


def test_full_error_prints_the_traceback(shell: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    done = shell("model=lenet6")
    assert done.code == 1
    assert "Traceback" in done.err
    assert "ConfigError: model=lenet6: no such option" in done.err


@pytest.mark.engine  # a minute or two
@pytest.mark.mnist
def test_default_run_on_real_mnist(shell: Command, real_mnist: Path) -> None:
    """As people type it, cut to five epochs: past the sigmoid plateau, distortions met, every file there."""
    done = shell(f"data.root={real_mnist}", "model=lenet5", "aug=distort", "trainer.epochs=5")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"data: mnist ({real_mnist}/MNIST), 60,000 training and 10,000 test images")
    run_dir = run_folder()
    assert files_in(run_dir) == CONTRACT | {"distorted.png"}
    assert summary_in(run_dir)["test"]["accuracy"] >= 0.95
