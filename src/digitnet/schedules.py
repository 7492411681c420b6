"""Learning-rate schedules: pure functions from the progress of training to a factor that multiplies the learning rate.

`epoch` is the number of epochs so far, a float: 2.5 is halfway through the third. `epochs` is the length of the run.
"""

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[float], float]


def step_decay(epoch: float, phases: Sequence[tuple[int, float]]) -> float:
    """Piecewise constant: the factor of the phase (epochs, factor) that contains `epoch`, or of the last phase."""
    end = 0
    for length, factor in phases:
        end += length
        if epoch < end:
            return factor
    return phases[-1][1]


def constant(epoch: float) -> float:
    """Always 1."""
    return 1.0


def cosine(epoch: float, epochs: int, final_factor: float) -> float:
    """From 1 to `final_factor` along half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5)."""
    return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * min(epoch / epochs, 1.0)))


def onecycle(
    epoch: float,
    epochs: int,
    warmup_fraction: float,
    start_factor: float,
    final_factor: float,
) -> float:
    """From `start_factor` up to 1, then down to `final_factor` (Smith and Topin 2018, arXiv:1708.07120, section 3).

    The first `warmup_fraction` of the run warms up the learning rate. Differs from the paper: cosines instead of
    straight lines, as in fastai and torch.optim; momentum is constant.
    """
    progress = min(epoch / epochs, 1.0)
    if progress < warmup_fraction:
        return 1 - (1 - start_factor) * 0.5 * (1 + math.cos(math.pi * progress / warmup_fraction))
    annealing = (progress - warmup_fraction) / (1 - warmup_fraction)
    return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * annealing))


def trapezoid(
    epoch: float,
    epochs: int,
    warmup_fraction: float,
    decay_fraction: float,
    start_factor: float,
    final_factor: float,
) -> float:
    """From `start_factor` up to 1, which it keeps, then down to `final_factor`, in straight lines.

    Zhai et al. 2022, arXiv:2106.04560, section 3.5, and Hägele et al. 2024, arXiv:2405.18392, section 3.1: constant
    with a cooldown. The first `warmup_fraction` of the run warms up the learning rate, the last `decay_fraction` decays
    it.
    """
    progress = min(epoch / epochs, 1.0)
    if progress < warmup_fraction:
        return start_factor + (1 - start_factor) * progress / warmup_fraction
    left = 1 - progress
    if left < decay_fraction:
        return final_factor + (1 - final_factor) * left / decay_fraction
    return 1.0
