"""JSON Schemas (draft 7) of the configuration's YAML files, for completion and checks in editors."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from digitnet.config.fields import Group
from digitnet.config.files import Tree
from digitnet.config.keys import all_keys
from digitnet.config.schema import GROUPS, PRESETS, SECTIONS, Config

DRAFT = "http://json-schema.org/draft-07/schema#"
DEFAULTS = {"type": "array", "description": "files that this one includes; a later one takes precedence"}
INTERPOLATION = {"type": "string", "pattern": r"^(\$\{.*\}|\?\?\?)$"}  # or ???, a missing value


def json_schemas() -> dict[str, str]:
    """The text of each file by its name: `optimizer`, …, `config`."""
    comments = _packaged_comments()
    return {name: _as_json_text(json_schema(name, comments)) for name in (*GROUPS, "config")}


def write_json_schemas(folder: Path) -> int:
    """Write them as `optimizer.json`, …, and return how many there are. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    schemas = json_schemas()
    for name, text in schemas.items():
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return len(schemas)


def json_schema(name: str, comments: Mapping[str, str]) -> dict[str, Any]:
    """The JSON Schema of the YAML files of a group, or of the root, "config".

    No key is required, because a file may include others by its defaults list. A preset may have the keys of the root:
    its schema refers to that of the root. `comments` describe keys: {"aug.shift": "fraction of the width"}.
    """
    head = {"$schema": DRAFT, "title": f"digitnet's {name}"}
    if name == "sweep":  # its keys are dotted, and have several values
        value = {"type": ["string", "number", "boolean", "array", "null"]}
        groups = [group for group in GROUPS if group not in PRESETS]
        keys: dict[str, Any] = dict.fromkeys(sorted({*groups, *all_keys()}), value)
        plain = {"type": "object", "properties": keys, "additionalProperties": False}
        return head | {"anyOf": [plain, {"$ref": "config.json"}]}
    if name in PRESETS:
        return head | {"$ref": "config.json"}
    definitions: dict[str, Any] = {"interpolation": INTERPOLATION}
    if name == "config":
        shape: dict[str, Any] = _object(Config, "", comments, definitions)
        shape["properties"] |= {"defaults": DEFAULTS, "hydra": {"type": "object"}}
    else:
        shape = _field(name, comments, definitions)
        for kind in shape.get("anyOf", [shape]):
            kind["properties"]["defaults"] = DEFAULTS
    return head | shape | {"$defs": definitions}


def _packaged_comments() -> dict[str, str]:
    """The comment of each key in the packaged YAML."""
    packaged = Tree.packaged()
    comments: dict[str, str] = {}
    for name in packaged.names:
        source = packaged.read(name)
        for key, comment in source.comments.items():
            comments.setdefault(f"{source.group}.{key}", comment)
    return comments


def _object(kind: type[Group], group: str, comments: Mapping[str, str], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of one class of a group, or of the whole configuration, without required keys."""
    schema = _with_field_words(kind.model_json_schema())
    definitions |= {key: value for key, value in schema.get("$defs", {}).items() if group}
    properties: dict[str, Any] = {}
    for key, shape in schema["properties"].items():
        if not group and key in (*GROUPS, *SECTIONS):
            properties[key] = _field(key, comments, definitions)
            continue
        shape.pop("title", None)
        properties[key] = {"anyOf": [*shape.pop("anyOf", [shape]), {"$ref": "#/$defs/interpolation"}]}
        if comment := comments.get(f"{group if group in GROUPS else ''}.{key}"):
            properties[key]["description"] = comment
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _field(group: str, comments: Mapping[str, str], definitions: dict[str, Any]) -> dict[str, Any]:
    annotation = Config.model_fields[group].annotation
    kinds = get_args(annotation) or (annotation,)
    shapes = [_object(kind, group, comments, definitions) for kind in kinds]
    return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}


def _with_field_words(schema: dict[str, Any]) -> dict[str, Any]:
    """Rename definitions from class names to words: PhaseConfig becomes `phase`."""

    def word(class_name: str) -> str:
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name.removesuffix("Config")).lower()

    text = json.dumps(schema)
    for name in schema.get("$defs", {}):
        for before in ('"#/$defs/{}"', '"{}": {{', '"title": "{}"'):
            text = text.replace(before.format(name), before.format(word(name)))
    renamed: dict[str, Any] = json.loads(text)
    return renamed


def _as_json_text(schema: dict[str, Any]) -> str:
    """The schema as JSON, with 1 instead of 1.0: versions of pydantic differ in that."""

    def number(digits: str) -> float:
        value = float(digits)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value

    return json.dumps(json.loads(json.dumps(schema), parse_float=number), indent=1, ensure_ascii=False) + "\n"
