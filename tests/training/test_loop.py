"""`fit` against a loop written by hand, to the last bit; divergence, pauses, and what a step may cost."""

import gc
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from digitnet import schedules
from digitnet.data import Split, load_digits
from digitnet.errors import DivergedError
from digitnet.metrics import evaluate
from digitnet.models import LeNet5
from digitnet.training import meter
from digitnet.training.loop import fit
from digitnet.training.record import EpochRecord
from digitnet.training.state import TrainState
from digitnet.training.step import train_step

COUNT, BATCH, LR = 200, 32, 0.5  # six batches of 32 and one of 8


@pytest.fixture
def splits() -> tuple[Split, Split]:
    digits = load_digits(enlarge_to=1437)
    return digits.train[:COUNT], digits.test[:50]


def fresh(seed: int = 0, lr: float = LR) -> TrainState:
    torch.manual_seed(seed)
    model = LeNet5(generator=Generator().manual_seed(seed))
    return TrainState(model, torch.optim.SGD(model.parameters(), lr=lr), Generator().manual_seed(seed))


def train(
    state: TrainState,
    splits: tuple[Split, Split],
    schedule: schedules.Schedule = schedules.constant,
    **more: object,
) -> list[EpochRecord]:
    options: dict[str, Any] = {"epochs": 3, "batch_size": BATCH} | more
    return list(fit(state, *splits, schedule=schedule, **options))


def test_fit_equals_a_loop_written_by_hand(splits: tuple[Split, Split]) -> None:
    split, validation = splits
    phases = [(1, 1.0), (1, 0.5), (1, 0.1)]
    state = fresh()
    records = train(state, splits, partial(schedules.step_decay, phases=phases))

    bare = fresh()
    images, labels = split.images.float() / 255, split.labels
    for epoch, (_, factor) in enumerate(phases):
        bare.optimizer.param_groups[0]["lr"] = LR * factor
        loss_sum, correct = 0.0, 0
        bare.model.train()
        for batch in torch.randperm(COUNT, generator=bare.generator).split(BATCH):
            logits = bare.model(images[batch])
            loss = F.cross_entropy(logits, labels[batch])
            bare.optimizer.zero_grad()
            loss.backward()
            bare.optimizer.step()
            loss_sum += loss.item() * len(batch)
            correct += (logits.argmax(1) == labels[batch]).sum().item()
        record = records[epoch]
        assert (record.epoch, record.lr) == (epoch + 1, LR * factor)
        assert record.train_loss == pytest.approx(loss_sum / COUNT, rel=1e-6)
        assert record.train_acc == correct / COUNT
        found = evaluate(bare.model, validation.images, validation.labels)
        assert (record.val_loss, record.val_acc) == (found.loss, found.accuracy)

    assert (state.epoch, state.steps) == (3, 3 * math.ceil(COUNT / BATCH))
    for ours, theirs in zip(state.model.parameters(), bare.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_schedule_is_evaluated_at_every_step(splits: tuple[Split, Split]) -> None:
    asked: list[float] = []

    def schedule(epoch: float) -> float:
        asked.append(epoch)
        return 1.0

    train(fresh(), splits, schedule)
    steps = math.ceil(COUNT / BATCH)
    assert sorted(set(asked)) == [step / steps for step in range(3 * steps)]


def test_augmentation_starts_after_the_warmup_epochs(splits: tuple[Split, Split]) -> None:
    seen: list[int] = []
    state = fresh()

    def augment(images: Tensor) -> Tensor:
        seen.append(state.epoch)
        assert images.dtype == torch.float32
        assert 0 <= images.min() <= images.max() <= 1
        return images

    train(state, splits, augment=augment, warmup_epochs=2)
    assert set(seen) == {2}


def test_bf16_step_keeps_float32_weights(splits: tuple[Split, Split]) -> None:
    plain, mixed = fresh(), fresh()
    train(plain, splits)
    train(mixed, splits, step=partial(train_step, mixed.model, mixed.optimizer, precision="bf16"))
    pairs = list(zip(plain.model.parameters(), mixed.model.parameters(), strict=True))
    assert all(ours.dtype == torch.float32 for _, ours in pairs)
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert all((a - b).abs().max() < 0.1 for a, b in pairs)


ADVICE = "lower optimizer.lr (it was 5e+29), or warm up the learning rate: schedule=onecycle"


@pytest.mark.parametrize(
    ("exploding", "message"),
    [
        (3, f"epoch 2, step 5 of 7: the loss is nan;\n{ADVICE}"),  # the fourth step, which spoils the fifth's loss
        (6, f"epoch 2, step 7 of 7: a weight is no longer a number;\n{ADVICE}"),  # the last
    ],
)
def test_divergence_error_names_epoch_and_step(splits: tuple[Split, Split], exploding: int, message: str) -> None:
    schedule: Callable[[float], float] = lambda epoch: 1.0 if epoch < 1 + (exploding - 0.5) / 7 else 1e30  # noqa: E731
    records = fit(fresh(), *splits, epochs=3, batch_size=BATCH, schedule=schedule)
    assert next(records).epoch == 1
    with pytest.raises(DivergedError) as caught:
        next(records)
    assert str(caught.value) == message


def test_divergence_stops_within_the_epoch(splits: tuple[Split, Split], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(meter, "CHUNK", 2 * BATCH)
    state = fresh(lr=1e30)
    with pytest.raises(DivergedError, match=r"epoch 1, step 2 of 7: the loss is nan"):
        next(fit(state, *splits, epochs=1, batch_size=BATCH, schedule=schedules.constant))
    assert state.steps == 2


def test_diverged_run_raises_before_a_pause(splits: tuple[Split, Split]) -> None:
    """A checkpoint of weights that are not numbers would be useless."""
    constant = schedules.constant
    with pytest.raises(DivergedError):
        next(fit(fresh(lr=1e30), *splits, epochs=1, batch_size=BATCH, schedule=constant, pause=lambda: True))


def test_pause_after_the_last_chunk_trains_no_empty_batch(splits: tuple[Split, Split]) -> None:
    state = fresh()
    assert train(state, splits, epochs=1, pause=lambda: True) == []  # one chunk is the whole epoch
    assert state.partial_epoch is not None
    assert state.partial_epoch.done == COUNT
    (record,) = train(state, splits, epochs=1)
    assert (record.epoch, state.steps, state.partial_epoch) == (1, 7, None)


class Calls(TorchDispatchMode):
    """Counts the operators that compute, forwards and backwards: not those that return a view of their input."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        memory = [tensor.untyped_storage().data_ptr() for tensor in args if isinstance(tensor, Tensor)]
        is_view = isinstance(result, Tensor) and result.untyped_storage().data_ptr() in memory
        if not is_view or func._schema.is_mutable:
            self.counts[str(func)] += 1
        return result


def calls_of_an_epoch(count: int, layout: torch.memory_format = torch.channels_last) -> Counter[str]:
    digits = load_digits(enlarge_to=1437)
    state = fresh()
    state.model.to(memory_format=layout)
    with Calls() as calls:
        train(state, (digits.train[:count], digits.test[:50]), epochs=1)
    return calls.counts


def test_device_is_waited_for_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.item()` and no `.cpu()` in a step: it would make a GPU wait for the CPU."""
    copies: list[str] = []
    for name in ("item", "cpu", "tolist", "numpy"):
        original = getattr(Tensor, name)

        def counted(tensor: Tensor, *args: Any, name: str = name, original: Any = original) -> Any:
            copies.append(name)
            return original(tensor, *args)

        monkeypatch.setattr(Tensor, name, counted)
    monkeypatch.setattr(meter, "CHUNK", 2 * BATCH)
    monkeypatch.setattr(meter, "CHECK_SECONDS", math.inf)  # on a slow machine there would be checks in between
    few, many = (calls_of_an_epoch(count)["aten._local_scalar_dense.default"] for count in (3 * BATCH, 30 * BATCH))
    assert few == many <= 3
    half = len(copies) // 2
    assert copies[:half] == copies[half:]
    assert len(copies[:half]) <= 6


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_step_costs_at_most_two_operators_more_than_a_bare_one(
    layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what a chunk costs; the bare step draws no permutation and measures nothing."""
    monkeypatch.setattr(meter, "CHECK_SECONDS", math.inf)  # a slow machine would check the losses within the epoch
    few, many = (calls_of_an_epoch(count, layout).total() for count in (2 * BATCH, 30 * BATCH))
    step = (many - few) / 28

    split, bare = load_digits(enlarge_to=1437).train, fresh()
    layers = bare.model.get_submodule("layers")
    assert isinstance(layers, nn.Sequential)
    layers[6], layers[7] = nn.Dropout(0.5), nn.Conv2d(16, 120, 1)  # torch.nn's own
    bare.optimizer = torch.optim.SGD(layers.parameters(), lr=LR)
    images, batch = split.images.float() / 255, torch.arange(BATCH)
    with Calls() as calls:
        loss = F.cross_entropy(layers(images[batch]), split.labels[batch])
        bare.optimizer.zero_grad()
        loss.backward()
        bare.optimizer.step()
    assert step <= calls.counts.total() + 2


@pytest.mark.slow
def test_epochs_leave_no_tensors_behind(splits: tuple[Split, Split]) -> None:
    options: dict[str, Any] = {"epochs": 6, "batch_size": BATCH, "schedule": schedules.constant}
    alive = []
    for _ in fit(fresh(), *splits, **options):
        gc.collect()
        alive.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))
    assert len(set(alive[1:])) == 1
