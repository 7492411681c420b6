"""Exact loss and accuracy on a whole split: means over images, never means of batch means."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TINIEST = 1e-37  # a float32 whose logarithm is finite
CHUNK = 256  # images per forward pass: fastest on a CPU, and constant, so that results are reproducible


@dataclass(frozen=True)
class Evaluation:
    """`loss` is the mean cross-entropy in nats; `correct` of `n` images are classified correctly."""

    loss: float
    correct: int
    n: int

    def __repr__(self) -> str:
        return f"Evaluation(loss={self.loss:.4f}, correct={self.correct}, n={self.n}, accuracy={self.accuracy:.4f})"

    @property
    def accuracy(self) -> float:
        """`correct` as a fraction of `n`."""
        return self.correct / self.n

    @property
    def errors(self) -> int:
        """The number of misclassified images."""
        return self.n - self.correct

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> "Evaluation":
        """From logits (N, classes) and labels (N,) int64, both on the CPU."""
        loss = F.cross_entropy(logits.double(), labels).item()
        return cls(loss, int((logits.argmax(1) == labels).sum()), len(labels))


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, precision: str = "fp32") -> Tensor:
    """Images (N, 1, 28, 28) uint8 -> logits (N, classes) float32 on the CPU, in eval mode.

    The images may be on another device than the model. `precision` is "fp32" or "bf16" (autocast). The CPU waits for a
    GPU only once, at the end.
    """
    training = model.training
    model.eval()
    images = images.to(next((parameter.device for parameter in model.parameters()), images.device))
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = [model(chunk.float().div_(255)) for chunk in images.split(CHUNK)]
    model.train(training)
    return torch.cat(logits).float().cpu()


def predict_shifted(model: nn.Module, images: Tensor, pixels: int, precision: str = "fp32") -> Tensor:
    """As `predict`, of the images shifted by up to so many `pixels` across and down: test-time augmentation.

    Returns the logarithms (N, classes) float32 of the mean probabilities over all (2 pixels + 1)^2 shifts, with zeros
    moved in. Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks",
    section 4.1, averages over five places and their mirror images.
    """
    height, width = images.shape[2:]
    framed = F.pad(images, (pixels, pixels, pixels, pixels))
    places = [(down, across) for down in range(2 * pixels + 1) for across in range(2 * pixels + 1)]
    shifted = (framed[:, :, down : down + height, across : across + width] for down, across in places)
    mean = torch.stack([predict(model, each, precision).softmax(1) for each in shifted]).mean(0)
    return mean.clamp_min(TINIEST).log()


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, precision: str = "fp32") -> Evaluation:
    """Loss and accuracy of `model` on images (N, 1, 28, 28) uint8 with labels (N,) int64, in eval mode."""
    return Evaluation.of(predict(model, images, precision), labels.cpu())


def hardest_images(labels: Tensor, predicted: Tensor, confidence: Tensor) -> list[int]:
    """The indices of the misclassified images, those that the network was surest of, first.

    `labels` and `predicted` are (N,) int64, `confidence` is (N,), the probability of the predicted class.
    """
    wrong = (labels != predicted).nonzero().flatten()
    hardest: list[int] = wrong[confidence[wrong].argsort(descending=True, stable=True)].tolist()
    return hardest
