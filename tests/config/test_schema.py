import pytest

from digitnet.config import schema
from digitnet.config.compose import load_config


def test_schema_holds_no_default_values() -> None:
    groups = [value for value in vars(schema).values() if isinstance(value, type) and issubclass(value, schema.Group)]
    assert len(groups) > 20
    assert all(field.is_required() for group in groups for field in group.model_fields.values())


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
    assert schema.choices(key) == values


def test_a_union_for_each_group_is_the_type_of_the_config() -> None:
    for group in ("model", "aug", "optimizer", "schedule", "data", "tracker"):
        union = getattr(schema, f"{group.capitalize()}Config")
        assert schema.Config.__annotations__[group] == union


def test_group_keys_are_those_of_each_option() -> None:
    assert schema.group_keys("aug")["none"] == ["name"]
    assert schema.group_keys("optimizer")["adamw"] == schema.group_keys("optimizer")["adam"]
    assert schema.group_keys("nope") == {}
    assert load_config(["aug=none"]).aug.model_dump() == {"name": "none"}
