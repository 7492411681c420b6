"""Checkpoints: the whole state of training, so that a resumed run is bit-identical to one that was not interrupted."""

import io
import math
import os
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from digitnet.atomic import open_regular, write_atomically
from digitnet.errors import CheckpointError
from digitnet.text import one_line
from digitnet.training.exchange import SAFETENSORS, read_safetensors
from digitnet.training.record import EpochRecord
from digitnet.training.state import PartialEpoch, TrainState


def save_checkpoint(
    paths: Iterable[Path],
    state: TrainState,
    model_name: str,
    config: dict[str, Any],
    records: Sequence[EpochRecord] = (),
) -> None:
    """Write the same checkpoint to each of `paths`, in order, each atomically.

    `records` are those of the finished epochs. A checkpoint has only tensors, numbers, strings and containers of them,
    so that it loads with `weights_only=True`. Raises OSError.
    """
    partial = state.partial_epoch
    device = state.generator.device
    buffer = io.BytesIO()
    torch.save(
        {
            "model_name": model_name,
            "config": config,
            "model": state.evaluated.state_dict(),
            "trained": None if state.evaluated is state.model else state.model.state_dict(),
            "average": state.average.model.state_dict() if state.average and state.kept else None,
            "averaged": state.average.count if state.average else 0,
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
    """Restore `state`, which is newly built, and torch's generators from a checkpoint read by `load_checkpoint`.

    `images` is the size of the training set. Returns the records of the finished epochs. On another type of device than
    the checkpoint's, where generators' states cannot be restored, they are seeded anew. Raises ValueError, or any other
    exception if the file is not from digitnet, if the checkpoint is of another network or optimizer, or invalid.
    """
    records = [EpochRecord.of(record) for record in content["records"]]
    _check_progress(content, records, images)
    # Apart from "model", which is what is evaluated, if these differ from it.
    trained, average = content.get("trained"), content.get("average")
    state.model.load_state_dict(content["model"] if trained is None else trained)
    if state.average is not None:
        state.average.model.load_state_dict(content["model"] if average is None else average)
        state.average.count = int(content.get("averaged", 0))
    saved = content["optimizer"]
    # Keep the new hyperparameters: a recorded step needs the learning rate as a tensor on its device, and the
    # checkpoint may be from another device.
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
    else:  # with other seeds than at the start of the run, which would repeat the draws of the first epochs
        state.generator.manual_seed(state.generator.initial_seed() ^ state.steps)
        torch.manual_seed(torch.initial_seed() ^ state.steps)
    return records


def _check_progress(content: dict[str, Any], records: Sequence[EpochRecord], images: int) -> None:
    """Raise ValueError if a checkpoint's numbers are none that a run on so many images can have."""
    for key in ("epoch", "step"):
        if not isinstance(content[key], int) or content[key] < 0:
            raise ValueError(f"its {key} is {content[key]!r}")
    if not all(math.isfinite(value) for record in records for value in asdict(record).values()):
        raise ValueError("its records have numbers that are not finite")
    partial = content["underway"]
    if partial is not None:
        if not (isinstance(partial["done"], int) and 0 <= partial["done"] <= images):
            raise ValueError(f"{partial['done']!r} of {images:,} images of its epoch are done")
        if not (math.isfinite(partial["seconds"]) and all(row.isfinite().all() for row in partial["sums"])):
            raise ValueError("the measurements of its epoch are not finite")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running code from it, or needing more memory than the file's size.

    Raises CheckpointError if that is impossible.
    """
    try:
        with open(path, "rb", opener=open_regular) as file:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                    raise CheckpointError(f"{path}: compressed, which digitnet's are not: it may be of any size")
                if (
                    sum(entry.file_size for entry in entries) > os.fstat(file.fileno()).st_size
                ):  # a run may replace the path
                    raise CheckpointError(f"{path}: damaged (its parts are larger than the whole)")
                damaged = archive.testzip()  # torch.load checks no checksums
            if damaged is not None:
                raise CheckpointError(f"{path}: damaged (the checksum of {damaged} is wrong)")
            file.seek(0)
            with warnings.catch_warnings(action="ignore"):  # an error follows that says the same
                content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except CheckpointError:
        raise
    except Exception as error:  # torch.load raises all kinds of errors for a damaged file
        raise CheckpointError(f"{path}: not a readable checkpoint ({one_line(error)})") from error
    if not isinstance(content, dict) or not {"model", "model_name"} <= content.keys():
        raise CheckpointError(f"{path}: not a checkpoint of digitnet's")
    return content


def load_weights(model: nn.Module, model_name: str, path: Path) -> dict[str, Any]:
    """Load the weights of a checkpoint, or of an exported .safetensors file, into `model`, and return its content.

    Raises CheckpointError where there are none or they do not fit.
    """
    if path.suffix == SAFETENSORS:
        weights, facts = read_safetensors(path)
        content = {"model": weights, "model_name": facts["model"]["name"], "epoch": facts.get("epoch", 0)}
    else:
        content = load_checkpoint(path)
    if content["model_name"] != model_name:
        saved = content["model_name"]
        raise CheckpointError(f"{path}: saved for {saved}, the config asks for {model_name}; set model={saved}")
    try:
        model.load_state_dict(content["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        mismatch = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"{path}: its weights do not fit this {model_name} ({mismatch})") from error
    return content
