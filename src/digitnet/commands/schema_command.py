"""Write JSON Schemas of the configuration, with which editors complete and check YAML.

One file a group, and config.json for the root. An editor with the YAML language server (VS Code, Neovim, Emacs,
JetBrains' IDEs) finds the schema of a file by a line in it:

  # yaml-language-server: $schema=../../schemas/optimizer.json
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from digitnet.config.files import Tree
from digitnet.config.schema import GROUPS, PRESETS, SECTIONS, Config, Group


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="where to; it is made if it is missing")


def main(options: argparse.Namespace) -> None:
    """Write the files. Raises OSError where one cannot be written."""
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, content in schemas().items():
        (options.folder / f"{name}.json").write_text(content)
    print(f"wrote {len(schemas())} schemas to {options.folder}")


def schemas() -> dict[str, str]:
    """The text of each file by its name: `optimizer`, …, `config`."""
    return {name: _text(_schema(name)) for name in (*GROUPS, "config")}


def _text(schema: dict[str, Any]) -> str:
    """JSON, with 1 for 1.0: versions of pydantic differ in that."""

    def number(digits: str) -> float:
        value = float(digits)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value

    return json.dumps(json.loads(json.dumps(schema), parse_float=number), indent=1, ensure_ascii=False) + "\n"


def _schema(name: str) -> dict[str, Any]:
    """Of one group's options, with what the packaged YAML says of each key."""
    tree = Tree.at()
    packaged = Tree(tree.directories[-1:])
    comments: dict[str, str] = {}
    for option in packaged.names:
        source = packaged.read(option)
        for key, comment in source.comments.items():
            comments.setdefault(f"{source.group}.{key}", comment)
    return json_schema(name, comments)


def json_schema(name: str, comments: Mapping[str, str]) -> dict[str, Any]:
    """The JSON Schema (draft 7) of the YAML files of a group, or of the root, "config".

    No key is required, as a file may take the rest from another by its defaults list. `comments` describes keys:
    {"aug.shift": "fraction of the width"}.
    """
    definitions: dict[str, Any] = {"open": OPEN}
    if name in (*PRESETS, "config"):
        shape: dict[str, Any] = _object(Config, "", comments, definitions)
        shape["properties"] |= {"defaults": DEFAULTS, "hydra": {"type": "object"}}
    else:
        shape = _field(name, comments, definitions)
        for kind in shape.get("anyOf", [shape]):
            kind["properties"]["defaults"] = DEFAULTS
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": f"digitnet's {name}"}
    return head | shape | {"$defs": definitions}


DEFAULTS = {"type": "array", "description": "files that this one takes in, the last with the last word"}
OPEN = {"type": "string", "pattern": r"^(\$\{.*\}|\?\?\?)$"}  # an interpolation, or a value that is still missing


def _object(kind: type[Group], group: str, comments: Mapping[str, str], definitions: dict[str, Any]) -> dict[str, Any]:
    """One kind of a group, or the whole configuration, without required keys."""
    found = kind.model_json_schema()
    definitions |= {key: value for key, value in found.get("$defs", {}).items() if group}
    properties: dict[str, Any] = {}
    for key, shape in found["properties"].items():
        if not group and key in (*GROUPS, *SECTIONS):
            properties[key] = _field(key, comments, definitions)
            continue
        shape.pop("title", None)
        properties[key] = {"anyOf": [*shape.pop("anyOf", [shape]), {"$ref": "#/$defs/open"}]}
        if comment := comments.get(f"{group if group in GROUPS else ''}.{key}"):
            properties[key]["description"] = comment
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _field(group: str, comments: Mapping[str, str], definitions: dict[str, Any]) -> dict[str, Any]:
    annotation = Config.model_fields[group].annotation
    kinds = get_args(annotation) or (annotation,)
    shapes = [_object(kind, group, comments, definitions) for kind in kinds]
    return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}
