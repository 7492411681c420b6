"""Checkpoints: the whole state of a training run, from which it resumes to the last bit."""

import io
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from digitnet.atomic import write_atomically
from digitnet.errors import CheckpointError
from digitnet.text import one_line
from digitnet.training.record import EpochRecord
from digitnet.training.state import PartialEpoch, TrainState


def save_checkpoint(
    paths: Iterable[Path],
    state: TrainState,
    model_name: str,
    config: dict[str, Any],
    records: Sequence[EpochRecord] = (),
) -> None:
    """Write a checkpoint to each of `paths` in turn, atomically: all that resuming to the last bit takes.

    `records` are those of the finished epochs. A checkpoint holds tensors, numbers and strings only, so that it loads
    with `weights_only=True`. Raises OSError.
    """
    partial = state.partial_epoch
    device = state.generator.device
    buffer = io.BytesIO()
    torch.save(
        {
            "model_name": model_name,
            "config": config,
            "model": state.model.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "epoch": state.epoch,
            "step": state.steps,
            "underway": partial and vars(partial),
            "records": [asdict(record) for record in records],
            "device": device.type,
            "generator": state.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "device_rng": _device_rng(device),
        },
        buffer,
    )
    for path in paths:
        write_atomically(path, buffer.getvalue())


def _device_rng(device: torch.device) -> Tensor | None:
    """The state of the device's global generator, which dropout draws from; the CPU's is `torch_rng`."""
    match device.type:
        case "cuda":
            return torch.cuda.get_rng_state(device)
        case "mps":
            return torch.mps.get_rng_state()
    return None


def restore_checkpoint(state: TrainState, content: dict[str, Any], images: int) -> list[EpochRecord]:
    """Bring `state`, freshly built, and torch's generators to where a checkpoint, read by `load_checkpoint`, left them.

    `images` is the size of the training set. Returns the records of the finished epochs. On a device of another kind
    than the checkpoint's the generators, whose states mean nothing there, are seeded anew. Raises ValueError, or
    whatever else a foreign file's content leads to, if it is of another network or optimizer, or makes no sense.
    """
    records = [EpochRecord.of(record) for record in content["records"]]
    state.model.load_state_dict(content["model"])
    saved = content["optimizer"]
    # Hyperparameters as this device holds them, not as the checkpoint's did: a recorded step reads the learning rate
    # from a tensor on the device.
    for theirs, ours in zip(saved["param_groups"], state.optimizer.param_groups, strict=True):
        theirs |= {key: value for key, value in ours.items() if key != "params"}
    state.optimizer.load_state_dict(saved)
    state.epoch, state.steps = int(content["epoch"]), int(content["step"])
    device = state.generator.device
    if content["underway"] is not None:
        partial = state.partial_epoch = PartialEpoch(**content["underway"])
        if not torch.equal(partial.order.sort().values, torch.arange(images)):
            raise ValueError(f"its permutation is not one of {images:,} images")
        partial.order = partial.order.to(device)
        partial.sums = [row.to(device) for row in partial.sums]
    if content["device"] == device.type:
        state.generator.set_state(content["generator"])
        torch.set_rng_state(content["torch_rng"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(content["device_rng"], device)
        elif device.type == "mps":
            torch.mps.set_rng_state(content["device_rng"])
    else:  # not as they were seeded when the run began: the draws of the first epochs would be repeated
        state.generator.manual_seed(state.generator.initial_seed() ^ state.steps)
        torch.manual_seed(torch.initial_seed() ^ state.steps)
    return records


def load_checkpoint(path: Path) -> dict[str, Any]:
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


def load_weights(model: nn.Module, model_name: str, path: Path) -> None:
    """Load the weights of a checkpoint into `model`. Raises CheckpointError where there are none or they do not fit."""
    content = load_checkpoint(path)
    if content["model_name"] != model_name:
        saved = content["model_name"]
        raise CheckpointError(f"{path}: saved for {saved}, the config asks for {model_name}; set model={saved}")
    try:
        model.load_state_dict(content["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        mismatch = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"{path}: its weights do not fit this {model_name} ({mismatch})") from error
