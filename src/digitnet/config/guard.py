"""Refuses what a configuration could make Hydra do: import and call code, search for files in other places."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from digitnet.config.check import schema_faults
from digitnet.config.dotted import nested_items
from digitnet.config.fields import Group
from digitnet.config.files import ROOT, Tree
from digitnet.config.hydra_adapter import BASIC_LAUNCHER, hydra_options, is_sweeper
from digitnet.config.launcher_schema import LauncherConfig
from digitnet.config.schema import GROUPS, LAUNCHER, PRESETS, SEVERAL
from digitnet.config.yaml_file import YamlFile
from digitnet.errors import ConfigError, Fault
from digitnet.text import did_you_mean

NO_SEARCHPATH = "hydra.searchpath: digitnet looks in ./conf and in --config-dir FOLDER only"
NO_CALLS = "a config cannot make digitnet import or call anything; leave it out"

MOST_LOOKUPS = 10_000
# What a value refers to: ${optimizer.lr}, ${oc.select:optimizer.lr,1}, ${hydra:job.name}.
REFERENCE = re.compile(r"\$\{\s*(?:oc\.select:|oc\.dict\.\w+:)?\s*((?:hydra:)?[\w.\[\]]+)\s*[},]")


def check_form(override: str) -> None:
    """Raise ConfigError for an override that digitnet does not allow, or that Hydra rejects with an unclear message."""
    if not isinstance(override, str):
        raise ConfigError(f"{override!r}: is not a string of the form KEY=VALUE")
    if not override.isprintable():
        raise ConfigError(f"{override!a}: holds a character that cannot be printed; leave it out")
    key, equals, value = override.lstrip("+~").partition("=")
    if not equals and re.fullmatch(r"[-+\d.,e]+,?", override):
        raise ConfigError(f"'{override}' has no key; several values are written without blanks: KEY=0.1,0.3")
    if not equals and re.fullmatch(r"[+]*[a-z_]+(\.\w+)+", override):
        raise ConfigError(f"'{override}' has no value; write it without blanks: {override}=VALUE")
    if not equals and not override.startswith("~"):
        raise ConfigError(f"'{override}' is neither a command nor of the form KEY=VALUE; see digitnet --help")
    if equals and not key:
        raise ConfigError(f"'{override}' has no key; it is KEY=VALUE")
    if match := re.fullmatch(r"(\w+)\.name", key):
        raise ConfigError(f"{override}: the option is chosen with {match[1]}={value}")
    if key in SEVERAL and value.startswith("["):
        names = [name.strip() for name in value.strip("[] ").split(",")]
        if not all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in names) or {*names} & {"null", "true", "false"}:
            raise ConfigError(f"{override}: is no list of options; write {key}=[A,B], or {key}=none for none of them")
        if "none" in names:
            raise ConfigError(f"{override}: 'none' beside others; leave it out")
        return
    if re.fullmatch(r"tracker\.\w+=null", override) and key != "tracker.every_steps":
        raise ConfigError(f"{override}: would leave the tracker out; choose the others instead, or tracker=none")
    if key in GROUPS and (value[:1] in ("[", "{") or ".." in value or value.endswith(".yaml")):
        raise ConfigError(f"{override}: not the name of an option; see digitnet --help")
    if key.startswith("hydra.searchpath"):
        raise ConfigError(NO_SEARCHPATH)


@cache
def check_root(root: YamlFile) -> None:
    """Raise ConfigError if the root sets hydra.searchpath: while composing, Hydra would import what it names."""
    plain = OmegaConf.load(root.path)
    check_interpolations(OmegaConf.to_container(plain))
    if OmegaConf.select(plain, "hydra.searchpath", throw_on_resolution_failure=False) is not None:
        raise ConfigError(Fault(NO_SEARCHPATH, file=root.path, line=root.line_of(("hydra", "searchpath"))))


def check_interpolations(content: Any) -> None:
    """Raise ConfigError if to resolve a value would take more than MOST_LOOKUPS lookups.

    Each reference to a key is resolved again: some levels of keys that refer several times to the next take for ever.
    """
    values = dict(nested_items(content))
    counts: dict[str, int] = {}

    def lookups(key: str) -> int:
        if key not in counts:
            counts[key] = 0  # of one that leads back to itself, which OmegaConf reports
            value = values.get(key)
            if isinstance(value, str):
                used = [_absolute(match[1], key) for match in REFERENCE.finditer(value)]
            else:
                used = [f"{key}.{name}" for name, _ in nested_items(value) if "." not in name]
            counts[key] = 1 + sum(map(lookups, used))
        return counts[key]

    try:
        texts = {key: lookups(key) for key, value in values.items() if isinstance(value, str)}
    except RecursionError:
        message = "interpolations refer to each other in a chain that is too long; write the value itself"
        raise ConfigError(message) from None
    if sum(texts.values()) > MOST_LOOKUPS + len(texts):
        key = max(texts, key=lambda key: texts[key])
        message = f"{key}: its interpolations take more than {MOST_LOOKUPS:,} lookups; write the value itself"
        raise ConfigError(Fault(message, key))


def _absolute(reference: str, key: str) -> str:
    """The dotted key that `reference` means in the value of `key`: `lr`, `..lr` (relative), `optimizer[lr]`."""
    plain = re.sub(r"\[([^\]]*)\]", r".\1", reference.replace("hydra:", "hydra."))
    up = len(plain) - len(plain.lstrip("."))
    above = key.split(".")[:-up] if up else []
    return ".".join([*above, plain.lstrip(".")])


def check_harmless(node: DictConfig) -> None:
    """Raise ConfigError if Hydra would import or call something that its `node` names; only `model=custom` may.

    Also if `node` has an unknown key, which `++` can add, or one without effect in digitnet. The values are checked
    unresolved: an interpolation could have another value later, when Hydra uses it.
    """
    if unknown := sorted(_unknown(node, "hydra")):
        raise ConfigError([Fault(f"no key '{key}'{did_you_mean(key, allowed)}", key) for key, allowed in unknown])
    content = OmegaConf.to_container(node)
    assert isinstance(content, dict)
    for part, option in (("launcher", "serial"), ("sweeper", "basic")):
        if OmegaConf.is_missing(node, part):  # of `~hydra/launcher=…`
            raise ConfigError(
                f"hydra/{part}: was removed, and digitnet needs one; leave that out, or set hydra/{part}={option}"
            )
    _check_job(content)
    check_launcher(OmegaConf.to_container(node.launcher, resolve=True))
    _check_sweeper(content["sweeper"])


def check_job_name(composed: DictConfig, overrides: Iterable[str]) -> None:
    """Raise ConfigError for a typed hydra.job.name that nothing refers to, as Hydra's own log would."""
    for override in overrides:
        if not override.lstrip("+").startswith("hydra.job.name="):
            continue
        values = nested_items(OmegaConf.to_container(composed))
        used = [key for key, value in values if re.search(r"\$\{[^}]*job\.name", str(value))]
        if {*used} <= {"hydra", "hydra.help", "hydra.help.app_name"}:  # Hydra's own help, which digitnet does not show
            raise ConfigError(
                f"{override}: names nothing in digitnet; for the run's folder, write hydra.run.dir=FOLDER"
            )


def check_custom_model_chosen(target: str, option: str, tree: Tree, overrides: Sequence[str]) -> None:
    """Raise ConfigError if the network `target` would be imported although the user did not choose its `option`."""
    typed = {override.lstrip("+").partition("=")[0] for override in overrides}
    packaged = tree.directories[-1] / "model" / f"{option}.yaml"
    if option != "custom" and packaged.exists():
        message = (
            f"model.target={target}: a network of your own in a file with the name of a packaged one; rename the file"
        )
    elif tree.root == ROOT and not typed & {"model", *PRESETS}:
        message = f"model.target={target}: a network of your own is imported only if you choose it; add model={option}"
    else:
        return
    raise ConfigError(Fault(message, "model.target"))


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
    if content["verbose"]:
        message = (
            "hydra.verbose: digitnet writes no log of that kind; HYDRA_FULL_ERROR=1 shows where an error comes from"
        )
        raise ConfigError(Fault(message, "hydra.verbose"))
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
