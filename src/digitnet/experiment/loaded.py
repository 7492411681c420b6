"""Trained networks in Python: predict pictures and evaluate, alone or as an ensemble. `digitnet.load` makes them."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from digitnet.config.schema import Config
from digitnet.data.images import SIDE, read_content
from digitnet.data.preparation import Ink
from digitnet.errors import DataError
from digitnet.experiment.evaluation import RunEvaluation, evaluate_ensemble, evaluate_networks, of_same_images
from digitnet.experiment.prediction import Prediction, predictions, prepared_images
from digitnet.experiment.trained import TrainedNetwork, mean_probabilities

Picture = str | Path | Image.Image | Tensor | np.ndarray


class Ensemble(nn.Module):
    """(B, 1, 28, 28) float32 in [0, 1] -> (B, classes), the logarithm of the mean of the members' probabilities."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        probabilities: Tensor = torch.stack([member(images).softmax(1) for member in self.members]).mean(0)
        return probabilities.clamp_min(1e-30).log()


class LoadedNetwork:
    """One trained network, or several as an ensemble, on the CPU.

    `model` is a torch.nn.Module in eval mode, of an ensemble `Ensemble`; `config` the configuration that trained it, of
    an ensemble that of the first member; `classes` the names of the outputs; `members` the networks.
    """

    def __init__(self, members: Sequence[TrainedNetwork]) -> None:
        self.members = list(members)
        models = [member.model for member in members]
        self.model: nn.Module = models[0] if len(models) == 1 else Ensemble(models).eval()
        self.config: Config = members[0].config
        self.classes: tuple[str, ...] = members[0].classes

    def __repr__(self) -> str:
        names = ", ".join(f"{member.config.model.name} from {member.path}" for member in self.members)
        return f"LoadedNetwork({names})"

    def predict(
        self, images: Picture | Sequence[Picture], *, prepare: str | None = None, ink: Ink | None = None
    ) -> list[Prediction]:
        """The two most probable classes of each image: one image, or several.

        Paths and PIL images are prepared as the training images were, `prepare` and `ink` as for `digitnet predict`.
        Arrays and tensors (N, 1, 28, 28), (N, 28, 28) or (28, 28), uint8 or floats from 0 (paper) to 1 (ink), are taken
        as they are. Raises DataError if one cannot be read, or has nothing on it.
        """
        several = images if isinstance(images, list | tuple) else [images]
        tensors = [self._prepared(image, prepare, ink) for image in several]
        if not tensors:
            return []
        return predictions(mean_probabilities(self.members, torch.cat(tensors)), self.classes)

    def evaluate(self, *overrides: str, split: str = "test", tta: int = 0) -> RunEvaluation:
        """Evaluate it on the split `test`, `validation` or `train`; of an ensemble, by the mean of the probabilities.

        `overrides` choose other data, `data=fashion_mnist`. `tta`: by the mean over each image shifted by up to so many
        pixels. Raises ConfigError and DataError.
        """
        found = evaluate_networks(self.members, overrides, split, tta)
        if len(found) == 1:
            return found[0]
        if not of_same_images(found):
            raise DataError(f"the members' {split} sets have different images; name the data: data=…")
        return evaluate_ensemble(found).mean

    def _prepared(self, image: Any, prepare: str | None, ink: Ink | None) -> Tensor:
        """(N, 1, 28, 28) uint8. Raises DataError."""
        if isinstance(image, np.ndarray):
            image = torch.from_numpy(image)
        if isinstance(image, Tensor):
            return _as_bytes(image)
        first = self.members[0]
        try:
            content = _content(image)
            return torch.stack(prepared_images(content, prepare or first.prepare, ink or first.ink, split=False)[0])
        except ValueError as error:
            name = image if isinstance(image, str | Path) else "an image"
            raise DataError(f"{name}: {error}") from error


def _content(image: str | Path | Image.Image) -> bytes:
    """An image file's content. Raises ValueError."""
    if not isinstance(image, Image.Image):
        return read_content(Path(image))
    content = io.BytesIO()
    ImageOps.exif_transpose(image).save(content, "TIFF")  # which has every mode
    return content.getvalue()


def _as_bytes(images: Tensor) -> Tensor:
    """(N, 28, 28), (28, 28) or (N, 1, 28, 28) of any type -> (N, 1, 28, 28) uint8. Raises DataError."""
    shape = tuple(images.shape)
    if shape[-2:] != (SIDE, SIDE) or len(shape) > 4 or (len(shape) == 4 and shape[1] != 1):
        raise DataError(f"images of the shape {shape}: give (N, 1, 28, 28), (N, 28, 28) or (28, 28)")
    images = images.reshape(-1, 1, SIDE, SIDE).cpu()
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point() or not ((images >= 0) & (images <= 1)).all():
        raise DataError(f"images of {images.dtype}: give uint8, or floats from 0 (paper) to 1 (ink)")
    return (images * 255).round().to(torch.uint8)
