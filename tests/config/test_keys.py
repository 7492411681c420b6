import pytest

from digitnet.config.compose import load_config
from digitnet.config.keys import choices, group_keys


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("trainer.precision", ["bf16", "fp32"]),
        ("trainer.epochs", ["null"]),
        ("optimizer.nesterov", ["false", "true"]),
        ("model.init", ["glorot", "glorot_keras2016"]),
        ("data.validation", ["test"]),
        ("init_from", ["null"]),
        ("optimizer.betas", []),
        ("seed", []),
        ("nope.nope", []),
    ],
)
def test_choices_of_a_key(key: str, values: list[str]) -> None:
    assert choices(key) == values


def test_group_keys_are_those_of_each_option() -> None:
    assert group_keys("aug")["none"] == ["name"]
    assert group_keys("optimizer")["adamw"] == group_keys("optimizer")["adam"]
    assert group_keys("nope") == {}
    assert load_config(["aug=none"]).aug.model_dump() == {"name": "none"}
