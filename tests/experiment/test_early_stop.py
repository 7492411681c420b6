"""trainer.early_stop: when it ends a run, which weights are kept, and that such a run is resumed to the last bit."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from conftest import TINY, Command, figures, summary_in, write
from digitnet import load, resume, run
from digitnet.errors import CheckpointError
from digitnet.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

# After a few epochs the validation accuracy falls now and then: 100 held-out images, a high learning rate.
UNSTEADY = [*TINY, "data.validation=100", "model=fastnet", "optimizer=adam", "optimizer.lr=0.03", "schedule=constant"]


def weights_in(name: str, folder: str = "run") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_checkpoint(Path(folder, "checkpoints", f"{name}.pt"))["model"]
    return found


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(tensor.cpu(), theirs[name].cpu()) for name, tensor in ours.items())


@pytest.mark.parametrize("more", [[], ["trainer.ema=0.8"]])
def test_run_ends_after_its_patience_and_keeps_the_best_weights(command: Command, more: list[str]) -> None:
    result = run(*UNSTEADY, *more, "trainer.epochs=40", "trainer.early_stop=2", run_dir="run")
    accuracies = [(record.val_acc, -record.val_loss) for record in result.records]
    best = accuracies.index(max(accuracies)) + 1
    assert len(result.records) == best + 2 < 40
    summary, log = summary_in(Path("run")), Path("run/train.log").read_text()
    assert (summary["status"], summary["epochs"], summary["best"]["epoch"]) == ("finished", best + 2, best)
    assert (
        "\nstopped, for trainer.early_stop=2: 2 epochs without a better one; "
        f"the weights of epoch {best}, which has the highest validation accuracy, are kept\n" in log
    )
    assert_equal(result.model.state_dict(), weights_in("best"))
    assert_equal(weights_in("last"), weights_in("best"))
    assert not torch.equal(load_checkpoint(Path("run/checkpoints/last.pt"))["trained"]["layers.1.weight"],
                           weights_in("best")["layers.1.weight"])  # fmt: skip
    assert load("run").evaluate().score.errors == result.test.errors  # what predict and evaluate use by default


@pytest.mark.parametrize("more", [[], ["trainer.ema=0.8"]])
def test_resumed_run_that_ends_early_equals_the_uninterrupted_one(command: Command, more: list[str]) -> None:
    whole = run(*UNSTEADY, *more, "trainer.epochs=40", "trainer.early_stop=3", run_dir="whole")
    run(*UNSTEADY, *more, "trainer.epochs=1", "trainer.early_stop=3", run_dir="run")
    resume("run", "trainer.epochs=3")  # the first run kept its best weights, and goes on from the trained ones
    found = resume("run", "trainer.epochs=40")
    assert figures(Path("run")) == figures(Path("whole"))
    assert found.test == whole.test
    assert_equal(weights_in("last"), weights_in("last", "whole"))


def test_finished_run_is_not_resumed_unless_its_patience_grows(command: Command) -> None:
    first = run(*UNSTEADY, "trainer.epochs=40", "trainer.early_stop=1", run_dir="run")
    again = resume("run")
    assert (again.records, again.test) == (first.records, first.test)
    same = resume("run", "logger=full")
    assert (len(same.records), same.test) == (len(first.records), first.test)
    longer = resume("run", "trainer.early_stop=4")
    assert longer.records[: len(first.records)] == first.records
    assert len(longer.records) > len(first.records)


def test_run_that_reaches_its_end_keeps_its_best_weights_too(command: Command) -> None:
    result = run(*UNSTEADY, "trainer.epochs=7", "trainer.early_stop=30", run_dir="run")
    log = Path("run/train.log").read_text()
    assert len(result.records) == 7 > summary_in(Path("run"))["best"]["epoch"]
    assert re.search(r"\nthe weights of epoch \d, which has the highest validation accuracy, are kept\n", log)
    assert_equal(result.model.state_dict(), weights_in("best"))


def test_missing_best_checkpoint_is_named(command: Command) -> None:
    run(*UNSTEADY, "trainer.epochs=40", "trainer.early_stop=1", run_dir="run")
    Path("run/checkpoints/best.pt").unlink()
    with pytest.raises(CheckpointError, match=r"run/checkpoints/best\.pt: no such checkpoint; restore it, or keep "):
        resume("run", "logger=full")
    shutil.copy("run/checkpoints/last.pt", "run/checkpoints/best.pt")
    with pytest.raises(CheckpointError, match=r"best\.pt: is of epoch \d+, and the best was \d+; restore it"):
        resume("run", "logger=full")


def test_epoch_that_the_test_set_chooses_is_warned_of(command: Command) -> None:
    warning = (
        "warning: trainer.early_stop chooses an epoch by the test set, so its test accuracy flatters; hold out images: "
        "data.validation=143\n"
    )
    assert warning in command(*TINY, "trainer.early_stop=3").out
    assert warning not in command(*TINY, "trainer.early_stop=3", "data.validation=100").out


def test_network_that_cannot_be_copied_is_refused_before_training(command: Command) -> None:
    write(
        Path("mine.py"),
        "import threading\n"
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
        "        self.lock = threading.Lock()\n",
    )
    done = command("model=custom", "model.target=mine:Net", *TINY, "trainer.early_stop=1")
    assert done.code == 2
    assert done.err.startswith("error: trainer.early_stop=1: needs a copy of this network, which fails (TypeError: ")
