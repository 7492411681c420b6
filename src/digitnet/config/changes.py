"""What `digitnet resume` may change in the configuration of a run."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from digitnet.config.check import check, no_key
from digitnet.config.compose import composed_group, locate_faults
from digitnet.config.dotted import nested_keys
from digitnet.config.explain import first_line
from digitnet.config.files import Tree
from digitnet.config.hydra_adapter import parse_overrides
from digitnet.config.rules import is_changeable, with_added_keys
from digitnet.config.schema import GROUPS, SECTIONS, Config
from digitnet.errors import ConfigError


def with_changes(
    content: dict[str, Any], overrides: Sequence[str], run: str, config_dir: str | Path | None = None
) -> Config:
    """Apply `overrides` to `content`, the configuration in the summary.json of a run that is to be resumed.

    `run` is the name of the run in messages; options are those of `config_dir`, ./conf and the packaged conf/. Raises
    ConfigError if `content` is not a valid configuration, or if a resumed run cannot change the key of an override, see
    `rules.CHANGEABLE`.
    """
    try:
        check(content)
    except ConfigError as error:
        raise ConfigError(f"{run}/summary.json: {error}") from error
    content = copy.deepcopy(with_added_keys(content))
    for override in overrides:
        _change(content, override, config_dir)
    chosen = [override for override in overrides if override.partition("=")[0] in GROUPS]
    try:
        return check(content)
    except ConfigError as error:  # of the rest only the values are known, not the files that they came from
        groups = {override.partition("=")[0] for override in chosen}
        faults = [fault for fault in error.faults if fault.key.partition(".")[0] in groups]
        others = [fault for fault in error.faults if fault not in faults]
        raise ConfigError([*others, *locate_faults(faults, chosen, Tree.at(config_dir))]) from error


def _change(content: dict[str, Any], override: str, config_dir: str | Path | None) -> None:
    """Apply one override to `content`, in place. Raises ConfigError."""
    if not re.match(r"[\w.]+=", override):
        raise ConfigError(f"'{override}': is not KEY=VALUE; see digitnet resume --help")
    key, _, _ = override.partition("=")
    if key in SECTIONS:
        raise ConfigError(f"{override}: has no options; set one of {', '.join(f'{key}.{k}' for k in content[key])}")
    if not is_changeable(key):
        keys = list(nested_keys(content))
        if key not in keys:
            raise ConfigError(no_key(key, keys))
        raise ConfigError(
            f"{override}: cannot be changed in a run that has begun; what can: digitnet resume --help;\n"
            "a new run can start from its weights: init_from=RUN_DIR"
        )
    _set(content, override, config_dir)


def with_other_data(
    content: dict[str, Any], overrides: Sequence[str], run: str, config_dir: str | Path | None = None
) -> Config:
    """The configuration in the summary.json of a run with other data or another device, for its trained network.

    Raises ConfigError if `content` is not a valid configuration, or if an override is of another group.
    """
    content = copy.deepcopy(with_added_keys(content))
    for override in overrides:
        if not re.match(r"(data|device)(\.\w+)?=", override):
            raise ConfigError(
                f"{override}: cannot be changed in a trained network; data=…, data.KEY=… and device=… can"
            )
        _set(content, override, config_dir)
    try:
        return check(content)
    except ConfigError as error:
        raise error if overrides else ConfigError(f"{run}/summary.json: {error}") from error


def _set(content: dict[str, Any], override: str, config_dir: str | Path | None) -> None:
    """Choose an option of a group, or set a value, in place. Raises ConfigError."""
    key, _, _ = override.partition("=")
    if key in GROUPS:
        content[key] = composed_group(key, [override], Tree.at(config_dir))
        return
    try:
        (parsed,) = parse_overrides([override])
        value = parsed.value
    except Exception as error:
        raise ConfigError(f"{override}: cannot be read ({first_line(error)})") from error
    if parsed.is_sweep:
        raise ConfigError(f"{override}: has several values; give one")
    group, _, leaf = key.rpartition(".")
    holder: Any = content
    for name in group.split("."):
        holder = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or leaf not in holder:
        raise ConfigError(no_key(key, nested_keys(content)))
    holder[leaf] = value
