"""`fit` against the loop that anyone would write by hand, to the last bit; and what it must notice."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from digitnet import optim, trainer
from digitnet.checkpoint import TrainState
from digitnet.data import Split, load_digits
from digitnet.errors import DivergedError
from digitnet.evaluate import evaluate
from digitnet.models import LeNet5
from digitnet.records import EpochRecord
from digitnet.trainer import fit

COUNT, BATCH, LR = 200, 32, 0.5  # six batches of 32 and one of 8


@pytest.fixture
def splits() -> tuple[Split, Split]:
    digits = load_digits(enlarge_to=1437)
    return digits.train[:COUNT], digits.test[:50]


def fresh(seed: int = 0) -> TrainState:
    torch.manual_seed(seed)
    model = LeNet5(generator=Generator().manual_seed(seed))
    return TrainState(model, torch.optim.SGD(model.parameters(), lr=LR), Generator().manual_seed(seed))


def train(
    state: TrainState,
    splits: tuple[Split, Split],
    schedule: optim.Schedule = optim.constant,
    lr: float = LR,
    **more: object,
) -> list[EpochRecord]:
    return list(fit(state, *splits, epochs=3, batch_size=BATCH, lr=lr, schedule=schedule, **more))  # type: ignore[arg-type]


def test_equal_to_a_bare_loop(splits: tuple[Split, Split]) -> None:
    split, validation = splits
    phases = [(1, 1.0), (1, 0.5), (1, 0.1)]
    state = fresh()
    records = train(state, splits, partial(optim.step, phases=phases))

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

    assert (state.epoch, state.step) == (3, 3 * math.ceil(COUNT / BATCH))
    for ours, theirs in zip(state.model.parameters(), bare.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_schedule_is_asked_at_every_step(splits: tuple[Split, Split]) -> None:
    asked: list[float] = []

    def schedule(epoch: float) -> float:
        asked.append(epoch)
        return 1.0

    train(fresh(), splits, schedule)
    steps = math.ceil(COUNT / BATCH)
    assert sorted(set(asked)) == [step / steps for step in range(3 * steps)]


def test_augmentation_waits_for_the_warmup(splits: tuple[Split, Split]) -> None:
    seen: list[int] = []
    state = fresh()

    def augment(images: Tensor) -> Tensor:
        seen.append(state.epoch)
        assert images.dtype == torch.float32
        assert 0 <= images.min() <= images.max() <= 1
        return images

    train(state, splits, augment=augment, warmup_epochs=2)
    assert set(seen) == {2}


def test_bf16_trains_in_float32_weights(splits: tuple[Split, Split]) -> None:
    plain, mixed = fresh(), fresh()
    train(plain, splits)
    train(mixed, splits, precision="bf16")
    pairs = list(zip(plain.model.parameters(), mixed.model.parameters(), strict=True))
    assert all(ours.dtype == torch.float32 for _, ours in pairs)
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert all((a - b).abs().max() < 0.1 for a, b in pairs)


def test_a_loss_that_is_no_number_names_the_epoch(splits: tuple[Split, Split]) -> None:
    state = fresh()
    schedule: Callable[[float], float] = lambda epoch: 1.0 if epoch < 1 else 1e30  # noqa: E731
    records = fit(state, *splits, epochs=3, batch_size=BATCH, lr=LR, schedule=schedule)
    assert next(records).epoch == 1
    with pytest.raises(DivergedError, match=r"epoch 2: the loss is nan; lower optimizer\.lr \(it was 5e\+29\)"):
        next(records)


def test_one_synchronisation_an_epoch(splits: tuple[Split, Split], monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.item()` per step: it would make a GPU wait for the processor."""
    calls = 0
    item = Tensor.item

    def counted(tensor: Tensor) -> float:
        nonlocal calls
        calls += 1
        return item(tensor)

    monkeypatch.setattr(trainer, "CHUNK", BATCH)
    monkeypatch.setattr(Tensor, "item", counted)
    train(fresh(), splits)
    assert calls <= 3 * 4
