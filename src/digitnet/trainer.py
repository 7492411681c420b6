"""Training. `fit` yields a record an epoch and prints nothing; whoever calls it logs, saves and shows."""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from digitnet.capture import Step
from digitnet.checkpoint import TrainState
from digitnet.data import Split
from digitnet.errors import DivergedError
from digitnet.evaluate import evaluate
from digitnet.optim import Schedule
from digitnet.records import EpochRecord

CHUNK = 1024  # images gathered, scaled and distorted at once: many batches, so that the cost of each call is shared


def train_step(model: nn.Module, optimizer: Optimizer, images: Tensor, labels: Tensor, precision: str) -> Tensor:
    """One update on images (B, 1, 28, 28) float32; returns the logits (B, classes) that it was computed from."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits: Tensor = model(images)
        loss = F.cross_entropy(logits, labels)
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
) -> Iterator[EpochRecord]:
    """Train `state` up to `epochs` epochs, each a permutation of `train`, and yield a record after each.

    The learning rate of every step is `lr * schedule(epochs done so far)`. `augment` maps images (B, 1, 28, 28)
    float32 to the same shape, and stays away in the first `warmup_epochs`. `step` stands in for `train_step`, for
    instance captured. Raises DivergedError, before the record, when a loss is no longer a number.
    """
    device = train.images.device
    step = step or partial(train_step, state.model, state.optimizer, precision=precision)
    steps_per_epoch = math.ceil(len(train) / batch_size)
    chunk_size = batch_size * max(1, CHUNK // batch_size)
    while state.epoch < epochs:
        start = time.perf_counter()
        distort = augment if state.epoch >= warmup_epochs else None
        sums = []  # (loss, correct answers) of each chunk, on the device, read once at the end of the epoch
        state.model.train()
        order = torch.randperm(len(train), generator=state.generator, device=device)
        for chunk in order.split(chunk_size):
            images = train.images[chunk].float().div_(255)
            labels = train.labels[chunk]
            if distort is not None:
                images = distort(images)
            logits = []
            for batch, target in zip(images.split(batch_size), labels.split(batch_size), strict=True):
                set_lr(state.optimizer, lr * schedule(state.step / steps_per_epoch))
                logits.append(step(batch, target))
                state.step += 1
            seen = torch.cat(logits).float()
            sums.append(torch.stack([F.cross_entropy(seen, labels, reduction="sum"), (seen.argmax(1) == labels).sum()]))
        train_loss, train_acc = (torch.stack(sums).cpu().double().sum(0) / len(train)).tolist()
        train_seconds = time.perf_counter() - start

        found = evaluate(state.model, validation.images, validation.labels, precision)
        first_lr = lr * schedule(float(state.epoch))
        state.epoch += 1
        if not (math.isfinite(train_loss) and math.isfinite(found.loss)):
            raise DivergedError(
                f"epoch {state.epoch}: the loss is {train_loss if not math.isfinite(train_loss) else found.loss}; "
                f"lower optimizer.lr (it was {first_lr:g})"
            )
        yield EpochRecord(
            epoch=state.epoch,
            lr=first_lr,
            train_loss=train_loss,
            train_acc=train_acc,
            val_loss=found.loss,
            val_acc=found.accuracy,
            epoch_seconds=time.perf_counter() - start,
            images_per_second=len(train) / train_seconds,
        )
