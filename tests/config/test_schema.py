from digitnet.config import schema


def test_schema_holds_no_default_values() -> None:
    groups = [value for value in vars(schema).values() if isinstance(value, type) and issubclass(value, schema.Group)]
    assert len(groups) > 20
    assert all(field.is_required() for group in groups for field in group.model_fields.values())


def test_a_union_for_each_group_is_the_type_of_the_config() -> None:
    for group in ("model", "aug", "loss", "optimizer", "schedule", "data", "tracker", "debug"):
        union = getattr(schema, f"{group.capitalize()}Config")
        assert schema.Config.__annotations__[group] == union
