"""Sweep presets: the keys that they sweep, in plain form or below `hydra.sweeper.params`, as Hydra has it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from digitnet.config.dotted import as_yaml
from digitnet.config.files import Tree
from digitnet.config.hydra_adapter import files_used
from digitnet.errors import ConfigError, Fault

SWEPT = ("hydra", "sweeper", "params")


def move_swept_values(composed: DictConfig, overrides: Sequence[str], tree: Tree) -> None:
    """Give the keys of a plain sweep preset to Hydra's sweeper: `optimizer.lr: 0.1,0.3`, or a list [0.1, 0.3].

    Call it inside `composing`. Raises ConfigError if a value is an interpolation, a key stands twice, or it is `sweep`.
    """
    if not isinstance(composed.get("sweep"), DictConfig):
        return
    content = OmegaConf.to_container(composed.sweep)
    assert isinstance(content, dict)
    lists: dict[str, str] = {}
    for key, value in content.items():
        nested = value if isinstance(value, dict) and "." not in str(key) else None
        pairs = {str(key): value} if nested is None else {f"{key!s}.{leaf}": inner for leaf, inner in nested.items()}
        if twice := lists.keys() & pairs.keys():
            raise _fault(f"{min(twice)}: stands twice in the sweep preset; leave one out", min(twice), tree, overrides)
        lists |= {name: _as_values(value) for name, value in pairs.items()}
    if "sweep" in lists:
        raise _fault("sweep: a sweep preset lists values, and chooses no other preset", "sweep", tree, overrides)
    if wrong := next((key for key, values in lists.items() if "${" in values), None):
        message = f"{wrong}={lists[wrong]}: a sweep preset lists values; an interpolation is none"
        raise _fault(message, wrong, tree, overrides)
    with open_dict(composed):
        composed.hydra.sweeper.params = {**lists, **(composed.hydra.sweeper.params or {})}
        del composed["sweep"]


def _fault(message: str, key: str, tree: Tree, overrides: Sequence[str]) -> ConfigError:
    """The error about a key of a preset, with its file and line."""
    file, line = places_of_swept_keys(tree, overrides).get(key, (None, None))
    return ConfigError(Fault(message, key, file, line))


def _as_values(value: Any) -> str:
    """As on the command line: `0.1,0.3`."""
    if isinstance(value, list):
        return as_yaml(value)[1:-1]  # without its brackets; an entry with a comma is in quotes
    return value if isinstance(value, str) else as_yaml(value)


def places_of_swept_keys(tree: Tree, overrides: Sequence[str]) -> dict[str, tuple[Path, int]]:
    """File and line of each key of the sweep presets that `overrides` choose. Call it inside `composing`."""
    places: dict[str, tuple[Path, int]] = {}
    for _, name in files_used(tree.root, overrides):
        if tree.find(name) is None:
            continue
        source = tree.read(name)
        for key, _ in source.values():
            key = key.removeprefix(".".join((*SWEPT, "")))
            for path in ((key,), tuple(key.split(".")), (*SWEPT, key)):
                if line := source.line_of(path):
                    places[key] = source.path, line
    return places
