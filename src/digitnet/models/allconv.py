"""The all-convolutional network of the notebook's part III."""

from torch import Generator, Tensor, nn

from digitnet.models.initialization import glorot_


class AllConv(nn.Module):
    """834,442 parameters with ten classes.

    Springenberg, Dosovitskiy, Brox and Riedmiller 2014, "Striving for simplicity: the all convolutional net",
    arXiv:1412.6806, section 3.1, table 1, model A.

    Differs (as in the notebook, unless stated otherwise):
    - MNIST's one channel of 28x28 instead of CIFAR's three of 32x32, and no padding, so that the maps shrink to 1x1
      and the global average has nothing to average;
    - max-pooling remains, as in the base model A; the paper's point is to replace it by strided convolutions;
    - pooling precedes the ReLU, which gives the same numbers as the other order;
    - no dropout and no weight decay;
    - no ReLU on the ten outputs, which notebook and paper both have; `final_relu` restores it. In the paper an average
      over 6x6 positions follows it. With a single position, a class whose output is negative for every image has no
      gradient and is never predicted.
    """

    def __init__(
        self,
        classes: int = 10,
        final_relu: bool = False,
        init: str = "glorot_keras2016",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 96, 5),  # (B, 96, 24, 24)
            nn.MaxPool2d(3, stride=2),  # (B, 96, 11, 11)
            nn.ReLU(),  # (B, 96, 11, 11)
            nn.Conv2d(96, 192, 5),  # (B, 192, 7, 7)
            nn.MaxPool2d(3, stride=2),  # (B, 192, 3, 3)
            nn.ReLU(),  # (B, 192, 3, 3)
            nn.Conv2d(192, 192, 3),  # (B, 192, 1, 1)
            nn.ReLU(),  # (B, 192, 1, 1)
            nn.Conv2d(192, 192, 1),  # (B, 192, 1, 1)
            nn.ReLU(),  # (B, 192, 1, 1)
            nn.Conv2d(192, classes, 1),  # (B, classes, 1, 1)
            nn.ReLU() if final_relu else nn.Identity(),  # (B, classes, 1, 1)
            nn.Flatten(),  # (B, classes)
        )
        glorot_(self, init, generator)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 28, 28) float32 in [0, 1] -> (B, classes) logits."""
        logits: Tensor = self.layers(images)
        return logits
