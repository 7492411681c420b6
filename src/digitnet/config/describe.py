"""Describes options and keys, by the comments in the YAML and the choices in the schema, for `digitnet help`."""

from collections.abc import Iterator

from digitnet.config.dotted import as_yaml
from digitnet.config.files import Tree, no_option
from digitnet.config.keys import all_keys, choices, groups_with_key, parts
from digitnet.config.schema import GROUPS, LAUNCHER, PRESETS, SECTIONS, Config
from digitnet.errors import ConfigError

PLAIN_KEYS = tuple(key for key in Config.model_fields if key not in (*GROUPS, *SECTIONS))  # seed, init_from
CONFIG_TOPICS = (*GROUPS, LAUNCHER, *SECTIONS, *PLAIN_KEYS)


def default_options(tree: Tree) -> set[str]:
    """The options that the root chooses: {"model/lenet5", …}; empty if the root cannot be read."""
    try:
        return {default.name for default in tree.read(tree.root).defaults()}
    except ConfigError:
        return set()


def root_rows(tree: Tree) -> dict[str, str]:
    """{"trainer.epochs=null": its comment} for each key whose value is in the root file. Raises ConfigError."""
    root = tree.read(tree.root)
    return {
        f"{key}={value}": root.comments.get(key.rpartition(".")[2], "")
        for key, value in root.values()
        if not key.startswith("hydra.")
    }


def describe(topic: str, tree: Tree) -> Iterator[tuple[str, dict[str, str]]]:
    """(heading, {"optimizer.lr=1": meaning}) for each option of a group, one option, a section, or a key.

    `topic` is one of CONFIG_TOPICS, GROUP=OPTION, the name of an option, or a key, `optimizer.lr` or `lr`; of a key,
    its row of each option that has it. Nothing, if it is none of these. Raises ConfigError.
    """
    name, equals, chosen = topic.partition("=")
    if name not in CONFIG_TOPICS:
        for option in options_named(topic, tree):
            yield from describe(option, tree)
        group, _, leaf = topic.rpartition(".")
        for holder in groups_with_key(leaf) if leaf != "name" else []:
            if group in ("", holder):
                yield from _rows_of_key(holder, f"{holder}.{leaf}", tree)
        return
    if name in (*SECTIONS, *PLAIN_KEYS):
        rows = {row: text for row, text in root_rows(tree).items() if row.partition("=")[0].split(".")[0] == name}
        yield "", {row: _with_choices(row.partition("=")[0], text) for row, text in rows.items()}
        return
    options = tree.options(name)
    if equals and chosen not in options:
        raise ConfigError(no_option(name, chosen, options))
    for option in [chosen] if equals else options:
        source = tree.read(f"{name}/{option}")
        yield f"{name}={option}: {source.description}", option_rows(name, option, tree)


def names(tree: Tree) -> list[str]:
    """The names of all options, and all dotted keys: what `describe` describes besides CONFIG_TOPICS."""
    return [*(option for group in (*GROUPS, LAUNCHER) for option in tree.options(group)), *all_keys()]


def options_named(name: str, tree: Tree) -> list[str]:
    """["model=lenet5"], each option of that name."""
    return [f"{group}={name}" for group in (*GROUPS, LAUNCHER) if name in tree.options(group)]


def _rows_of_key(group: str, key: str, tree: Tree) -> Iterator[tuple[str, dict[str, str]]]:
    for heading, rows in describe(group.partition(".")[0], tree):
        if found := {row: text for row, text in rows.items() if row.partition("=")[0] == key}:
            yield heading, found


def option_rows(group: str, option: str, tree: Tree) -> dict[str, str]:
    """{"optimizer.lr=1": its comment and choices} for each key of an option. Raises ConfigError."""
    if group in PRESETS:
        return {f"{key}={value}": "" for key, value in _preset_values(group, option, tree).items()}
    if group == LAUNCHER:
        source = tree.read(f"{group}/{option}")
        keys = {key: value for key, value in source.values() if key != "name"}
        return {f"hydra.launcher.{key}={value}": source.comments.get(key, "") for key, value in keys.items()}
    return _composed_rows(group, option, tree)


def _preset_values(group: str, option: str, tree: Tree, including: tuple[str, ...] = ()) -> dict[str, str]:
    """{"model": "lenet5", "data.validation": "test"}: what a preset sets, with the presets of its defaults list."""
    source = tree.read(f"{group}/{option}")
    values: dict[str, str] = {}
    for default in source.defaults():
        if default.overrides:
            values[default.group] = default.option
        elif default.group == group and default.option not in (*including, option) and tree.find(default.name):
            values |= _preset_values(group, default.option, tree, (*including, option))
    return values | {key.removeprefix("hydra.sweeper.params."): value for key, value in source.values()}


def _composed_rows(group: str, option: str, tree: Tree) -> dict[str, str]:
    from digitnet.config.compose import (
        composed_values,
    )  # imports Hydra, half a second, which the overview does not need

    content = composed_values([f"{group}={option}"], tree)[group]
    source = tree.read(f"{group}/{option}")
    comments: dict[str, str] = {}
    for file in (*(tree.read(default.name) for default in source.defaults()), source):
        comments |= file.comments
    for part in parts(group):
        content |= {f"{part}.{key}": value for key, value in content.pop(part, {}).items()}
    return {
        f"{group}.{key}={as_yaml(value)}": _with_choices(
            f"{group}.{key}", comments.get(key.rpartition(".")[2], ""), content.get("name")
        )
        for key, value in content.items()
        if key != "name"
    }


def _with_choices(key: str, comment: str, name: str | None = None) -> str:
    words = choices(key, name)
    also = f"one of {', '.join(words)}" if len(words) > 1 else ""
    return "; ".join(filter(None, [comment, also]))
