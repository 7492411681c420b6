"""Show what can be chosen: groups and their options, presets, keys, commands and flags.

digitnet help                  all of it, as digitnet --help
digitnet help optimizer        the keys of each option of a group, with values, meaning and choices
digitnet help optimizer=adam   of one option
digitnet help validate         of a command
"""

import argparse
import contextlib
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from digitnet import commands
from digitnet.config.files import Tree, no_option
from digitnet.config.schema import GROUPS, LAUNCHER, PRESETS, choices
from digitnet.errors import ConfigError
from digitnet.text import did_you_mean

EXAMPLES = {
    "digitnet": "LeNet-5, the notebook's recipe",
    "digitnet model=lenet5 aug=distort": "with distortions",
    "digitnet experiment=allconv device=cuda": "a preset, on a GPU",
    "digitnet -m optimizer.lr=0.1,0.3,1 seed=0,1,2": "a sweep",
}

TITLES = {
    "experiment": "Presets, ",
    "sweep": "Presets of a sweep, ",
    LAUNCHER: "Where the jobs of a sweep run, ",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", nargs="?", help="a group, GROUP=OPTION or a command")
    parser.add_argument("--config-dir", metavar="FOLDER", help="show the options of this config directory too")


def main(options: argparse.Namespace) -> None:
    """Print it, as wide as the terminal. Raises ConfigError if there is no such topic."""
    width = min(shutil.get_terminal_size().columns, 120)
    tree = Tree.at(options.config_dir)
    if options.topic in commands.NAMES:
        lines = iter(commands.parser_of(options.topic).format_help().splitlines())
    else:
        lines = _about(options.topic, tree, width) if options.topic else _lines(tree, width)
    print("\n".join(line.rstrip() for line in lines))


def _about(topic: str, tree: Tree, width: int) -> Iterator[str]:
    """A group's options, or one, with their keys."""
    group, equals, wanted = topic.partition("=")
    if group not in (*GROUPS, LAUNCHER):
        raise ConfigError(f"no help on '{topic}'{did_you_mean(topic, [*commands.NAMES, *GROUPS, LAUNCHER])}")
    options = tree.options(group)
    if equals and wanted not in options:
        raise ConfigError(no_option(group, wanted, options))
    for option in [wanted] if equals else options:
        source = tree.read(f"{group}/{option}")
        rows = {f"{default.group}={default.option}": "" for default in source.defaults() if default.overrides}
        if group in PRESETS:
            rows |= {f"{key.removeprefix('hydra.sweeper.params.')}={value}": "" for key, value in source.values()}
        elif group == LAUNCHER:
            keys = {key: value for key, value in source.values() if key != "name"}
            rows |= {f"hydra.launcher.{key}={value}": source.comments.get(key, "") for key, value in keys.items()}
        else:
            rows |= _keys(group, option, tree)
        yield from textwrap.wrap(f"{group}={option}: {source.description}", width)
        yield from list(_section("", rows, width))[2:]
        yield ""


def _keys(group: str, option: str, tree: Tree) -> dict[str, str]:
    """`optimizer.lr=1.0` and what the YAML, and the schema, say of it."""
    from digitnet.config.compose import composed_values
    from digitnet.config.dotted import as_yaml

    content = composed_values([f"{group}={option}"], tree)[group]
    source = tree.read(f"{group}/{option}")
    comments: dict[str, str] = {}
    for file in (*(tree.read(default.name) for default in source.defaults()), source):
        comments |= file.comments
    rows = {}
    for key, value in content.items():
        if key != "name":
            words = choices(f"{group}.{key}")
            also = f"one of {', '.join(words)}" if len(words) > 1 else ""
            rows[f"{group}.{key}={as_yaml(value)}"] = "; ".join(filter(None, [comments.get(key), also]))
    return rows


def _lines(tree: Tree, width: int) -> Iterator[str]:
    yield from textwrap.wrap("digitnet trains and compares small networks on handwritten digits.", width)
    yield ""
    yield "  digitnet [FLAG …] [GROUP=OPTION | GROUP.KEY=VALUE …]"
    yield "  digitnet COMMAND …"
    yield from _section("Examples:", EXAMPLES, width)
    yield from _section("Commands:", {name: commands.command_summary(name) for name in commands.NAMES}, width)
    try:
        chosen = {default.name for default in tree.read(tree.root).defaults()}
    except ConfigError:
        chosen = set()
    for group in (*GROUPS, LAUNCHER):
        title = f"{TITLES.get(group, '')}{group}=OPTION:"
        options = {
            option: text + (" (default)" if f"{group}/{option}" in chosen else "")
            for option, text in tree.described(group).items()
        }
        yield from _section(title, options, width)
    with contextlib.suppress(ConfigError):
        root = tree.read(tree.root)
        keys = {
            f"{key}={value}": root.comments.get(key.rpartition(".")[2], "")
            for key, value in root.values()
            if not key.startswith("hydra.")
        }
        yield from _section("KEY=VALUE:", keys, width)
    flags = {
        ", ".join(action.option_strings) + _value_of(action): str(action.help)
        for action in commands.flag_parser()._actions
        if action.option_strings
    }
    yield from _section("Flags:", flags, width)
    yield ""
    ending = "`digitnet help GROUP` shows the keys of its options, and GROUP.KEY=VALUE changes one. Each option is a "
    ending += "YAML file; your own go into the same folders of ./conf or of --config-dir. Results go to outputs/."
    yield from textwrap.wrap(ending, width)


def _value_of(action: argparse.Action) -> str:
    """What stands behind a flag."""
    if action.choices and action.nargs is None:
        return f" {'|'.join(action.choices)}"
    return f" {action.metavar}" if action.metavar else ""


def _section(title: str, rows: Mapping[str, str], width: int) -> Iterable[str]:
    """Names in a column, what they are beside it, broken where the terminal ends."""
    yield ""
    yield from textwrap.wrap(title, width) or [""]
    column = min(max(map(len, rows), default=0), 46) + 4
    if width - column < 24:  # a narrow terminal: below each other
        column = 6
    for name, text in rows.items():
        lines = textwrap.wrap(text, width - column)
        first = f"  {name}".ljust(column)
        if len(first) > column or column == 6:
            yield f"  {name}"
        else:
            yield first + (lines.pop(0) if lines else "")
        yield from (" " * column + line for line in lines)
