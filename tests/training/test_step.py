"""One training step: the learning rate, and batches that fit into memory."""

from functools import partial

import pytest
import torch

from digitnet.data import load_digits
from digitnet.models import LeNet5
from digitnet.training.state import TrainState
from digitnet.training.step import largest_batch, reporting_step, set_lr, steps_per_epoch, train_step


def test_set_lr_fills_a_tensor_on_the_device_in_place() -> None:
    rate = torch.tensor(0.5)
    model = LeNet5()
    on_device, plain = torch.optim.SGD(model.parameters(), lr=rate), torch.optim.SGD(model.parameters(), lr=0.5)
    for optimizer in (on_device, plain):
        optimizer.param_groups[0]["initial_lr"] = 0.5
        set_lr(optimizer, 0.5)
    assert on_device.param_groups[0]["lr"] is rate
    assert rate.item() == plain.param_groups[0]["lr"] == 0.25


def test_set_lr_keeps_the_ratio_of_parameter_groups() -> None:
    first, second = LeNet5().parameters(), LeNet5().parameters()
    optimizer = torch.optim.SGD([{"params": first, "initial_lr": 0.5}, {"params": second, "initial_lr": 0.1}])
    for factor in (0.5, 0.2):  # of the initial rate, not of the last one
        set_lr(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == [0.5 * factor, 0.1 * factor]


def update(clip_norm: float | None) -> torch.Tensor:
    """The change of all weights, (166826,), by a step of plain SGD with a learning rate of 1: minus the gradients."""
    torch.manual_seed(0)  # of dropout
    digits, model = load_digits(1437).train[:32], LeNet5(generator=torch.Generator().manual_seed(0))
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    train_step(model, optimizer, digits.images.float() / 255, digits.labels, clip_norm=clip_norm)
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach() - before


def test_gradients_are_scaled_down_to_a_norm_but_never_up() -> None:
    free = update(None)
    norm = free.norm().item()
    clipped = update(norm / 4)
    assert clipped.norm().item() == pytest.approx(norm / 4, rel=1e-4)
    torch.testing.assert_close(clipped, free / 4, rtol=1e-3, atol=1e-6)  # all together: the direction stays
    torch.testing.assert_close(update(4 * norm), free, rtol=0, atol=0)


@pytest.mark.parametrize(("images", "steps"), [(64, 2), (65, 3), (1, 1)])
def test_last_batch_of_an_epoch_may_be_smaller(images: int, steps: int) -> None:
    assert steps_per_epoch(images, batch_size=32) == steps


@pytest.mark.parametrize(("limit", "fitting"), [(100, 64), (1, 1), (0, 0)])
def test_largest_batch_halves_until_it_fits(limit: int, fitting: int) -> None:
    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if len(images) > limit:
            raise RuntimeError("out of memory")
        return images

    assert largest_batch(step, load_digits(1437).train, batch_size=256) == fitting


def test_every_nth_step_reports_its_loss_before_the_update_and_its_learning_rate() -> None:
    train = load_digits(1437).train
    model = LeNet5()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    state = TrainState(model, optimizer, torch.Generator(), steps=4)
    reports: list[tuple[int, float, float]] = []
    step = partial(train_step, model, optimizer)
    reporting = reporting_step(step, state, 3, lambda *values: reports.append(values))
    expected = []
    for number in range(5, 10):
        optimizer.param_groups[0]["lr"] = number / 10
        images, labels = train.images[number : number + 8].float() / 255, train.labels[number : number + 8]
        torch.manual_seed(number)
        with torch.no_grad():
            expected.append(torch.nn.functional.cross_entropy(model(images), labels).item())
        torch.manual_seed(number)
        reporting(images, labels)
        state.steps += 1
    assert [(number, lr) for number, _, lr in reports] == [(6, 0.6), (9, 0.9)]
    assert [loss for _, loss, _ in reports] == pytest.approx([expected[1], expected[4]])
