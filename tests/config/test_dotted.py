import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from digitnet.config.dotted import as_yaml, flatten, nested_items, nested_keys

CONFIG = {
    "model": {"name": "custom", "kwargs": {"width": 3}},
    "schedule": {"phases": [{"epochs": 2, "factor": 1.0}]},
    "seed": 0,
}


def test_flatten_joins_keys_and_keeps_lists() -> None:
    assert flatten(CONFIG) == {
        "model.name": "custom",
        "model.kwargs.width": 3,
        "schedule.phases": [{"epochs": 2, "factor": 1.0}],
        "seed": 0,
    }


def test_nested_items_include_groups_and_list_entries() -> None:
    items = dict(nested_items(CONFIG))
    assert items["model"] == CONFIG["model"]
    assert items["schedule.phases.0.factor"] == 1.0
    assert len(items) == 10


def test_nested_keys_leave_out_list_entries() -> None:
    assert list(nested_keys(CONFIG)) == [
        "model",
        "model.name",
        "model.kwargs",
        "model.kwargs.width",
        "schedule",
        "schedule.phases",
        "seed",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.0, "1"),
        (0.05, "0.05"),
        (1e-05, "1e-05"),
        (1e20, "1e+20"),
        (float("inf"), "inf"),
        ([0.9, 0.999], "[0.9, 0.999]"),
        ([{"epochs": 2, "factor": 1.0}], "[{epochs: 2, factor: 1}]"),
        ({"width": 3, "name": "a, b"}, "{width: 3, name: 'a, b'}"),
        ([], "[]"),
        ({}, "{}"),
        ("lenet5", "lenet5"),
        ("outputs/2024-01-01/mine.pt", "outputs/2024-01-01/mine.pt"),
        ("/data/Größe", "/data/Größe"),
        ("my_net:Net", "my_net:Net"),
        ("two words", "two words"),
        ("", "''"),
        ("1", "'1'"),
        ("1e-3", "'1e-3'"),
        ("true", "'true'"),
        ("No", "'No'"),
        ("~", "'~'"),
        ("a: b", "'a: b'"),
        ("a\nb", '"a\\nb"'),
        (["a,b", "c"], "['a,b', c]"),
    ],
)
def test_as_yaml_writes_what_the_command_line_takes(value: Any, text: str) -> None:
    assert as_yaml(value) == text


WORDS = st.text(max_size=8)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60)
@given(TREES)
def test_as_yaml_is_read_back_as_the_same(value: Any) -> None:
    assert yaml.safe_load(as_yaml(value)) == value


@pytest.mark.parametrize("word", ["1e-3", "inf", "nan", "yes", "off", "null", "0x1F", "1_000", "12:30", "2024-01-01"])
def test_as_yaml_keeps_text_apart_from_other_types(word: str) -> None:
    assert as_yaml(word) == f"'{word}'"


def test_as_yaml_of_many_values_is_fast() -> None:
    start = time.perf_counter()
    for number in range(45_000):
        as_yaml(["lenet5", 0.1, number, None, True, "outputs/a b"][number % 6])
    assert time.perf_counter() - start < 2
