"""Lists the keys and values that the schema allows, for help, completion and messages."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from digitnet.config.fields import Group
from digitnet.config.schema import Config


def group_keys(group: str) -> dict[str, list[str]]:
    """The keys of each option, if the group's options have different keys: {"none": ["name"], "distort": [...]}."""
    kinds = _kinds(group) if len(_kinds(group)) > 1 else []
    return {
        option: list(kind.model_fields) for kind in kinds for option in get_args(kind.model_fields["name"].annotation)
    }


def _kinds(group: str) -> list[type[Group]]:
    """The classes that a group's options have; of a section, or a part of a group (`tracker.mlflow`), its one class."""
    kinds: list[type[Group]] = [Config]
    for name in group.split("."):
        kinds = [part for kind in kinds if name in kind.model_fields for part in _groups_in(kind, name)]
    return kinds


def _groups_in(kind: type[Group], name: str) -> list[type[Group]]:
    annotation = kind.model_fields[name].annotation
    parts = [annotation, *get_args(annotation)] if get_origin(annotation) is not list else []
    return [part for part in parts if isinstance(part, type) and issubclass(part, Group)]


def parts(group: str) -> list[str]:
    """The keys of a group that have keys themselves: of `tracker`, each option's own."""
    return [name for kind in _kinds(group) for name in kind.model_fields if _groups_in(kind, name)]


def all_keys() -> list[str]:
    """Each dotted key, `optimizer.lr`, of any option, and the plain ones, `seed`; not the names of the options."""
    groups = _groups()
    below = [f"{group}.{leaf}" for group in groups for kind in _kinds(group) for leaf in kind.model_fields]
    plain = [key for key in Config.model_fields if not _kinds(key)]
    return list(dict.fromkeys([*(key for key in below if not key.endswith(".name") and key not in groups), *plain]))


def groups_with_key(leaf: str) -> list[str]:
    """The groups and sections that have a key of that name: for "lr", those whose options have one."""
    return [group for group in _groups() if any(leaf in kind.model_fields for kind in _kinds(group))]


def _groups() -> list[str]:
    """The groups, sections and plain keys, and the parts of groups."""
    return [name for group in Config.model_fields for name in (group, *(f"{group}.{part}" for part in parts(group)))]


def choices(key: str, name: str | None = None) -> list[str]:
    """The values of a dotted key that can be listed, as written in YAML: true, null, names.

    With `name`, those of the options of that name alone: `model.init` has others with model=lenet5_1998.
    """
    group, _, leaf = key.rpartition(".")
    holders = _kinds(group) if group else [Config]
    if name is not None:
        named = [kind for kind in holders if "name" in kind.model_fields]
        holders = [kind for kind in named if name in get_args(kind.model_fields["name"].annotation)] or holders
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
