"""Gradients by a flat list of PyTorch's operations, which for a batch of one image takes half the time of autograd."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

aten = torch.ops.aten
# Operations that Python calls sooner by another name: torch.ops looks for a kernel by the types of all arguments.
BINDINGS: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: torch.add,
    aten.addmm.default: torch.addmm,
    aten.avg_pool2d.default: torch._C._nn.avg_pool2d,
    aten.constant_pad_nd.default: torch.constant_pad_nd,
    aten.convolution.default: torch.convolution,
    aten.expand.default: Tensor.expand,
    aten.index_copy.default: torch.index_copy,
    aten.index_select.default: torch.index_select,
    aten.mm.default: torch.mm,
    aten.mul.Tensor: torch.mul,
    aten.neg.default: torch.neg,
    aten.sub.Tensor: torch.sub,
    aten.sum.dim_IntList: torch.sum,
    aten.t.default: torch.t,
    aten.tanh.default: torch.tanh,
    aten.view.default: Tensor.view,
}


class TracedGradients:
    """`compute_gradients` of a network on the CPU, by the same operations, so that all results are the same bits.

    The first batch of one image is computed as always, and traced: what autograd did forwards and backwards becomes a
    list of operations, which is called from then on, without the network's Python code and without autograd. Weights
    are read where they are, so they must stay in the same memory. Batches of other sizes are computed as always.

    For networks whose operations do not depend on the values of their input, and which remember nothing in training, as
    batch normalization would. PyTorch's documentation of torch.func, `make_fx`.
    """

    def __init__(self, compute_gradients: Callable[[Tensor, Tensor], Tensor], model: nn.Module) -> None:
        """`compute_gradients` adds gradients to the parameters of `model`, which have none, and returns the logits."""
        self._eager, self._parameters = compute_gradients, list(model.parameters())
        self._traced: Callable[..., tuple[Tensor, ...]] | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        if len(images) != 1:
            return self._eager(images, labels)
        if self._traced is None:
            self._traced = self._trace(images, labels)
        with torch.inference_mode():
            logits, *gradients = self._traced(images, labels)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return logits

    def _trace(self, images: Tensor, labels: Tensor) -> Callable[..., tuple[Tensor, ...]]:
        def gradients(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
            logits = self._eager(images, labels)
            found = []
            for parameter in self._parameters:
                assert parameter.grad is not None
                found.append(parameter.grad)
                parameter.grad = None
            return logits, *found

        with warnings.catch_warnings(action="ignore"):  # of PyTorch's own code
            from torch.fx.experimental.proxy_tensor import make_fx  # takes a second

        with torch.random.fork_rng(devices=[]):  # the batch is computed twice
            return _as_function(make_fx(gradients)(images, labels))


def _as_function(traced: GraphModule) -> Callable[..., tuple[Tensor, ...]]:
    """The traced operations as a function without attributes to look up or numbers to convert in each call."""
    graph, constants = traced.graph, dict[Any, Tensor]()
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    places: dict[Any, Node] = {}  # of constants

    def constant(key: Any, value: Tensor) -> Node:
        if key not in constants:
            constants[key] = value
            with graph.inserting_before(inputs[0]):
                places[key] = graph.placeholder(f"constant{len(constants)}")
        return places[key]

    for node in list(graph.nodes):
        if node.op == "get_attr":
            node.replace_all_uses_with(constant(node.target, getattr(traced, node.target)))
            graph.erase_node(node)
        elif node.target is aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.op == "call_function":
            if node.target in (aten.add.Tensor, aten.mul.Tensor) and isinstance(node.args[1], float):
                number = torch.tensor(node.args[1])  # rounded to float32, as the operation does
                node.args = (node.args[0], constant(node.args[1], number))
            node.target = BINDINGS.get(node.target, node.target)
    graph.eliminate_dead_code()
    return partial(GraphModule(nn.Module(), graph).forward, *constants.values())
