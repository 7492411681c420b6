"""The messages of a run: its description, warnings, and where it resumes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from digitnet.config import schema
from digitnet.config.rules import config_notes, is_result, run_length, warmup_epochs
from digitnet.experiment.components import Components
from digitnet.runs.formats import RunSummary
from digitnet.text import plural
from digitnet.training import runtime
from digitnet.training.record import EpochRecord

SHOWN_CLASSES = 10
MNIST_SIZED = 30_000  # training images
INITIAL_SHARE = 4  # of so many times the steps of an average, e^-4 = 2 % of the initial weights are left
FAR_ABOVE = 1.5  # likewise: the weights have grown so large that sure predictions are wrong
AT_CHANCE = 0.97  # times ln(classes), the loss of guessing; LeNet-5's plateau on MNIST is above 0.99 times that


def introduction(components: Components, summary: RunSummary) -> list[str]:
    """The lines before the epochs, about data, model and training."""
    config, data = components.config, components.data
    notes = [str(data.notes["why"])] if "why" in data.notes else []
    notes += ["inverted"] if data.notes.get("inverted") else []
    source = "; ".join([data.source, *notes])
    distorted = ""
    if isinstance(config.aug, schema.DistortConfig):
        distorted = f", distorted images from epoch {warmup_epochs(config) + 1} on"
    threads = f" ({plural(summary.device['threads'], 'thread')})" if summary.device["type"] == "cpu" else ""
    if components.group.size > 1:
        threads += f", {components.group.size} processes"
    return [
        f"data: {data.name} ({source}), {len(data.train):,} training and {len(data.test):,} test images "
        f"of {_classes(data.classes)}; validation on the {components.validation_split}",
        f"model: {config.model.name}, {summary.parameters:,} parameters{distorted}",
        f"training: {config.optimizer.name} lr {config.optimizer.lr:g}, {config.schedule.name} schedule, "
        f"{plural(run_length(config), 'epoch')} of batches of {config.trainer.batch_size}, "
        f"{config.trainer.precision}, seed {config.seed}, on {summary.device['name']}{threads}",
        *(f"note: {note}" for _, note in config_notes(config)),
    ]


def _classes(names: Sequence[str]) -> str:
    """`10 classes, 0 to 9`, `3 classes (no, perhaps, yes)`; of many only the first ones."""
    if [*names] == [str(number) for number in range(len(names))]:
        return f"{len(names)} classes, 0 to {len(names) - 1}"
    shown = ", ".join([*names[:SHOWN_CLASSES], *(["…"] if len(names) > SHOWN_CLASSES else [])])
    return f"{len(names)} classes ({shown})"


def run_warnings(components: Components, summary: RunSummary) -> list[str]:
    """Warnings about settings that are valid but possibly a mistake, and about files that were skipped."""
    config, data = components.config, components.data
    warnings: list[str] = []
    if not is_result(config.debug.name):
        warnings.append(f"debug={config.debug.name}: the figures of this run are no results; compare lists it as debug")
    if isinstance(unusual := data.notes.get("warnings"), list):
        warnings += unusual
    if isinstance(skipped := data.notes.get("skipped"), list):
        names = "; ".join(skipped[:3])
        warnings.append(f"{plural(len(skipped), 'file')} left out, summary.json has their names: {names}")
    if config.trainer.early_stop is not None and data.validates_on_test:
        held_out = min(5000, max(1, summary.dataset["train"] // 10))
        warnings.append(
            "trainer.early_stop chooses an epoch by the test set, so its test accuracy flatters; "
            f"hold out images: data.validation={held_out}"
        )
    steps = run_length(config) * components.steps_per_epoch
    if (decay := config.trainer.ema) is not None and (span := 1 / (1 - decay)) > steps / INITIAL_SHARE:
        warnings.append(
            f"trainer.ema={decay:g} averages over about {span:,.0f} steps, and this run has {steps:,}: the average "
            "still holds much of the initial weights; lower it"
        )
    if config.trainer.precision == "bf16" and summary.device["type"] == "cpu" and not runtime.has_bfloat16("cpu"):
        warnings.append("trainer.precision=bf16: this CPU has no bfloat16 arithmetic; fp32 is faster on it")
    if config.trainer.cuda_graph and summary.device["type"] != "cuda":
        warnings.append(f"trainer.cuda_graph=true: has no effect on {summary.device['name']}")
    return warnings


def differences(before: Mapping[str, Any], now: Mapping[str, Any], keys: Iterable[str] = ()) -> list[str]:
    """`seed was 7, is 0` for each of `keys` (by default, of `now`) whose values differ and that both have."""
    return [
        f"{key} was {before[key]}, is {now[key]}"
        for key in keys or now
        if key in before and key in now and before[key] != now[key]
    ]


def other_length(before: schema.Config, config: schema.Config) -> list[str]:
    """Warnings if warm-up or schedule depend on the run's length, and that has changed since the run started."""
    was, now = run_length(before), run_length(config)
    warnings = []
    if (warmup := (warmup_epochs(before), warmup_epochs(config)))[0] != warmup[1]:
        warnings.append(
            f"aug.warmup_epochs was cut to {warmup[0]} for {plural(was, 'epoch')}: the epochs so far used that, the "
            f"others use {warmup[1]}"
        )
    if was != now and config.trainer.average is not None:
        setting = f"trainer.average={config.trainer.average}"
        warnings.append(f"{setting}: averages over the last of {now} epochs, as far as they are still to come")
    if was != now and config.schedule.name in ("cosine", "onecycle", "trapezoid"):
        warnings.append(
            f"schedule={config.schedule.name} depends on the run's length: the epochs so far used the schedule for "
            f"{was}, the others use that for {now}"
        )
    return warnings


def other_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A warning if a run is resumed on another machine or with other versions: results may then differ."""
    keys = ("type", "name", "capability", "threads", "processes", "channels_last", "digitnet", "torch", "numpy")
    others = differences(before, now, keys)
    if not others:
        return []
    return [f"not the same machine or versions as before, so results may differ ({'; '.join(others)})"]


def starting_point(components: Components) -> str | None:
    """`resuming from epoch 3, step 120 of 1,875`, the last step done; None for a new run from random weights."""
    config, state = components.config, components.state
    if state.steps == 0:
        return None if config.init_from is None else f"starting from the weights of {config.init_from}"
    if state.partial_epoch is None:
        return f"resuming from the end of epoch {state.epoch}"
    step = state.steps - state.epoch * components.steps_per_epoch
    return f"resuming from epoch {state.epoch + 1}, step {step:,} of {components.steps_per_epoch:,}"


def plateau(records: Sequence[EpochRecord], config: schema.Config, classes: int, images: int) -> list[str]:
    """A warning if the loss has stayed at chance for `trainer.plateau_epochs`; only once for each plateau."""
    count = config.trainer.plateau_epochs
    if count is None or len(records) < count:
        return []
    losses = [record.train_loss / math.log(classes) for record in records[-count - 1 :]]
    at_chance = [loss > AT_CHANCE for loss in losses]
    if not all(at_chance[-count:]) or at_chance == [True] * (count + 1):  # the previous epoch has warned
        return []
    if min(losses[-count:]) > FAR_ABOVE:
        return [
            f"for {plural(count, 'epoch')} the loss has been far above chance, ln {classes} = {math.log(classes):.2f}; "
            f"lower optimizer.lr (it is {config.optimizer.lr:g})"
        ]
    hint, other = "", "" if config.optimizer.name == "adam" else "optimizer=adam or "
    if images < MNIST_SIZED:
        hint = f"With {plural(images, 'training image')} an epoch has few steps, so it may take more epochs; "
    elif config.model.name == "lenet5":
        hint = (
            "LeNet-5 with sigmoids stays there for one to three epochs on MNIST, longer with model.init=glorot, and "
            "throughout with optimizer.momentum=0.8 at optimizer.lr=1; "
        )
    return [
        f"for {plural(count, 'epoch')} the loss has been at chance, ln {classes} = {math.log(classes):.2f}. {hint}"
        f"if it does not fall, try {other}another optimizer.lr"
    ]
