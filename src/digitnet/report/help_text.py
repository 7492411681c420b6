"""The text of `digitnet --help` and `digitnet help TOPIC`, as wide as the terminal."""

import contextlib
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from digitnet.config.describe import default_options, describe, root_rows
from digitnet.config.files import Tree
from digitnet.config.schema import GROUPS, LAUNCHER
from digitnet.errors import ConfigError

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
ENDING = (
    "`digitnet help GROUP` shows the keys of its options, and GROUP.KEY=VALUE changes one. Each option is a YAML file; "
    "your own go into the same folders of ./conf or of --config-dir. Results go to outputs/."
)


def overview(tree: Tree, width: int, commands: Mapping[str, str], flags: Mapping[str, str]) -> Iterator[str]:
    """The text of `digitnet --help`, in lines of at most `width` columns.

    `commands` and `flags` map names to descriptions. Groups, options and keys are those of `tree`.
    """
    yield from textwrap.wrap("digitnet trains and compares small networks on handwritten digits.", width)
    yield ""
    yield "  digitnet [FLAG …] [GROUP=OPTION | GROUP.KEY=VALUE …]"
    yield "  digitnet COMMAND …"
    yield from _section("Examples:", EXAMPLES, width)
    yield from _section("Commands:", commands, width)
    chosen = default_options(tree)
    for group in (*GROUPS, LAUNCHER):
        title = f"{TITLES.get(group, '')}{group}=OPTION:"
        options = {
            option: text + (" (default)" if f"{group}/{option}" in chosen else "")
            for option, text in tree.described(group).items()
        }
        yield from _section(title, options, width)
    with contextlib.suppress(ConfigError):
        yield from _section("KEY=VALUE:", root_rows(tree), width)
    yield from _section("Flags:", flags, width)
    yield ""
    yield from textwrap.wrap(ENDING, width)


def about(topic: str, tree: Tree, width: int) -> Iterator[str]:
    """The text of `digitnet help TOPIC` about a group, an option, a section or a key; see `describe`."""
    for heading, rows in describe(topic, tree):
        yield from textwrap.wrap(heading, width)
        yield from list(_section("", rows, width))[2:]
        if heading:
            yield ""


def _section(title: str, rows: Mapping[str, str], width: int) -> Iterable[str]:
    """A title, and a row per name with its description beside it, wrapped to `width` columns."""
    yield ""
    yield from textwrap.wrap(title, width) or [""]
    column = min(max(map(len, rows), default=0), 46) + 4
    if width - column < 24:  # in a narrow terminal, descriptions are below the names
        column = 6
    for name, text in rows.items():
        lines = textwrap.wrap(text, width - column)
        first = f"  {name}".ljust(column)
        if len(first) > column or column == 6:
            yield f"  {name}"
        else:
            yield first + (lines.pop(0) if lines else "")
        yield from (" " * column + line for line in lines)
