import math

from digitnet.config.dimension import Dimension


def test_bounds_are_the_choices_or_both_ends() -> None:
    assert Dimension(choices=["a", "b", "c"]).bounds == ["a", "b", "c"]
    assert Dimension(low=0.5, high=2).bounds == ["0.5", "2.0"]
    assert Dimension(low=1, high=4, whole=True).bounds == ["1", "4"]


def test_size_is_how_many_values_there_are() -> None:
    assert Dimension(choices=["a", "b", "c"]).size == 3
    assert Dimension(low=1, high=4, whole=True).size == 4
    assert Dimension(low=1, high=4).size == math.inf
