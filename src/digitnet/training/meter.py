"""What surrounds the update rule: what is measured of an epoch, looked at, paused, and agreed upon among processes."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import get_total_norm

from digitnet.errors import DivergedError
from digitnet.metrics import Evaluation
from digitnet.schedules import Schedule
from digitnet.training.distributed import ProcessGroup
from digitnet.training.record import EpochRecord
from digitnet.training.state import PartialEpoch, TrainState
from digitnet.training.step import steps_per_epoch

CHUNK = 1024  # images gathered, scaled and distorted at once: many batches, so that the cost of each call is shared
LOOK_SECONDS = 1.0  # between looks at the losses within an epoch, for which the processor waits for a GPU
ADVICE = "lower optimizer.lr (it was {lr:g}), or warm up the learning rate: schedule=onecycle"


class Meter:
    """Measures the epochs of one `fit`, chunk by chunk; `images` is the size of the training set.

    `pause` is asked after every chunk whether to stop there. In a `group` of several processes the sums are those of
    all, and all pause, or look at the losses, when one of them wants to: one that diverged alone would leave the others
    waiting.
    """

    def __init__(
        self,
        state: TrainState,
        images: int,
        batch_size: int,
        schedule: Schedule,
        pause: Callable[[], bool],
        group: ProcessGroup,
    ) -> None:
        self._state, self._images, self._batch_size = state, images, batch_size
        self._schedule, self._pause, self._group = schedule, pause, group
        self._parameters = list(state.model.parameters())
        self._chunk_size = batch_size * max(1, CHUNK // batch_size)
        self._steps_per_epoch = steps_per_epoch(images, batch_size)
        for parameters in state.optimizer.param_groups:
            parameters.setdefault("initial_lr", float(parameters["lr"]))

    @property
    def _partial(self) -> PartialEpoch:
        assert self._state.partial_epoch is not None
        return self._state.partial_epoch

    def lr_factor(self) -> float:
        """The schedule's factor of the learning rate for the next step."""
        return self._schedule(self._state.steps / self._steps_per_epoch)

    def _lr(self, step: int) -> float:
        """The learning rate of a step, counted over all epochs from 0."""
        initial: float = self._state.optimizer.param_groups[0]["initial_lr"]
        return initial * self._schedule(step / self._steps_per_epoch)

    def chunks(self) -> Iterator[Tensor]:
        """Indices (n,) of the images of an epoch, some batches at a time: of a new permutation, or what is left of the
        epoch that was paused.
        """
        self._started = self._looked = time.perf_counter()
        state = self._state
        if state.partial_epoch is None:
            order = torch.randperm(self._images, generator=state.generator, device=state.generator.device)
            state.partial_epoch = PartialEpoch(order)
        state.model.train()
        while self._partial.done < self._images:
            yield self._partial.order[self._partial.done : self._partial.done + self._chunk_size]

    def must_pause(self, logits: Sequence[Tensor], labels: Tensor) -> bool:
        """Add the logits (B, classes) of a chunk's batches, with the chunk's labels (n,), and ask whether to pause.

        Raises DivergedError where the processes look at the losses, before a pause for instance.
        """
        partial = self._partial
        measured = _measure(
            torch.cat(list(logits)).float(), self._group.parts(labels, self._batch_size), self._parameters
        )
        late = time.perf_counter() - self._looked > LOOK_SECONDS
        row, (stop, look) = self._group.all_reduce(measured, self._pause(), late)
        partial.sums.append(row)
        partial.done += len(labels)
        if stop or look:
            self._read_sums()
            self._looked = time.perf_counter()
        if stop:
            partial.seconds += time.perf_counter() - self._started
        return stop

    def end_training(self) -> None:
        """The epoch's last step is done. Raises DivergedError."""
        sums = self._read_sums()[:, :2].sum(0)
        self._train_loss, self._train_acc = (sums / self._images).tolist()
        self._train_seconds = self._partial.seconds + time.perf_counter() - self._started

    def record(self, validation: Evaluation) -> EpochRecord:
        """The epoch is over; returns its record. Raises DivergedError."""
        state = self._state
        lr = self._lr(state.steps - self._steps_per_epoch)
        if not math.isfinite(validation.loss):
            raise DivergedError(
                f"epoch {state.epoch + 1}: the validation loss is {validation.loss};\n{ADVICE.format(lr=lr)}"
            )
        seconds = self._partial.seconds + time.perf_counter() - self._started
        state.epoch += 1
        state.partial_epoch = None
        return EpochRecord(
            epoch=state.epoch,
            lr=lr,
            train_loss=self._train_loss,
            train_acc=self._train_acc,
            val_loss=validation.loss,
            val_acc=validation.accuracy,
            epoch_seconds=seconds,
            images_per_second=self._images / self._train_seconds,
        )

    def _read_sums(self) -> Tensor:
        """The rows of the epoch so far, (chunks, 4) float64 on the CPU, for which the processor waits.

        Raises DivergedError, with the step, at the first row that holds anything but numbers.
        """
        rows = torch.stack(self._partial.sums).cpu().double()
        for number, (loss, _, finite, norm) in enumerate(rows.tolist()):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                first = number * self._chunk_size
                image = min(first + int(finite), self._partial.done - 1, first + self._chunk_size - 1)
                step = image // self._batch_size  # of the epoch, from 0
                what = f"the loss is {loss}" if not math.isfinite(loss) else "a weight is no longer a number"
                epoch = self._state.epoch
                raise DivergedError(
                    f"epoch {epoch + 1}, step {step + 1:,} of {self._steps_per_epoch:,}: {what};\n"
                    f"{ADVICE.format(lr=self._lr(epoch * self._steps_per_epoch + step))}"
                )
        return rows


@torch.no_grad()
def _measure(logits: Tensor, labels: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """What a chunk of batches gave, (4,) float32 on the device: the sum of the losses, correct answers, images before
    the first whose loss is not finite, and the norm of the weights afterwards.
    """
    losses = F.cross_entropy(logits, labels, reduction="none")
    finite = losses.isfinite().cumprod(0).sum()
    return torch.stack([losses.sum(), (logits.argmax(1) == labels).sum(), finite, get_total_norm(parameters)])
