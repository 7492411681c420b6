"""Nested configurations as dotted keys, and their values as YAML and the command line write them."""

import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[./-][A-Za-z0-9_]+)*")  # what YAML reads as text, except these:
NOT_TEXT = frozenset(["null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "nan"])


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"name": "lenet5"}, "seed": 0} -> {"model.name": "lenet5", "seed": 0}; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, dict):  # not Mapping, which takes five times as long
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nested_items(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key with its value, including groups and the entries of lists ("schedule.phases.0.factor")."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield f"{prefix}{key}", value
        yield from nested_items(value, f"{prefix}{key}.")


def nested_keys(node: Any) -> Iterator[str]:
    """Every dotted key, groups included, without the entries of lists."""
    return (key for key, _ in nested_items(node) if not any(part.isdigit() for part in key.split(".")))


def as_yaml(value: Any) -> str:
    """A value on one line, as in `KEY=VALUE`: null, true, 0.05, [1, a], {k: 1}, text without quotes if possible.

    1.0 and 1 both become `1`: a YAML file may have either, and the schema converts it where it requires a float.
    """
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) and value.lower() not in NOT_TEXT else _quoted_if_needed(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        whole = math.isfinite(value) and value.is_integer() and abs(value) < 1e15
        return f"{value:.0f}" if whole else repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_entry, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_entry(key)}: {_entry(inner)}' for key, inner in value.items())}}}"
    return str(value)


def _entry(value: Any) -> str:
    """A value inside a list or a mapping, where a comma or a bracket needs quotes, too."""
    if isinstance(value, str) and re.search(r"[,\[\]{}?:]", value):
        return _quoted(value)
    return as_yaml(value)


@lru_cache(maxsize=4096)
def _quoted_if_needed(text: str) -> str:
    """`text`, quoted if PyYAML would quote it, or if OmegaConf and Hydra would read it as a number, as they do 1e-3."""
    dumped: str = yaml.safe_dump(text, allow_unicode=True, width=math.inf).removesuffix("\n").removesuffix("\n...")
    return _quoted(text) if dumped != text or _is_float(text) else text


def _quoted(text: str) -> str:
    """`text` in single quotes, or in double quotes with escapes if it has characters that cannot be printed."""
    style = "'" if text.isprintable() else '"'
    dumped: str = yaml.safe_dump(text, default_style=style, allow_unicode=True, width=math.inf)
    return dumped.removesuffix("\n")


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
