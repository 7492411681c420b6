"""Everything in an epoch but the update rule: measuring, checking for divergence, pausing, agreeing among processes."""

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

CHUNK = 1024  # images that are gathered, scaled and distorted in one call, for many batches, to save overhead
CHECK_SECONDS = 1.0  # between checks of the losses within an epoch, for which the CPU waits for a GPU
ADVICE = "lower optimizer.lr (it was {lr:g}), or warm up the learning rate: schedule=onecycle"


class Meter:
    """Measures the epochs of one `fit`, chunk by chunk; `images` is the size of the training set.

    `pause` is called after every chunk: whether to pause there. In a `group` of several processes the sums are over
    all of them, and all pause, or check the losses, when any of them does: if one raised DivergedError alone, the
    others would wait for it.
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
        """The schedule's factor for the next step, by which the initial learning rate is multiplied."""
        return self._schedule(self._state.steps / self._steps_per_epoch)

    def _lr(self, step: int) -> float:
        """The learning rate of step number `step`, counted from 0 over all epochs."""
        initial: float = self._state.optimizer.param_groups[0]["initial_lr"]
        return initial * self._schedule(step / self._steps_per_epoch)

    def chunks(self) -> Iterator[Tensor]:
        """Indices (n,) int64 of an epoch's images, in chunks of several batches.

        A new permutation of all images, or the rest of an epoch that was paused.
        """
        self._started = self._checked = time.perf_counter()
        state = self._state
        if state.partial_epoch is None:
            order = torch.randperm(self._images, generator=state.generator, device=state.generator.device)
            state.partial_epoch = PartialEpoch(order)
        state.model.train()
        while self._partial.done < self._images:
            yield self._partial.order[self._partial.done : self._partial.done + self._chunk_size]

    def must_pause(self, logits: Sequence[Tensor], labels: Tensor) -> bool:
        """Measure a chunk by the logits (B, classes) of its batches and its labels (n,); returns whether to pause.

        Raises DivergedError if the losses are checked: before a pause, and every CHECK_SECONDS.
        """
        partial = self._partial
        measured = _measure(
            torch.cat(list(logits)).float(),
            self._group.parts(labels, self._batch_size),
            self._parameters,
            batch_size=len(self._group.part(labels[: self._batch_size])),
        )
        is_check_due = time.perf_counter() - self._checked > CHECK_SECONDS
        row, (must_pause, must_check) = self._group.combine(measured, self._pause(), is_check_due)
        partial.sums.append(row)
        partial.done += len(labels)
        if must_pause or must_check:
            self._read_sums()
            self._checked = time.perf_counter()
        if must_pause:
            partial.seconds += time.perf_counter() - self._started
        return must_pause

    def end_training(self) -> None:
        """Measure the training part of the epoch, after its last step. Raises DivergedError."""
        self._state.model.eval()
        sums = self._read_sums()[:, :2].sum(0)
        self._train_loss, self._train_acc = (sums / self._images).tolist()
        self._train_seconds = self._partial.seconds + time.perf_counter() - self._started

    def record(self, validation: Evaluation) -> EpochRecord:
        """End the epoch after its validation, and return its record. Raises DivergedError."""
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
        """The rows of the epoch so far, (chunks, 4) float64 on the CPU, which waits for the device.

        Raises DivergedError, with the step, for the first row with a loss or a norm that is not finite.
        """
        rows = torch.stack(self._partial.sums).cpu().double()
        for number, (loss, _, norm, finite) in enumerate(rows.tolist()):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                first = number * self._chunk_size  # image
                last = min(first + self._chunk_size, self._partial.done) - 1
                step = min(first // self._batch_size + int(finite), last // self._batch_size)  # in the epoch, from 0
                what = f"the loss is {loss}" if not math.isfinite(loss) else "a weight is no longer a number"
                epoch = self._state.epoch
                raise DivergedError(
                    f"epoch {epoch + 1}, step {step + 1:,} of {self._steps_per_epoch:,}: {what};\n"
                    f"{ADVICE.format(lr=self._lr(epoch * self._steps_per_epoch + step))}"
                )
        return rows


@torch.no_grad()
def _measure(logits: Tensor, labels: Tensor, parameters: Sequence[Tensor], batch_size: int) -> Tensor:
    """Measure a chunk of batches, of `batch_size` images but for the last: (4,) float32 on the device.

    The sum of the losses, the number of correct predictions, the norm of the weights after the chunk, and the number
    of batches before the first one with a loss that is not finite.
    """
    losses = F.cross_entropy(logits, labels, reduction="none")
    finite = losses.isfinite().cumprod(0).sum()
    # A process may have no image of any batch: it knows of none that is not finite.
    batches = finite // batch_size if batch_size else finite.new_tensor(CHUNK)
    return torch.stack([losses.sum(), (logits.argmax(1) == labels).sum(), get_total_norm(parameters), batches])
