"""Complete commands, groups, options and keys with the tab key, in bash, zsh and fish.

digitnet completion install          for your shell ($SHELL): writes its script, and a line in ~/.bashrc or ~/.zshrc
digitnet completion install zsh      for another
digitnet completion bash             print the script only
"""

import argparse
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from digitnet import commands
from digitnet.config.files import Tree
from digitnet.config.rules import CHANGEABLE
from digitnet.config.schema import GROUPS, LAUNCHER, choices
from digitnet.errors import ConfigError

PATHS = ("init_from", "data.root", "hydra.run.dir", "hydra.sweep.dir")  # keys whose value is a path
FLAGS_OF_PATHS = ("--config-dir",)
QUERY = "query"  # not in the help: for the scripts

# Each asks `digitnet completion query LINE`, the line up to the cursor, which prints whole words.
SCRIPTS = {
    "bash": r"""_digitnet() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$'\n'
    COMPREPLY=($("$1" completion query "$line" 2>/dev/null))
    if [[ $COMP_WORDBREAKS == *=* ]]; then # then bash replaces only what stands behind the last =
        local word=${line##* }
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}")
    fi
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]]; then compopt -o nospace; fi
}
complete -F _digitnet digitnet
""",
    "zsh": r"""autoload -Uz compinit
(( $+functions[compdef] )) || compinit
_digitnet() {
    local -a found
    found=("${(@f)$(${words[1]} completion query "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    compadd -- ${found:#*[=.\/]}
    compadd -S '' -- ${(M)found:#*[=.\/]}
}
compdef _digitnet digitnet
""",
    "fish": r"""function __digitnet_complete
    digitnet completion query (commandline --current-process --cut-at-cursor | string collect) 2>/dev/null
end
complete --command digitnet --no-files --arguments '(__digitnet_complete)'
""",
}


class Visible(tuple[str, ...]):
    """Choices that are shown; what the scripts ask with is one too."""

    def __contains__(self, word: object) -> bool:
        return word == QUERY or super().__contains__(word)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument("what", choices=Visible(("install", *SCRIPTS)), help="install it, or print a script")
    what.metavar = "install|bash|zsh|fish"
    parser.add_argument("shell", nargs="?", help="with install: the shell, by default that of $SHELL")


def main(options: argparse.Namespace) -> None:
    """Install or print. Raises OSError where a file cannot be written."""
    if options.what == QUERY:
        print("\n".join(candidates(options.shell or "")))
        return
    if options.what != "install":
        if options.shell:
            raise ConfigError(
                f"'{options.shell}': nothing stands behind {options.what}; see digitnet completion --help"
            )
        print(SCRIPTS[options.what], end="")
        return
    shell = options.shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SCRIPTS:
        raise ConfigError(f"no completion for the shell '{shell}'; write digitnet completion install bash, zsh or fish")
    print(_install(shell))


def _install(shell: str) -> str:
    """Write the script, and the line that reads it; the second time nothing is added. Returns what to do next."""
    home = Path.home()
    if shell == "fish":  # which looks there by itself
        script = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "fish" / "completions" / "digitnet.fish"
    else:
        script = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "digitnet" / f"completion.{shell}"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(SCRIPTS[shell])
    if shell == "fish":
        return f"wrote {script}; new shells complete digitnet"
    startup = Path(os.environ.get("ZDOTDIR") or home) / ".zshrc" if shell == "zsh" else home / ".bashrc"
    line = f'[ -r "{script}" ] && . "{script}"  # digitnet completion\n'
    content = startup.read_text() if startup.exists() else ""
    if line not in content:
        with startup.open("a") as file:
            file.write(("\n" if content and not content.endswith("\n") else "") + line)
    return f"wrote {script}, which {startup} reads; new shells complete digitnet, this one after: . {script}"


def candidates(line: str) -> list[str]:
    """The words that the last one of `line`, which ends at the cursor, can become."""
    words = line.split()[1:]
    current = "" if line[-1:].isspace() or not words else words.pop()
    return sorted({word for word in _candidates(words, current) if word.startswith(current)})


def _candidates(before: Sequence[str], current: str) -> Iterator[str]:
    command = before[0] if before and before[0] in commands.NAMES else None
    parser = commands.parser_of(command) if command else commands.flag_parser()
    positionals = False
    for action in parser._actions:
        if before and before[-1] in action.option_strings and action.nargs != 0:
            yield from action.choices or ()
            if before[-1] in FLAGS_OF_PATHS:
                yield from _paths(current)
            return
        yield from (option for option in action.option_strings if current.startswith("-"))
        if not action.option_strings:
            positionals = True
            yield from action.choices or ()
    if not before:
        yield from commands.NAMES
    if current.startswith("-"):
        return
    if command == "resume":
        if all(word.startswith("-") for word in before[1:]):
            yield from _folders_of_runs(current)
        else:
            words = {*_overrides((), current)} - {"device."}
            yield from (word for word in words if word.startswith(CHANGEABLE) or word == "trainer.")
    elif command == "compare":
        yield from _folders_of_runs(current)
    elif command in (None, "tune", "validate") and positionals:
        yield from _overrides(before, current)


def _overrides(before: Sequence[str], current: str) -> Iterator[str]:
    """`model=`, `model=lenet5`, `optimizer.`, `optimizer.lr=`, `trainer.precision=bf16`."""
    pairs = dict(pairwise(before))
    with contextlib.suppress(ConfigError):
        tree = Tree.at(pairs.get("--config-dir"))
        sign = current[: len(current) - len(current.lstrip("+~"))]
        key, equals, value = current[len(sign) :].partition("=")
        if equals:
            done = value[: value.rfind(",") + 1]  # of a sweep
            if key in PATHS:
                yield from (f"{sign}{key}={path}" for path in _paths(value))
            options = tree.options(key) if key in tree.groups else choices(key)
            yield from (f"{sign}{key}={done}{option}" for option in options)
            return
        yield from (f"{sign}{group}=" for group in (*GROUPS, LAUNCHER))
        yield from (f"{sign}{word}" for word in _keys(before, tree, key))


def _keys(before: Sequence[str], tree: Tree, start: str) -> Iterator[str]:
    """The keys one level below `start`'s group, those of other levels with a dot."""
    from digitnet.config.compose import composed_values
    from digitnet.config.dotted import nested_keys

    chosen = [word.partition(",")[0] for word in before if word.partition("=")[0] in GROUPS]  # of a sweep, the first
    content: dict[str, object] = {}
    for choice in (chosen, []):  # what stands before may be wrong
        with contextlib.suppress(ConfigError):
            content = composed_values(choice, tree)
            break
    names = list(nested_keys(content))
    groups = {name.rpartition(".")[0] for name in names}
    for name in names:
        if name.count(".") == start.count(".") and not name.endswith(".name"):  # which the option has chosen
            yield f"{name}." if name in groups else f"{name}="


def _folders_of_runs(start: str) -> Iterator[str]:
    """Folders that are one, or lead to one."""
    yield from (path for path in _paths(start) if path.endswith("/") and not _is_of_a_run(Path(path)))


def _is_of_a_run(folder: Path) -> bool:
    """Hidden, or a part of a run's own."""
    return folder.name.startswith(".") or (folder.parent / "summary.json").exists()


def _paths(start: str) -> Iterable[str]:
    folder, slash, _ = start.rpartition("/")
    with contextlib.suppress(OSError, RuntimeError):
        for path in Path(folder + slash or ".").expanduser().iterdir():
            yield f"{folder}{slash}{path.name}" + ("/" if path.is_dir() else "")
