"""The training loop. `fit` yields a record an epoch and prints nothing; its caller logs, saves and shows."""

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor, nn

from digitnet.data.dataset import Split
from digitnet.metrics import Evaluation, evaluate
from digitnet.schedules import Schedule
from digitnet.training.distributed import SINGLE_PROCESS, ProcessGroup
from digitnet.training.meter import Meter
from digitnet.training.record import EpochRecord
from digitnet.training.state import TrainState
from digitnet.training.step import Step, set_lr, train_step

Evaluate = Callable[[nn.Module, Tensor, Tensor], Evaluation]


def fit(
    state: TrainState,
    train: Split,
    validation: Split,
    *,
    epochs: int,
    batch_size: int,
    schedule: Schedule,
    augment: Callable[[Tensor], Tensor] | None = None,
    warmup_epochs: int = 0,
    step: Step | None = None,
    evaluate: Evaluate = evaluate,
    pause: Callable[[], bool] = lambda: False,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[EpochRecord]:
    """Train `state` up to `epochs` epochs, each a permutation of `train`, and yield a record after each.

    The learning rate of each step is the optimizer's `initial_lr` (by default its lr) times `schedule(epochs done so
    far)`. `augment` maps images (B, 1, 28, 28) float32 to the same shape; the first `warmup_epochs` do without. `step`
    replaces `train_step` in fp32: another precision, or a recorded step. When `pause` says so, asked after every chunk
    of batches, `fit` returns, within an epoch too, and the next `fit` of the same state continues there. In a `group`
    of several processes each has all data, the same generator and a `step` of its own. Raises DivergedError, before the
    record and before a pause, when a loss or a weight is no longer a number.
    """
    step = step or partial(train_step, state.model, state.optimizer)
    meter = Meter(state, len(train), batch_size, schedule, pause, group)
    while state.epoch < epochs:
        distort = augment if state.epoch >= warmup_epochs else None
        for chunk in meter.chunks():
            images, labels = train.images[chunk].float().div_(255), train.labels[chunk]
            if distort is not None:
                images = distort(images)
            logits = []
            for batch, target in zip(images.split(batch_size), labels.split(batch_size), strict=True):
                set_lr(state.optimizer, meter.lr_factor())
                logits.append(step(batch, target))
                state.steps += 1
            if meter.must_pause(logits, labels):
                return
        meter.end_training()
        yield meter.record(evaluate(state.model, validation.images, validation.labels))
