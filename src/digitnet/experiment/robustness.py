"""How the accuracy of trained networks suffers from corrupted, translated and rotated images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from digitnet.corruptions import CORRUPTIONS, corrupt, rotated, translated
from digitnet.experiment.evaluation import examined
from digitnet.experiment.trained import TrainedNetwork
from digitnet.metrics import Evaluation

CLEAN = "none"
CORRUPTION_CHANGES = [(CLEAN, 0.0), *((name, 0.0) for name in CORRUPTIONS)]  # (kind, amount)
SHIFT_CHANGES = [
    *(("translation", float(pixels)) for pixels in range(-10, 11)),  # to the right
    *(("rotation", float(angle_deg)) for angle_deg in range(-60, 61, 5)),
]
SAMPLES = 10  # images in a picture


@dataclass(frozen=True)
class Change:
    """The same change of all images: `kind` is a corruption, or `translation` or `rotation` by `amount`.

    `scores` has an evaluation for each network, `samples` (10, 1, 28, 28) uint8 the first changed image of each class.
    """

    kind: str
    amount: float
    scores: list[Evaluation]
    samples: Tensor

    def rows(self, networks: Sequence[TrainedNetwork]) -> list[dict[str, Any]]:
        """For each network, its figures by the names of columns."""
        return [
            {
                "change": self.kind,
                "amount": self.amount,
                "accuracy": score.accuracy,
                "errors": score.errors,
                "n": score.n,
                "folder": str(network.path),
            }
            for network, score in zip(networks, self.scores, strict=True)
        ]


def mean_corruption_error(changes: Sequence[Change]) -> list[float]:
    """For each network, the mean of its errors under all corruptions, as a fraction; without the clean images."""
    corrupted = [change for change in changes if change.kind != CLEAN]
    return [
        sum(change.scores[number].errors / change.scores[number].n for change in corrupted) / len(corrupted)
        for number in range(len(changes[0].scores))
    ]


def evaluate_changes(
    networks: Sequence[TrainedNetwork],
    overrides: Sequence[str],
    split: str,
    kinds: Sequence[tuple[str, float]],
    step: Callable[[], None],
    tta: int = 0,
) -> list[Change]:
    """The networks' scores under each change, CORRUPTION_CHANGES or SHIFT_CHANGES; `step` is called before each.

    Raises as `evaluation.examined`.
    """
    with examined(networks, overrides, split, tta) as subjects:
        done: list[Change] = []
        for kind, amount in kinds:
            step()
            changed: dict[int, Tensor] = {}  # of each data set once
            scores = []
            for subject in subjects:
                images = subject.chosen.images
                if id(images) not in changed:
                    changed[id(images)] = _changed(images.cpu(), kind, amount)
                logits = subject.logits(changed[id(images)])
                scores.append(Evaluation.of(logits, subject.chosen.labels.cpu()))
            first = subjects[0].chosen
            samples = changed[id(first.images)][_firsts(first.labels.cpu())]
            done.append(Change(kind, amount, scores, samples))
    return done


def _changed(images: Tensor, kind: str, amount: float) -> Tensor:
    if kind == CLEAN:
        return images
    if kind == "translation":
        return translated(images, amount)
    return rotated(images, amount) if kind == "rotation" else corrupt(images, kind)


def _firsts(labels: Tensor) -> list[int]:
    """The index of the first image of each of the first SAMPLES classes that occur."""
    return [int((labels == label).nonzero()[0]) for label in labels.unique()[:SAMPLES]]
