"""Evaluates trained networks, alone and together, on their own data or others; changes nothing in their folders."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from digitnet.config.changes import with_other_data
from digitnet.config.schema import Config
from digitnet.data import Dataset, Split
from digitnet.errors import ConfigError, DataError
from digitnet.experiment import build
from digitnet.experiment.components import run_device
from digitnet.experiment.trained import TrainedNetwork, listed
from digitnet.hardware import available_cores
from digitnet.metrics import Evaluation, predict, predict_shifted
from digitnet.scores import (
    ClassScore,
    Comparison,
    brier_score,
    calibration_error,
    class_scores,
    compare_predictions,
    confusions,
)
from digitnet.significance import wilson_interval
from digitnet.training.runtime import choose_convolutions, make_deterministic, restored_settings

TINIEST = 1e-300  # a probability whose logarithm is finite
SPLITS = ("test", "validation", "train")


@dataclass(frozen=True)
class Examined:
    """A network on the device that evaluates it, and the images of a split that it is evaluated on."""

    network: TrainedNetwork
    config: Config  # the run's, with other data or another device
    device: torch.device
    data: Dataset
    split: str
    tta: int  # pixels of the shifts that are averaged

    @property
    def chosen(self) -> Split:
        chosen: Split = getattr(self.data, self.split)
        return chosen

    @property
    def wrong_labels(self) -> tuple[int, ...]:
        """The indices of images whose labels are known to be wrong."""
        is_test = self.split == "test" or (self.split == "validation" and self.data.validates_on_test)
        return self.data.wrong_labels if is_test else ()

    def logits(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) uint8 -> logits (N, classes) float32 on the CPU."""
        model, images, precision = self.network.model, images.to(self.device), self.config.trainer.precision
        return predict_shifted(model, images, self.tta, precision) if self.tta else predict(model, images, precision)


@dataclass(frozen=True)
class RunEvaluation:
    """What a run's network makes of a split of a data set.

    `interval` is the 95 % interval of the accuracy; `confusions` are (true class, predicted class, images), the most
    frequent first. `without_wrong_labels` leaves out the images whose labels are known to be wrong; None if none are.
    `labels` and `predicted` are (N,) int64, `probabilities` (N, classes) float64.
    """

    folder: Path
    model: str
    data: str
    split: str
    checkpoint: str
    epoch: int
    tta: int
    score: Evaluation
    interval: tuple[float, float]
    calibration_error: float
    brier_score: float
    classes: list[ClassScore]
    confusions: list[tuple[str, str, int]]
    without_wrong_labels: Evaluation | None
    wrong_labels: tuple[int, ...]
    images: Tensor
    labels: Tensor
    predicted: Tensor
    probabilities: Tensor

    def details(self) -> dict[str, Any]:
        """The figures of each class, and the confusions, for JSON."""
        classes = [
            {"class": one.name, "precision": one.precision, "recall": one.recall, "f1": one.f1, "n": one.n}
            for one in self.classes
        ]
        confusions = [{"true": true, "predicted": guess, "n": count} for true, guess, count in self.confusions]
        return {"classes": classes, "confusions": confusions}

    def row(self) -> dict[str, Any]:
        """Its figures by the names of columns; accuracies and the calibration error are fractions."""
        score, (low, high) = self.score, self.interval
        return {
            "accuracy": score.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "errors": score.errors,
            "n": score.n,
            "loss": score.loss,
            "calibration_error": self.calibration_error,
            "brier_score": self.brier_score,
            "errors_without_wrong_labels": self.without_wrong_labels and self.without_wrong_labels.errors,
            "data": self.data,
            "split": self.split,
            "checkpoint": self.checkpoint,
            "epoch": self.epoch,
            "tta": self.tta,
            "folder": str(self.folder),
        }


@dataclass(frozen=True)
class EnsembleEvaluation:
    """Networks together on the same images: `mean` by the mean of their probabilities, `vote` by their majority.

    Where as many vote for one class as for another, the mean decides. `without` is the mean without each member.
    """

    members: list[RunEvaluation]
    mean: RunEvaluation
    vote: Evaluation
    without: list[Evaluation]

    def rows(self) -> list[dict[str, Any]]:
        """Of each member, of the mean and of the vote, by the names of columns."""
        members = [
            member.row() | {"ensemble": None, "ensemble_without": rest.accuracy}
            for member, rest in zip(self.members, self.without, strict=True)
        ]
        common = {"folder": None, "epoch": None, "ensemble_without": None}
        low, high = wilson_interval(self.vote.correct, self.vote.n)
        figures = {"accuracy": self.vote.accuracy, "accuracy_low": low, "accuracy_high": high}
        nothing = dict.fromkeys(("loss", "calibration_error", "brier_score", "errors_without_wrong_labels"))
        mean = self.mean.row() | common | {"ensemble": "mean"}
        return [*members, mean, mean | figures | {"errors": self.vote.errors} | nothing | {"ensemble": "vote"}]


@contextmanager
def examined(
    networks: Sequence[TrainedNetwork], overrides: Sequence[str], split: str, tta: int = 0
) -> Iterator[list[Examined]]:
    """In this block PyTorch is set up to evaluate the networks on the split `test`, `validation` or `train`.

    `tta`: by the mean over each image shifted by up to so many pixels, see `predict_shifted`. `overrides` choose other
    data, `data=fashion_mnist`, or another device. Nothing is downloaded unless they do. Raises ConfigError and
    DataError.
    """
    loaded: dict[str, Dataset] = {}
    with restored_settings():
        yield [_examine(network, overrides, split, tta, loaded) for network in networks]


def evaluate_networks(
    networks: Sequence[TrainedNetwork], overrides: Sequence[str] = (), split: str = "test", tta: int = 0
) -> list[RunEvaluation]:
    """Evaluate each network, see `examined`, which also says what it raises."""
    with examined(networks, overrides, split, tta) as subjects:
        return [scored(subject, subject.logits(subject.chosen.images)) for subject in subjects]


def compare_runs(first: RunEvaluation, second: RunEvaluation) -> Comparison:
    """Compare two evaluations image by image. Raises ConfigError if they are not of the same images."""
    if not of_same_images([first, second]):
        raise ConfigError(
            f"--against {second.folder}: its {second.split} set of {second.data} has other images than the "
            f"{first.split} set of {first.data}; name the data: data=…"
        )
    return compare_predictions(first.labels, first.predicted, second.predicted)


def of_same_images(evaluations: Sequence[RunEvaluation]) -> bool:
    """Whether all are of the same images of the same classes."""
    first = evaluations[0]
    return all(
        torch.equal(one.images, first.images)
        and torch.equal(one.labels, first.labels)
        and [score.name for score in one.classes] == [score.name for score in first.classes]
        for one in evaluations[1:]
    )


def evaluate_ensemble(members: Sequence[RunEvaluation]) -> EnsembleEvaluation:
    """Evaluate networks together, from what each made of the same images."""
    first, total = members[0], torch.stack([member.probabilities for member in members]).sum(0)
    names = [score.name for score in first.classes]
    mean = total / len(members)
    keys = ("folder", "model", "data", "split", "checkpoint", "epoch", "tta", "wrong_labels")
    facts = {key: getattr(first, key) for key in keys}
    votes = torch.stack([one_hot(member.predicted, len(names)) for member in members]).sum(0)
    return EnsembleEvaluation(
        members=list(members),
        mean=_figures(mean.clamp_min(TINIEST).log(), first.images, first.labels, names, facts),
        vote=Evaluation.of(votes + mean / 2, first.labels),
        without=[
            Evaluation.of((total - member.probabilities).clamp_min(TINIEST).log(), first.labels) for member in members
        ],
    )


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(N,) int64 -> (N, classes) float64."""
    return torch.nn.functional.one_hot(labels, classes).double()


def _examine(
    network: TrainedNetwork, overrides: Sequence[str], split: str, tta: int, loaded: dict[str, Dataset]
) -> Examined:
    """The network on its device, with its images; data sets that are `loaded` are used again."""
    config = with_other_data(network.content, overrides, str(network.path))
    device = _configure(config)
    key = config.data.model_dump_json()
    if key not in loaded:
        loaded[key] = build.data(config.data, download=any(word.startswith("data") for word in overrides))
    data = loaded[key]
    if data.classes != network.classes:
        raise DataError(
            f"data={data.name}: its classes are {listed(data.classes)}, those of the run {network.path} are "
            f"{listed(network.classes)}"
        )
    network.model.to(device)
    if build.channels_last(config, device):
        network.model.to(memory_format=torch.channels_last)
    return Examined(network, config, device, data, split, tta)


def _configure(config: Config) -> torch.device:
    """Set threads and determinism as the run does; returns its device. Raises ConfigError."""
    if config.trainer.threads is not None:
        torch.set_num_threads(min(config.trainer.threads, available_cores()))
    device = run_device(config)
    make_deterministic(device)
    choose_convolutions(device, config.trainer.batch_size)
    return device


def scored(subject: Examined, logits: Tensor) -> RunEvaluation:
    """The evaluation by the logits (N, classes)."""
    network, chosen = subject.network, subject.chosen
    facts = {
        "folder": network.path,
        "model": subject.config.model.name,
        "data": subject.data.name,
        "split": subject.split,
        "checkpoint": network.checkpoint,
        "epoch": network.epoch,
        "tta": subject.tta,
        "wrong_labels": subject.wrong_labels,
    }
    return _figures(logits.double(), chosen.images.cpu(), chosen.labels.cpu(), subject.data.classes, facts)


def _figures(
    logits: Tensor, images: Tensor, labels: Tensor, names: Sequence[str], facts: Mapping[str, Any]
) -> RunEvaluation:
    """All figures, by the logits (N, classes) float64; `facts` are the fields that need no computing."""
    probabilities, predicted = logits.softmax(1), logits.argmax(1)
    score = Evaluation.of(logits, labels)
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[list(facts["wrong_labels"])] = False
    return RunEvaluation(
        **facts,
        score=score,
        interval=wilson_interval(score.correct, score.n),
        calibration_error=calibration_error(probabilities, labels),
        brier_score=brier_score(probabilities, labels),
        classes=class_scores(labels, predicted, names),
        confusions=[(names[true], names[guess], n) for true, guess, n in confusions(labels, predicted)],
        without_wrong_labels=None if kept.all() else Evaluation.of(logits[kept], labels[kept]),
        images=images,
        labels=labels,
        predicted=predicted,
        probabilities=probabilities,
    )
