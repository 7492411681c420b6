"""Stochastic diagonal Levenberg-Marquardt, the optimizer of LeNet-5 in 1998."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from digitnet.losses import Loss
from digitnet.optimizers.curvature import check_layers, gauss_newton_diagonal


class SDLM(Optimizer):
    """w -= lr / (mu + h) x gradient, with an estimate h of d²E/dw² for each weight w, made anew before each epoch.

    LeCun et al. 1998, appendix C. `lr` is the paper's global learning rate. h is a mean over images: the training loop
    takes `images` of them, and calls `estimate` before the first step.
    """

    def __init__(self, model: nn.Module, loss: Loss, lr: "float | Tensor", mu: float, images: int) -> None:
        """Raises ValueError if the model has a layer whose second derivatives are not known."""
        check_layers(model)
        self.model, self.loss, self.images = model, loss, images
        super().__init__(list(model.parameters()), {"lr": lr, "mu": mu})

    def estimate(self, images: Tensor, labels: Tensor) -> None:
        """Estimate h on images (B, 1, H, W) float32 with labels (B,) int64, see `gauss_newton_diagonal`."""
        (group,) = self.param_groups
        found = gauss_newton_diagonal(self.model, self.loss, images, labels)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                rate = 1 / (group["mu"] + found[name])
                if "rate" in self.state[parameter]:
                    self.state[parameter]["rate"].copy_(rate)  # a recorded step reads it there
                else:
                    self.state[parameter]["rate"] = rate

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update by the gradients."""
        (group,) = self.param_groups
        with_gradient = [parameter for parameter in group["params"] if parameter.grad is not None]
        gradients = [parameter.grad for parameter in with_gradient]
        rates = [self.state[parameter]["rate"] for parameter in with_gradient]
        if isinstance(group["lr"], Tensor):
            torch._foreach_sub_(with_gradient, torch._foreach_mul(torch._foreach_mul(gradients, rates), group["lr"]))
        else:
            torch._foreach_addcmul_(with_gradient, gradients, rates, value=-group["lr"])
