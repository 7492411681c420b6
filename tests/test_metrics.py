"""Loss and accuracy over a split are exact, whatever the size of the chunks."""

import contextlib

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitnet import metrics
from digitnet.metrics import Evaluation, evaluate, predict, predict_shifted
from digitnet.models import LeNet5


def test_evaluation_of_logits_counts_correct_and_wrong() -> None:
    found = Evaluation.of(torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1]))
    assert (found.correct, found.n, found.errors) == (2, 3, 1)
    assert found.accuracy == 2 / 3
    assert repr(found) == "Evaluation(loss=0.5584, correct=2, n=3, accuracy=0.6667)"


def test_evaluate_with_uneven_chunks_equals_one_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LeNet5(generator=torch.Generator().manual_seed(0))
    images = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (50,))
    model.eval()
    logits = model(images.float() / 255)
    model.train()
    monkeypatch.setattr(metrics, "CHUNK", 16)  # 50 = 3 * 16 + 2: a mean of means would differ
    found = evaluate(model, images, labels)
    assert found.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert found.correct == (logits.argmax(1) == labels).sum().item()
    assert model.training
    torch.testing.assert_close(predict(model, images), logits.detach(), atol=1e-5, rtol=1e-5)


def test_images_are_moved_to_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which "meta" has not

    class Elsewhere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, device="meta"))

        def forward(self, images: Tensor) -> Tensor:
            assert images.device == self.weight.device
            return torch.zeros(len(images), 10)

    assert predict(Elsewhere(), torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape == (2, 10)


def test_mean_over_shifts_has_finite_logarithms() -> None:
    class Sure(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([[1000.0, -1000.0]]).expand(len(images), 2)

    logits = predict_shifted(Sure(), torch.zeros(3, 1, 28, 28, dtype=torch.uint8), 1)
    assert logits.isfinite().all()
    assert logits.argmax(1).tolist() == [0, 0, 0]
