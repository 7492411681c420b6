"""Show the groups and their options, presets, keys, commands and flags.

digitnet help                  all of them, as digitnet --help
digitnet help optimizer        the keys of each option of a group, with values, meaning and choices
digitnet help optimizer=adam   the keys of one option; or only its name: adam
digitnet help optimizer.lr     one key, of each option that has it; or only its name: lr
digitnet help trainer          the keys of the run itself; also checkpoint, seed, init_from
digitnet help validate         the help of a command
"""

import argparse
import shutil

from digitnet import commands
from digitnet.config.describe import CONFIG_TOPICS, names
from digitnet.config.files import Tree
from digitnet.errors import ConfigError
from digitnet.report.help_text import about, overview
from digitnet.text import did_you_mean, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", nargs="?", help="a group, GROUP=OPTION, a key or a command")
    parser.add_argument("--config-dir", metavar="FOLDER", help="also show the options of this config directory")


def main(options: argparse.Namespace) -> None:
    """Print the help, as wide as the terminal, at most 120 columns. Raises ConfigError for an unknown topic."""
    width = max(20, min(shutil.get_terminal_size().columns, 120))
    tree = Tree.at(options.config_dir)
    if options.topic in commands.NAMES:
        lines = iter(commands.parser_of(options.topic).format_help().splitlines())
    elif options.topic is None:
        summaries = {name: commands.command_summary(name) for name in commands.NAMES}
        lines = overview(tree, width, summaries, commands.flag_summaries())
    else:
        lines = about(options.topic, tree, width)
    text = "\n".join(line.rstrip() for line in lines)
    if not text:
        topics = [*commands.NAMES, *CONFIG_TOPICS]
        near = did_you_mean(options.topic, [*topics, *names(tree)]) or f"; there is help on {', '.join(topics)}"
        raise ConfigError(f"no help on '{options.topic}'{near}")
    show(text)
