"""Averages of the weights, which are evaluated and saved instead of the last ones."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """`model` is a network with the averaged weights of another, its source; both are on the same device.

    Statistics of batch normalization are averaged likewise.
    """

    def __init__(self, source: nn.Module, copied: nn.Module) -> None:
        """`copied` is a deep copy of the source; it becomes `model`."""
        self.model = copied.eval()
        self.count = 0  # updates since the start
        pairs = list(zip(_tensors(self.model), _tensors(source), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]  # counts

    @property
    def is_active(self) -> bool:
        """Whether the average, and not its source, is to be evaluated."""
        return self.count > 0

    @torch.no_grad()
    def move(self, share: float) -> None:
        """average = (1 - share) x average + share x weights."""
        averages, weights = zip(*self._floats, strict=True)
        torch._foreach_lerp_(averages, weights, share)
        for average, value in self._others:
            average.copy_(value)
        self.count += 1

    @torch.no_grad()
    def restart(self) -> None:
        """Begin anew with the source's weights."""
        for average, value in [*self._floats, *self._others]:
            average.copy_(value)
        self.count = 0


class MovingAverage(WeightAverage):
    """An exponential moving average over the steps, trainer.ema.

    Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; with exponential weights as in
    Kingma and Ba 2015, arXiv:1412.6980, section 7.2, without its correction of the bias: the average starts at the
    initial weights.
    """

    def __init__(self, source: nn.Module, copied: nn.Module, decay: float) -> None:
        super().__init__(source, copied)
        self._decay = decay

    @property
    def is_active(self) -> bool:
        return True

    def update(self) -> None:
        """After a step."""
        self.move(1 - self._decay)


class LastEpochsAverage(WeightAverage):
    """The mean of the weights at the end of each of the last `epochs` epochs of a run, trainer.average.

    Izmailov et al. 2018, arXiv:1803.05407, "Averaging weights leads to wider optima and better generalization",
    algorithm 1, with a cycle of one epoch. Differs: statistics of batch normalization are averaged, not computed anew
    from the training set; the learning rate is the schedule's.
    """

    def __init__(self, source: nn.Module, copied: nn.Module, epochs: int) -> None:
        super().__init__(source, copied)
        self._epochs = epochs

    def end_epoch(self, left: int) -> None:
        """After the last step of an epoch, `left` epochs before the end of the run."""
        if left >= self._epochs:
            self.count = 0
        else:
            self.move(1 / (self.count + 1))


def _tensors(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers, each once."""
    return [*model.parameters(), *model.buffers()]
