"""What the options of `debug` do to a run: fewer data, one batch, the profiler, a search for NaN and infinity."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from digitnet.config import schema
from digitnet.data import Dataset, Split
from digitnet.errors import DivergedError
from digitnet.text import one_line, plural
from digitnet.training.record import EpochRecord
from digitnet.training.state import TrainState

REPETITIONS = 50  # of the batch in an epoch of debug=overfit
SHOWN_OPERATORS = 15
TRACE = "trace.json"


def debugged_data(data: Dataset, config: schema.Config) -> Dataset:
    """The data that the run uses: fewer, or one batch over and over; the same for every seed."""
    debug, batch_size = config.debug, config.trainer.batch_size
    match debug:
        case schema.FastDebugConfig() | schema.ProfileDebugConfig():
            count = debug.batches * batch_size
            test = _some(data.test, count)
            validation = test if data.validates_on_test else _some(data.validation, count)
            return replace(data, train=_some(data.train, count), test=test, validation=validation, wrong_labels=())
        case schema.OverfitDebugConfig():
            batch = _some(data.train, batch_size)
            train = batch[torch.arange(len(batch)).repeat(REPETITIONS)]
            return replace(data, train=train, test=batch, validation=batch, wrong_labels=())
    return data


def _some(split: Split, count: int) -> Split:
    """So many of its images, evenly spaced: some of each class even where the classes follow each other."""
    return split[torch.linspace(0, len(split) - 1, min(count, len(split))).long()]


def overfit_result(records: Sequence[EpochRecord], images: int) -> tuple[str, bool]:
    """(the answer of debug=overfit, whether the network has learned its batch of so many images)."""
    steps, accuracy = len(records) * REPETITIONS, records[-1].val_acc
    what = f"the batch of {plural(images, 'image')}"
    if accuracy == 1:
        return f"debug=overfit: {what} is learned after {plural(steps, 'step')}: the network is able to learn", True
    return (
        f"debug=overfit: {100 * accuracy:.2f} % of {what} are right after {plural(steps, 'step')}; try another "
        "optimizer.lr or optimizer=adam, or look for a fault in the network",
        False,
    )


@contextlib.contextmanager
def finding_nan(state: TrainState, is_on: bool) -> Iterator[None]:
    """In this block, training raises DivergedError at the first layer whose output or gradient is not finite.

    Gradients are watched by PyTorch's anomaly detection.
    """
    if not is_on:
        yield
        return
    current = "the loss"  # the layer whose gradient is being computed

    def where() -> str:
        return f"epoch {state.epoch + 1}, step {state.steps + 1:,} of the run"

    def check_output(name: str, layer: nn.Module, output: object) -> None:
        if layer.training and isinstance(output, Tensor) and not output.isfinite().all():
            raise DivergedError(f"{where()}: the output of {name} has {_counted(output)}")

    def remember(name: str) -> None:
        nonlocal current
        current = name

    handles = []
    for path, layer in state.model.named_modules():
        if next(layer.children(), None) is None:
            name = f"{path or 'the network'} ({type(layer).__name__})"
            handles.append(
                layer.register_forward_hook(lambda one, _, output, name=name: check_output(name, one, output))
            )
            handles.append(layer.register_full_backward_pre_hook(lambda _, __, name=name: remember(name)))
    try:
        with warnings.catch_warnings(action="ignore"), torch.autograd.detect_anomaly():
            yield
    except RuntimeError as error:
        if "returned nan values" not in str(error):
            raise
        raise DivergedError(f"{where()}: the gradient at {current} is not a number ({one_line(error)})") from error
    finally:
        for handle in handles:
            handle.remove()


def _counted(values: Tensor) -> str:
    """`3 values of 4,096 that are not finite, the first nan`."""
    bad = values[~values.isfinite()]
    return f"{plural(bad.numel(), 'value')} of {values.numel():,} that are not finite, the first {bad[0].item():g}"


@contextlib.contextmanager
def profiled(run_dir: Path, device: torch.device, is_on: bool) -> Iterator[list[str]]:
    """In this block, the profiler is on; afterwards the list has a table of operators, and TRACE is in the folder."""
    lines: list[str] = []
    if not is_on:
        yield lines
        return
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    found = profile(activities=kinds, acc_events=True)
    with _silent_stderr():
        found.start()
    try:
        yield lines
    finally:
        with _silent_stderr():
            found.stop()
    by = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    table = found.key_averages().table(sort_by=by, row_limit=SHOWN_OPERATORS, max_name_column_width=40)
    lines += table.splitlines()
    found.export_chrome_trace(str(run_dir / TRACE))


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """In this block, nothing is printed to stderr, not by compiled code either: the profiler logs that it starts."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
