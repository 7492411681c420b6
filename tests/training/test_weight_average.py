"""The moving average of the weights: its formula, what it leaves alone, and that a run evaluates and saves it."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from conftest import TINY, Command, summary_in, write
from digitnet import run
from digitnet.data import load_digits
from digitnet.metrics import evaluate
from digitnet.models import FastNet, LeNet5
from digitnet.training.checkpoint import load_checkpoint
from digitnet.training.record import EpochRecord
from digitnet.training.weight_average import LastEpochsAverage, MovingAverage


def test_average_is_pytorchs_exponential_one() -> None:
    torch.manual_seed(0)
    model = FastNet()
    ours = MovingAverage(model, copy.deepcopy(model), 0.9)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    theirs.update_parameters(model)  # the first one only copies
    for _ in range(3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model.train()(torch.rand(8, 1, 28, 28))  # moves the running means
        ours.update()
        theirs.update_parameters(model)
    expected = theirs.module.state_dict()
    for name, tensor in ours.model.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, expected[name])
        else:
            assert tensor == 3  # a count is no mean
    for average, value in zip(ours.model.parameters(), model.parameters(), strict=True):
        assert not torch.equal(average, value)
        assert average.data_ptr() != value.data_ptr()


def test_average_begins_anew_with_the_weights() -> None:
    model = LeNet5()
    average = MovingAverage(model, copy.deepcopy(model), 0.9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    average.restart()
    for ours, theirs in zip(average.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_averaged_weights_are_evaluated_saved_and_returned(command: Command) -> None:
    result = run(*TINY, "optimizer=adam", "trainer.ema=0.9", run_dir="run")
    saved = load_checkpoint(Path("run/checkpoints/last.pt"))
    for name, tensor in result.model.cpu().state_dict().items():
        assert torch.equal(tensor, saved["model"][name])
    assert not torch.equal(saved["model"]["layers.0.weight"], saved["trained"]["layers.0.weight"])
    digits = load_digits(1437).test
    trained = LeNet5()
    trained.load_state_dict(saved["trained"])
    assert evaluate(result.model, digits.images, digits.labels).loss == pytest.approx(result.test.loss)
    assert evaluate(trained, digits.images, digits.labels).loss != pytest.approx(result.test.loss)
    assert result.records[-1].val_loss == pytest.approx(result.test.loss)  # the validation set is the test set
    assert summary_in(Path("run"))["config"]["trainer"]["ema"] == 0.9


def test_average_of_a_run_from_other_weights_begins_with_them(command: Command) -> None:
    run(*TINY, "optimizer=adam", run_dir="first")
    run(*TINY, "optimizer=adam", "optimizer.lr=1e-9", "trainer.ema=0.9999", "init_from=first", run_dir="second")
    first, second = (load_checkpoint(Path(name, "checkpoints/last.pt"))["model"] for name in ("first", "second"))
    for name, tensor in second.items():
        torch.testing.assert_close(tensor, first[name], atol=1e-6, rtol=0)


def test_network_that_cannot_be_copied_is_refused(command: Command) -> None:
    write(
        Path("mine.py"),
        "import threading\n"
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
        "        self.lock = threading.Lock()\n",
    )
    done = command("model=custom", "model.target=mine:Net", *TINY, "trainer.ema=0.9")
    assert done.code == 2
    assert done.err == (
        "error: trainer.ema=0.9: needs a copy of this network, which fails "
        "(TypeError: cannot pickle '_thread.lock' object)\n"
    )


def test_checkpoint_of_a_run_without_average_has_no_second_weights(command: Command) -> None:
    run(*TINY, run_dir="run")
    assert load_checkpoint(Path("run/checkpoints/last.pt"))["trained"] is None


def test_decay_is_between_zero_and_one(command: Command) -> None:
    done = command(*TINY, "trainer.ema=1")
    assert (done.code, "trainer.ema" in done.err) == (2, True)


def test_average_of_epochs_is_pytorchs_equal_one() -> None:
    model = FastNet(generator=torch.Generator().manual_seed(0))
    ours = LastEpochsAverage(model, copy.deepcopy(model), epochs=3)
    theirs = AveragedModel(model, use_buffers=True)  # its first update copies
    for left in (4, 3, 2, 1, 0):
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                tensor.copy_(torch.rand_like(tensor) if tensor.is_floating_point() else tensor + 1)
        ours.end_epoch(left)
        assert ours.is_active is (left < 3)
        if left < 3:
            theirs.update_parameters(model)
    pairs = zip(ours.model.state_dict().items(), theirs.module.state_dict().values(), strict=True)
    for (name, average), expected in pairs:
        if average.is_floating_point():
            torch.testing.assert_close(average, expected)
        else:
            assert torch.equal(average, model.state_dict()[name])


def test_mean_of_the_last_epochs_is_evaluated_saved_and_returned(command: Command) -> None:
    options = [*TINY, "optimizer=adam", "trainer.epochs=4", "checkpoint.keep=null"]
    plain = run(*options, run_dir="plain")
    result = run(*options, "trainer.average=2", run_dir="run")
    assert result.records[:2] == [
        replace_seconds(record, result.records[n]) for n, record in enumerate(plain.records[:2])
    ]
    weights = [load_checkpoint(Path(f"plain/checkpoints/epoch_{epoch}.pt"))["model"] for epoch in (3, 4)]
    last = load_checkpoint(Path("run/checkpoints/last.pt"))
    for name, tensor in result.model.cpu().state_dict().items():
        torch.testing.assert_close(tensor, (weights[0][name] + weights[1][name]) / 2)
        assert torch.equal(last["model"][name], tensor)
        assert torch.equal(last["trained"][name], weights[1][name])
    assert result.records[-1].val_loss == pytest.approx(result.test.loss)
    assert load_checkpoint(Path("run/checkpoints/epoch_2.pt"))["trained"] is None


def test_longer_run_averages_its_own_last_epochs(command: Command) -> None:
    options = [*TINY, "optimizer=adam", "trainer.average=2"]
    whole = run(*options, "trainer.epochs=4", run_dir="whole")
    run(*options, "trainer.epochs=2", run_dir="run")
    done = command("resume", "run", "trainer.epochs=4")
    assert (
        "warning: trainer.average=2: averages over the last of 4 epochs, as far as they are still to come\n" in done.out
    )
    ours, theirs = (load_checkpoint(Path(name, "checkpoints/last.pt")) for name in ("run", "whole"))
    for name, tensor in ours["model"].items():
        assert torch.equal(tensor, theirs["model"][name])
    assert summary_in(Path("run"))["test"]["errors"] == whole.test.errors


def test_two_averages_are_refused(command: Command) -> None:
    done = command(*TINY, "trainer.ema=0.9", "trainer.average=2")
    assert (done.code, done.err) == (
        2, "error: trainer.average and trainer.ema both average the weights; leave one out\n",
    )  # fmt: skip


def replace_seconds(record: EpochRecord, other: EpochRecord) -> EpochRecord:
    return replace(record, epoch_seconds=other.epoch_seconds, images_per_second=other.images_per_second)
