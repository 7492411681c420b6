"""Sweep presets: the keys that they sweep, in plain form or below `hydra.sweeper.params`, as Hydra has it."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from digitnet.config.dotted import as_yaml, flatten
from digitnet.config.files import Tree
from digitnet.config.hydra_adapter import files_used

SWEPT = ("hydra", "sweeper", "params")


def move_swept_values(composed: DictConfig) -> None:
    """Give the keys of a plain sweep preset to Hydra's sweeper: `optimizer.lr: 0.1,0.3`, or a list [0.1, 0.3]."""
    if not isinstance(composed.get("sweep"), DictConfig):
        return
    content = OmegaConf.to_container(composed.sweep)
    assert isinstance(content, dict)
    lists = {
        key: ",".join(map(as_yaml, value))
        if isinstance(value, list)
        else value
        if isinstance(value, str)
        else as_yaml(value)
        for key, value in flatten({str(key): value for key, value in content.items()}).items()
    }
    with open_dict(composed):
        composed.hydra.sweeper.params = {**lists, **(composed.hydra.sweeper.params or {})}
        del composed["sweep"]


def places_of_swept_keys(tree: Tree, overrides: Sequence[str]) -> dict[str, tuple[Path, int]]:
    """File and line of each key of the sweep presets that `overrides` choose. Call it inside `composing`."""
    places: dict[str, tuple[Path, int]] = {}
    for _, name in files_used(tree.root, overrides):
        if tree.find(name) is None:
            continue
        source = tree.read(name)
        parents = () if source.is_plain_sweep else SWEPT
        for key, _ in source.values():
            key = key.removeprefix(".".join((*SWEPT, "")))
            if line := source.line_of((*parents, key)):
                places[key] = source.path, line
    return places
