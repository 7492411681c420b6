"""Write JSON Schemas of the configuration, with which editors complete and check YAML.

One file a group, and config.json for the root. An editor with the YAML language server (VS Code, Neovim, Emacs,
JetBrains' IDEs) finds the schema of a file by a line in it:

  # yaml-language-server: $schema=../../schemas/optimizer.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from digitnet.errors import DigitnetError
from digitnet.schema import GROUPS, json_schema
from digitnet.sources import Tree


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="where to; it is made if it is missing")


def main(options: argparse.Namespace) -> None:
    """Write the files. Raises DigitnetError where one cannot be written."""
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        for name, content in schemas().items():
            (options.folder / f"{name}.json").write_text(content)
    except OSError as error:
        raise DigitnetError(f"{error.filename}: {error.strerror}") from error
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
            comments.setdefault(f"{source.group or 'trainer'}.{key}", comment)
    return json_schema(name, comments)
