"""Scores and calibration against values from the literature, from formulas, and worked out by hand."""

from math import sqrt

import pytest
import torch

from digitnet.scores import (
    brier_score,
    calibration_error,
    class_scores,
    compare_predictions,
    confusions,
)


def test_mcnemar_is_the_binomial_test_of_the_images_that_one_gets_right() -> None:
    labels = torch.zeros(100, dtype=torch.long)
    first, second = torch.zeros(100, dtype=torch.long), torch.zeros(100, dtype=torch.long)
    first[:2] = 1  # wrong twice where the second is right
    second[2:12] = 1  # wrong ten times where the first is right
    first[50], second[50] = 3, 4  # both wrong
    found = compare_predictions(labels, first, second)
    assert (found.only_first, found.only_second) == ([*range(2, 12)], [0, 1])
    # Two-sided: twice the probability of at most 2 of 12 heads, (1 + 12 + 66) / 4096.
    assert found.p_value == pytest.approx(2 * 79 / 4096)
    assert found.difference == pytest.approx(0.08)
    margin = 1.959963984540054 * sqrt(12 - 64 / 100) / 100
    assert found.interval == (pytest.approx(0.08 - margin), pytest.approx(0.08 + margin))
    assert compare_predictions(labels, first, first).p_value == 1.0


def test_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    confidences = torch.tensor([0.95, 0.95, 0.55, 0.55, 0.6])
    probabilities = torch.stack([confidences, 1 - confidences], 1)
    labels = torch.tensor([0, 0, 0, 1, 1])  # right, right, right, wrong, wrong
    # Bins of 1/15: two of 0.95 (gap 0.05), three in (8/15, 9/15]: mean confidence 1.7/3, accuracy 1/3.
    assert calibration_error(probabilities, labels) == pytest.approx((2 * 0.05 + 3 * (1.7 / 3 - 1 / 3)) / 5, abs=1e-6)
    sure = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert calibration_error(sure, torch.tensor([0, 1])) == 0
    assert calibration_error(sure, torch.tensor([1, 0])) == 1


def test_brier_score_is_the_mean_squared_distance() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.0, 1.0]])
    assert brier_score(probabilities, torch.tensor([0, 2])) == pytest.approx((0.09 + 0.04 + 0.01) / 2, abs=1e-6)
    assert brier_score(torch.tensor([[1.0, 0.0]]), torch.tensor([1])) == 2


def test_scores_of_classes_are_counted_by_hand() -> None:
    labels, predicted = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 1, 2, 2])
    zero, one, two, three = class_scores(labels, predicted, ["zero", "one", "two", "three"])
    assert (zero.precision, zero.recall, zero.n) == (1.0, pytest.approx(2 / 3), 3)
    assert zero.f1 == pytest.approx(0.8)
    assert (one.precision, one.recall) == (0.5, pytest.approx(1 / 3))
    assert (two.precision, two.recall, two.f1, two.n) == (0.0, None, None, 0)
    assert (three.precision, three.recall, three.f1) == (None, None, None)
    assert confusions(labels, predicted) == [(1, 2, 2), (0, 1, 1)]
