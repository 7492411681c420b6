"""How much of a difference is chance: intervals and tests of plain numbers."""

import statistics
from collections.abc import Sequence
from math import sqrt

LEVEL = 0.95  # of all intervals
NORMAL_QUANTILE = 1.959963984540054  # of (1 + LEVEL) / 2


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy, as fractions; `n` is at least 1.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference". Every run prints it;
    SciPy's binomtest, with which a test compares it, takes half a second to import.
    """
    fraction, squared = correct / n, NORMAL_QUANTILE**2
    centre = fraction + squared / (2 * n)
    margin = NORMAL_QUANTILE * sqrt(fraction * (1 - fraction) / n + squared / (4 * n * n))
    scale = 1 + squared / n
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of normally distributed values (Student 1908); None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    mean, error = statistics.fmean(values), statistics.stdev(values) / sqrt(len(values))
    margin = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return mean - margin, mean + margin


def welch_test(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The p-value of two means being different, of values that may vary differently (Welch 1947).

    None if it cannot be told: fewer than two values, or values without any spread.
    """
    if min(len(first), len(second)) < 2 or len({*first}) == len({*second}) == 1:
        return None
    from scipy.stats import ttest_ind_from_stats

    figures = [
        figure
        for values in (first, second)
        for figure in (statistics.fmean(values), statistics.stdev(values), len(values))
    ]
    return float(ttest_ind_from_stats(*figures, equal_var=False).pvalue)


def mcnemar_test(only_first: int, only_second: int) -> float:
    """The p-value of the exact test of McNemar 1947: how probable a split as uneven is, were both equally good."""
    if not only_first + only_second:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_first, only_first + only_second).pvalue)
