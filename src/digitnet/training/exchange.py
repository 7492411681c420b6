"""Weights in the format of safetensors, with what a network is rebuilt from: for other programs and other people."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from digitnet.errors import CheckpointError, ConfigError
from digitnet.text import one_line

SAFETENSORS = ".safetensors"
FORMAT_KEY = "digitnet"  # of the metadata, a JSON object


def check_exporters(packages: Sequence[str], what: str) -> None:
    """Raise ConfigError if one of the packages is not installed."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ConfigError(f"{what}: {package} is not installed; pip install 'digitnet[export]'") from error


def write_safetensors(path: Path, weights: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors of any device and layout; `facts` are stored as JSON. Raises OSError."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    path.write_bytes(save(tensors, metadata={FORMAT_KEY: json.dumps(facts)}))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(weights on the CPU, facts) of a file that `write_safetensors` wrote; nothing in it is run.

    Raises CheckpointError if it is damaged or from another program, ConfigError if safetensors is not installed.
    """
    check_exporters(("safetensors",), str(path))
    from safetensors import safe_open

    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            names: list[str] = file.keys()
            weights = {name: file.get_tensor(name) for name in names}
            facts = json.loads((file.metadata() or {}).get(FORMAT_KEY, "null"))
    except Exception as error:  # safetensors has an exception of its own, JSON another
        raise CheckpointError(f"{path}: not a readable safetensors file ({one_line(error)})") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("model"), dict) or "name" not in facts["model"]:
        raise CheckpointError(f"{path}: not written by digitnet export: it does not say what network it is of")
    return weights, facts
