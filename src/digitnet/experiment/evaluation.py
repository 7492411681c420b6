"""Evaluates the network of a run, finished or not, on its own data or others, without changing its folder."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from digitnet.config.changes import with_other_data
from digitnet.config.schema import Config
from digitnet.data import Dataset, Split
from digitnet.data.idx import WRONG_LABELS
from digitnet.errors import CheckpointError, ConfigError, DataError
from digitnet.experiment import build
from digitnet.experiment.components import run_device
from digitnet.experiment.restore import load_model
from digitnet.hardware import available_cores
from digitnet.metrics import Evaluation, predict
from digitnet.runs.folder import RunFolder
from digitnet.scores import (
    ClassScore,
    Comparison,
    brier_score,
    calibration_error,
    class_scores,
    compare_predictions,
    confusions,
    wilson_interval,
)
from digitnet.training.runtime import make_deterministic, restored_settings

SPLITS = ("test", "validation", "train")


@dataclass(frozen=True)
class RunEvaluation:
    """What a run's network makes of a split of a data set.

    `interval` is the 95 % interval of the accuracy; `confusions` are (true class, predicted class, images), the most
    frequent first. `without_wrong_labels` leaves out the images whose labels are known to be wrong; None if none are.
    """

    folder: Path
    model: str
    data: str
    split: str
    checkpoint: str
    epoch: int
    score: Evaluation
    interval: tuple[float, float]
    calibration_error: float
    brier_score: float
    classes: list[ClassScore]
    confusions: list[tuple[str, str, int]]
    without_wrong_labels: Evaluation | None
    labels: Tensor
    predicted: Tensor

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
            "data": self.data,
            "split": self.split,
            "checkpoint": self.checkpoint,
            "epoch": self.epoch,
            "folder": self.folder,
        }


def evaluate_run(
    folder: RunFolder, overrides: Sequence[str] = (), checkpoint: str = "last", split: str = "test"
) -> RunEvaluation:
    """Evaluate a checkpoint of a run, `last`, `best` or `epoch_N`, on the split `test`, `validation` or `train`.

    `overrides` choose other data, `data=fashion_mnist`, or another device. Nothing is downloaded unless they do.
    Raises ConfigError, DataError and CheckpointError.
    """
    summary = folder.read_summary_of_run()
    if not summary.config:
        raise CheckpointError(f"{folder.summary_file}: from a version that did not record its configuration")
    config = with_other_data(summary.config, overrides, str(folder.path))
    _check_checkpoint(folder, checkpoint)
    with restored_settings():
        device = _configure(config)
        data = build.data(config.data, download=any(word.startswith("data") for word in overrides))
        names = [str(name) for name in summary.dataset.get("classes", "0123456789")]
        if [*data.classes] != names:
            raise DataError(
                f"data={data.name}: its classes are {_listed(data.classes)}, "
                f"those of the run {folder.path} are {_listed(names)}"
            )
        model, epoch = load_model(folder, config, len(names), checkpoint)
        model = model.to(device)
        if build.channels_last(config, device):
            model = model.to(memory_format=torch.channels_last)
        chosen: Split = getattr(data, split)
        logits = predict(model, chosen.images.to(device), config.trainer.precision)
    return _scored(folder, config, data, split, (checkpoint, epoch), logits)


def compare_runs(first: RunEvaluation, second: RunEvaluation) -> Comparison:
    """Compare two evaluations image by image. Raises ConfigError if they are not of the same images."""
    if (first.data, first.split) != (second.data, second.split) or not torch.equal(first.labels, second.labels):
        raise ConfigError(
            f"--against {second.folder}: its {second.split} set of {second.data} has other images than the "
            f"{first.split} set of {first.data}; name the data: data=…"
        )
    return compare_predictions(first.labels, first.predicted, second.predicted)


def _check_checkpoint(folder: RunFolder, name: str) -> None:
    if not re.fullmatch(r"last|best|epoch_\d+", name):  # it could be the path of any file
        raise ConfigError(f"--checkpoint {name}: is none of last, best, epoch_N")
    if not folder.checkpoint_file(name).is_file():
        there = ", ".join(path.stem for path in folder.checkpoints()) or "none"
        raise CheckpointError(f"{folder.path}: has no checkpoint '{name}'; there is {there}")


def _configure(config: Config) -> torch.device:
    """Set threads and determinism as the run does; returns its device. Raises ConfigError."""
    if config.trainer.threads is not None:
        torch.set_num_threads(min(config.trainer.threads, available_cores()))
    device = run_device(config)
    make_deterministic(device)
    return device


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")


def _scored(
    folder: RunFolder, config: Config, data: Dataset, split: str, checkpoint: tuple[str, int], logits: Tensor
) -> RunEvaluation:
    """The evaluation by the logits (N, classes)."""
    labels = getattr(data, split).labels.cpu()
    probabilities, predicted = logits.double().softmax(1), logits.argmax(1)
    score = Evaluation.of(logits, labels)
    wrong_labels = WRONG_LABELS.get(data.name, ()) if split == "test" or data.validates_on_test else ()
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[list(wrong_labels)] = False
    return RunEvaluation(
        folder=folder.path,
        model=config.model.name,
        data=data.name,
        split=split,
        checkpoint=checkpoint[0],
        epoch=checkpoint[1],
        score=score,
        interval=wilson_interval(score.correct, score.n),
        calibration_error=calibration_error(probabilities, labels),
        brier_score=brier_score(probabilities, labels),
        classes=class_scores(labels, predicted, data.classes),
        confusions=[(data.classes[true], data.classes[guess], n) for true, guess, n in confusions(labels, predicted)],
        without_wrong_labels=Evaluation.of(logits[kept], labels[kept]) if wrong_labels else None,
        labels=labels,
        predicted=predicted,
    )
