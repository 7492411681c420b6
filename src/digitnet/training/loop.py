"""The training loop. `fit` yields a record per epoch and prints nothing; its caller logs and saves."""

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
from digitnet.training.weight_average import MovingAverage

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
    """Train `state` until it has `epochs` epochs, each in a new random order of `train`; yields a record after each.

    The learning rate of each step is the optimizer's `initial_lr` (by default its lr) times `schedule(epochs done so
    far)`. `augment` maps images (B, 1, 28, 28) float32 to the same shape; it is not used in the first `warmup_epochs`.
    `step` replaces `train_step` in fp32, for another precision or a recorded step. `pause` is called after every chunk
    of batches; if it returns True, `fit` returns, also within an epoch, and the next `fit` of the same state continues
    from there. In a `group` of several processes, each has all data, an identical generator and its own `step`. Raises
    DivergedError, before a record or a pause, if a loss or a weight is no longer a finite number.
    """
    average = state.average if isinstance(state.average, MovingAverage) else None
    step = step or partial(train_step, state.model, state.optimizer, average=average)
    meter = Meter(state, len(train), batch_size, schedule, pause, group)
    while state.epoch < epochs:
        state.begin_epoch(train)
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
        state.end_epoch(epochs)
        meter.end_training()
        yield meter.record(evaluate(state.evaluated, validation.images, validation.labels))
