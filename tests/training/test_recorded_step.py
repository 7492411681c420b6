"""A recorded step against an eager one, on a CPU: the CUDA graph is simulated, operator by operator.

What a simulation can show is what a recording must not get wrong: a batch, a learning rate or a number of the
optimizer's that was baked into it, gradients that are lost between replays, a step run twice.
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

from conftest import TINY, Command, run_folder
from digitnet import schedules
from digitnet.config.compose import load_config
from digitnet.data import load_digits
from digitnet.experiment import build
from digitnet.models import LeNet5
from digitnet.runs.formats import read_summary
from digitnet.training import recorded_step
from digitnet.training.loop import fit
from digitnet.training.recorded_step import RecordedStep
from digitnet.training.state import TrainState
from digitnet.training.step import train_step


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
    watched: list[Optimizer] = []

    @contextlib.contextmanager
    def recording(graph: Graph) -> Iterator[None]:
        tensors = [t for thing in watched for t in tensors_of(thing)]
        before, dice = [tensor.detach().clone() for tensor in tensors], torch.get_rng_state()
        for optimizer in watched:  # as torch's own check has it, which looks for a real stream
            assert all(group.get("capturable", True) for group in optimizer.param_groups)
        try:
            with graph:
                yield
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904 (as torch's)
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

    original = RecordedStep.__init__

    def watch(self: RecordedStep, step: Any, optimizer: Optimizer, batch_size: int) -> None:
        original(self, step, optimizer, batch_size)
        watched.append(optimizer)

    monkeypatch.setattr(RecordedStep, "__init__", watch)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", make)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda _: None)
    return graphs


def tensors_of(optimizer: Optimizer) -> list[Tensor]:
    states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return [*optimizer.param_groups[0]["params"], *states]


def on_device(name: str, model: nn.Module) -> Optimizer:
    lr = 0.1 if name == "sgd" else 0.001
    config = load_config([f"optimizer={name}", f"optimizer.lr={lr}"]).optimizer
    return build.optimizer(config, model, capturable=True)


def train(name: str, recorded_run: bool) -> tuple[TrainState, list[Any], RecordedStep]:
    torch.manual_seed(0)
    digits = load_digits(1437)
    model = LeNet5(generator=Generator().manual_seed(0))
    state = TrainState(model, on_device(name, model), Generator().manual_seed(0))
    step = RecordedStep(partial(train_step, model, state.optimizer, precision="fp32"), state.optimizer, 32)
    records = fit(
        state,
        digits.train[:500],  # 15 batches of 32 and one of 20
        digits.test[:50],
        epochs=2,
        batch_size=32,
        schedule=partial(schedules.cosine, epochs=2, final_factor=0.1),
        step=step if recorded_run else None,
    )
    return state, list(records), step


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_recorded_run_equals_eager_run(cuda: list[Graph], name: str) -> None:
    eager, records, _ = train(name, recorded_run=False)
    state, found, step = train(name, recorded_run=True)
    assert step.refusal is None
    assert step.recorded
    assert [graph.replays for graph in cuda] == [2 * 15 - recorded_step.WARMUP]
    for ours, theirs in zip(state.model.parameters(), eager.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(found, records, strict=True):
        assert (ours.train_loss, ours.train_acc, ours.val_loss) == (
            theirs.train_loss,
            theirs.train_acc,
            theirs.val_loss,
        )


def test_learning_rate_outside_the_device_refuses_the_recording(cuda: list[Graph]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    optimizer = SGD(model.parameters(), lr=0.1)
    step = RecordedStep(partial(train_step, model, optimizer, precision="fp32"), optimizer, 4)
    for _ in range(recorded_step.WARMUP + 1):
        step(torch.rand(4, 1, 28, 28), torch.zeros(4, dtype=torch.long))
    assert step.refusal == "the optimizer's learning rate is not on the device"
    assert not step.recorded


class Reading(nn.Module):
    """Reads a value back in its forward pass, for which the CPU must wait for the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.passes = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        if images.sum().item() < -1:
            raise AssertionError
        logits: Tensor = self.layers(images)
        return logits


@pytest.mark.parametrize("found", ["before", "while recording", "with gradients made"])
def test_step_that_cannot_be_recorded_runs_eagerly(
    cuda: list[Graph], monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    mode, item = "default", Tensor.item

    def set_mode(wanted: str) -> None:
        nonlocal mode
        if wanted == "warn":
            warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)
        mode = wanted if found == "before" else "default"

    def recorded() -> bool:
        return torch.utils._python_dispatch._get_current_dispatch_mode() is not None

    def checked(tensor: Tensor) -> float:
        if mode == "warn":
            warnings.warn("called a synchronizing CUDA operation (Triggered internally)", stacklevel=1)
        if found == "while recording" and recorded():
            raise RuntimeError("operation not permitted when stream is capturing\nmore lines")
        return item(tensor)

    def made(_: Tensor) -> None:
        if found == "with gradients made" and recorded():
            raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    monkeypatch.setattr(Tensor, "item", checked)
    digits, weights = load_digits(1437), []
    for recorded_run in (False, True):
        torch.manual_seed(0)
        model = Reading()
        model.layers[1].weight.register_post_accumulate_grad_hook(made)
        optimizer = SGD(model.parameters(), lr=torch.tensor(0.1), fused=True)
        state = TrainState(model, optimizer, Generator().manual_seed(0))
        step = RecordedStep(partial(train_step, model, optimizer, precision="fp32"), optimizer, 32)
        options: dict[str, Any] = {"epochs": 1, "batch_size": 32, "schedule": schedules.constant}
        list(fit(state, digits.train[:500], digits.test[:50], **options, step=step if recorded_run else None))
        weights.append(model.layers[1].weight.detach())
    words = "the network makes the CPU wait for the GPU, as .item() does"
    if found != "before":
        words = "RuntimeError: operation not permitted when stream is capturing"
    assert step.refusal == words
    assert mode == "default"
    assert not any(graph.replays for graph in cuda)
    assert torch.equal(*weights)


def test_error_of_the_network_is_raised(cuda: list[Graph]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    optimizer = SGD(model.parameters(), lr=0.1)
    step = RecordedStep(partial(train_step, model, optimizer, precision="fp32"), optimizer, 4)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        step(torch.zeros(4, 1, 28, 27), torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize("batch_size", [32, 400])  # with 400 the warm-up lasts the first epoch
@pytest.mark.parametrize("refused", [False, True])
def test_run_warns_once_when_no_step_can_be_recorded(
    cuda: list[Graph], command: Command, monkeypatch: pytest.MonkeyPatch, refused: bool, batch_size: int
) -> None:
    def refuse(_: Graph) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(build, "cuda_graph", lambda *_: True)
    if refused:
        monkeypatch.setattr(torch.cuda, "graph", refuse)
    done = command(*TINY, "device=cpu", "trainer.epochs=3", f"trainer.batch_size={batch_size}")
    assert done.code == 0
    words = "warning: trainer.cuda_graph: no step can be recorded: RuntimeError: operation not permitted when stream is"
    assert done.out.count(words) == refused
    assert read_summary(run_folder() / "summary.json").device["cuda_graph"] == (not refused)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("clip_norm", [None, 0.1])
@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw"])
def test_recorded_run_on_a_cuda_device(name: str, clip_norm: float | None) -> None:
    """On a real GPU: the figures of an eager run, but for what a GPU adds up in another order."""
    digits, losses = load_digits(1437).to(torch.device("cuda")), []
    for recorded_run in (False, True):
        torch.manual_seed(0)
        model = LeNet5(generator=Generator().manual_seed(0)).cuda()
        state = TrainState(model, on_device(name, model), Generator("cuda").manual_seed(0))
        eager = partial(train_step, model, state.optimizer, clip_norm=clip_norm)
        step = RecordedStep(eager, state.optimizer, 32)
        schedule = partial(schedules.cosine, epochs=2, final_factor=0.1)
        options: dict[str, Any] = {"epochs": 2, "batch_size": 32, "schedule": schedule}
        records = fit(state, digits.train[:500], digits.test[:50], **options, step=step if recorded_run else eager)
        losses.append([record.train_loss for record in records])
        assert step.refusal is None
        assert step.recorded == recorded_run
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
