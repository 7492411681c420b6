"""The whole state of a training run: what it takes to go on as if nothing had happened."""

import io
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, nn
from torch.optim import Optimizer

from digitnet.errors import CheckpointError, one_line
from digitnet.records import write_atomically


@dataclass
class TrainState:
    """What training changes. `generator` draws permutations and distortions; dropout uses torch's global one."""

    model: nn.Module
    optimizer: Optimizer
    generator: Generator
    epoch: int = 0  # finished ones
    step: int = 0  # finished ones, over all epochs


def save(paths: Iterable[Path], state: TrainState, model_name: str, config: dict[str, Any]) -> None:
    """Write a checkpoint to each of `paths`, atomically.

    It holds tensors, numbers and strings only, so that it loads with `weights_only=True`.
    """
    buffer = io.BytesIO()
    torch.save(
        {
            "model_name": model_name,
            "config": config,
            "model": state.model.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "epoch": state.epoch,
            "step": state.step,
            "generator": state.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "device_rng": _device_rng(state.generator.device),
        },
        buffer,
    )
    for path in paths:
        write_atomically(path, buffer.getvalue())


def _device_rng(device: torch.device) -> torch.Tensor | None:
    """The state of the device's global generator, which dropout draws from; the CPU's is `torch_rng`."""
    match device.type:
        case "cuda":
            return torch.cuda.get_rng_state(device)
        case "mps":
            return torch.mps.get_rng_state()
    return None


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU without running any code in it. Raises CheckpointError if that cannot be."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load looks at no checksum
        if damaged is not None:
            raise CheckpointError(f"{path}: damaged (the checksum of {damaged} is wrong)")
        with warnings.catch_warnings(action="ignore"):  # what torch finds odd in a foreign file, the error says too
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except CheckpointError:
        raise
    except Exception as error:  # torch.load raises whatever a broken file leads it to
        raise CheckpointError(f"{path}: not a readable checkpoint ({one_line(error)})") from error
    if not isinstance(content, dict) or not {"model", "model_name"} <= content.keys():
        raise CheckpointError(f"{path}: not a checkpoint of digitnet's")
    return content


def load_weights(model: nn.Module, model_name: str, source: Path) -> None:
    """Start `model` from a checkpoint, or from the final weights of the run whose folder `source` is.

    Raises CheckpointError where there are none or they do not fit.
    """
    path = source if source.is_file() else source / "checkpoints" / "last.pt"
    if not path.exists():
        raise CheckpointError(f"init_from={source}: no checkpoint there; give the folder of a run or a checkpoint")
    content = load(path)
    if content["model_name"] != model_name:
        saved = content["model_name"]
        raise CheckpointError(f"{path}: saved for {saved}, the config asks for {model_name}; set model={saved}")
    try:
        model.load_state_dict(content["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        mismatch = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"{path}: its weights do not fit this {model_name} ({mismatch})") from error
