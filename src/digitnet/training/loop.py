"""Training. `fit` yields a record an epoch and prints nothing; whoever calls it logs, saves and shows."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from digitnet.data import Split
from digitnet.errors import DivergedError
from digitnet.metrics import evaluate
from digitnet.schedules import Schedule
from digitnet.training.checkpoint import PartialEpoch, TrainState
from digitnet.training.distributed import SINGLE_PROCESS, ProcessGroup
from digitnet.training.record import EpochRecord
from digitnet.training.recorded_step import Step

CHUNK = 1024  # images gathered, scaled and distorted at once: many batches, so that the cost of each call is shared
LOOK_SECONDS = 1.0  # between looks at the losses within an epoch, for which the processor waits for a GPU


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    precision: str,
    ranks: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """One update on images (B, 1, 28, 28) float32; returns the logits (B, classes) that it was computed from.

    With several `ranks`, on this one's part of them, whose logits are returned; `model` takes the mean of gradients.
    """
    part, labels_of_part = ranks.part(images), ranks.part(labels)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits: Tensor = model(part)
        loss = F.cross_entropy(logits, labels_of_part, reduction="mean" if ranks.size == 1 else "sum")
    if ranks.size > 1:  # the mean over ranks is to be that over images, of which some ranks may have fewer, or none
        loss = loss * (ranks.size / len(labels))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return logits.detach()


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Into the optimizer, or into its tensor on the device, where a captured step reads it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def fit(
    state: TrainState,
    train: Split,
    validation: Split,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    schedule: Schedule,
    augment: Callable[[Tensor], Tensor] | None = None,
    warmup_epochs: int = 0,
    precision: str = "fp32",
    step: Step | None = None,
    pause: Callable[[], bool] | None = None,
    ranks: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[EpochRecord]:
    """Train `state` up to `epochs` epochs, each a permutation of `train`, and yield a record after each.

    The learning rate of every step is `lr * schedule(epochs done so far)`. `augment` maps images (B, 1, 28, 28)
    float32 to the same shape, and stays away in the first `warmup_epochs`. `step` stands in for `train_step`, for
    instance captured. `pause` is asked after every chunk of batches: when it says so, `fit` returns, be it within an
    epoch, and the next `fit` of the same state goes on there. Of several `ranks`, each has all data and the same
    generator, a `step` of its own and a part of each batch; figures and pauses are those of all. Raises DivergedError,
    before the record, and before a pause, when a loss or a weight is no longer a number.
    """
    device = train.images.device
    step = step or partial(train_step, state.model, state.optimizer, precision=precision)
    parameters = list(state.model.parameters())
    steps_per_epoch = math.ceil(len(train) / batch_size)
    chunk_size = batch_size * max(1, CHUNK // batch_size)

    def rate(step: int) -> float:
        return lr * schedule(step / steps_per_epoch)

    while state.epoch < epochs:
        start = looked = time.perf_counter()
        if state.underway is None:
            state.underway = PartialEpoch(torch.randperm(len(train), generator=state.generator, device=device))
        underway = state.underway
        distort = augment if state.epoch >= warmup_epochs else None
        state.model.train()
        for first in range(underway.done, len(train), chunk_size):
            chunk = underway.order[first : first + chunk_size]
            images = train.images[chunk].float().div_(255)
            labels = train.labels[chunk]
            if distort is not None:
                images = distort(images)
            logits = []
            for batch, target in zip(images.split(batch_size), labels.split(batch_size), strict=True):
                set_lr(state.optimizer, rate(state.step))
                logits.append(step(batch, target))
                state.step += 1
            measured = _measure(torch.cat(logits).float(), ranks.parts(labels, batch_size), parameters)
            # All look at once: one that diverged alone would leave the others waiting.
            late = time.perf_counter() - looked > LOOK_SECONDS
            row, (stop, look) = ranks.agree(measured, pause is not None and pause(), late)
            underway.sums.append(row)
            underway.done += len(chunk)
            if stop or look:
                _read(state, batch_size, chunk_size, rate)
                looked = time.perf_counter()
            if stop:
                underway.seconds += time.perf_counter() - start
                return
        train_loss, train_acc = (_read(state, batch_size, chunk_size, rate)[:, :2].sum(0) / len(train)).tolist()
        train_seconds = underway.seconds + time.perf_counter() - start

        found = evaluate(state.model, validation.images, validation.labels, precision)
        first_lr = rate(state.step - steps_per_epoch)
        if not math.isfinite(found.loss):
            raise DivergedError(
                f"epoch {state.epoch + 1}: the validation loss is {found.loss};\n"
                f"lower optimizer.lr (it was {first_lr:g}), or begin with little: schedule=onecycle"
            )
        state.epoch += 1
        state.underway = None
        yield EpochRecord(
            epoch=state.epoch,
            lr=first_lr,
            train_loss=train_loss,
            train_acc=train_acc,
            val_loss=found.loss,
            val_acc=found.accuracy,
            epoch_seconds=underway.seconds + time.perf_counter() - start,
            images_per_second=len(train) / train_seconds,
        )


@torch.no_grad()
def _measure(logits: Tensor, labels: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """What a chunk of batches gave, (4,) float32 on the device: the sum of the losses, correct answers, images before
    the first whose loss is no number, and the norm of the weights afterwards.
    """
    losses = F.cross_entropy(logits, labels, reduction="none")
    good = losses.isfinite().cumprod(0).sum()
    return torch.stack([losses.sum(), (logits.argmax(1) == labels).sum(), good, get_total_norm(parameters)])


def _read(state: TrainState, batch_size: int, chunk_size: int, rate: Callable[[int], float]) -> Tensor:
    """The rows of the epoch so far, (chunks, 4) float64 on the CPU, for which the processor waits.

    Raises DivergedError, with the step, at the first that holds something else than numbers.
    """
    assert state.underway is not None
    rows = torch.stack(state.underway.sums).cpu().double()
    for number, (loss, _, good, norm) in enumerate(rows.tolist()):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            first = number * chunk_size
            image = min(first + int(good), state.underway.done - 1, first + chunk_size - 1)
            step = image // batch_size  # of the epoch, from 0
            steps_per_epoch = math.ceil(len(state.underway.order) / batch_size)
            what = f"the loss is {loss}" if not math.isfinite(loss) else "a weight is no longer a number"
            raise DivergedError(
                f"epoch {state.epoch + 1}, step {step + 1:,} of {steps_per_epoch:,}: {what};\n"
                f"lower optimizer.lr (it was {rate(state.epoch * steps_per_epoch + step):g}), "
                "or begin with little: schedule=onecycle"
            )
    return rows


def largest_batch(step: Step, train: Split, batch_size: int) -> int:
    """The largest of `batch_size` / 2, / 4, … for which there is memory to `step`; 0 if not for one image."""
    while batch_size > 1:
        batch_size //= 2
        if train.images.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            step(train.images[:batch_size].float().div_(255), train.labels[:batch_size])
            return batch_size
        except RuntimeError:  # torch.OutOfMemoryError is one
            continue
    return 0
