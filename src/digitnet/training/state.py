"""The state that training changes: weights, optimizer, generator, and progress."""

from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from digitnet.data.dataset import Split
from digitnet.optimizers.sdlm import SDLM
from digitnet.training.weight_average import LastEpochsAverage, WeightAverage


@dataclass
class PartialEpoch:
    """An epoch in progress: its permutation (N,) int64, how many of its images are done, and their measurements."""

    order: Tensor
    done: int = 0
    sums: list[Tensor] = field(default_factory=list)  # a row (4,) for each chunk, see `training.meter`
    seconds: float = 0.0  # that it took before the last pause


@dataclass
class TrainState:
    """The state of training. `generator` draws permutations and distortions; dropout uses torch's global one.

    `epoch` and `steps` count the finished ones, `steps` over all epochs. A step is one update on one batch.
    """

    model: nn.Module
    optimizer: Optimizer
    generator: Generator
    epoch: int = 0
    steps: int = 0
    partial_epoch: PartialEpoch | None = None
    average: WeightAverage | None = None
    kept: nn.Module | None = None  # with the weights of an earlier epoch, once training has ended

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated, saved and returned: the kept, the averaged, or the trained one."""
        if self.kept is not None:
            return self.kept
        return self.average.model if self.average is not None and self.average.is_active else self.model

    def begin_epoch(self, train: Split) -> None:
        """Before the first step of an epoch: estimate the curvature of the loss, if the optimizer needs it."""
        if isinstance(self.optimizer, SDLM) and self.partial_epoch is None:
            count = self.optimizer.images
            chosen = torch.randperm(len(train), generator=self.generator, device=self.generator.device)[:count]
            self.optimizer.estimate(train.images[chosen].float().div_(255), train.labels[chosen])

    def end_epoch(self, epochs: int) -> None:
        """The last step of an epoch is done: average its weights, if it is among the last of the run's `epochs`."""
        if isinstance(self.average, LastEpochsAverage):
            self.average.end_epoch(left=epochs - self.epoch - 1)
