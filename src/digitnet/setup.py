"""What a run trains, and with what: all objects, built from its configuration."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from digitnet import build, machine, schema
from digitnet.capture import CapturedStep
from digitnet.checkpoint import TrainState
from digitnet.data import Dataset
from digitnet.display import plural
from digitnet.errors import ConfigError
from digitnet.models import check_output
from digitnet.trainer import train_step


@dataclass(frozen=True)
class Setup:
    """`config` is settled: it says where the data were found. `captured` stands in for `train_step`."""

    config: schema.Config
    data: Dataset
    state: TrainState
    augment: Callable[[Tensor], Tensor] | None
    captured: CapturedStep | None
    channels_last: bool
    steps_per_epoch: int

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
            "precision": self.config.trainer.precision,
            "channels_last": self.channels_last,
            "reuses_memory": machine.reuses_memory(),
            "cuda_graph": False,  # until a step has been recorded
        }


def set_up(config: schema.Config, download: bool = True) -> Setup:
    """Tell PyTorch what holds for the process, and draw all objects from the seed; data come by `download` if they may.

    Raises ConfigError, DataError.
    """
    if config.trainer.threads is not None:
        if config.trainer.threads > (cores := os.cpu_count() or 1):
            raise ConfigError(f"trainer.threads={config.trainer.threads}: this machine has {plural(cores, 'core')}")
        torch.set_num_threads(config.trainer.threads)
    device = build.device(config.device.name, config.trainer.precision)
    machine.make_deterministic(device)
    if config.trainer.reuse_memory:
        machine.reuse_memory()
    # Streams of their own for weights, for permutations and distortions, and (torch's global one) for dropout.
    seeds = torch.randint(2**62, (3,), generator=Generator().manual_seed(config.seed)).tolist()
    torch.manual_seed(seeds[2])
    generator = Generator(device).manual_seed(seeds[1])

    data = build.data(config.data, download).to(device)
    model = build.model(config.model, len(data.classes), Generator().manual_seed(seeds[0])).to(device)
    if channels_last := build.channels_last(config, device):
        model = model.to(memory_format=torch.channels_last)
    check_output(model, data.test.images[:2].float().div_(255), len(data.classes))
    augment = build.augment(config.aug, generator)
    capture = build.cuda_graph(config, device)
    optimizer = build.optimizer(config.optimizer, model, capturable=capture)
    captured = None
    if capture:
        step = partial(train_step, model, optimizer, precision=config.trainer.precision)
        captured = CapturedStep(step, optimizer, config.trainer.batch_size)
    return Setup(
        config.model_copy(update={"data": build.settled(config.data, data.name)}),
        data,
        TrainState(model, optimizer, generator),
        augment,
        captured,
        channels_last,
        steps_per_epoch=math.ceil(len(data.train) / config.trainer.batch_size),
    )
