"""Refuses what a configuration could make Hydra do: import and call code, search for files in other places."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from digitnet.config.check import schema_faults
from digitnet.config.dotted import nested_items
from digitnet.config.files import Tree
from digitnet.config.hydra_adapter import BASIC_LAUNCHER, hydra_options, is_sweeper
from digitnet.config.schema import GROUPS, LAUNCHER, Group, LauncherConfig
from digitnet.config.yaml_file import YamlFile
from digitnet.errors import ConfigError, Fault
from digitnet.text import did_you_mean

NO_SEARCHPATH = "hydra.searchpath: digitnet looks in ./conf and in --config-dir FOLDER only"
NO_CALLS = "a config cannot make digitnet import or call anything; leave it out"


def check_form(override: str) -> None:
    """Raise ConfigError for an override that digitnet does not allow, or that Hydra rejects with an unclear message."""
    if not isinstance(override, str):
        raise ConfigError(f"{override!r}: is not a string of the form KEY=VALUE")
    if not override.isprintable():
        raise ConfigError(f"{override!a}: holds a character that cannot be printed; leave it out")
    key, equals, value = override.lstrip("+~").partition("=")
    if not equals and not override.startswith("~"):
        raise ConfigError(f"'{override}' is neither a command nor of the form KEY=VALUE; see digitnet --help")
    if equals and not key:
        raise ConfigError(f"'{override}' has no key; it is KEY=VALUE")
    if match := re.fullmatch(r"(\w+)\.name", key):
        raise ConfigError(f"{override}: the option is chosen with {match[1]}={value}")
    if key in GROUPS and (value[:1] in ("[", "{") or ".." in value or value.endswith(".yaml")):
        raise ConfigError(f"{override}: not the name of an option; see digitnet --help")
    if key.startswith("hydra.searchpath"):
        raise ConfigError(NO_SEARCHPATH)


def check_root(root: YamlFile) -> None:
    """Raise ConfigError if the root sets hydra.searchpath: while composing, Hydra would import what it names."""
    plain = OmegaConf.load(root.path)
    if OmegaConf.select(plain, "hydra.searchpath", throw_on_resolution_failure=False) is not None:
        raise ConfigError(Fault(NO_SEARCHPATH, file=root.path, line=root.line_of(("hydra", "searchpath"))))


def check_harmless(node: DictConfig) -> None:
    """Raise ConfigError if Hydra would import or call something that its `node` names; only `model=custom` may.

    Also if `node` has an unknown key, which `++` can add, or one without effect in digitnet. The values are checked
    unresolved: an interpolation could have another value later, when Hydra uses it.
    """
    if unknown := sorted(_unknown(node, "hydra")):
        raise ConfigError([Fault(f"no key '{key}'{did_you_mean(key, allowed)}", key) for key, allowed in unknown])
    content = OmegaConf.to_container(node)
    assert isinstance(content, dict)
    _check_job(content)
    check_launcher(OmegaConf.to_container(node.launcher, resolve=True))
    _check_sweeper(content["sweeper"])


def _check_job(content: dict[Any, Any]) -> None:
    """Check what Hydra would do for each job: logging, callbacks, the environment, the working directory."""
    for key in ("job_logging", "hydra_logging"):
        if content[key] not in hydra_options(key):
            raise ConfigError(Fault(f"hydra.{key}: only Hydra's own options can be chosen", f"hydra.{key}"))
    job = content["job"]
    # env_set and env_copy could change PATH, and so which programs a run calls.
    callers = {"callbacks": content["callbacks"], "job.env_copy": job["env_copy"], "job.env_set": job["env_set"]}
    for key in [key for key, value in callers.items() if value][:1]:
        raise ConfigError(Fault(f"hydra.{key}: {NO_CALLS}", f"hydra.{key}"))
    if job["chdir"]:
        message = "hydra.job.chdir: digitnet does not change the working directory; leave it out"
        raise ConfigError(Fault(message, "hydra.job.chdir"))
    if content["output_subdir"] != ".hydra":
        raise ConfigError(Fault("hydra.output_subdir: is always .hydra; leave it out", "hydra.output_subdir"))


def _check_sweeper(sweeper: Any) -> None:
    """Check that `sweeper` is one of Hydra's, and that its other values name nothing that Hydra would call."""
    target = sweeper.pop("_target_", None) if isinstance(sweeper, dict) else sweeper
    if not is_sweeper(str(target)):
        message = f"hydra.sweeper._target_={target}: not a sweeper of Hydra's; choose one with hydra/sweeper=OPTION"
        raise ConfigError(Fault(message, "hydra.sweeper._target_"))
    for name, value in nested_items(sweeper):  # Hydra instantiates nested values too
        whole = isinstance(value, str) and re.fullmatch(r"\$\{(?!hydra\.|now:|oc\.env:)[^}]*\}.*", value)
        if whole or name.rpartition(".")[2] == "_target_":
            raise ConfigError(Fault(f"hydra.sweeper.{name}: {NO_CALLS}", f"hydra.sweeper.{name}"))


class _HydraNode(Group):
    launcher: LauncherConfig


class _Root(Group):
    """The launcher in its place, so that faults have full keys: hydra.launcher.jobs."""

    hydra: _HydraNode


def check_launcher(node: Any) -> LauncherConfig:
    """Check Hydra's `launcher` node against the schema. Raises ConfigError with all faults."""
    packaged = Tree.packaged()
    if isinstance(node, dict) and node.get("_target_") == BASIC_LAUNCHER:  # Hydra's default, if the root chooses none
        node = yaml.safe_load(packaged.read(f"{LAUNCHER}/serial").text)
    if not isinstance(node, dict) or "_target_" in node:
        options = ", ".join(packaged.options(LAUNCHER))
        message = f"hydra/launcher: digitnet has its own launchers, {options}; choose one of them"
        raise ConfigError(Fault(message, "hydra.launcher._target_"))
    content = {"hydra": {"launcher": node}}
    try:
        return _Root.model_validate(content).hydra.launcher
    except ValidationError as error:
        raise ConfigError(schema_faults(error, content)) from None


def _unknown(node: Any, prefix: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Keys of typed nodes that their types do not have, each with the keys that they have."""
    kind = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
    if kind is None or not is_dataclass(kind):
        return
    allowed = tuple(f"{prefix}.{field.name}" for field in fields(kind))
    for key in node:
        if f"{prefix}.{key}" not in (*allowed, "hydra.env"):  # hydra.env is in Hydra's defaults but not in its type
            yield f"{prefix}.{key}", allowed
        elif not OmegaConf.is_interpolation(node, str(key)) and not OmegaConf.is_missing(node, str(key)):
            yield from _unknown(node[key], f"{prefix}.{key}")
