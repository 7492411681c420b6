"""What a network's predictions are worth: per class, image by image against another's, calibration. Plain tensors."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from digitnet.significance import NORMAL_QUANTILE, mcnemar_test

BINS = 15  # of the calibration error, as in Guo et al. 2017


@dataclass(frozen=True)
class ClassScore:
    """Of one class: `precision` and `recall` are fractions, None without a prediction, or an image, of the class."""

    name: str
    precision: float | None
    recall: float | None
    n: int

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall."""
        if not self.precision or not self.recall:
            return None if self.precision is None or self.recall is None else 0.0
        return 2 * self.precision * self.recall / (self.precision + self.recall)


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same images: `only_first` are right of the first alone, `only_second` of the second.

    `difference` is the first's accuracy minus the second's, with its 95 % interval; `p_value` is `mcnemar_test`'s.
    """

    only_first: list[int]
    only_second: list[int]
    difference: float
    interval: tuple[float, float]
    p_value: float


def compare_predictions(labels: Tensor, first: Tensor, second: Tensor) -> Comparison:
    """Compare two networks by their predictions (N,) for the images with `labels` (N,), all int64 on the CPU.

    The interval is Wald's for paired proportions (Agresti, Categorical Data Analysis, section 11.1).
    """
    right = first == labels, second == labels
    only_first = (right[0] & ~right[1]).nonzero().flatten().tolist()
    only_second = (right[1] & ~right[0]).nonzero().flatten().tolist()
    b, c, n = len(only_first), len(only_second), len(labels)
    difference = (b - c) / n
    margin = NORMAL_QUANTILE * sqrt(b + c - (b - c) ** 2 / n) / n
    interval = difference - margin, difference + margin
    return Comparison(only_first, only_second, difference, interval, mcnemar_test(b, c))


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """The expected calibration error, a fraction: mean |accuracy - confidence| over bins of equal width.

    `probabilities` (N, classes), `labels` (N,) int64. Source: Guo et al. 2017, "On Calibration of Modern Neural
    Networks", equation 3.
    """
    rows = reliability(probabilities, labels, bins)
    return sum(count * abs(accuracy - confidence) for _, count, accuracy, confidence in rows) / len(labels)


def reliability(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> list[tuple[float, int, float, float]]:
    """(lower end, images, accuracy, mean confidence) of each bin of confidences that has images."""
    confidence, predicted = probabilities.double().max(1)
    index = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)  # bins are open at their lower end
    right = (predicted == labels).double()
    found = []
    for number in index.unique().tolist():
        inside = index == number
        found.append((number / bins, int(inside.sum()), right[inside].mean().item(), confidence[inside].mean().item()))
    return found


def brier_score(probabilities: Tensor, labels: Tensor) -> float:
    """The mean squared distance of the probabilities (N, classes) from the truth, 0 to 2 (Brier 1950)."""
    truth = torch.nn.functional.one_hot(labels, probabilities.shape[1]).double()
    return (probabilities.double() - truth).square().sum(1).mean().item()


def class_scores(labels: Tensor, predicted: Tensor, names: Sequence[str]) -> list[ClassScore]:
    """Precision, recall and number of images of each class, from labels and predictions (N,) int64."""
    scores = []
    for number, name in enumerate(names):
        is_class, is_guessed = labels == number, predicted == number
        hits, n, guesses = (int(mask.sum()) for mask in (is_class & is_guessed, is_class, is_guessed))
        scores.append(ClassScore(name, hits / guesses if guesses else None, hits / n if n else None, n))
    return scores


def confusions(labels: Tensor, predicted: Tensor) -> list[tuple[int, int, int]]:
    """(true class, predicted class, images) of each confusion, the most frequent first."""
    wrong = labels != predicted
    pairs = Counter(zip(labels[wrong].tolist(), predicted[wrong].tolist(), strict=True))
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(true, guess, count) for (true, guess), count in ordered]
