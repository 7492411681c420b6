"""LeNet-5 as the notebook built it."""

from torch import Generator, Tensor, nn

from digitnet.models.init import glorot_
from digitnet.models.layers import Dropout, PointwiseConv2d


class LeNet5(nn.Module):
    """166,826 parameters with ten classes.

    LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition", section II.B.

    Differs (as in the notebook, unless said otherwise):
    - input 28x28 instead of 32x32, scaled to [0, 1] instead of [-0.1, 1.175];
    - max-pooling instead of averages with a trained coefficient and bias (S2, S4);
    - sigmoids, after the pooling, instead of 1.7159 tanh(2x/3), and none after the 120 maps (C5);
    - C3 sees all six maps of S2; dropout stands in for the partial connection table;
    - C5 is a 1x1 convolution on 4x4 maps instead of 5x5 on 5x5, so that F6 sees 1,920 numbers instead of 120;
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
            nn.Conv2d(1, 6, 5),
            nn.MaxPool2d(2),
            nn.Sigmoid(),
            nn.Conv2d(6, 16, 5),
            nn.MaxPool2d(2),
            nn.Sigmoid(),
            Dropout(dropout),
            PointwiseConv2d(16, 120),
            nn.Flatten(),
            nn.Linear(120 * 4 * 4, 84),
            nn.Sigmoid(),
            nn.Linear(84, classes),
        )
        glorot_(self, init, generator)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 28, 28) float32 in [0, 1] -> (B, classes) logits."""
        logits: Tensor = self.layers(images)
        return logits
