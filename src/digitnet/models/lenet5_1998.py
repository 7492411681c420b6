"""LeNet-5 as it was published in 1998."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

# The maps of S2 that each map of C3 is connected to: the paper's table I.
TABLE = (
    *("012", "123", "234", "345", "450", "501"),
    *("0123", "1234", "2345", "3450", "4501", "5012"),
    *("0134", "1245", "2350"),
    "012345",
)
# Bitmaps of 7x12 pixels after the paper's figure 3, of the digits 0 to 9 from left to right.
BITMAPS = """
.#####. ...##.. .#####. ####### .#####. .#####. ..####. ####### .#####. .#####.
....... ..###.. ....... .....## ....... ....... .##.... .....## ##...## ##..###
..###.. .####.. .#####. ....##. ....... ####### ##..... .....## ##...## ##...##
.##.##. ...##.. ##...## ...##.. .##..## ##..... ##..... ....##. ##...## ##...##
##...## ...##.. #....## ..####. .##..## ##..... ######. ...##.. .#####. ##..###
##...## ...##.. ....##. .....## ###..## .####.. ###..## ...##.. ##...## .######
##...## ...##.. ..###.. .....## ##...## ..####. ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ##...## .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ##..### ##...## ###..## ..##... ##...## ....##.
..###.. .###### ####### .#####. .###### .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
"""
WHITE, INK = -0.1, 1.175  # of the input
AMPLITUDE, SLOPE = 1.7159, 2 / 3  # of f


class OriginalLeNet5(nn.Module):
    """60,000 trained parameters and 340,908 connections with the codes of the ten digits.

    LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition", sections II.B and
    III.A, appendix A. The logits are minus the outputs of the radial basis units: the penalties of the classes.

    What the paper leaves open, and what is done here:
    - "center" of the 28x28 pixels in the 32x32: two pixels of white on each side;
    - `f` follows C1 and C3 as well as S2, S4, C5 and F6, as in Lush (the paper: units of "layers up to F6");
    - `init="paper"` draws weights from U(-a, a) with a = 2.4 / fan-in, as the paper says, `init="lush"` with
      a = 1 / sqrt(fan-in), as in Lush, the authors' own later program (gblearn2); both also the biases, and the
      coefficients of S2 and S4, whose fan-in is 4. With `paper`, SDLM did not learn;
    - the penalty is half the squared distance, as in Lush, so that its second derivative is 1;
    - `output="codes"`: bitmaps after figure 3; `output="units"`: ten more units with weights, biases and `f`, whose
      codes are 1 for the class and -1 for the others, a variant of Lush's demo.

    Codes exist for ten classes; data of other numbers of classes need `output="units"`.
    """

    def __init__(
        self,
        classes: int = 10,
        output: str = "codes",
        init: str = "lush",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if output == "codes" and classes != len(digit_codes()):
            raise ValueError(f"codes are of {len(digit_codes())} digits, not of {classes} classes")
        units: list[nn.Module] = [nn.Linear(84, classes), ScaledTanh()] if output == "units" else []
        codes = 2 * torch.eye(classes) - 1 if output == "units" else digit_codes()
        self.layers = nn.Sequential(
            Frame(),  # (B, 1, 32, 32)
            nn.Conv2d(1, 6, 5),  # C1: (B, 6, 28, 28)
            ScaledTanh(),  # (B, 6, 28, 28)
            Subsampling(6),  # S2: (B, 6, 14, 14)
            ScaledTanh(),  # (B, 6, 14, 14)
            TableConv2d(TABLE, 6),  # C3: (B, 16, 10, 10)
            ScaledTanh(),  # (B, 16, 10, 10)
            Subsampling(16),  # S4: (B, 16, 5, 5)
            ScaledTanh(),  # (B, 16, 5, 5)
            nn.Flatten(),  # (B, 400)
            nn.Linear(16 * 5 * 5, 120),  # C5: (B, 120)
            ScaledTanh(),  # (B, 120)
            nn.Linear(120, 84),  # F6: (B, 84)
            ScaledTanh(),  # (B, 84)
            *units,
            RadialBasis(codes),  # (B, classes)
        )
        self._draw(init, generator)

    @torch.no_grad()
    def _draw(self, init: str, generator: Generator | None) -> None:
        """Weights, coefficients and biases, in the order of the layers."""
        for layer in self.layers:
            for parameter, fan_in in _fans(layer):
                bound = 2.4 / fan_in if init == "paper" else 1 / math.sqrt(fan_in)
                parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 28, 28) float32 in [0, 1] -> (B, classes) logits: minus the penalties."""
        logits: Tensor = self.layers(images)
        return logits


def digit_codes() -> Tensor:
    """(10, 84) float32: of each digit the pixels of its bitmap, row by row, 1 for ink and -1 for white."""
    rows = [line.split() for line in BITMAPS.split("\n") if line]
    return torch.tensor(
        [[1.0 if pixel == "#" else -1.0 for row in rows for pixel in row[digit]] for digit in range(10)]
    )


def _fans(layer: nn.Module) -> list[tuple[Tensor, int]]:
    """The parameters of a layer, or parts of them, each with the number of inputs of its units."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        fan_in = layer.weight[0].numel()
        return [(layer.weight, fan_in), (layer.bias, fan_in)]  # type: ignore[list-item]
    if isinstance(layer, TableConv2d):
        weights = layer.weight.split([len(maps) for maps in layer.table])
        fans = [len(maps) * 25 for maps in layer.table]
        return [*zip(weights, fans, strict=True), *zip(layer.bias.split(1), fans, strict=True)]
    if isinstance(layer, Subsampling):
        return [(layer.weight, 4), (layer.bias, 4)]
    return []


class Frame(nn.Module):
    """White and ink as the paper has them, with two pixels of white on each side."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 28, 28) in [0, 1] -> (B, 1, 32, 32) in [-0.1, 1.175]."""
        return F.pad(images, (2, 2, 2, 2)) * (INK - WHITE) + WHITE


class ScaledTanh(nn.Module):
    """f(a) = 1.7159 tanh(2a/3): the paper's appendix A."""

    def forward(self, values: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return torch.tanh(values * SLOPE) * AMPLITUDE


class TableConv2d(nn.Module):
    """A convolution with kernels of 5x5 pixels between those maps only that a table connects.

    `table` has a string for each map of the output: the numbers of the maps of the input that it is connected to.
    `weight` (connections, 25) has a kernel for each, in the table's order; `bias` is (maps,).
    """

    def __init__(self, table: Sequence[str], in_maps: int) -> None:
        super().__init__()
        self.table, self.in_maps = table, in_maps
        places = [out * in_maps + int(number) for out, maps in enumerate(table) for number in maps]
        self.weight = nn.Parameter(torch.zeros(len(places), 25))
        self.bias = nn.Parameter(torch.zeros(len(table)))
        self.places: Tensor
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def kernels(self) -> Tensor:
        """(maps, in_maps, 5, 5), with zeros where there is no connection."""
        all_pairs = self.weight.new_zeros(len(self.table) * self.in_maps, 25)
        all_pairs = all_pairs.index_copy(0, self.places, self.weight)
        return all_pairs.view(len(self.table), self.in_maps, 5, 5)

    def forward(self, images: Tensor) -> Tensor:
        """(B, in_maps, H, W) -> (B, maps, H - 4, W - 4)."""
        return F.conv2d(images, self.kernels(), self.bias)


class Subsampling(nn.Module):
    """The sum of each 2x2 pixels, times the map's trained coefficient, plus its trained bias."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, maps, H, W) -> (B, maps, H / 2, W / 2)."""
        return F.avg_pool2d(images, 2) * (4 * self.weight) + self.bias  # exporters know no sum


class RadialBasis(nn.Module):
    """Minus half the squared Euclidean distances to fixed codes (classes, n): the paper's equation 7, halved."""

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.codes: Tensor
        self.offsets: Tensor
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("offsets", -codes.square().sum(1) / 2, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """(B, n) -> (B, classes)."""
        return F.linear(values, self.codes, self.offsets) - (values * values).sum(1, keepdim=True) * 0.5
