"""Two layers of torch.nn's that a CPU computes faster in another way: the same parameters, the same mathematics."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution, (B, in, H, W) -> (B, out, H, W), as the matrix product that it is where channels come last.

    Between few channels that takes less than half the time of the general convolution, most of all backwards.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        if not images.is_contiguous(memory_format=torch.channels_last):
            return super().forward(images)
        return F.linear(images.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class Dropout(nn.Dropout):
    """Dropout of any shape, its mask on a CPU from uniform numbers.

    torch's own draws from `bernoulli_`, which takes five times as long on processors that are not Intel's. The same
    probabilities, other draws.
    """

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.p == 0 or values.device.type != "cpu":
            return super().forward(values)
        kept = torch.rand_like(values, dtype=torch.float32).ge_(self.p).mul_(1 / (1 - self.p))  # bfloat16 is too coarse
        return (values * kept).to(values.dtype)
