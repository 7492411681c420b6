"""The diagonal of the Gauss-Newton matrix, carried back through a network layer by layer."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from digitnet.losses import Loss
from digitnet.models.lenet5_1998 import RadialBasis, ScaledTanh, Subsampling, TableConv2d

Curvatures = tuple[Tensor, list[Tensor]]  # of a layer's input and of its parameters

LINEAR = (nn.Conv2d, nn.Linear, Subsampling, TableConv2d)  # in their input, and in their parameters
ELEMENTWISE = (nn.Sigmoid, nn.Tanh, ScaledTanh)
SELECTING = (
    nn.Dropout,
    nn.Flatten,
    nn.Identity,
    nn.MaxPool2d,
    nn.ReLU,
    nn.Unflatten,
    nn.ZeroPad2d,
)  # slopes are 0 or 1


def check_layers(model: nn.Module) -> None:
    """Raise ValueError if the model is not a sequence, `layers`, of layers that `gauss_newton_diagonal` knows."""
    layers = getattr(model, "layers", None)
    if not isinstance(layers, nn.Sequential):
        raise ValueError("the network needs all of its layers in an nn.Sequential, self.layers")
    for layer in layers[_first_trained(layers) :]:
        if not isinstance(layer, (*LINEAR, *ELEMENTWISE, *SELECTING, nn.BatchNorm2d, RadialBasis)):
            raise ValueError(f"there is no rule for second derivatives through {type(layer).__name__}")


def gauss_newton_diagonal(model: nn.Module, loss: Loss, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """An estimate of d²E/dw² of each parameter w, by its name, as means over images (B, 1, H, W) with labels (B,).

    LeCun et al. 1998, appendix C; LeCun, Bottou, Orr and Müller 1998, "Efficient BackProp", section "Backpropagating
    the diagonal Hessian in neural nets". From the second derivatives of a layer's outputs, those of its inputs and of
    its weights follow with squared slopes and squared weights; terms with second derivatives of activations, and those
    off the diagonals, are left out. It is exactly the Gauss-Newton matrix's diagonal for a single layer, and for two
    with an activation between them, as far as no weight is shared and the Hessian of the loss in the logits is
    diagonal. A shared weight has the sum over its connections.

    Radial basis units give their input the second derivative 1, that of half the squared distance, whatever the loss,
    as Lush does. Dropout is off; batch normalization is a scale by the statistics of these images. The network must be
    one of `check_layers`; its parameters and gradients do not change.
    """
    layers: nn.Sequential = model.layers  # type: ignore[assignment]
    training = model.training
    model.eval()
    inputs = [images]
    with torch.no_grad():
        for layer in layers:
            inputs.append(_normalized(layer, inputs[-1]) if isinstance(layer, nn.BatchNorm2d) else layer(inputs[-1]))
    found: dict[str, Tensor] = {}
    curvature = _of_logits(loss, inputs.pop(), labels)
    pairs = [*zip(layers.named_children(), inputs, strict=True)]
    for (name, layer), values in reversed(pairs[_first_trained(layers) :]):
        curvature, of_parameters = _carried_back(layer, values, curvature)
        for (parameter, _), its in zip(layer.named_parameters(), of_parameters, strict=True):
            found[f"layers.{name}.{parameter}"] = its / len(images)
    model.train(training)
    return found


def _first_trained(layers: nn.Sequential) -> int:
    """The number of the first layer with parameters: what comes before needs no rule."""
    return next((number for number, layer in enumerate(layers) if any(True for _ in layer.parameters())), 0)


def _of_logits(loss: Loss, logits: Tensor, labels: Tensor) -> Tensor:
    """d²E/dy² of the logits y of each image, (B, classes)."""
    logits = logits.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(loss(logits, labels, reduction="sum"), logits, create_graph=True)
    if not slopes.requires_grad:  # a loss that is linear
        return torch.zeros_like(logits)
    of_classes = [
        torch.autograd.grad(slopes[:, number].sum(), logits, retain_graph=True)[0][:, number]
        for number in range(logits.shape[1])
    ]
    return torch.stack(of_classes, 1)


def _carried_back(layer: nn.Module, values: Tensor, curvature: Tensor) -> Curvatures:
    """The curvatures of a layer's input `values` and of its parameters, by that of its output."""
    if isinstance(layer, RadialBasis):
        return torch.ones_like(values), []
    if isinstance(layer, nn.BatchNorm2d):
        scale = layer.weight / _deviation(layer, values)
        normalized = F.batch_norm(values, None, None, training=True, eps=layer.eps)
        of_weight = (curvature * normalized.square()).sum((0, 2, 3))
        return curvature * scale.square()[:, None, None], [of_weight, curvature.sum((0, 2, 3))]
    if isinstance(layer, LINEAR):  # with squared weights and inputs its slopes are the squared slopes
        squares = {name: weight.detach().square().requires_grad_() for name, weight in layer.named_parameters()}
        return _slopes(layer, squares, values.square(), curvature)
    back, _ = _slopes(layer, {}, values, curvature)
    if isinstance(layer, ELEMENTWISE):  # by the slope twice
        back, _ = _slopes(layer, {}, values, back)
    return back, []


def _slopes(layer: nn.Module, parameters: Mapping[str, Tensor], values: Tensor, outer: Tensor) -> Curvatures:
    """`outer` times the derivatives of the layer's output by its input `values` and by its parameters."""
    values = values.detach().requires_grad_()
    output = functional_call(layer, dict(parameters), (values,))
    back, *of_parameters = torch.autograd.grad(output, [values, *parameters.values()], outer)
    return back, of_parameters


def _deviation(layer: nn.BatchNorm2d, values: Tensor) -> Tensor:
    """The standard deviation (C,) of these values (B, C, H, W)."""
    return (values.var((0, 2, 3), unbiased=False) + layer.eps).sqrt()


def _normalized(layer: nn.BatchNorm2d, values: Tensor) -> Tensor:
    """The layer's output with the statistics of these values, which it does not remember."""
    return F.batch_norm(values, None, None, layer.weight, layer.bias, training=True, eps=layer.eps)
