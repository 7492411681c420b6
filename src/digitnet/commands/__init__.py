"""The subcommands: `digitnet NAME …` is in `commands/NAME_command.py`.

Each module has a docstring, which is its help text (`digitnet --help` shows the first line), `add_arguments(parser)`,
and `main(options)`, which raises a DigitnetError or an OSError if it fails. Importing one does not import torch.
"""

import argparse
import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from digitnet.errors import ConfigError
from digitnet.text import did_you_mean

NAMES = (
    "clean",
    "compare",
    "completion",
    "evaluate",
    "export",
    "help",
    "list",
    "predict",
    "report",
    "resume",
    "schema",
    "tune",
    "validate",
)


class Parser(argparse.ArgumentParser):
    """Raises ConfigError for a wrong command line; argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: --"):
            message += "; values are set without dashes, KEY=VALUE"
        raise ConfigError(f"{message}; see {self.prog} --help")


def flag_parser() -> Parser:
    """The parser of `digitnet` without a subcommand; Hydra parses the overrides."""
    parser = Parser(prog="digitnet", add_help=False, usage=argparse.SUPPRESS)
    add = parser.add_argument
    add("-h", "--help", action="store_true", help="show this help")
    add("--version", action="store_true", help="show the version")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "-m", "--multirun", action="store_true", help="run a sweep: every combination of comma-separated values"
    )
    add("--dry-run", action="store_true", help="check everything, tell how long it may take, and run nothing")
    add(
        "--config-dir",
        metavar="FOLDER",
        help="your own options, which take precedence over those in ./conf and the packaged ones",
    )
    add("--config-name", metavar="NAME", default="config", help="use another root file than config.yaml")
    instead.add_argument(
        "--cfg", choices=("job", "hydra", "all"), help="show the configuration (job: digitnet's) and run nothing"
    )
    add("--resolve", action="store_true", help="with --cfg: resolve interpolations")
    add("--package", metavar="KEY", help="with --cfg: show only keys below KEY")
    instead.add_argument(
        "--info",
        nargs="?",
        const="all",
        choices=("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
        help="show where the configuration comes from and run nothing",
    )
    add("overrides", nargs="*", help=argparse.SUPPRESS)
    return parser


def flag_summaries() -> dict[str, str]:
    """Each flag with its help: {"-m, --multirun": …, "--cfg job|hydra|all": …}."""
    return {
        ", ".join(action.option_strings) + _value_of(action): str(action.help)
        for action in flag_parser()._actions
        if action.option_strings
    }


def _value_of(action: argparse.Action) -> str:
    """The value that follows a flag, for help: ` FOLDER`, ` job|hydra|all` or ""."""
    if action.choices and action.nargs is None:
        return f" {'|'.join(action.choices)}"
    return f" {action.metavar}" if action.metavar else ""


def command_module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}_command")


def command_summary(name: str) -> str:
    """The first line of the command's docstring."""
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
        if arguments and arguments[0].startswith("="):
            hint = f"; write it without blanks: {name}=VALUE"
        raise ConfigError(f"'{name}' is neither a command nor of the form KEY=VALUE{hint}")
    parser = parser_of(name)
    command_module(name).main(parser.parse_intermixed_args(_with_values_joined(parser, arguments)))


def _with_values_joined(parser: Parser, arguments: Sequence[str]) -> list[str]:
    """`--sort -KEY` as `--sort=-KEY`: argparse takes a word with a dash for an option, even where a value must be."""
    flags = parser._option_string_actions
    joined: list[str] = []
    for word in arguments:
        option = flags.get(joined[-1]) if joined else None
        takes_value = option is not None and option.option_strings and option.nargs is None and "--" not in joined
        if takes_value and word.startswith("-") and word not in flags and word != "--":
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined
