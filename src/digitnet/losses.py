"""Losses: logits (B, classes) and labels (B,) int64 -> (), the mean or the sum over the images."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[..., Tensor]  # logits (B, classes), labels (B,), reduction="mean" or "sum" -> ()


def map_loss(logits: Tensor, labels: Tensor, *, j: float, reduction: str = "mean") -> Tensor:
    """Minus the log-probability of the class, with one more class, of rubbish, whose logit is the constant -`j`.

    LeCun et al. 1998, section II.C, equation 9, the discriminative criterion MAP, maximum a posteriori: with penalties
    y = -logits it is y_D + log(e^-j + sum_i e^-y_i). It also lowers the penalty of the true class where this is the
    lowest already, down to about `j`.
    """
    rubbish = logits.new_full((len(logits), 1), -j)
    return F.cross_entropy(torch.cat([logits, rubbish], 1), labels, reduction=reduction)


def squared_error(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """The mean over the classes of the squared difference of logits and one-hot labels.

    Hui and Belkin 2021, arXiv:2006.07322, "Evaluation of neural architectures trained with square loss vs
    cross-entropy in classification tasks", section 2, without rescaling.
    """
    differences = logits - F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return _reduced(differences.square().mean(1), reduction)


def true_penalty(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Minus the logit of the class. Of radial basis units this is half the squared distance to the code of the class.

    LeCun et al. 1998, section II.C, equation 8. Only for logits that have an upper bound.
    """
    return _reduced(-logits.gather(1, labels[:, None]).squeeze(1), reduction)


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses.sum() if reduction == "sum" else losses.mean()
