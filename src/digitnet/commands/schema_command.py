"""Write JSON Schemas of the configuration, with which editors complete and check YAML.

One file per group, and config.json for the root. An editor with the YAML language server (VS Code, Neovim, Emacs,
JetBrains' IDEs) finds the schema of a file by a line in it:

  # yaml-language-server: $schema=../../schemas/optimizer.json
"""

import argparse
from pathlib import Path

from digitnet.text import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the folder to write to; it is created if it is missing")


def main(options: argparse.Namespace) -> None:
    """Write the files. Raises OSError if one cannot be written."""
    from digitnet.config.json_schema import write_json_schemas

    show(f"wrote {write_json_schemas(options.folder)} schemas to {options.folder}")
