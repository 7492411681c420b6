"""LeNet-5 as the notebook built it."""

from torch import Generator, Tensor, nn

from digitnet.models.initialization import glorot_
from digitnet.models.layers import Dropout, PointwiseConv2d


class LeNet5(nn.Module):
    """166,826 parameters with ten classes.

    LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition", section II.B.

    Differs (as in the notebook, unless stated otherwise):
    - input 28x28 instead of 32x32, scaled to [0, 1] instead of [-0.1, 1.175];
    - max-pooling instead of averages with a trained coefficient and bias (S2, S4);
    - sigmoids, after the pooling, instead of 1.7159 tanh(2x/3), and none after the 120 maps (C5);
    - C3 is connected to all six maps of S2; dropout takes the place of the partial connection table;
    - C5 is a 1x1 convolution on 4x4 maps instead of 5x5 on 5x5, so that F6 has 1,920 inputs instead of 120;
    - a dense layer and softmax cross-entropy instead of Euclidean radial basis units and the MAP criterion.
    """

    def __init__(
        self,
        classes: int = 10,
        dropout: float = 0.5,
        init: str = "glorot_keras2016",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 5),  # C1: (B, 6, 24, 24)
            nn.MaxPool2d(2),  # S2: (B, 6, 12, 12)
            nn.Sigmoid(),  # (B, 6, 12, 12)
            nn.Conv2d(6, 16, 5),  # C3: (B, 16, 8, 8)
            nn.MaxPool2d(2),  # S4: (B, 16, 4, 4)
            nn.Sigmoid(),  # (B, 16, 4, 4)
            Dropout(dropout),  # (B, 16, 4, 4)
            PointwiseConv2d(16, 120),  # C5: (B, 120, 4, 4)
            nn.Flatten(),  # (B, 1920)
            nn.Linear(120 * 4 * 4, 84),  # F6: (B, 84)
            nn.Sigmoid(),  # (B, 84)
            nn.Linear(84, classes),  # (B, classes)
        )
        glorot_(self, init, generator)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 28, 28) float32 in [0, 1] -> (B, classes) logits."""
        logits: Tensor = self.layers(images)
        return logits
