"""Finds the YAML file and line that a value of a composed configuration comes from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from digitnet.config.files import Tree
from digitnet.config.hydra_adapter import files_used
from digitnet.config.yaml_file import YamlFile
from digitnet.errors import ConfigError, Fault


def located(error: ConfigError, tree: Tree, overrides: Sequence[str]) -> ConfigError:
    """The error with the file and line of each fault whose key comes from YAML. Call it inside `composing`."""
    places = _Places(tree, overrides)
    return ConfigError([places.of(fault) for fault in error.faults])


class _Places:
    """The files of a composition, in which keys are searched for."""

    def __init__(self, tree: Tree, overrides: Sequence[str]) -> None:
        typed = [override.lstrip("+~").partition("=")[0] for override in overrides]
        self._typed = [key for key in typed if "." in key or ("/" not in key and not tree.options(key))]
        self._own = tree.own
        # The last file takes precedence, so it is searched first.
        self._files: list[tuple[list[str], YamlFile]] = [
            ([part for part in package.split(".") if part], tree.read(name))
            for package, name in reversed(files_used(tree.root, overrides))
            if tree.find(name)
        ]

    def of(self, fault: Fault) -> Fault:
        """The fault with file and line, unless it was typed on the command line."""
        keys = [fault.key, *fault.also]
        if any(_is_below(key, typed) or _is_below(typed, key) for key in keys for typed in self._typed):
            return fault
        places = [place for key in keys if (place := self._find(key.split(".")))]
        if not places:
            return fault
        path, line = next((place for place in places if self._is_own(place[0])), places[0])
        return replace(fault, file=path, line=line)

    def _is_own(self, path: Path) -> bool:
        return any(path.is_relative_to(directory) for directory in self._own)

    def _find(self, keys: list[str]) -> tuple[Path, int] | None:
        while keys:  # a missing key has no line: use that of the group that it is missing from
            for package, source in self._files:
                if keys[: len(package)] == package and (line := source.line_of(keys[len(package) :])):
                    return source.path, line
            keys = keys[:-1]
        return None


def _is_below(key: str, other: str) -> bool:
    """Whether the dotted key is the other, or in its group."""
    return f"{key}.".startswith(f"{other}.")
