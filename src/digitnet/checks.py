"""A composed configuration against the schema: what is wrong with it, in words, with the names that are nearest."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from digitnet.errors import ConfigError, Fault, did_you_mean
from digitnet.schema import GROUPS, Config, conflicts, group_keys


def check(content: dict[Any, Any]) -> Config:
    """Hold `content`, as YAML has it, against the schema. Raises ConfigError with every fault."""
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(list(_faults(error, content))) from None
    if faults := [Fault(message, key, also=tuple(also)) for (key, *also), message in conflicts(config)]:
        raise ConfigError(faults)
    return config


def keys(node: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys, groups included."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from keys(value, f"{prefix}{key}.")


def no_key(name: str, known: Iterable[str]) -> str:
    """The message about an unknown key: with the nearest of `known`, found also where its group is left out."""
    names = sorted(set(known))
    group, _, leaf = name.rpartition(".")
    siblings = [full.rpartition(".")[2] for full in names if full.rpartition(".")[0] == group]
    near = did_you_mean(name, [f"{group}.{sibling}".lstrip(".") for sibling in siblings])
    options = [option for option, its in group_keys(group).items() if leaf in its]
    if options and not near:
        return f"no key '{name}'; it belongs to {' and '.join(f'{group}={option}' for option in options)}"
    if near:
        return f"no key '{name}'{near}"
    if elsewhere := [full for full in names if full.rpartition(".")[2] == leaf]:
        return f"no key '{name}' … did you mean {' or '.join(map(repr, elsewhere[:3]))}?"
    if group in names and not siblings:
        return f"no key '{name}'; to add it, write +{name}=VALUE"
    return f"no key '{name}'" + (f"; there are {', '.join(siblings)}" if siblings else "")


def _faults(error: ValidationError, content: dict[Any, Any]) -> list[Fault]:
    """Pydantic's findings, one a key: `key=value: should be …`."""
    faults: dict[str, str] = {}
    # What is unknown first: it may be what is missing, misspelt.
    for fault in sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden"):
        key, value = _locate(fault["loc"], content)
        match fault["type"]:
            case "extra_forbidden":
                missing = [f["loc"] for f in error.errors() if f["type"] == "missing"]
                wanted = {f"{_locate(loc, content)[0]}.{loc[-1]}" for loc in missing}
                faults[key] = no_key(key, (set(keys(content)) - {key}) | wanted)
            case "missing":
                key = f"{key}.{fault['loc'][-1]}".lstrip(".")
                faults[key] = f"{key}: has no value; {_how_to_set(key)}"
            case "union_tag_not_found":
                faults[key] = f"{key}.name: has no value; {_how_to_set(f'{key}.name')}"
            case "union_tag_invalid":
                tag = fault["ctx"]["tag"]
                faults[key] = f"{key}.name={tag}: not one of {fault['ctx']['expected_tags']}; set {key}=OPTION"
            case "model_type" | "model_attributes_type" | "dict_type":
                faults[key] = f"{key}={in_yaml(value)}: is a group of keys{_how_to_choose(key)}; set {key}.KEY=VALUE"
            case _:
                text = fault["msg"].removeprefix("Input ").partition(" or instance of ")[0]
                if key in faults:  # what another member of a union says
                    faults[key] += f" or {text.removeprefix('should be ')}"
                else:
                    faults[key] = f"{key}={in_yaml(value)}: {text[:1].lower() + text[1:]}"
    return [Fault(message, key) for key, message in faults.items()]


def _how_to_choose(key: str) -> str:
    """Where an option was given as a value, which only a YAML file can do: the command line would choose it."""
    return f"; to choose an option, write 'override /{key}: OPTION' in defaults" if key in GROUPS else ""


def _how_to_set(key: str) -> str:
    if key in GROUPS:
        return f"choose an option, '- {key}: OPTION' in the root's defaults or +{key}=OPTION on the command line"
    return f"set {key}=VALUE, or begin the file with 'defaults: [OPTION]' to take what it lacks from an option"


def _locate(loc: Sequence[str | int], content: dict[Any, Any]) -> tuple[str, Any]:
    """The dotted key and the value of a finding; its place also names members of unions, which are no keys."""
    path: list[str] = []
    node: Any = content
    for part in loc:
        with contextlib.suppress(KeyError, IndexError, TypeError):
            node = node[part]
            path.append(str(part))
    return ".".join(path), node


def in_yaml(value: Any) -> str:
    """A value as the command line has it."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).partition("\n")[0]
