import pytest

from digitnet.config.dimension import Dimension
from digitnet.config.files import Tree
from digitnet.config.sweep_space import covering, read_sweep, search_space
from digitnet.errors import ConfigError


def test_combinations_are_all_of_all_values() -> None:
    request = read_sweep(["optimizer.lr=0.1,1", "seed=range(3)", "data=digits"], Tree.at())
    assert request.sweeper is None
    combinations = request.combinations()
    assert len(combinations) == 6
    assert combinations[1] == ["optimizer.lr=0.1", "seed=1", "data=digits"]


def test_glob_is_over_the_options() -> None:
    request = read_sweep(["optimizer=glob(adam*)"], Tree.at())
    assert request.combinations() == [["optimizer=adam"], ["optimizer=adamw"]]


def test_later_value_of_a_key_counts() -> None:
    assert read_sweep(["seed=1,2,3", "seed=5"], Tree.at()).combinations() == [["seed=5"]]


def test_hydras_overrides_are_kept_apart() -> None:
    request = read_sweep(["seed=0,1", "hydra/launcher=local", "hydra.sweep.dir=here"], Tree.at())
    assert request.hydra_overrides == ["hydra/launcher=local", "hydra.sweep.dir=here"]
    assert request.overrides == ["seed=0,1"]
    assert (request.launcher.name, request.folder.name) == ("local", "here")
    assert request.command == "digitnet -m seed=0,1 hydra/launcher=local hydra.sweep.dir=here"


def test_covering_has_every_value_in_as_few_combinations_as_can_be() -> None:
    assert covering([["a=1", "a=2", "a=3"], ["b=1", "b=2"], ["c=1"]]) == [
        ["a=1", "b=1", "c=1"],
        ["a=2", "b=2", "c=1"],
        ["a=3", "b=1", "c=1"],
    ]
    assert covering([]) == [[]]


def test_search_space_is_what_has_several_values() -> None:
    overrides = [
        "model=lenet5",
        "optimizer.lr=tag(log,interval(0.01,1))",
        "seed=int(interval(0,9))",
        "aug=none,distort",
    ]
    fixed, space = search_space(overrides, Tree.at())
    assert fixed == ["model=lenet5"]
    assert space == {
        "optimizer.lr": Dimension(low=0.01, high=1, log=True),
        "seed": Dimension(low=0, high=9, whole=True),
        "aug": Dimension(choices=["none", "distort"]),
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=interval(1,1)", "optimizer.lr=interval(1,1): an interval must go from low to high"),
        (
            "optimizer.lr=tag(log,interval(0,1))",
            "optimizer.lr=tag(log,interval(0,1)): an interval must go from low to high, and start above 0",
        ),
        ("optimizer.lr=tag(lin,interval(0,1))", "optimizer.lr=tag(lin,interval(0,1)): no tag 'lin'; there is log"),
        ("seed=range(0)", "seed=range(0): has no values"),
        ("seed=range(", "seed=range(: cannot be read; a bracket is not closed"),
    ],
)
def test_wrong_dimension_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        search_space([override], Tree.at())
    assert str(error.value) == message


def test_range_within_a_list_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"seed=range\(3\),10: a range within a list of values; write its values out"):
        read_sweep(["seed=range(3),10"], Tree.at())
