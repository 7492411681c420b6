"""Exports trained networks for other programs, and compares what they compute there with what PyTorch computes."""

import contextlib
import io
import json
import logging
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from digitnet.atomic import SCRATCH_PREFIX
from digitnet.errors import DigitnetError
from digitnet.experiment import build
from digitnet.experiment.evaluation import examined
from digitnet.experiment.trained import TrainedNetwork
from digitnet.metrics import Evaluation, predict
from digitnet.runs.environment import versions
from digitnet.text import one_line
from digitnet.training.exchange import SAFETENSORS, check_exporters, read_safetensors, write_safetensors

SUFFIXES = {"onnx": ".onnx", "safetensors": SAFETENSORS, "pt2": ".pt2"}  # by the format
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "safetensors": ("safetensors",), "pt2": ()}
LARGEST_DIFFERENCE = 1e-4  # of a logit or a probability, between the exported network and PyTorch's
INPUT = "images (B, 1, 28, 28) float32 from 0 (paper) to 1 (ink); digits fit into 20x20, centre of mass in the middle"
CHUNK = 250  # images at a time

Outputs = Callable[[Tensor], Tensor]  # images (B, 1, 28, 28) float32 -> (B, classes) float32


@dataclass(frozen=True)
class Export:
    """What was written: the largest absolute difference of the outputs on `n` test images, and the accuracy there."""

    path: Path
    difference: float
    n: int
    accuracy: float
    bytes: int


class _Exported(nn.Module):
    """The network, with probabilities instead of logits if `softmax`."""

    def __init__(self, model: nn.Module, softmax: bool) -> None:
        super().__init__()
        self.model, self.softmax = model, softmax

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits.softmax(1) if self.softmax else logits


def export_network(
    network: TrainedNetwork, kind: str, output: Path, softmax: bool = False, overrides: Sequence[str] = ()
) -> Export:
    """Write a network as `onnx`, `safetensors` or `pt2`, and load it again to compare it on the run's test set.

    The file appears only if the outputs differ by at most LARGEST_DIFFERENCE. It takes images as INPUT says, in
    batches of any size, and returns logits or, with `softmax`, probabilities. `overrides` choose other test images.
    Raises ConfigError if a package is missing, DataError, and DigitnetError if the network cannot be exported.
    """
    check_exporters(PACKAGES[kind], f"--format {kind}")
    with examined([network], [*overrides, "device=cpu"], "test") as (subject,):
        images, labels = subject.chosen.images, subject.chosen.labels
        model = network.model.to(memory_format=torch.contiguous_format).float().eval()
        logits = predict(model, images)
        expected = logits.softmax(1) if softmax else logits
        facts = _facts(network, softmax, Evaluation.of(logits, labels).accuracy)
        scratch = output.parent / f"{SCRATCH_PREFIX}{secrets.token_hex(4)}{output.suffix}"
        try:
            with _silent():
                outputs = _WRITERS[kind](scratch, _Exported(model, softmax), network, facts)
                difference = _largest_difference(outputs, images, expected)
            if not difference <= LARGEST_DIFFERENCE:  # also if it is not a number
                raise DigitnetError(
                    f"{output}: not written: its outputs differ by {difference:.2g} from PyTorch's, "
                    f"by more than {LARGEST_DIFFERENCE:g}"
                )
            size = scratch.stat().st_size
            scratch.replace(output)
        finally:
            scratch.unlink(missing_ok=True)
    return Export(output, difference, len(images), facts["test_accuracy"], size)


def _facts(network: TrainedNetwork, softmax: bool, accuracy: float) -> dict[str, Any]:
    """What is stored with the network."""
    return {
        "model": network.config.model.model_dump(),
        "classes": list(network.classes),
        "input": INPUT,
        "output": "probabilities" if softmax else "logits",
        "prepare": network.prepare,
        "data": network.dataset.get("name", network.config.data.name),
        "test_accuracy": accuracy,
        "epoch": network.epoch,
        "command": network.command,
        "versions": versions(),
    }


def _largest_difference(outputs: Outputs, images: Tensor, expected: Tensor) -> float:
    """Between the outputs for images (N, 1, 28, 28) uint8 and those `expected` (N, classes)."""
    differences = [
        (outputs(chunk.float() / 255) - some).abs().max()
        for chunk, some in zip(images.split(CHUNK), expected.split(CHUNK), strict=True)
    ]
    return float(torch.stack(differences).max())


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The exporters warn of their own code, and print what they do."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        nowhere = io.StringIO()
        streams = contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere)
        with warnings.catch_warnings(action="ignore"), streams[0], streams[1]:
            yield
    except (DigitnetError, OSError):
        raise
    except Exception as error:  # the exporters raise all kinds of errors for what they do not support
        raise DigitnetError(f"the network cannot be exported ({one_line(error)})") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _write_onnx(path: Path, model: nn.Module, network: TrainedNetwork, facts: dict[str, Any]) -> Outputs:
    """Source of the metadata's form: ONNX's `metadata_props`, strings; those that are none are JSON."""
    import onnx
    import onnxruntime

    program = torch.onnx.export(
        model,
        (torch.zeros(2, 1, 28, 28),),
        input_names=["images"],
        output_names=[facts["output"]],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    onnx.helper.set_model_props(proto, texts)
    path.write_bytes(proto.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _write_pt2(path: Path, model: nn.Module, network: TrainedNetwork, facts: dict[str, Any]) -> Outputs:
    program = torch.export.export(model, (torch.zeros(2, 1, 28, 28),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, path, extra_files={"metadata.json": json.dumps(facts)})
    loaded = torch.export.load(path).module()
    return lambda images: loaded(images)


def _write_safetensors(path: Path, model: nn.Module, network: TrainedNetwork, facts: dict[str, Any]) -> Outputs:
    write_safetensors(path, network.model.state_dict(), facts)
    weights, stored = read_safetensors(path)
    again = build.model(network.config.model, len(stored["classes"]))
    again.load_state_dict(weights)
    again.eval()

    def outputs(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = again(images)
        return logits

    return outputs


_WRITERS: dict[str, Callable[[Path, nn.Module, TrainedNetwork, dict[str, Any]], Outputs]] = {
    "onnx": _write_onnx,
    "pt2": _write_pt2,
    "safetensors": _write_safetensors,
}
