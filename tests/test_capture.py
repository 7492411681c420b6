"""A captured step against an eager one, on a CPU: the CUDA graph is simulated, operator by operator.

What a simulation can show is what capture must not get wrong by construction: a batch, a learning rate or a figure of
the optimizer's that was baked into the recording, gradients that are lost between replays, a step run twice.
"""

import contextlib
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from digitnet import build, capture, optim
from digitnet.capture import CapturedStep
from digitnet.checkpoint import TrainState
from digitnet.compose import load
from digitnet.data import load_digits
from digitnet.models import LeNet5
from digitnet.trainer import fit, train_step


class Graph(TorchDispatchMode):
    """Records the operators that run under it, and runs them again on the same tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        self.replays += 1
        with torch.no_grad():
            for func, args, kwargs, recorded in self.calls:
                anew = func(*args, **kwargs)
                for old, new in zip(tree_leaves(recorded), tree_leaves(anew), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """torch.cuda's part in a capture, on the CPU; returns the graphs made. A recording computes nothing, as there."""
    graphs: list[Graph] = []
    watched: list[nn.Module | Optimizer] = []

    @contextlib.contextmanager
    def recording(graph: Graph) -> Iterator[None]:
        tensors = [t for thing in watched for t in tensors_of(thing)]
        before, dice = [tensor.detach().clone() for tensor in tensors], torch.get_rng_state()
        try:
            with graph:
                yield
        finally:
            with torch.no_grad():
                for tensor, value in zip(tensors, before, strict=True):
                    tensor.copy_(value)
            torch.set_rng_state(dice)

    def make() -> Graph:
        graphs.append(Graph())
        return graphs[-1]

    class Stream:
        def wait_stream(self, other: "Stream") -> None:
            pass

    original = CapturedStep.__init__

    def watch(self: CapturedStep, step: Any, optimizer: Optimizer, batch_size: int) -> None:
        original(self, step, optimizer, batch_size)
        watched.append(optimizer)

    monkeypatch.setattr(CapturedStep, "__init__", watch)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", make)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda _: None)
    return graphs


def tensors_of(optimizer: nn.Module | Optimizer) -> list[Tensor]:
    assert isinstance(optimizer, Optimizer)
    states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return [*optimizer.param_groups[0]["params"], *states]


def on_device(name: str, model: nn.Module) -> Optimizer:
    return build.optimizer(load([f"optimizer={name}"]).optimizer, model, capturable=True)


def train(name: str, captured: bool) -> tuple[TrainState, list[Any], CapturedStep]:
    torch.manual_seed(0)
    digits = load_digits(1437)
    model = LeNet5(generator=Generator().manual_seed(0))
    state = TrainState(model, on_device(name, model), Generator().manual_seed(0))
    step = CapturedStep(partial(train_step, model, state.optimizer, precision="fp32"), state.optimizer, 32)
    records = fit(
        state,
        digits.train[:500],  # 15 batches of 32 and one of 20
        digits.test[:50],
        epochs=2,
        batch_size=32,
        lr=0.1 if name == "sgd" else 0.001,
        schedule=partial(optim.cosine, epochs=2, final_factor=0.1),
        step=step if captured else None,
    )
    return state, list(records), step


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_captured_run_is_an_eager_one(cuda: list[Graph], name: str) -> None:
    eager, records, _ = train(name, captured=False)
    state, found, step = train(name, captured=True)
    assert step.refusal is None
    assert [graph.replays for graph in cuda] == [2 * 15 - capture.WARMUP]
    for ours, theirs in zip(state.model.parameters(), eager.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(found, records, strict=True):
        assert (ours.train_loss, ours.train_acc, ours.val_loss) == (
            theirs.train_loss,
            theirs.train_acc,
            theirs.val_loss,
        )


def test_a_learning_rate_that_is_no_tensor_would_be_baked_in(cuda: list[Graph]) -> None:
    """So the simulation would notice."""
    runs = []
    for captured in (False, True):
        torch.manual_seed(0)
        digits, model = load_digits(1437), LeNet5(generator=Generator().manual_seed(0))
        state = TrainState(model, SGD(model.parameters(), lr=0.1), Generator().manual_seed(0))
        step = CapturedStep(partial(train_step, model, state.optimizer, precision="fp32"), state.optimizer, 32)
        schedule = partial(optim.cosine, epochs=1, final_factor=0.1)
        options: dict[str, Any] = {"epochs": 1, "batch_size": 32, "lr": 0.1, "schedule": schedule}
        list(fit(state, digits.train[:500], digits.test[:50], **options, step=step if captured else None))
        runs.append(next(model.parameters()).detach())
    assert not torch.equal(*runs)


class Reading(nn.Module):
    """Reads a value back in its forward pass, for which the processor must wait for the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.passes = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        if images.sum().item() < -1:
            raise AssertionError
        logits: Tensor = self.layers(images)
        return logits


@pytest.mark.parametrize("found", ["before", "while recording"])
def test_what_cannot_be_captured_goes_on_eagerly(
    cuda: list[Graph], monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    mode, item = "default", Tensor.item

    def set_mode(wanted: str) -> None:
        nonlocal mode
        if wanted == "error":
            warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)
        mode = wanted if found == "before" else "default"

    def checked(tensor: Tensor) -> float:
        if mode == "error":
            raise RuntimeError("called a synchronizing CUDA operation")
        if found == "while recording" and torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise RuntimeError("operation not permitted when stream is capturing\nmore lines")
        return item(tensor)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    monkeypatch.setattr(Tensor, "item", checked)
    digits, weights = load_digits(1437), []
    for captured in (False, True):
        torch.manual_seed(0)
        model = Reading()
        optimizer = SGD(model.parameters(), lr=torch.tensor(0.1), fused=True)
        state = TrainState(model, optimizer, Generator().manual_seed(0))
        step = CapturedStep(partial(train_step, model, optimizer, precision="fp32"), optimizer, 32)
        options: dict[str, Any] = {"epochs": 1, "batch_size": 32, "lr": 0.1, "schedule": optim.constant}
        list(fit(state, digits.train[:500], digits.test[:50], **options, step=step if captured else None))
        weights.append(model.layers[1].weight.detach())
    words = "called a synchronizing CUDA operation"
    if found == "while recording":
        words = "operation not permitted when stream is capturing"
    assert step.refusal == f"RuntimeError: {words}"
    assert mode == "default"
    assert not any(graph.replays for graph in cuda)
    assert torch.equal(*weights)


def test_a_mistake_in_the_network_is_not_swallowed(cuda: list[Graph]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    optimizer = SGD(model.parameters(), lr=0.1)
    step = CapturedStep(partial(train_step, model, optimizer, precision="fp32"), optimizer, 4)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        step(torch.zeros(4, 1, 28, 27), torch.zeros(4, dtype=torch.long))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw"])
def test_on_a_device(name: str) -> None:
    """The real thing: the same figures, captured or not, but for what a GPU adds up in another order."""
    digits, found = load_digits(1437).to(torch.device("cuda")), []
    for captured in (False, True):
        torch.manual_seed(0)
        model = LeNet5(dropout=0.0, generator=Generator().manual_seed(0)).cuda()
        state = TrainState(model, on_device(name, model), Generator("cuda").manual_seed(0))
        step = CapturedStep(partial(train_step, model, state.optimizer, precision="fp32"), state.optimizer, 32)
        schedule = partial(optim.cosine, epochs=2, final_factor=0.1)
        options: dict[str, Any] = {"epochs": 2, "batch_size": 32, "lr": 0.01, "schedule": schedule}
        list(fit(state, digits.train[:500], digits.test[:50], **options, step=step if captured else None))
        assert step.refusal is None
        found.append([parameter.detach() for parameter in model.parameters()])
    for eager, replayed in zip(*found, strict=True):
        torch.testing.assert_close(replayed, eager)
