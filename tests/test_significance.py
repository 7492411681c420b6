"""Intervals and tests against their formulas and tables."""

from math import sqrt

import pytest
from scipy.stats import binomtest

from digitnet.significance import mcnemar_test, mean_interval, welch_test, wilson_interval


@pytest.mark.parametrize(("correct", "n"), [(9897, 10_000), (0, 10), (10, 10), (5, 10), (1, 1)])
def test_wilson_interval_is_scipys(correct: int, n: int) -> None:
    expected = binomtest(correct, n).proportion_ci(0.95, "wilson")
    assert wilson_interval(correct, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_interval_of_a_mean_is_students() -> None:
    # 2.776 is the quantile of 0.975 for 4 degrees of freedom, in any table.
    assert mean_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(
        (3 - 2.776 * sqrt(0.5), 3 + 2.776 * sqrt(0.5)), abs=1e-3
    )
    assert mean_interval([1.0]) is None
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0)


def test_welch_is_its_formula() -> None:
    # t = (5 - 2) / sqrt(1/3 + 4/3) = 2.324, of 2.94 degrees of freedom
    assert welch_test([1.0, 2.0, 3.0], [3.0, 5.0, 7.0]) == pytest.approx(0.1045, abs=0.0005)
    assert welch_test([1.0], [3.0, 5.0]) is None
    assert welch_test([1.0, 1.0], [2.0, 2.0]) is None
    assert welch_test([1.0, 1.0], [2.0, 3.0]) is not None


def test_mcnemar_without_a_difference() -> None:
    assert mcnemar_test(0, 0) == 1.0
    assert mcnemar_test(5, 0) == pytest.approx(2 / 32)
    assert mcnemar_test(0, 5) == mcnemar_test(5, 0)
