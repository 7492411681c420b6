"""The subcommands: `digitnet NAME …` is `commands/NAME_command.py`.

Each has a docstring, whose first line `digitnet --help` shows, `add_arguments(parser)`, and `main(options)`, which
raises a DigitnetError, or an OSError, where something is wrong. Importing one imports no torch.
"""

import argparse
import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from digitnet.errors import ConfigError
from digitnet.text import did_you_mean

NAMES = ("compare", "completion", "help", "resume", "schema", "tune", "validate")


class Parser(argparse.ArgumentParser):
    """Mistakes become a ConfigError, not a usage message and an exit."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: --"):
            message += "; values are set without dashes, KEY=VALUE"
        raise ConfigError(f"{message}; see {self.prog} --help")


def flag_parser() -> Parser:
    """What `digitnet` itself takes; the overrides go to Hydra."""
    parser = Parser(prog="digitnet", add_help=False, usage=argparse.SUPPRESS)
    add = parser.add_argument
    add("-h", "--help", action="store_true", help="this")
    add("--version", action="store_true", help="the version")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "-m", "--multirun", action="store_true", help="a sweep: every combination of values with commas between them"
    )
    add(
        "--config-dir",
        metavar="FOLDER",
        help="options of your own, before those in ./conf and the packaged ones",
    )
    add("--config-name", metavar="NAME", default="config", help="another file than config.yaml as the root")
    instead.add_argument(
        "--cfg", choices=("job", "hydra", "all"), help="show the configuration (job: digitnet's), run nothing"
    )
    add("--resolve", action="store_true", help="with --cfg: interpolations resolved")
    add("--package", metavar="KEY", help="with --cfg: only what is below the key")
    instead.add_argument(
        "--info",
        nargs="?",
        const="all",
        choices=("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
        help="show where the configuration comes from, run nothing",
    )
    add("overrides", nargs="*", help=argparse.SUPPRESS)
    return parser


def flag_summaries() -> dict[str, str]:
    """`-m, --multirun`, `--cfg job|hydra|all`, … and what each does."""
    return {
        ", ".join(action.option_strings) + _value_of(action): str(action.help)
        for action in flag_parser()._actions
        if action.option_strings
    }


def _value_of(action: argparse.Action) -> str:
    """What follows a flag."""
    if action.choices and action.nargs is None:
        return f" {'|'.join(action.choices)}"
    return f" {action.metavar}" if action.metavar else ""


def command_module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}_command")


def command_summary(name: str) -> str:
    """What the command does, in a line."""
    return (command_module(name).__doc__ or "").partition("\n")[0]


def parser_of(name: str) -> Parser:
    module = command_module(name)
    parser = Parser(
        prog=f"digitnet {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return parser


def run_command(name: str, arguments: Sequence[str]) -> None:
    """Run a subcommand. Raises ConfigError if there is none of that name."""
    if name not in NAMES:
        hint = did_you_mean(name, NAMES) or "; see digitnet --help"
        raise ConfigError(f"'{name}' is neither a command nor of the form KEY=VALUE{hint}")
    parser = parser_of(name)
    command_module(name).main(parser.parse_intermixed_args(arguments))
