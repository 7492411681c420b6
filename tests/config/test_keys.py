import pytest

from digitnet.config.compose import load_config
from digitnet.config.keys import all_keys, choices, group_keys, groups_with_key


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("trainer.precision", ["bf16", "fp32"]),
        ("trainer.epochs", ["null"]),
        ("optimizer.nesterov", ["false", "true"]),
        ("model.init", ["glorot", "glorot_keras2016", "lush", "paper"]),
        ("data.validation", ["test"]),
        ("init_from", ["null"]),
        ("optimizer.betas", []),
        ("seed", []),
        ("nope.nope", []),
    ],
)
def test_choices_of_a_key(key: str, values: list[str]) -> None:
    assert choices(key) == values


def test_keys_are_found_by_their_last_part() -> None:
    assert groups_with_key("epochs") == ["schedule", "debug", "trainer"]
    assert groups_with_key("lr") == ["optimizer"]
    assert groups_with_key("nope") == []
    assert {"seed", "init_from", "trainer.epochs", "optimizer.betas", "aug.shift"} <= set(all_keys())
    assert not [key for key in all_keys() if key.endswith(".name") or key in ("model", "trainer")]


def test_group_keys_are_those_of_each_option() -> None:
    assert group_keys("aug")["none"] == ["name"]
    assert group_keys("optimizer")["adamw"] == group_keys("optimizer")["adam"]
    assert group_keys("nope") == {}
    assert load_config(["aug=none"]).aug.model_dump() == {"name": "none"}


def test_choices_of_a_key_of_one_option() -> None:
    assert choices("model.init", "lenet5_1998") == ["lush", "paper"]
    assert choices("model.init", "lenet5") == ["glorot", "glorot_keras2016"]
