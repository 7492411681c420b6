"""Complete commands, groups, options and keys with the tab key, in bash, zsh and fish.

digitnet completion install          for your shell ($SHELL): writes a script, and a line in ~/.bashrc or ~/.zshrc
digitnet completion install zsh      for another shell
digitnet completion bash             only print the script
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from digitnet import commands
from digitnet.config.candidates import (
    changeable_candidates,
    inserted_by_bash,
    key_candidates,
    override_candidates,
    path_candidates,
    run_folder_candidates,
    words_of,
)
from digitnet.config.describe import CONFIG_TOPICS, names
from digitnet.config.files import Tree
from digitnet.errors import ConfigError
from digitnet.report.shell_completion import SCRIPTS, install_completion

PATH_FLAGS = ("--config-dir", "--plot")
KEY_FLAGS = ("--group-by", "--sort", "--where")
QUERY, QUERY_BASH = "query", "query-bash"  # called by the scripts; not in the help


class Visible(tuple[str, ...]):
    """Choices for argparse that also accept the words of the scripts, without listing them."""

    def __contains__(self, word: object) -> bool:
        return word in (QUERY, QUERY_BASH) or super().__contains__(word)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument("what", choices=Visible(("install", *SCRIPTS)), help="install it, or print a script")
    what.metavar = "install|bash|zsh|fish"
    parser.add_argument("shell", nargs="?", help="with install: the shell, by default that of $SHELL")


def main(options: argparse.Namespace) -> None:
    """Install completion, or print a script or candidates. Raises ConfigError, or OSError if a file is not written."""
    if options.what in (QUERY, QUERY_BASH):
        line = options.shell or ""
        found = candidates(line)
        print("\n".join(found if options.what == QUERY else inserted_by_bash(found, line)))
        return
    if options.what != "install":
        if options.shell:
            raise ConfigError(f"'{options.shell}': {options.what} takes no argument; see digitnet completion --help")
        print(SCRIPTS[options.what], end="")
        return
    shell = options.shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SCRIPTS:
        raise ConfigError(f"no completion for the shell '{shell}'; write digitnet completion install bash, zsh or fish")
    print(install_completion(shell))


def candidates(line: str) -> list[str]:
    """The words that complete the last word of `line`, which ends at the cursor, without quotes."""
    *words, current = words_of(line)[0]
    return sorted({word for word in _candidates(words[1:], current) if word.startswith(current)})


def _candidates(before: Sequence[str], current: str) -> Iterator[str]:
    command = before[0] if before and before[0] in commands.NAMES else None
    parser = commands.parser_of(command) if command else commands.flag_parser()
    positionals = False
    for action in parser._actions:
        if before and before[-1] in action.option_strings and action.nargs != 0:
            yield from action.choices or ()
            if before[-1] in PATH_FLAGS:
                yield from path_candidates(current)
            if before[-1] in KEY_FLAGS:
                yield from key_candidates(current)
            return
        yield from (option for option in action.option_strings if current.startswith("-"))
        if not action.option_strings:
            positionals = True
            yield from action.choices or ()
    if not before:
        yield from commands.NAMES
    if current.startswith("-"):
        return
    if command == "resume" and any(not word.startswith("-") for word in before[1:]):
        yield from changeable_candidates(current)
    elif command in ("clean", "compare", "evaluate", "list", "resume"):
        yield from run_folder_candidates(current)
    elif command == "help" and "=" not in current:
        yield from (*commands.NAMES, *CONFIG_TOPICS, *names(Tree.at()))
    elif command in (None, "help", "tune", "validate") and positionals:
        yield from override_candidates(before, current)
