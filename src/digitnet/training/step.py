"""A training step: one update of the weights on one batch."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from digitnet.data.dataset import Split
from digitnet.losses import Loss
from digitnet.training.distributed import SINGLE_PROCESS, ProcessGroup
from digitnet.training.state import TrainState
from digitnet.training.weight_average import MovingAverage

Step = Callable[[Tensor, Tensor], Tensor]  # images (B, 1, 28, 28) and labels (B,) -> logits (B, classes)


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
    *,
    loss: Loss = F.cross_entropy,
    precision: str = "fp32",
    clip_norm: float | None = None,
    average: MovingAverage | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
    gradients: Step | None = None,
) -> Tensor:
    """One update on images (B, 1, 28, 28) float32 and labels (B,) int64; returns the logits (B, classes) before it.

    The gradients are those of `compute_gradients`, or come from `gradients`, another way to the same, without a group.

    `clip_norm` is the largest Euclidean norm of all gradients together: those of a step with a larger one are scaled
    down to it (Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks",
    algorithm 1); None: never. `average` is updated after the step. In a `group` of several processes, each computes its
    part of the batch and returns the logits of that part; `model` must average the gradients over the processes.
    """
    if gradients is not None:
        logits = gradients(images, labels)
    else:
        logits = compute_gradients(model, images, labels, loss=loss, precision=precision, group=group)
    if clip_norm is not None:
        with torch.inference_mode(gradients is not None):  # a mode that traced gradients are changed in alone
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    if average is not None:
        average.update()
    optimizer.zero_grad()
    return logits


def compute_gradients(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    loss: Loss,
    precision: str = "fp32",
    group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Add the gradients of the loss to those of the parameters; returns the logits. See `train_step`."""
    part, labels_of_part = group.part(images), group.part(labels)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits: Tensor = model(part)
        value = loss(logits, labels_of_part, reduction="mean" if group.size == 1 else "sum")
    if group.size > 1:  # the mean over processes must be the mean over images; some processes may have fewer, or none
        value = value * (group.size / len(labels))
    value.backward()
    return logits.detach()


def reporting_step(
    step: Step,
    state: TrainState,
    every: int,
    report: Callable[[int, float, float], None],
    group: ProcessGroup = SINGLE_PROCESS,
) -> Step:
    """`step`, which after every `every`-th one calls `report` with its number, its loss and its learning rate.

    Numbers count from 1 over all epochs. The loss is the batch's mean cross-entropy in nats before the update; in a
    `group`, of this process's part of the batch. A GPU is waited for after those steps only.
    """

    def reporting(images: Tensor, labels: Tensor) -> Tensor:
        logits = step(images, labels)
        if (number := state.steps + 1) % every == 0 and len(logits):
            loss = F.cross_entropy(logits.float(), group.part(labels))
            report(number, loss.item(), float(state.optimizer.param_groups[0]["lr"]))
        return logits

    return reporting


def steps_per_epoch(images: int, batch_size: int) -> int:
    """The number of batches in an epoch of `images` images; the last batch may be smaller."""
    return math.ceil(images / batch_size)


def set_lr(optimizer: Optimizer, factor: float) -> None:
    """Set each group's learning rate to `factor` times its `initial_lr`, the key of torch.optim.lr_scheduler.

    A rate that is a tensor on the device is filled in place: a recorded step reads it there.
    """
    for group in optimizer.param_groups:
        lr = group["initial_lr"] * factor
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def largest_batch(step: Step, train: Split, batch_size: int) -> int:
    """The largest of `batch_size` / 2, / 4, … whose `step` fits into memory; 0 if not even one image does."""
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
