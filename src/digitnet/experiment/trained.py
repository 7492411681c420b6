"""The trained network of a run, finished or not, with what evaluating and predicting need to know about it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from digitnet.config import schema
from digitnet.config.changes import with_other_data
from digitnet.config.compose import load_config
from digitnet.config.data_schema import FolderDataConfig
from digitnet.config.schema import Config
from digitnet.data.preparation import Ink
from digitnet.data.sizes import TRAINING_IMAGES
from digitnet.errors import CheckpointError, ConfigError
from digitnet.experiment import build
from digitnet.experiment.restore import load_model
from digitnet.metrics import predict
from digitnet.runs.folder import SWEEP_FILE, RunFolder, untrusted
from digitnet.runs.reader import find_runs
from digitnet.training.checkpoint import load_weights
from digitnet.training.exchange import SAFETENSORS, read_safetensors

DRAWN_OTHERWISE = ("fashion_mnist", "kmnist")  # data sets whose images fill the 28x28 pixels


@dataclass(frozen=True)
class TrainedNetwork:
    """`model` is on the CPU, in eval mode; `content` is the run's configuration as it was recorded."""

    path: Path
    config: Config
    content: dict[str, Any]
    classes: tuple[str, ...]
    model: nn.Module
    checkpoint: str
    epoch: int
    command: str = ""  # that trained it
    dataset: dict[str, Any] = field(default_factory=dict)

    @property
    def prepare(self) -> str:
        """How pictures are prepared for it: `mnist` or `plain`, as its training images were."""
        data = self.config.data
        if "prepare" in self.dataset:
            return str(self.dataset["prepare"])
        if isinstance(data, FolderDataConfig):
            return data.prepare
        return "plain" if data.name in DRAWN_OTHERWISE else "mnist"

    @property
    def ink(self) -> Ink:
        """The ink of the pictures that it was trained on, "auto" if they may differ."""
        if self.prepare == "plain" and "inverted" in self.dataset:
            return "dark" if self.dataset["inverted"] else "light"
        return "auto"

    def probabilities(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) uint8 on the CPU -> the probabilities (N, classes) float32."""
        return predict(self.model, images, self.config.trainer.precision).softmax(1)


def open_trained(path: str | Path, checkpoint: str = "last", trust: bool = False) -> TrainedNetwork:
    """The network of a run with the weights of a checkpoint, `last`, `best` or `epoch_N`.

    `path` may also be a .safetensors file that `digitnet export` wrote. Raises ConfigError and CheckpointError, also if
    the network is one to import (model=custom) without `trust`.
    """
    if Path(path).suffix == SAFETENSORS:
        return _open_file(Path(path), trust)
    folder = RunFolder.open(path, trust)
    summary = folder.read_summary_of_run()
    if not summary.config:
        raise CheckpointError(f"{folder.summary_file}: from a version that did not record its configuration")
    config = with_other_data(summary.config, (), str(folder.path))
    _check_checkpoint(folder, checkpoint)
    classes = tuple(str(name) for name in summary.dataset.get("classes", "0123456789"))
    model, epoch = load_model(folder, config, len(classes), checkpoint)
    return TrainedNetwork(
        folder.path, config, summary.config, classes, model.eval(), checkpoint, epoch, summary.command, summary.dataset
    )


def _open_file(path: Path, trust: bool) -> TrainedNetwork:
    """The network of a .safetensors file, which evaluates on the default data, or on those of the same name."""
    _, facts = read_safetensors(path)
    name = facts.get("data")
    has_place = name in TRAINING_IMAGES  # other data are a user's own
    content = load_config([f"data={name}"] if has_place else []).model_dump() | {"model": facts["model"]}
    config = with_other_data(content, (), str(path))
    if isinstance(config.model, schema.CustomModelConfig) and not trust:
        raise ConfigError(untrusted(path, config.model.target))
    classes = tuple(str(name) for name in facts.get("classes", "0123456789"))
    model = build.model(config.model, len(classes))
    epoch = load_weights(model, config.model.name, path)["epoch"]
    command, prepare = str(facts.get("command", "")), facts.get("prepare")
    dataset = {"name": name, "prepare": prepare}
    return TrainedNetwork(path, config, content, classes, model.eval(), "file", epoch, command, dataset)


def run_folders(path: str | Path) -> list[Path]:
    """The run in `path` or, if it is a sweep's folder, its finished runs. Raises ConfigError if there are none."""
    if not (Path(path) / SWEEP_FILE).is_file():
        return [Path(path)]
    folders = [run.folder for run in find_runs([path]) if run.status == "finished"]
    if not folders:
        raise ConfigError(f"{path}: none of this sweep's runs is finished; digitnet compare {path} shows them")
    return folders


def mean_probabilities(networks: Sequence[TrainedNetwork], images: Tensor) -> Tensor:
    """Images (N, 1, 28, 28) uint8 -> the mean (N, classes) of the networks' probabilities.

    Raises CheckpointError if a network computes something that is no finite number, as after a training that diverged.
    """
    probabilities = [network.probabilities(images) for network in networks]
    for network, its in zip(networks, probabilities, strict=True):
        if not its.isfinite().all():
            raise CheckpointError(
                f"{network.path}: its {network.checkpoint} checkpoint computes no finite numbers; "
                "choose another with --checkpoint"
            )
    return torch.stack(probabilities).mean(0)


def check_same_classes(networks: Sequence[TrainedNetwork]) -> None:
    """Raise ConfigError if networks that are to be asked together do not have the same classes."""
    first = networks[0]
    for other in networks[1:]:
        if other.classes != first.classes:
            raise ConfigError(
                f"{other.path}: its classes are {listed(other.classes)}, those of {first.path} are "
                f"{listed(first.classes)}"
            )


def listed(names: Sequence[str]) -> str:
    """The first ten of the names, separated by commas."""
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")


def _check_checkpoint(folder: RunFolder, name: str) -> None:
    if not re.fullmatch(r"last|best|epoch_\d+", name):  # it could be the path of any file
        raise ConfigError(f"--checkpoint {name}: is none of last, best, epoch_N")
    if not folder.checkpoint_file(name).is_file():
        there = ", ".join(path.stem for path in folder.checkpoints()) or "none"
        raise CheckpointError(f"{folder.path}: has no checkpoint '{name}'; there is {there}")
