"""Show what can be chosen: groups and their options, presets, keys, commands and flags."""

import argparse
import contextlib
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from digitnet import commands
from digitnet.errors import ConfigError
from digitnet.schema import GROUPS
from digitnet.sources import Tree

EXAMPLES = {
    "digitnet": "LeNet-5, the notebook's recipe",
    "digitnet model=lenet5 aug=distort": "with distortions",
    "digitnet experiment=allconv device=cuda": "a preset, on a GPU",
    "digitnet -m optimizer.lr=0.1,0.3,1 seed=0,1,2": "a sweep",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-dir", metavar="FOLDER", help="show the options of this config directory too")


def main(options: argparse.Namespace) -> None:
    """Print it, as wide as the terminal."""
    width = min(shutil.get_terminal_size().columns, 120)
    print("\n".join(line.rstrip() for line in _lines(Tree.at(options.config_dir), width)))


def _lines(tree: Tree, width: int) -> Iterator[str]:
    yield from textwrap.wrap("digitnet trains and compares small networks on handwritten digits.", width)
    yield ""
    yield "  digitnet [FLAG …] [GROUP=OPTION | GROUP.KEY=VALUE …]"
    yield "  digitnet COMMAND …"
    yield from _section("Examples:", EXAMPLES, width)
    yield from _section("Commands:", {name: commands.summary(name) for name in commands.NAMES}, width)
    try:
        chosen = {default.name for default in tree.read(tree.root).defaults()}
    except ConfigError:
        chosen = set()
    for group in GROUPS:
        title = "Presets, experiment=OPTION:" if group == "experiment" else f"{group}=OPTION:"
        options = {
            option: text + (" (default)" if f"{group}/{option}" in chosen else "")
            for option, text in tree.described(group).items()
        }
        yield from _section(title, options, width)
    with contextlib.suppress(ConfigError):
        root = tree.read(tree.root)
        keys = {key: root.comments.get(key.rpartition(".")[2], "") for key in root.values() if key[:6] != "hydra."}
        yield from _section("KEY=VALUE:", keys, width)
    flags = {
        ", ".join(action.option_strings) + (f" {action.metavar}" if action.metavar else ""): str(action.help)
        for action in commands.flag_parser()._actions
        if action.option_strings
    }
    yield from _section("Flags:", flags, width)
    yield ""
    ending = (
        "Each option is a YAML file; `digitnet --cfg job GROUP=OPTION` shows its keys, GROUP.KEY=VALUE changes one. "
    )
    ending += "Your own go into the same folders of ./conf or of --config-dir. Results go to outputs/."
    yield from textwrap.wrap(ending, width)


def _section(title: str, rows: Mapping[str, str], width: int) -> Iterable[str]:
    """Names in a column, what they are beside it, broken where the terminal ends."""
    yield ""
    yield title
    column = min(max(map(len, rows), default=0), 46) + 4
    if width - column < 24:  # a narrow terminal: below each other
        column = 6
    for name, text in rows.items():
        lines = textwrap.wrap(text, width - column) or [""]
        first = f"  {name}".ljust(column)
        if len(first) > column or column == 6:
            yield f"  {name}"
        else:
            yield first + lines.pop(0)
        yield from (" " * column + line for line in lines)
