"""A trained network as a report's page carries it: a list of layers and the bytes of its weights, for JavaScript."""

import base64
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from digitnet.models.lenet5_1998 import INK, WHITE, Frame, RadialBasis, ScaledTanh, Subsampling, TableConv2d

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.ReLU: "relu",
    ScaledTanh: "scaled_tanh",
}
OF_1998 = (Frame, RadialBasis, Subsampling, TableConv2d)
NO_LAYERS = (nn.Identity, nn.Dropout, nn.Dropout2d)  # that compute nothing in eval mode

Layer = dict[str, Any]  # `kind`, `name`, numbers, and tensors as `weight` and `bias`


class UnsupportedLayerError(Exception):
    """A layer that report/page_files/network.js does not have."""


def with_half_weights(model: nn.Module) -> nn.Module:
    """A copy whose matrices and kernels are rounded to IEEE half precision; the few vectors are not."""
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.dim() > 1:
                parameter.copy_(parameter.half())
    return rounded


def page_network(model: nn.Module, half: bool) -> dict[str, Any]:
    """`{"layers": [...], "weights": base64}` of a network in eval mode, on the CPU.

    `half`: matrices and kernels take two bytes a weight, everything else four, little-endian. A tensor's place is
    `{"offset", "count", "half"}`, in bytes and numbers. Raises UnsupportedLayerError.
    """
    layers, content = [], bytearray()
    for layer in _layers(model):
        for key in ("weight", "bias"):
            tensor = layer.get(key)
            if tensor is None:
                continue
            values = tensor.detach().float().contiguous()
            is_half = half and values.dim() > 1
            layer[key] = {"offset": len(content), "count": values.numel(), "half": is_half}
            content += values.flatten().numpy().astype("<f2" if is_half else "<f4").tobytes()
        layers.append(layer)
    return {"layers": layers, "weights": base64.b64encode(bytes(content)).decode()}


def _layers(model: nn.Module) -> Iterator[Layer]:
    """The layers of a network whose `forward` is that of its only part, a sequence, as in all of digitnet's own."""
    parts = list(model.children())
    sequence = model if isinstance(model, nn.Sequential) else parts[0] if len(parts) == 1 else None
    if not isinstance(sequence, nn.Sequential):
        raise UnsupportedLayerError(f"{type(model).__name__} is no sequence of layers")
    for module in sequence:
        if isinstance(module, OF_1998):
            yield from _layers_of_1998(module)
        elif not isinstance(module, NO_LAYERS):
            yield _layer(module)


def _layers_of_1998(module: nn.Module) -> Iterator[Layer]:
    """A layer of LeNet-5 of 1998 as one or two of the page's."""
    if isinstance(module, Frame):
        yield {"kind": "pad", "name": "padding", "sides": [2, 2, 2, 2]}
        weight, bias = torch.tensor([INK - WHITE]), torch.tensor([WHITE])
        yield {"kind": "scale", "name": "white and ink", "weight": weight, "bias": bias}
    elif isinstance(module, TableConv2d):
        sizes = {"kernel": (5, 5), "stride": (1, 1), "padding": (0, 0), "outputs": len(module.table)}
        yield {"kind": "conv", "name": "convolution", **sizes, "weight": module.kernels(), "bias": module.bias}
    elif isinstance(module, Subsampling):
        yield {"kind": "pool", "name": "average pooling", "kernel": [2, 2], "stride": [2, 2], "mean": True}
        yield {"kind": "scale", "name": "subsampling", "weight": 4 * module.weight, "bias": module.bias}
    elif isinstance(module, RadialBasis):  # without what is the same for all classes: it changes no probability
        weights = {"weight": module.codes, "bias": module.offsets}
        yield {"kind": "dense", "name": "radial basis", "outputs": len(module.codes), **weights}


def _layer(module: nn.Module) -> Layer:
    """One layer. Raises UnsupportedLayerError."""
    if kind := ACTIVATIONS.get(type(module)):
        return {"kind": kind, "name": kind}
    match module:
        case nn.Conv2d(groups=1, dilation=(1, 1), padding_mode="zeros") if not isinstance(module.padding, str):
            sizes = {"kernel": module.kernel_size, "stride": module.stride, "padding": module.padding}
            weights = {"weight": module.weight, "bias": module.bias}
            return {"kind": "conv", "name": "convolution", "outputs": module.out_channels, **sizes, **weights}
        case nn.Linear():
            weights = {"weight": module.weight, "bias": module.bias}
            return {"kind": "dense", "name": "dense", "outputs": module.out_features, **weights}
        case nn.MaxPool2d(padding=0, dilation=1, ceil_mode=False, return_indices=False):
            return _pooling(module, "max-pooling", mean=False)
        case nn.AvgPool2d(padding=0, ceil_mode=False, divisor_override=None):
            return _pooling(module, "average pooling", mean=True)
        case (
            nn.BatchNorm2d(affine=True, track_running_stats=True)
            | nn.BatchNorm1d(affine=True, track_running_stats=True)
        ):
            weight, bias = _normalization(module)
            return {"kind": "scale", "name": "batch normalization", "weight": weight, "bias": bias}
        case nn.ZeroPad2d():
            return {"kind": "pad", "name": "padding", "sides": list(module.padding)}
        case nn.Flatten(start_dim=1, end_dim=-1):
            return {"kind": "flatten", "name": "flatten"}
    raise UnsupportedLayerError(f"a layer {type(module).__name__} of these settings")


def _pooling(module: nn.MaxPool2d | nn.AvgPool2d, name: str, mean: bool) -> Layer:
    kernel, stride = (_pair(value) for value in (module.kernel_size, module.stride))
    return {"kind": "pool", "name": name, "kernel": kernel, "stride": stride, "mean": mean}


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _normalization(module: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch normalization in eval mode as a factor and a summand per channel: Ioffe and Szegedy 2015, algorithm 2."""
    assert module.running_mean is not None
    assert module.running_var is not None
    factor = module.weight / (module.running_var + module.eps).sqrt()
    return factor, module.bias - module.running_mean * factor
