"""What a run trains, and with what: all objects, built from its configuration."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from digitnet.config import schema
from digitnet.data import Dataset
from digitnet.errors import ConfigError
from digitnet.experiment import build
from digitnet.models import check_output
from digitnet.text import plural
from digitnet.training import runtime
from digitnet.training.checkpoint import TrainState
from digitnet.training.distributed import SINGLE_PROCESS, ProcessGroup
from digitnet.training.loop import train_step
from digitnet.training.recorded_step import RecordedStep, Step


@dataclass(frozen=True)
class Components:
    """`config` is settled: it says where the data were found. `step` is `train_step` with all but a batch,
    `captured` the same as a recorded one, if it may be.
    """

    config: schema.Config
    data: Dataset
    state: TrainState
    augment: Callable[[Tensor], Tensor] | None
    step: Step
    captured: RecordedStep | None
    channels_last: bool
    steps_per_epoch: int
    ranks: ProcessGroup

    @property
    def validation(self) -> str:
        """The split that chooses best.pt."""
        data = self.data
        return "test set" if data.validates_on_test else f"{len(data.validation):,} held-out training images"

    def describe_data(self) -> dict[str, Any]:
        """`dataset` of summary.json."""
        data = self.data
        return {
            "name": data.name,
            "source": data.source,
            "train": len(data.train),
            "validation": len(data.validation),
            "validation_on": self.validation,
            "test": len(data.test),
            "classes": list(data.classes),
            **data.notes,
        }

    def describe_device(self) -> dict[str, Any]:
        """`device` of summary.json."""
        device = self.data.train.images.device
        return {
            "type": device.type,
            "name": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "processes": self.ranks.size,
            "precision": self.config.trainer.precision,
            "channels_last": self.channels_last,
            "reuses_memory": runtime.reuses_memory(),
            "cuda_graph": False,  # until a step has been recorded
        }


def build_components(config: schema.Config, download: bool = True, ranks: ProcessGroup = SINGLE_PROCESS) -> Components:
    """Tell PyTorch what holds for the process, and draw all objects from the seed; data come by `download` if they may.

    Several `ranks` draw the same, but for dropout. Raises ConfigError, DataError.
    """
    if config.trainer.threads is not None:
        if config.trainer.threads * ranks.local_size > (cores := os.cpu_count() or 1):
            each = f" in each of {ranks.local_size} processes" if ranks.local_size > 1 else ""
            threads = f"trainer.threads={config.trainer.threads}{each}"
            raise ConfigError(f"{threads}: this machine has {plural(cores, 'core')}")
        torch.set_num_threads(config.trainer.threads)
    device = build.device(config.device.name, config.trainer.precision)
    runtime.make_deterministic(device)
    if config.trainer.reuse_memory:
        runtime.reuse_memory()
    # Streams of their own for weights, for permutations and distortions, and (torch's global one) for dropout.
    seeds = torch.randint(2**62, (3,), generator=Generator().manual_seed(config.seed)).tolist()
    torch.manual_seed(seeds[2] + ranks.rank)
    generator = Generator(device).manual_seed(seeds[1])

    data = build.data(config.data, download).to(device)
    model = build.model(config.model, len(data.classes), Generator().manual_seed(seeds[0])).to(device)
    if channels_last := build.channels_last(config, device):
        model = model.to(memory_format=torch.channels_last)
    check_output(model, data.test.images[:2].float().div_(255), len(data.classes))
    if ranks.size > 1:
        model = _normalized_together(model, config.model.name, device)
    augment = build.augment(config.aug, generator)
    capture = build.cuda_graph(config, device) and ranks.size == 1
    optimizer = build.optimizer(config.optimizer, model, capturable=capture)
    wrapped = ranks.wrap(model, device, unused=isinstance(config.model, schema.CustomModelConfig))
    step = partial(train_step, wrapped, optimizer, precision=config.trainer.precision, ranks=ranks)
    return Components(
        config.model_copy(update={"data": build.with_resolved_paths(config.data, data.name)}),
        data,
        TrainState(model, optimizer, generator),
        augment,
        step,
        RecordedStep(step, optimizer, config.trainer.batch_size) if capture else None,
        channels_last,
        math.ceil(len(data.train) / config.trainer.batch_size),
        ranks,
    )


def _normalized_together(model: nn.Module, name: str, device: torch.device) -> nn.Module:
    """The network whose batch normalization sees the whole batch. Raises ConfigError where PyTorch has none such."""
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return model
    if device.type == "cpu":
        raise ConfigError(
            f"model={name}: its batch normalization would see only a part of each batch, as PyTorch has it for several "
            "processes on GPUs alone; leave torchrun out"
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return]
