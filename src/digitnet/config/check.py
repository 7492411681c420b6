"""Checks a composed configuration against the schema, and describes its faults, with similar names for unknown ones."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from digitnet.config.dotted import as_yaml, nested_keys
from digitnet.config.keys import group_keys, parts
from digitnet.config.rules import config_conflicts, with_added_keys
from digitnet.config.schema import GROUPS, Config
from digitnet.errors import ConfigError, Fault
from digitnet.text import did_you_mean


def check(content: Mapping[str, Any]) -> Config:
    """Check `content`, from YAML or a run of any version, against the schema. Raises ConfigError with all faults."""
    content = with_added_keys(content)
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        faults = schema_faults(error, content)
        # pydantic checks no other key of a group whose option has a wrong name: check them by guessing the option.
        if guessed := _with_guessed_options(error, content):
            try:
                Config.model_validate(guessed)
            except ValidationError as more:
                # Keys that are missing for the guessed option may not be needed for the right one.
                reported = {fault.key for fault in faults} | {
                    f"{_locate(fault['loc'], guessed)[0]}.{fault['loc'][-1]}"
                    for fault in more.errors()
                    if fault["type"] == "missing"
                }
                faults += [fault for fault in schema_faults(more, guessed) if fault.key not in reported]
        raise ConfigError(faults) from None
    if faults := [Fault(message, key, also=tuple(also)) for (key, *also), message in config_conflicts(config)]:
        raise ConfigError(faults)
    return config


def no_key(name: str, existing: Iterable[str]) -> str:
    """The message about the unknown key `name`, with similar ones among the `existing`, also of other groups."""
    names = sorted(set(existing))
    group, _, leaf = name.rpartition(".")
    siblings = [full.rpartition(".")[2] for full in names if full.rpartition(".")[0] == group]
    near = did_you_mean(name, [f"{group}.{sibling}".lstrip(".") for sibling in siblings])
    if leaf == group:
        return f"no key '{name}'; keys in a file of conf/{group}/ are below {group} already: leave it out"
    options = [option for option, keys in group_keys(group).items() if leaf in keys]
    if options and not near:
        return f"no key '{name}'; it belongs to {' and '.join(f'{group}={option}' for option in options)}"
    top, _, part = (group if "." in group else name).partition(".")
    if part in parts(top) and f"{top}.{part}" not in names:
        return f"no key '{name}'; it belongs to {top}={part}"
    if near:
        return f"no key '{name}'{near}"
    if elsewhere := [full for full in names if full.rpartition(".")[2] == leaf]:
        return f"no key '{name}' … did you mean {' or '.join(map(repr, elsewhere[:3]))}?"
    if group == "model.kwargs":
        return f"no key '{name}'; to add it, write +{name}=VALUE"
    return f"no key '{name}'" + (f"; there are {', '.join(siblings)}" if siblings else "")


def _with_guessed_options(error: ValidationError, content: dict[Any, Any]) -> dict[Any, Any]:
    """`content` with each missing or wrong option name replaced by that of the option whose keys fit best.

    {} if no option name is missing or wrong.
    """
    guessed = {}
    for fault in error.errors():
        group = fault["loc"][0]
        if fault["type"].startswith("union_tag"):
            options = group_keys(str(group))
            best = max(options, key=lambda option: len({*options[option]} & {*content[group]}))
            guessed[group] = {**content[group], "name": best}
    return {**content, **guessed} if guessed else {}


def schema_faults(error: ValidationError, content: dict[Any, Any]) -> list[Fault]:
    """Pydantic's errors as faults, one per key: `key=value: should be …`."""
    faults: dict[str, str] = {}
    errors = error.errors()
    extra = {_locate(fault["loc"], content)[0] for fault in errors if fault["type"] == "extra_forbidden"}
    missing = [fault["loc"] for fault in errors if fault["type"] == "missing"]
    existing = (set(nested_keys(content)) - extra) | {
        f"{_locate(loc, content)[0]}.{loc[-1]}".lstrip(".") for loc in missing
    }
    # Unknown keys first: one may be a missing key, misspelt.
    for fault in sorted(errors, key=lambda fault: fault["type"] != "extra_forbidden"):
        key, value = _locate(fault["loc"], content)
        match fault["type"]:
            case "extra_forbidden":
                faults[key] = no_key(key, existing)
            case "missing":
                key = f"{key}.{fault['loc'][-1]}".lstrip(".")
                faults[key] = f"{key}: has no value; {_how_to_set(key)}"
            case "union_tag_not_found":
                faults[key] = f"{key}.name: has no value; {_how_to_set(f'{key}.name')}"
            case "union_tag_invalid":
                tag = fault["ctx"]["tag"]
                near = did_you_mean(tag, group_keys(key)) or f"; there are {', '.join(group_keys(key))}"
                faults[key] = f"{key}.name={tag}: no such {key}{near}"
            case "model_type" | "model_attributes_type" | "dict_type":
                faults[key] = f"{key}={as_yaml(value)}: {_as_group(key, value)}"
            case "string_type" if isinstance(value, bool | int | float):
                text = as_yaml(value)
                faults[key] = f'{key}={text}: should be text; in quotes: "{text}", in a shell \'{key}="{text}"\''
            case _:
                text = fault["msg"].removeprefix("Input ").partition(" or instance of ")[0]
                text = text.replace("a valid boolean", "true or false").replace(" after validation", "")
                if isinstance(value, str) and "number" in text and _is_number(value):
                    text += ", without quotes"
                # `as_yaml` would show 3.0, where an integer is required, as 3.
                shown = repr(value) if isinstance(value, float) and "integer" in text else as_yaml(value)
                if key in faults:  # the error of another member of the same union
                    faults[key] += f" or {text.removeprefix('should be ')}"
                else:
                    faults[key] = f"{key}={shown}: {text[:1].lower() + text[1:]}"
    return [Fault(message, key) for key, message in faults.items()]


def _as_group(key: str, value: Any) -> str:
    """What to do if a group of keys has a value instead of keys."""
    if value is None:
        return f"is a group of keys; write them below '{key}:', indented"
    if key in GROUPS and isinstance(value, str):  # in YAML; on the command line GROUP=OPTION is right
        return f"to choose an option, write 'override /{key}: {value}' in defaults"
    return f"is a group of keys; set {key}.KEY=VALUE"


def _how_to_set(key: str) -> str:
    """What to do if `key` is missing."""
    group, _, leaf = key.rpartition(".")
    if key in GROUPS:
        return f"choose an option, '- {key}: OPTION' in the root's defaults or +{key}=OPTION on the command line"
    if leaf == "name":
        return f"begin the file with 'defaults: [OPTION]', an option to start from: {', '.join(group_keys(group))}"
    if group in GROUPS:
        return f"set {key}=VALUE, or include another option: 'defaults: [OPTION]'"
    return f"set {key}=VALUE"


def _locate(loc: Sequence[str | int], content: dict[Any, Any]) -> tuple[str, Any]:
    """The dotted key and the value at pydantic's `loc`, without its parts that name members of unions."""
    path: list[str] = []
    node: Any = content
    for part in loc:
        with contextlib.suppress(KeyError, IndexError, TypeError):
            node = node[part]
            path.append(str(part))
    return ".".join(path), node


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text)
        return True
    return False
