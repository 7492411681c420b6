"""A run that was interrupted and resumed is, to the last bit, the run that was never interrupted."""

import copy
import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Generator

from digitnet.config.compose import load_config
from digitnet.config.rules import run_length
from digitnet.config.schema import Config
from digitnet.data import load_digits
from digitnet.experiment import build
from digitnet.metrics import evaluate
from digitnet.training import checkpoint, meter
from digitnet.training.loop import fit
from digitnet.training.record import EpochRecord
from digitnet.training.state import TrainState
from digitnet.training.step import train_step
from digitnet.training.weight_average import LastEpochsAverage, MovingAverage, WeightAverage

pytestmark = pytest.mark.slow

OPTIMIZERS = ["sgd optimizer.momentum=0.9", "rmsprop optimizer.momentum=0.5", "adam", "adamw optimizer.fused=true"]
SCHEDULES = ["step", "constant", "cosine", "onecycle", "trapezoid"]
AUGMENTATIONS = ["none", "distort", "distort aug.elastic_alpha=20"]


def fresh(config: Config, noise: int) -> TrainState:
    """As `experiment` builds it; `noise` seeds the generators, as in a process that has drawn other numbers before."""
    torch.manual_seed(noise)
    model = build.model(config.model, 10, Generator().manual_seed(0)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer, loss = config.trainer, build.loss(config.loss, config.model)
    optimizer = build.optimizer(config.optimizer, model, loss)
    average: WeightAverage | None = None
    if trainer.ema is not None:
        average = MovingAverage(model, copy.deepcopy(model), trainer.ema)
    elif trainer.average is not None:
        average = LastEpochsAverage(model, copy.deepcopy(model), trainer.average)
    return TrainState(model, optimizer, Generator().manual_seed(noise), average=average)


digits = functools.cache(load_digits)


def resumed(config: Config, state: TrainState, pauses: Iterator[bool]) -> list[EpochRecord]:
    epochs = run_length(config)
    records = fit(
        state,
        digits(1437).train[:300],
        digits(1437).test[:50],
        epochs=epochs,
        batch_size=32,
        schedule=build.schedule(config.schedule, epochs),
        augment=build.augment(config.aug, state.generator),
        warmup_epochs=1,
        step=functools.partial(
            train_step,
            state.model,
            state.optimizer,
            loss=build.loss(config.loss, config.model),
            precision=config.trainer.precision,
            average=state.average if isinstance(state.average, MovingAverage) else None,
        ),
        evaluate=functools.partial(evaluate, precision=config.trainer.precision),
        pause=lambda: next(pauses),
    )
    return list(records)


def timeless(records: list[EpochRecord]) -> list[EpochRecord]:
    return [replace(record, epoch_seconds=0, images_per_second=0) for record in records]


@pytest.mark.parametrize("aug", AUGMENTATIONS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_run_equals_uninterrupted_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, optimizer: str, schedule: str, aug: str
) -> None:
    monkeypatch.setattr(meter, "CHUNK", 64)  # five chunks an epoch
    overrides = f"trainer.epochs=3 optimizer={optimizer} schedule={schedule} aug={aug} optimizer.lr=0.003"
    check(load_config(overrides.split()), tmp_path / "last.pt")


@pytest.mark.parametrize(
    "overrides",
    [
        "model=fastnet",
        "model=allconv",
        "model=lenet5 trainer.precision=bf16",
        "model=fastnet trainer.ema=0.9",
        "model=fastnet trainer.average=2",
        "model=lenet5_1998 loss=map optimizer=sdlm optimizer.lr=0.0005",
    ],
)
def test_resumed_run_equals_uninterrupted_run_with_other_networks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, overrides: str
) -> None:
    """Running means of batch normalization are state, too."""
    monkeypatch.setattr(meter, "CHUNK", 64)
    optimizer = [] if "optimizer" in overrides else ["optimizer=adam"]
    check(load_config([*overrides.split(), *optimizer, "trainer.epochs=3"]), tmp_path / "last.pt")


def check(config: Config, path: Path) -> None:
    """Train once without interruption, and once in eight parts."""
    whole = fresh(config, 1)
    records = resumed(config, whole, iter(lambda: False, None))
    dice = torch.rand(3)

    state, found = fresh(config, 1), []
    for part in range(100):
        # After the second chunk, so in every second part also between two epochs.
        found += resumed(config, state, iter([False, True, True]))
        if state.epoch == 3:
            break
        checkpoint.save_checkpoint([path], state, "lenet5", {}, found)
        state = fresh(config, 100 + part)
        found = checkpoint.restore_checkpoint(state, checkpoint.load_checkpoint(path), images=300)
    assert part == 7
    assert timeless(found) == timeless(records)
    assert state.steps == whole.steps
    assert torch.equal(torch.rand(3), dice)
    assert torch.equal(state.generator.get_state(), whole.generator.get_state())
    for ours, theirs in zip(tensors_of(state), tensors_of(whole), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()  # the layout in memory decides how sums are rounded


def tensors_of(state: TrainState) -> list[torch.Tensor]:
    found = [*state.model.state_dict().values(), *state.evaluated.state_dict().values()]
    for values in state.optimizer.state.values():
        found += [value for value in values.values() if isinstance(value, torch.Tensor)]
    return found
