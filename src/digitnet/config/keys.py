"""Lists the keys and values that the schema allows, for help, completion and messages."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from digitnet.config.schema import Config, Group


def group_keys(group: str) -> dict[str, list[str]]:
    """The keys of each option, if the group's options have different keys: {"none": ["name"], "distort": [...]}."""
    field = Config.model_fields.get(group)
    kinds = [kind for kind in get_args(field.annotation) if hasattr(kind, "model_fields")] if field else []
    return {
        option: list(kind.model_fields) for kind in kinds for option in get_args(kind.model_fields["name"].annotation)
    }


def choices(key: str) -> list[str]:
    """The values of a dotted key that can be listed, as written in YAML: true, null, names."""
    group, _, leaf = key.rpartition(".")
    if not group:
        holders: list[type[Group]] = [Config]
    else:
        field = Config.model_fields.get(group)
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        holders = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Group)]
    annotations = [holder.model_fields[leaf].annotation for holder in holders if leaf in holder.model_fields]
    return sorted({value for annotation in annotations for value in _values(annotation)})


def _values(annotation: Any) -> Iterator[str]:
    if annotation is bool:
        yield from ("false", "true")
    elif annotation is type(None):
        yield "null"
    elif get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) is not list:
        for member in get_args(annotation):
            yield from _values(member)
