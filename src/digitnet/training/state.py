"""The state that training changes: weights, optimizer, generator, and progress."""

from dataclasses import dataclass, field

from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from digitnet.training.weight_average import WeightAverage


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
        return self.model if self.average is None else self.average.model
