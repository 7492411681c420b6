"""The real command line: runs with every file of the contract, repeatability, interruption, and mistakes."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import digitnet
from conftest import TINY, Command, run_folder
from digitnet.config.compose import load_config
from digitnet.errors import ConfigError, DataError
from digitnet.experiment import build, run
from digitnet.runs.formats import read_metrics

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


def files_of(run_dir: Path) -> set[str]:
    return {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}


def summary_of(run_dir: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    return summary


def figures_of(run_dir: Path) -> list[tuple[float, ...]]:
    """metrics.csv without the times."""
    return [
        (r.epoch, r.lr, r.train_loss, r.train_acc, r.val_loss, r.val_acc) for r in read_metrics(run_dir / "metrics.csv")
    ]


def test_a_run_leaves_every_file_and_they_agree(shell: Command) -> None:
    done = shell(*TINY, "logger=full", "aug=distort", "aug.warmup_epochs=1", "optimizer=adam")
    assert (done.code, done.err) == (0, "")
    run_dir = run_folder()
    assert re.fullmatch(r"outputs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-[0-9a-f]{8}", str(run_dir))
    assert files_of(run_dir) == CONTRACT | {"distorted.png"}

    summary = summary_of(run_dir)
    assert (summary["status"], summary["epochs"], summary["parameters"]) == ("finished", 2, 166_826)
    assert summary["dataset"]["validation_on"] == summary["best"]["chosen_on"] == "test set"
    with (run_dir / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "label", "predicted", "confidence"]
    assert [int(row["index"]) for row in rows] == list(range(360))
    assert sum(row["label"] != row["predicted"] for row in rows) == summary["test"]["errors"]
    assert all(0.1 <= float(row["confidence"]) <= 1 for row in rows)
    accuracy = 100 * summary["test"]["accuracy"]

    lines = done.out.splitlines()
    assert lines[0].startswith(
        "data: digits (embedded), 1,437 training and 360 test images; validation on the test set"
    )
    assert lines[-1] == f"test accuracy {accuracy:.2f} % ({summary['test']['errors']} errors of 360); {run_dir}"
    assert (run_dir / "train.log").read_text() == done.out  # no terminal: plain lines, no colours
    assert lines[3] == "warning: trainer.epochs=2 ends in phase 1 of the schedule's 5 (20 epochs)"
    assert [line.split()[0] for line in lines[4:7]] == ["epoch", "1/2", "2/2"]


def test_module_and_version(shell: Command) -> None:
    done = shell("--version")
    assert (done.code, done.out) == (0, f"digitnet {digitnet.__version__}\n")
    script = subprocess.run([Path(sys.executable).with_name("digitnet"), "--version"], capture_output=True, text=True)
    assert script.stdout == done.out


def test_help_and_cfg_do_not_import_torch() -> None:
    for flags in (["--help"], ["--cfg", "job"], ["modle=lenet5"]):
        code = f"import sys; from digitnet.cli import main; main({flags}); sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_the_same_seed_gives_the_same_figures(command: Command) -> None:
    for name, seed in (("first", 0), ("same", 0), ("other", 1)):
        assert command(*TINY, "aug=distort", "aug.warmup_epochs=0", f"seed={seed}", f"hydra.run.dir={name}").code == 0
    assert figures_of(Path("first")) == figures_of(Path("same"))
    assert figures_of(Path("first")) != figures_of(Path("other"))
    weights = [torch.load(f"{name}/checkpoints/last.pt", weights_only=True)["model"] for name in ("first", "same")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_pictures_of_samples_change_nothing(command: Command) -> None:
    for logger in ("full", "metrics"):
        options = [*TINY, "aug=distort", "aug.warmup_epochs=0", "trainer.epochs=1", f"logger={logger}"]
        assert command(*options, f"hydra.run.dir={logger}").code == 0
    assert figures_of(Path("full")) == figures_of(Path("metrics"))
    assert "distorted.png" in files_of(Path("full"))
    assert not any(name.endswith((".png", "predictions.csv")) for name in files_of(Path("metrics")))


def test_auto_takes_mnist_where_it_is(command: Command, small_mnist: Path) -> None:
    done = command("trainer.epochs=1", "logger=metrics")
    assert done.code == 0
    assert done.out.startswith(f"data: mnist ({small_mnist}/MNIST), 1,437 training")
    assert summary_of(run_folder())["dataset"]["name"] == "mnist"


def test_auto_says_that_it_falls_back(shell: Command) -> None:
    done = shell("data.enlarge_to=1437", "trainer.epochs=1", "logger=metrics")
    assert (done.code, done.err) == (0, "")
    first = done.out.splitlines()[0]
    assert first.startswith("data: digits (embedded; MNIST is not in ")
    dataset = summary_of(run_folder())["dataset"]
    assert (dataset["name"], dataset["asked_for"]) == ("digits", "auto")
    assert "MNIST is not in" in dataset["why"]


def test_held_out_validation_chooses_the_best(command: Command) -> None:
    assert command(*TINY, "data.validation=300").code == 0
    summary = summary_of(run_folder())
    assert summary["best"]["chosen_on"] == "300 held-out training images"
    assert (summary["dataset"]["validation"], summary["test"]["n"]) == (300, 360)


def test_the_best_is_kept_when_the_last_is_worse(command: Command) -> None:
    phases = "schedule.phases=[{epochs: 2, factor: 1}, {epochs: 1, factor: 1000}]"
    assert command(*TINY, "optimizer=adam", "optimizer.lr=0.003", phases, "trainer.epochs=3").code == 0
    run_dir = run_folder()
    best = summary_of(run_dir)["best"]
    accuracies = [figures[5] for figures in figures_of(run_dir)]
    assert best["val_acc"] == max(accuracies) > accuracies[-1]
    epochs = [torch.load(run_dir / f"checkpoints/{n}.pt", weights_only=True)["epoch"] for n in ("best", "last")]
    assert epochs == [best["epoch"], 3]


def test_starting_from_another_run(command: Command) -> None:
    assert command(*TINY, "optimizer=adam", "hydra.run.dir=first").code == 0
    done = command(*TINY, "optimizer=adam", "init_from=first", "hydra.run.dir=second")
    assert "starting from the weights of first" in done.out
    first, second = figures_of(Path("first")), figures_of(Path("second"))
    assert second[0][2] < first[0][2]  # the first epoch's training loss
    assert summary_of(Path("second"))["init_from"] == "first"
    wrong = command(*TINY, "model=allconv", "init_from=first", "hydra.run.dir=third")
    assert wrong.code == 1
    assert wrong.err == (
        "error: first/checkpoints/last.pt: saved for lenet5, the config asks for allconv; set model=lenet5\n"
    )


def test_a_network_of_ones_own(command: Command) -> None:
    Path("mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, width):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))\n"
    )
    done = command(*TINY, "model=custom", "model.target=mine:Net", "model.kwargs={width: 16}", "optimizer=adam")
    assert done.code == 0
    assert summary_of(run_folder())["parameters"] == 785 * 16 + 17 * 10


def test_threads_are_a_runs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one in the same process has those that there were."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    before = torch.get_num_threads()
    other = 1 + before % 2
    for name, asked, had in (("first", other, other), ("second", "null", before)):
        digitnet.run(*TINY, "trainer.epochs=1", f"trainer.threads={asked}", run_dir=name)
        assert summary_of(Path(name))["device"]["threads"] == had


def test_divergence_keeps_what_was_finished(command: Command) -> None:
    schedule = ["schedule=step", "schedule.phases=[{epochs: 1, factor: 1}, {epochs: 1, factor: 1e30}]"]
    done = command(*TINY, *schedule)
    assert done.code == 1
    assert done.err == (
        "error: epoch 2, step 2 of 45: the loss is nan;\n"
        "lower optimizer.lr (it was 1e+30), or begin with little: schedule=onecycle\n"
    )
    run_dir = run_folder()
    summary = summary_of(run_dir)
    assert (summary["status"], summary["epochs"]) == ("diverged", 1)
    assert summary["error"] in done.err
    assert (run_dir / "train.log").read_text().endswith(done.err)
    assert len(figures_of(run_dir)) == 1
    for name in ("last.pt", "best.pt"):
        content = torch.load(run_dir / "checkpoints" / name, weights_only=True)
        assert content["epoch"] == 1
        assert all(weight.isfinite().all() for weight in content["model"].values())


def test_runs_started_together_get_folders_of_their_own() -> None:
    command = [sys.executable, "-m", "digitnet", *TINY, "trainer.epochs=1", "trainer.threads=1"]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0, 0]
    assert len(list(Path("outputs").rglob("summary.json"))) == 3


@pytest.mark.parametrize("key", ["hydra.run.dir=here", "hydra.sweep.dir=here"])
def test_a_folder_is_never_shared(command: Command, key: str) -> None:
    sweep = ["-m"] if "sweep" in key else []
    assert command(*sweep, *TINY, key, "trainer.epochs=1").code == 0
    before = {path: path.read_bytes() for path in Path("here").rglob("*") if path.is_file()}
    again = command(*sweep, *TINY, key, "trainer.epochs=1", "seed=1")
    assert again.code == 2
    assert again.err == "error: here: holds a run already, and runs never share a folder; choose another\n"
    assert {path: path.read_bytes() for path in Path("here").rglob("*") if path.is_file()} == before


def test_a_folder_taken_meanwhile_is_not_shared(tmp_path: Path) -> None:
    config = load_config(TINY)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "summary.json").write_text("another run's")
    with pytest.raises(ConfigError, match="here: holds a run already"):
        run.run_experiment(config, tmp_path / "here", lambda: None)
    assert (tmp_path / "here" / "summary.json").read_text() == "another run's"


def test_a_summary_is_there_from_the_start(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def data(*_: object) -> None:
        assert summary_of(run_folder())["status"] == "running"
        raise DataError("seen")

    monkeypatch.setattr(build, "data", data)
    assert command(*TINY).err == "error: seen\n"


def test_a_reader_that_goes_away_stops_no_run() -> None:
    line = shlex.join([sys.executable, "-m", "digitnet", *TINY])
    done = subprocess.run(f"{line} | head -1", shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("data: digits")
    assert done.stderr == ""
    summary = summary_of(run_folder())
    assert (summary["status"], summary["epochs"]) == ("finished", 2)
    assert "test accuracy" in (run_folder() / "train.log").read_text()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit('no')", "model.target=mine:Net: cannot build it from {} (SystemExit: no);"),
        (
            "from torch import nn\n"
            "class Net(nn.Sequential):\n"
            "    def __init__(self):\n"
            "        super().__init__(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10))\n",
            "ValueError: Expected more than 1 value per channel when training",
        ),
    ],
)
def test_a_network_of_ones_own_that_fails(command: Command, tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(body)
    done = command(*TINY, "model=custom", "model.target=mine:Net", "trainer.batch_size=1")
    assert done.code in (1, 2)
    assert done.err.startswith(f"error: {message}")
    assert "Traceback" not in done.err
    assert summary_of(run_folder())["status"] == "failed"


def test_a_narrow_terminal_breaks_no_path(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "25")  # narrower than the path
    done = command(*TINY, "trainer.epochs=1")
    assert str(run_folder()) in done.out


def test_a_class_without_training_images(command: Command) -> None:
    done = command(
        *TINY, "data.validation=1430", "aug=distort", "aug.warmup_epochs=0", "logger=full", "trainer.epochs=1"
    )
    assert (done.code, done.err) == (0, "")


def test_paths_are_shown_as_they_are(command: Command) -> None:
    assert "/x:key:[red]y" in command("data=folder", "data.root='/x:key:[red]y'").err


MISTAKES = [
    ("model=lenet6", 2, "model=lenet6: no such option … did you mean 'lenet5'?"),
    ("modle=lenet5", 2, "no key 'modle' … did you mean 'model'?"),
    ("experiment=lenet", 2, "experiment=lenet: no such option … did you mean 'lenet5'"),
    ("device=tpu", 2, "device=tpu: no such option … did you mean 'cpu'? There are auto, cpu, cuda, mps"),
    ("model=3", 2, "model=3: not the name of an option; see digitnet --help"),
    ("model=lenet5,allconv", 2, "model=lenet5,allconv: several values; to run them all, add -m"),
    ("+model=allconv", 2, "model is chosen already; leave out the '+': model=OPTION"),
    ("optimizer.lrr=1", 2, "no key 'optimizer.lrr' … did you mean 'optimizer.lr'?"),
    ("+optimizer.momentun=1", 2, "no key 'optimizer.momentun' … did you mean 'optimizer.momentum'?"),
    ("lr=1", 2, "no key 'lr' … did you mean 'optimizer.lr'?"),
    ("epochs=3", 2, "no key 'epochs' … did you mean 'trainer.epochs'?"),
    ("aug.rotation_deg=3", 2, "no key 'aug.rotation_deg'; it belongs to aug=distort"),
    ("optimizer.betas=[0.9,0.9]", 2, "no key 'optimizer.betas'; it belongs to optimizer=adam and optimizer=adamw"),
    ("data=folder data.root=x model=3", 2, "model=3: not the name of an option"),
    (
        "schedule.phases=[{epoch:&1,factor:&1}]",
        2,
        "no key 'schedule.phases.0.epoch' … did you mean 'schedule.phases.0.epochs'?",
    ),
    ("trainer.threads=1 hydra.run.dir=k=v", 2, "hydra.run.dir=k=v: cannot be read (mismatched input '='"),
    ("=3", 2, "'=3' has no key; it is KEY=VALUE"),
    ("foo=3", 2, "no key 'foo'; there are aug, checkpoint, data, device"),
    ("~sede", 2, "no key 'sede' to delete … did you mean 'seed'"),
    ("~model.dropout", 2, "model.dropout: has no value; set model.dropout=VALUE"),
    ("data=folder", 2, "data.root: has no value; set data.root=VALUE"),
    ("aug=distort aug.rotation_deg=fifteen", 2, "aug.rotation_deg=fifteen: should be a valid number"),
    ("aug=distort aug.rotation_deg=400", 2, "aug.rotation_deg=400: should be less than or equal to 180"),
    ("trainer.batch_size=0", 2, "trainer.batch_size=0: should be greater than or equal to 1"),
    ("trainer.epochs=true", 2, "trainer.epochs=true: should be a valid integer"),
    ("trainer.precision=fp64", 2, "trainer.precision=fp64: should be 'fp32' or 'bf16'"),
    ("trainer=3", 2, "trainer=3: is a group of keys; set trainer.KEY=VALUE"),
    ("optimizer.lr=-1", 2, "optimizer.lr=-1: should be greater than 0"),
    ("optimizer.lr=1e39", 2, "optimizer.lr=1.0e+39: should be less than or equal to 1000"),
    ("trainer.batch_size=10000000000000000000", 2, "trainer.batch_size=10000000000000000000: should be"),
    ("data.root='~nobody/x' data=folder", 1, "data.root=~nobody/x: no such folder"),
    ("optimizer.lr=nan", 2, "optimizer.lr=.nan: should be a finite number"),
    ("optimizer.nesterov=true", 2, "optimizer.nesterov=true needs a momentum; set optimizer.momentum=0.9"),
    ("optimizer.name=adam", 2, "optimizer.name=adam: the option is chosen with optimizer=adam"),
    ("trainer.threads=5000", 2, "trainer.threads=5000: should be less than or equal to 1024"),
    ("data=digits trainer.threads=1000", 2, "trainer.threads=1000: this machine has "),
    ("seed=1.5", 2, "seed=1.5: should be a valid integer"),
    ("data.validation=0", 2, "data.validation=0: should be 'test' or greater than or equal to 1"),
    ("schedule.phases=[]", 2, "schedule.phases=[]: list should have at least 1 item"),
    ("model.dropout=${sed}", 2, "model.dropout: no key 'sed' … did you mean 'seed'?"),
    ("data=mnist data.root=~/mnist", 2, "data.root=~/mnist: cannot be read"),
    ("data=/data/mnist", 2, "data=/data/mnist: no such option"),
    ("experiments=lenet5", 2, "no key 'experiments' … did you mean 'experiment'?"),
    ("schedule.epochs=5", 2, "no key 'schedule.epochs'; it belongs to schedule=constant and schedule=cosine"),
    ("model=custom model.kwargs.width=3", 2, "no key 'model.kwargs.width'; to add it, write +model.kwargs.width=VALUE"),
    ("trainer.epochs=[", 2, "trainer.epochs=[: cannot be read"),
    ("model", 2, "'model' is neither a command nor of the form KEY=VALUE; see digitnet --help"),
    ("--colour", 2, "unrecognized arguments: --colour; values are set without dashes, KEY=VALUE; see digitnet --help"),
    ("--config-dir nowhere", 2, "--config-dir nowhere: no such folder"),
    ("hydra/launcher=slrum", 2, "hydra/launcher=slrum: no such option"),
    (
        "hydra.run.dir=/proc/nowhere",
        1,
        "cannot make the run's folder (/proc/nowhere: No such file or directory); set hydra.run.dir",
    ),
    ("data=mnist", 1, "data=mnist: "),
    (
        "data.validation=5000",
        1,
        "data.validation=5000: the training set has only 1437 images; hold out fewer\nthese are",
    ),
    ("data=folder data.root=nowhere", 1, "data.root=nowhere: no such folder"),
    ("data=digits data.enlarge_to=5", 2, "data.enlarge_to=5: the embedded training set has 1437 images already"),
    ("data=digits data.validation=1437", 2, "data.validation=1437: the training set has only 1437 images"),
    (
        "data=digits init_from=nowhere",
        1,
        "init_from=nowhere: no checkpoint there; give the folder of a run or a checkpoint",
    ),
    (
        "data=digits model=custom model.target=torch.nn:LazyConv2d"
        " +model.kwargs.out_channels=3 +model.kwargs.kernel_size=3",
        2,
        "model: its output has shape (2, 3, 26, 26), not (B, classes) = (2, 10); mend its last layer",
    ),
    ("data=digits model=custom model.target=torch.nn:Flatten", 2, "model.target=torch.nn:Flatten: has no parameters"),
    ("data=digits model=custom model.target=nowhere:Net", 2, "model.target=nowhere:Net: cannot build it from {}"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_mistakes(command: Command, arguments: str, code: int, message: str) -> None:
    done = command(*(argument.replace("&", " ") for argument in arguments.split()))
    assert done.code == code
    assert done.err.startswith(f"error: {message}"), done.err
    assert len(done.err.splitlines()) <= 4
    assert "Traceback" not in done.err
    for summary in Path("outputs").rglob("summary.json"):
        assert json.loads(summary.read_text())["status"] == "failed"
    if code == 2 and "data=digits" not in arguments:
        assert not Path("outputs").exists()  # found before a folder was made


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(command: Command) -> None:
    done = command("device=cuda", "data=digits")
    assert done.code == 2
    assert done.err == (
        "error: device=cuda: this machine has none that PyTorch can use; set device=cpu or device=auto\n"
    )


def test_several_mistakes_in_four_lines(command: Command) -> None:
    done = command("seed=-1", "optimizer.lr=0", "trainer.epochs=0", "trainer.threads=0", "trainer.batch_size=x")
    lines = done.err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("error: optimizer.lr=0: should be greater than 0")
    assert lines[3] == "and 2 more"


def test_a_damaged_archive(command: Command, small_mnist: Path) -> None:
    path = small_mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    done = command("trainer.epochs=1")  # data=auto: damaged is not missing
    assert done.code == 1
    assert done.err.startswith(f"error: {path}: damaged: it is no whole gzip archive (its end is missing);")
    assert done.err.endswith("delete it and run again\n")


def test_a_full_disk_is_no_traceback(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "last.pt")

    monkeypatch.setattr(run.checkpoint, "save_checkpoint", full)
    done = command(*TINY)
    assert (done.code, done.err) == (1, "error: last.pt: No space left on device\n")
    assert summary_of(run_folder())["status"] == "failed"


def test_the_traceback_on_demand(shell: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    done = shell("model=lenet6")
    assert done.code == 1
    assert "Traceback" in done.err
    assert "ConfigError: model=lenet6: no such option" in done.err


def test_a_pipe_that_closes_early() -> None:
    done = subprocess.run(
        f"{sys.executable} -m digitnet --cfg job | head -1", shell=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("model:\n", "")


@pytest.mark.parametrize("line", [[], ["model=lenet5", "aug=distort"]], ids=["plain", "distort"])
def test_never_at_chance_on_the_embedded_digits(command: Command, line: list[str]) -> None:
    """The first seven of the twenty epochs; benchmarks/results.py runs five seeds to the end."""
    assert command(*line, "trainer.epochs=7", "logger=metrics").code == 0
    assert summary_of(run_folder())["test"]["accuracy"] >= 0.95


@pytest.mark.mnist
def test_the_main_job_on_the_real_mnist(shell: Command, real_mnist: Path) -> None:
    """As people type it, cut to six epochs: past the sigmoid plateau, distortions met, every file there."""
    done = shell(f"data.root={real_mnist}", "model=lenet5", "aug=distort", "trainer.epochs=6")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"data: mnist ({real_mnist}/MNIST), 60,000 training and 10,000 test images")
    run_dir = run_folder()
    assert files_of(run_dir) == CONTRACT | {"distorted.png"}
    assert summary_of(run_dir)["test"]["accuracy"] >= 0.95


@pytest.mark.parametrize("wanted", [None, "0"])
def test_the_environment_stays_as_it_is(command: Command, monkeypatch: pytest.MonkeyPatch, wanted: str | None) -> None:
    if wanted is not None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", wanted)
    before, program = dict(os.environ), list(sys.argv)
    command("--cfg", "job")
    assert dict(os.environ) == before
    assert sys.argv == program
