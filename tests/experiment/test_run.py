"""Runs from the config to the files: repeatability, data, checkpoints, divergence, memory, signals at odd moments."""

import os
import signal
from pathlib import Path

import pytest
import torch

import digitnet
from conftest import TINY, Command, Trained, figures, files_in, run_folder, summary_in, write
from digitnet.config.compose import load_config
from digitnet.errors import ConfigError, DataError
from digitnet.experiment import build, run
from digitnet.runs import writer
from digitnet.runs.folder import HYDRA_FILES, RunFolder
from digitnet.runs.formats import read_summary
from digitnet.runs.writer import RunWriter

pytestmark = pytest.mark.slow

HERE = Path("here")


def test_same_seed_gives_the_same_figures(command: Command) -> None:
    for name, seed in (("first", 0), ("same", 0), ("other", 1)):
        assert command(*TINY, "aug=distort", "aug.warmup_epochs=0", f"seed={seed}", f"hydra.run.dir={name}").code == 0
    assert figures(Path("first")) == figures(Path("same"))
    assert figures(Path("first")) != figures(Path("other"))
    weights = [torch.load(f"{name}/checkpoints/last.pt", weights_only=True)["model"] for name in ("first", "same")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_logging_does_not_change_the_figures(command: Command) -> None:
    for logger in ("full", "metrics"):
        options = [*TINY, "aug=distort", "aug.warmup_epochs=0", "trainer.epochs=1", f"logger={logger}"]
        assert command(*options, f"hydra.run.dir={logger}").code == 0
    assert figures(Path("full")) == figures(Path("metrics"))
    assert "distorted.png" in files_in(Path("full"))
    assert not any(name.endswith((".png", "predictions.csv")) for name in files_in(Path("metrics")))


def test_data_auto_takes_mnist_if_it_exists(command: Command, small_mnist: Path) -> None:
    done = command("trainer.epochs=1", "logger=metrics")
    assert done.code == 0
    assert done.out.startswith(f"data: mnist ({small_mnist}/MNIST), 1,437 training")
    assert summary_in(run_folder())["dataset"]["name"] == "mnist"


def test_data_auto_prints_that_it_falls_back_to_digits(command: Command) -> None:
    done = command("data.enlarge_to=1437", "trainer.epochs=1", "logger=metrics")
    assert (done.code, done.err) == (0, "")
    first = done.out.splitlines()[0]
    assert first.startswith("data: digits (embedded; MNIST is not in ")
    dataset = summary_in(run_folder())["dataset"]
    assert (dataset["name"], dataset["asked_for"]) == ("digits", "auto")
    assert "MNIST is not in" in dataset["why"]


def test_held_out_images_choose_the_best_epoch(command: Command) -> None:
    assert command(*TINY, "data.validation=300").code == 0
    summary = summary_in(run_folder())
    assert summary["best"]["chosen_on"] == "300 held-out training images"
    assert (summary["dataset"]["validation"], summary["test"]["n"]) == (300, 360)


def test_best_checkpoint_is_kept_when_the_last_epoch_is_worse(command: Command) -> None:
    phases = "schedule.phases=[{epochs: 2, factor: 1}, {epochs: 1, factor: 1000}]"
    assert command(*TINY, "optimizer=adam", "optimizer.lr=0.003", phases, "trainer.epochs=3").code == 0
    run_dir = run_folder()
    best = summary_in(run_dir)["best"]
    accuracies = [figures[5] for figures in figures(run_dir)]
    assert best["val_acc"] == max(accuracies) > accuracies[-1]
    epochs = [torch.load(run_dir / f"checkpoints/{n}.pt", weights_only=True)["epoch"] for n in ("best", "last")]
    assert epochs == [best["epoch"], 3]


def test_init_from_starts_from_the_weights_of_another_run(trained: Trained, command: Command) -> None:
    trained(*TINY, "optimizer=adam", to="first")
    done = command(*TINY, "optimizer=adam", "init_from=first", "hydra.run.dir=second")
    assert "starting from the weights of first" in done.out
    file = command(*TINY, "optimizer=adam", "init_from=first/checkpoints/last.pt", "hydra.run.dir=from_a_file")
    assert file.code == 0
    assert figures(Path("from_a_file")) == figures(Path("second"))
    first, second = figures(Path("first")), figures(Path("second"))
    assert second[0][2] < first[0][2]  # the first epoch's training loss
    assert summary_in(Path("second"))["init_from"] == "first"
    wrong = command(*TINY, "model=allconv", "init_from=first", "hydra.run.dir=third")
    assert wrong.code == 1
    assert wrong.err == (
        "error: first/checkpoints/last.pt: saved for lenet5, the config asks for allconv; set model=lenet5\n"
    )


def test_custom_network_is_trained(command: Command) -> None:
    Path("mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, width):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))\n"
    )
    done = command(*TINY, "model=custom", "model.target=mine:Net", "model.kwargs={width: 16}", "optimizer=adam")
    assert done.code == 0
    assert summary_in(run_folder())["parameters"] == 785 * 16 + 17 * 10


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit('no')", "model.target=mine:Net: cannot build it from {} (SystemExit: no);"),
        (
            "from torch import nn\n"
            "class Net(nn.Sequential):\n"
            "    def __init__(self):\n"
            "        super().__init__(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10))\n",
            "trainer.batch_size=1: each batch has one image, on which this "
            "network cannot be trained (ValueError: Expected more than 1 value per channel when training",
        ),
    ],
)
def test_custom_network_that_fails_is_named(command: Command, tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(body)
    done = command(*TINY, "model=custom", "model.target=mine:Net", "trainer.batch_size=1")
    assert done.code in (1, 2)
    assert done.err.startswith(f"error: {message}")
    assert "Traceback" not in done.err
    assert not Path("outputs").exists()


def test_threads_are_restored_after_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one in the same process has those that there were."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    before = torch.get_num_threads()
    other = 1 + before % 2
    for name, asked, had in (("first", other, other), ("second", "null", before)):
        digitnet.run(*TINY, "trainer.epochs=1", f"trainer.threads={asked}", run_dir=name)
        assert summary_in(Path(name))["device"]["threads"] == had


def test_divergence_keeps_finished_epochs(command: Command) -> None:
    schedule = ["schedule=step", "schedule.phases=[{epochs: 1, factor: 1}, {epochs: 1, factor: 1e30}]"]
    done = command(*TINY, *schedule)
    assert done.code == 1
    assert done.err == (
        "error: epoch 2, step 2 of 45: the loss is nan;\n"
        "lower optimizer.lr (it was 1e+30), or warm up the learning rate: schedule=onecycle\n"
    )
    run_dir = run_folder()
    summary = summary_in(run_dir)
    assert (summary["status"], summary["epochs"]) == ("diverged", 1)
    assert summary["error"] in done.err
    assert (run_dir / "train.log").read_text().endswith(done.err)
    assert len(figures(run_dir)) == 1
    for name in ("last.pt", "best.pt"):
        content = torch.load(run_dir / "checkpoints" / name, weights_only=True)
        assert content["epoch"] == 1
        assert all(weight.isfinite().all() for weight in content["model"].values())


@pytest.mark.parametrize("key", ["hydra.run.dir=here", "hydra.sweep.dir=here"])
def test_existing_run_folder_is_refused(command: Command, key: str) -> None:
    sweep = ["-m"] if "sweep" in key else []
    assert command(*sweep, *TINY, key, "trainer.epochs=1").code == 0
    before = {path: path.read_bytes() for path in Path("here").rglob("*") if path.is_file()}
    again = command(*sweep, *TINY, key, "trainer.epochs=1", "seed=1")
    assert again.code == 2
    assert again.err == "error: here: holds a run already, and runs never share a folder; choose another\n"
    assert {path: path.read_bytes() for path in Path("here").rglob("*") if path.is_file()} == before


def test_folder_taken_meanwhile_is_refused(tmp_path: Path) -> None:
    config = load_config(TINY)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "summary.json").write_text("another run's")
    with pytest.raises(ConfigError, match="here: holds a run already"):
        run.run_experiment(config, RunFolder(tmp_path / "here"))
    assert (tmp_path / "here" / "summary.json").read_text() == "another run's"


@pytest.mark.parametrize(
    ("override", "code"),
    [
        pytest.param(
            "device=mps", 2, marks=pytest.mark.skipif(torch.backends.mps.is_available(), reason="has the device")
        ),
        ("init_from=nope", 1),
        ("data=folder data.root=nope", 1),
        ("model=custom model.target=nope:Net", 2),
    ],
)
def test_run_that_cannot_start_leaves_nothing(command: Command, override: str, code: int) -> None:
    words = override.split() if "data" in override else [*TINY, *override.split()]
    assert command(*words).code == code
    assert [*Path.cwd().iterdir()] == []  # not even outputs/
    mine = {"notes.txt", "train.log", "curves.png", ".hydra/mine.yaml"}
    for name in mine:
        write(HERE / name, "mine")
    assert command(*words, "hydra.run.dir=here/in/it").code == code
    assert files_in(HERE) == mine
    assert command(*words, "hydra.run.dir=here").code == code
    assert files_in(HERE) - {f".hydra/{name}" for name in HYDRA_FILES} == mine
    assert not (HERE / "in").exists()
    assert (HERE / "train.log").read_text() == "mine"
    assert command(*TINY, "trainer.epochs=1", "hydra.run.dir=here").code == 0


def test_unexpected_error_before_training_keeps_the_folder_with_its_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "data", lambda *_: {}["missing"])
    assert command(*TINY, "hydra.run.dir=here").code == 1
    assert "KeyError: 'missing'" in (HERE / "train.log").read_text()
    assert summary_in(HERE)["status"] == "failed"


def test_summary_exists_before_the_data_is_loaded(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def data(*_: object) -> None:
        assert summary_in(run_folder())["status"] == "running"
        raise DataError("seen")

    monkeypatch.setattr(build, "data", data)
    assert command(*TINY).err == "error: seen\n"


def test_class_without_training_images_is_no_error(command: Command) -> None:
    done = command(
        *TINY, "data.validation=1430", "aug=distort", "aug.warmup_epochs=0", "logger=full", "trainer.epochs=1"
    )
    assert (done.code, done.err) == (0, "")


def test_damaged_archive_is_named(command: Command, small_mnist: Path) -> None:
    path = small_mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    done = command("trainer.epochs=1")  # data=auto: damaged is not missing
    assert done.code == 1
    assert done.err.startswith(f"error: {path}: damaged: it is not a complete gzip archive (its end is missing);")
    assert done.err.endswith("move it elsewhere and run again, to download it\n")


def test_full_disk_gives_a_message(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "last.pt")

    monkeypatch.setattr(writer, "save_checkpoint", full)
    done = command(*TINY)
    assert (done.code, done.err) == (1, "error: last.pt: No space left on device\n")
    assert summary_in(run_folder())["status"] == "failed"


LATE = """
from torch import nn

class Late(nn.Linear):
    def forward(self, images):
        self.steps = getattr(self, "steps", 0) + self.training
        if self.steps > 50:
            {}["missing"]
        return super().forward(images.flatten(1))
"""


def test_unexpected_error_leaves_its_traceback_in_the_log(command: Command) -> None:
    write(Path("mine.py"), LATE)
    done = command(*TINY, "model=custom", "model.target=mine:Late", "model.kwargs={in_features: 784, out_features: 10}")
    assert (done.code, done.err) == (1, "error: KeyError: 'missing'\nHYDRA_FULL_ERROR=1 shows where\n")
    log = (run_folder() / "train.log").read_text()
    assert log.count("error: KeyError: 'missing'\n") == 1
    assert log.endswith("    {}[\"missing\"]\n    ~~^^^^^^^^^^^\nKeyError: 'missing'\n"), log
    assert 'mine.py", line 8, in forward' in log
    assert summary_in(run_folder())["error"].startswith("KeyError: 'missing'")


def test_loss_far_above_chance_is_no_plateau(command: Command) -> None:
    done = command(*TINY, "trainer.plateau_epochs=1", "optimizer=adam", "optimizer.lr=1000")
    warning = "for 1 epoch the loss has been far above chance, ln 10 = 2.30; lower optimizer.lr (it is 1000)\n"
    assert f"warning: {warning}" in done.out
    assert "has been at chance" not in done.out


def test_average_over_more_steps_than_the_run_has_is_warned_of(command: Command) -> None:
    done = command(*TINY, "trainer.ema=0.99")
    assert (
        "warning: trainer.ema=0.99 averages over about 100 steps, and this run has 90: the average still holds much of "
        "the initial weights; lower it\n" in done.out
    )
    assert "averages over" not in command(*TINY, "trainer.ema=0.95").out


def test_plateau_is_warned_of_once(command: Command) -> None:
    done = command(*TINY, "trainer.epochs=4", "trainer.plateau_epochs=2", "optimizer.lr=0.001")
    assert (
        done.out.count("warning: for 2 epochs the loss has been at chance, ln 10 = 2.30. With 1,437 training images")
        == 1
    )
    lines = done.out.splitlines()
    assert lines[lines.index(next(line for line in lines if "at chance" in line)) - 1].startswith("  2/4")
    done = command(*TINY, "trainer.epochs=2", "trainer.plateau_epochs=null", "optimizer.lr=0.001")
    assert "at chance" not in done.out
    options = ["data.enlarge_to=6000", "optimizer=adam", "optimizer.lr=0.003"]
    done = command(*TINY, "trainer.epochs=2", "trainer.plateau_epochs=2", *options)
    assert "at chance" not in done.out


@pytest.mark.parametrize(("limit", "advice"), [(10, "trainer.batch_size=8 fits"), (0, "not even a batch of one image")])
def test_out_of_memory_names_the_batch_size_that_fits(
    command: Command, monkeypatch: pytest.MonkeyPatch, limit: int, advice: str
) -> None:
    forward = torch.nn.Sequential.forward

    def hungry(layers: torch.nn.Sequential, images: torch.Tensor) -> torch.Tensor:
        if layers.training and len(images) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB\nand more")
        return forward(layers, images)

    monkeypatch.setattr(torch.nn.Sequential, "forward", hungry)
    done = command(*TINY, "device=cpu")
    assert done.code == 1
    assert done.err.startswith("error: trainer.batch_size=32: a step needs more memory than cpu has; " + advice)
    assert read_summary(run_folder() / "summary.json").status == "failed"


def test_signal_raised_as_another_error_is_an_interruption(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one within the import of compiled code does."""

    def draw(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    monkeypatch.setattr("digitnet.experiment.run.write_results", draw)
    done = command(*TINY, "hydra.run.dir=here")
    assert done.code == 130
    assert done.err == "Stopped after epoch 2 of 2; progress saved. Continue with:\ndigitnet resume here\n"
    assert read_summary(HERE / "summary.json").status == "interrupted"


def test_signal_during_the_last_summary_is_an_interruption(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the last summary is written, for instance: it is not left with the run running."""

    def write(book: RunWriter) -> None:
        if book.summary.status == "finished":
            os.kill(os.getpid(), signal.SIGTERM)
        write_summary(book)

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "write_summary", write)
        done = command(*TINY, "hydra.run.dir=here")
    assert done.code == 130
    assert done.err == "Stopped after epoch 2 of 2; progress saved. Continue with:\ndigitnet resume here\n"
    assert read_summary(HERE / "summary.json").status == "interrupted"
    assert command("resume", "here").code == 0


write_summary = RunWriter.write_summary


@pytest.mark.engine  # twenty seconds each
@pytest.mark.parametrize("line", [[], ["model=lenet5", "aug=distort"]], ids=["plain", "distort"])
def test_recipe_never_stays_at_chance_on_the_embedded_digits(command: Command, line: list[str]) -> None:
    """The first five of the twenty epochs; benchmarks/results.py runs five seeds to the end."""
    assert command(*line, "trainer.epochs=5", "logger=metrics").code == 0
    assert summary_in(run_folder())["test"]["accuracy"] >= 0.9


def test_interrupt_as_soon_as_the_summary_can_be_seen_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a sweep's that ends then: the job would stay "running" for ever."""
    write_summary = RunWriter.write_summary

    def interrupted(self: RunWriter) -> None:
        monkeypatch.setattr(RunWriter, "write_summary", write_summary)
        write_summary(self)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(RunWriter, "write_summary", interrupted)
    Path("job").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run.run_experiment(load_config(TINY), RunFolder(Path("job")), quiet=True)
    assert summary_in(Path("job"))["status"] == "interrupted"
