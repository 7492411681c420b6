"""An exponential moving average of the weights, which is evaluated and saved instead of the last ones."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """`model` is a network with the averaged weights of another, its source; both are on the same device.

    Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; with exponential weights as in
    Kingma and Ba 2015, arXiv:1412.6980, section 7.2, without its correction of the bias: the average starts at the
    initial weights. Statistics of batch normalization are averaged likewise.
    """

    def __init__(self, source: nn.Module, copied: nn.Module, decay: float) -> None:
        """`copied` is a deep copy of the source; it becomes `model`."""
        self.model = copied.eval()
        self._decay = decay
        pairs = list(zip(_tensors(self.model), _tensors(source), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]  # counts

    @torch.no_grad()
    def update(self) -> None:
        """After a step: average = decay x average + (1 - decay) x weights."""
        averages, weights = zip(*self._floats, strict=True)
        torch._foreach_lerp_(averages, weights, 1 - self._decay)
        for average, value in self._others:
            average.copy_(value)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin anew with the source's weights."""
        for average, value in [*self._floats, *self._others]:
            average.copy_(value)


def _tensors(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers, each once."""
    return [*model.parameters(), *model.buffers()]
