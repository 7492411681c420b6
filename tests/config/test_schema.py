from digitnet.config import schema


def test_schema_holds_no_default_values() -> None:
    groups = [value for value in vars(schema).values() if isinstance(value, type) and issubclass(value, schema.Group)]
    assert len(groups) > 20
    optional = {name for group in groups for name, field in group.model_fields.items() if not field.is_required()}
    assert optional == {"tensorboard", "mlflow", "wandb", "trackio"}  # whose options need not be chosen


def test_a_union_for_each_group_is_the_type_of_the_config() -> None:
    for group in ("model", "aug", "loss", "optimizer", "schedule", "data", "debug"):
        union = getattr(schema, f"{group.capitalize()}Config")
        assert schema.Config.__annotations__[group] == union
