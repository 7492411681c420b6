"""Schedules against the notebook's list and against torch.optim."""

import pytest
import torch

from digitnet import schedules

NOTEBOOK = [(2, 1.0), (3, 0.8), (3, 0.4), (4, 0.2), (8, 0.08)]


def test_step_decay_gives_the_notebooks_factors() -> None:
    factors = [schedules.step_decay(epoch, NOTEBOOK) for epoch in range(20)]
    assert factors == [1.0] * 2 + [0.8] * 3 + [0.4] * 3 + [0.2] * 4 + [0.08] * 8
    assert schedules.step_decay(1.999, NOTEBOOK) == 1.0
    assert schedules.step_decay(25, NOTEBOOK) == 0.08


def test_constant_is_always_1() -> None:
    assert {schedules.constant(epoch / 10) for epoch in range(50)} == {1.0}


def test_cosine_at_start_middle_and_end() -> None:
    assert schedules.cosine(0, epochs=10, final_factor=0.1) == 1.0
    assert schedules.cosine(5, epochs=10, final_factor=0.1) == pytest.approx(0.55)
    assert schedules.cosine(10, epochs=10, final_factor=0.1) == pytest.approx(0.1)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_onecycle_equals_torchs() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    steps = 101  # torch's last step is at the end of the run; ours would be the one after it
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, steps, pct_start=0.31, div_factor=25, final_div_factor=100, cycle_momentum=False
    )
    # torch counts pct_start * steps - 1 steps of warm-up.
    fraction = (0.31 * steps - 1) / (steps - 1)
    for index in range(steps):
        ours = schedules.onecycle(index / 10, 10, warmup_fraction=fraction, start_factor=1 / 25, final_factor=1 / 2500)
        assert ours == pytest.approx(reference.get_last_lr()[0], abs=1e-9)
        if index < steps - 1:
            reference.step()


def test_trapezoid_is_torchs_two_lines_and_a_constant() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    parts: list[torch.optim.lr_scheduler.LRScheduler] = [
        torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1, total_iters=20),
        torch.optim.lr_scheduler.ConstantLR(optimizer, 1, total_iters=0),
        torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, total_iters=40),
    ]
    reference = torch.optim.lr_scheduler.SequentialLR(optimizer, parts, [20, 60])
    for step in range(100):
        ours = schedules.trapezoid(step / 10, 10, 0.2, 0.4, start_factor=0.1, final_factor=0.05)
        assert ours == pytest.approx(reference.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        reference.step()
    assert schedules.trapezoid(10, 10, 0.2, 0.4, 0.1, 0.05) == pytest.approx(0.05)
    assert schedules.trapezoid(0, 10, 0, 0, 0, 0) == schedules.trapezoid(10, 10, 0, 0, 0, 0) == 1
