import pytest
import torch
import torch.nn.functional as F

from digitnet.losses import map_loss, squared_error, true_penalty

LOGITS = torch.tensor([[-0.5, -3.0, -2.0], [-4.0, -0.1, -6.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


def test_map_loss_is_equation_9() -> None:
    penalties, j = -LOGITS, 1.5
    true = penalties[[0, 1], LABELS]
    expected = true + torch.log(torch.exp(torch.tensor(-j)) + torch.exp(-penalties).sum(1))
    torch.testing.assert_close(map_loss(LOGITS, LABELS, j=j, reduction="sum"), expected.sum())
    torch.testing.assert_close(map_loss(LOGITS, LABELS, j=j), expected.mean())


def test_map_loss_without_rubbish_is_cross_entropy() -> None:
    torch.testing.assert_close(map_loss(LOGITS, LABELS, j=1000.0), F.cross_entropy(LOGITS, LABELS))


@pytest.mark.parametrize(("reduction", "share"), [("sum", 1.0), ("mean", 0.5)])
def test_squared_errors(reduction: str, share: float) -> None:
    one_hot = torch.tensor([[1.0, 0, 0], [0, 0, 1]], dtype=torch.float64)
    expected = share * ((LOGITS - one_hot) ** 2).sum() / 3
    torch.testing.assert_close(squared_error(LOGITS, LABELS, reduction=reduction), expected)
    assert true_penalty(LOGITS, LABELS, reduction=reduction).item() == pytest.approx(share * (0.5 + 6.0))
