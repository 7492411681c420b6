"""Builds all objects of a run from its configuration: data, network, optimizer, training step."""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from digitnet.config import schema
from digitnet.data import Dataset, Split
from digitnet.errors import ConfigError
from digitnet.experiment import build
from digitnet.experiment.debugging import debugged_data
from digitnet.hardware import available_cores
from digitnet.metrics import Evaluation, evaluate, predict
from digitnet.models import check_batch_of_one, check_output
from digitnet.text import one_line, plural
from digitnet.training import runtime
from digitnet.training.distributed import SINGLE_PROCESS, ProcessGroup
from digitnet.training.recorded_step import RecordedStep
from digitnet.training.state import TrainState
from digitnet.training.step import Step, compute_gradients, steps_per_epoch, train_step
from digitnet.training.traced_gradients import TracedGradients
from digitnet.training.weight_average import LastEpochsAverage, MovingAverage, WeightAverage


@dataclass(frozen=True)
class Components:
    """The objects of a run; see `build_components`.

    `config` has absolute paths and, for data=auto, the data set that was found. `step` is `train_step` with all
    arguments but the batch; `recorded_step` is the same as a CUDA graph, or None. These two, `evaluate` and `predict`
    compute in the run's precision.
    """

    config: schema.Config
    data: Dataset
    state: TrainState
    augment: Callable[[Tensor], Tensor] | None
    step: Step
    recorded_step: RecordedStep | None
    evaluate: Callable[[nn.Module, Tensor, Tensor], Evaluation]
    predict: Callable[[nn.Module, Tensor], Tensor]
    channels_last: bool
    group: ProcessGroup

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(len(self.data.train), self.config.trainer.batch_size)

    @property
    def validation_split(self) -> str:
        """`test set`, `5,000 held-out training images`, or `5,000 images of the validation set`, if there is one."""
        data = self.data
        if data.validates_on_test:
            return "test set"
        own = self.config.data.validation == "test"
        return f"{len(data.validation):,} {'images of the validation set' if own else 'held-out training images'}"

    def describe_data(self) -> dict[str, Any]:
        """`dataset` of summary.json."""
        data = self.data
        return {
            "name": data.name,
            "source": data.source,
            "train": len(data.train),
            "validation": len(data.validation),
            "validation_on": self.validation_split,
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
            "processes": self.group.size,
            "precision": self.config.trainer.precision,
            "channels_last": self.channels_last,
            "reuses_memory": runtime.reuses_memory(),
            "cuda_graph": False,  # until a step has been recorded
        }


def run_device(config: schema.Config) -> torch.device:
    """The device that the run trains on. Raises ConfigError if this machine does not have it."""
    return build.device(config.device.name, config.trainer.precision)


def build_components(config: schema.Config, download: bool = True, group: ProcessGroup = SINGLE_PROCESS) -> Components:
    """Configure PyTorch for this process, and build all objects of the run; data are downloaded only with `download`.

    All random numbers are from the run's seed; they are the same in all processes of a `group`, except dropout's.
    Raises ConfigError, DataError.
    """
    device = _configure_process(config, group)
    # Separate generators for weights, for permutations and distortions, and (torch's global one) for dropout.
    seeds = torch.randint(2**62, (3,), generator=Generator().manual_seed(config.seed)).tolist()
    torch.manual_seed(seeds[2] + group.rank)
    generator = Generator(device).manual_seed(seeds[1])

    data = debugged_data(build.data(config.data, download), config).to(device)
    model = build.model(config.model, len(data.classes), Generator().manual_seed(seeds[0])).to(device)
    if channels_last := build.channels_last(config, device):
        model = model.to(memory_format=torch.channels_last)
    check_output(model, data.test.images[:2].float().div_(255), len(data.classes))
    _check_last_batch(model, data.train, config.trainer.batch_size, group)
    if group.size > 1:
        model = _with_synchronized_batch_norm(model, config.model.name, device)
    recordable = build.cuda_graph(config, device) and group.size == 1
    optimizer = build.optimizer(config.optimizer, model, build.loss(config.loss, config.model), capturable=recordable)
    average = _average(model, config.trainer)
    if config.trainer.early_stop is not None:
        _copied(model, f"trainer.early_stop={config.trainer.early_stop}")
    step = _step(config, model, optimizer, average, device, group)
    precision = config.trainer.precision
    return Components(
        config=config.model_copy(update={"data": build.with_resolved_paths(config.data, data.name)}),
        data=data,
        state=TrainState(model, optimizer, generator, average=average),
        augment=None if config.debug.name == "overfit" else build.augment(config.aug, generator),
        step=step,
        recorded_step=RecordedStep(step, optimizer, config.trainer.batch_size) if recordable else None,
        evaluate=partial(evaluate, precision=precision),
        predict=partial(predict, precision=precision),
        channels_last=channels_last,
        group=group,
    )


def _configure_process(config: schema.Config, group: ProcessGroup) -> torch.device:
    """Set threads, memory and determinism of this process, and return the run's device. Raises ConfigError."""
    if (threads := config.trainer.threads) is not None:
        if threads * group.local_size > (cores := available_cores()):
            each = f" in each of {group.local_size} processes" if group.local_size > 1 else ""
            raise ConfigError(f"trainer.threads={threads}{each}: this machine has {plural(cores, 'core')}")
        torch.set_num_threads(threads)
    device = run_device(config)
    runtime.make_deterministic(device)
    runtime.choose_convolutions(device, config.trainer.batch_size)
    if config.trainer.reuse_memory:
        runtime.reuse_memory()
    return device


def _step(
    config: schema.Config,
    model: nn.Module,
    optimizer: Optimizer,
    average: WeightAverage | None,
    device: torch.device,
    group: ProcessGroup,
) -> Step:
    """A training step, in the run's precision."""
    loss = build.loss(config.loss, config.model)
    traced = None
    if build.traces_gradients(config, device) and group.size == 1:
        traced = TracedGradients(partial(compute_gradients, model, loss=loss), model)
    return partial(
        train_step,
        group.wrap(model, device, unused=isinstance(config.model, schema.CustomModelConfig)),
        optimizer,
        loss=loss,
        precision=config.trainer.precision,
        clip_norm=config.trainer.clip_norm,
        average=average if isinstance(average, MovingAverage) else None,
        group=group,
        gradients=traced,
    )


def _average(model: nn.Module, trainer: schema.TrainerConfig) -> WeightAverage | None:
    """The average of the model's weights, if one is asked for. Raises ConfigError if the model cannot be copied."""
    if trainer.ema is not None:
        return MovingAverage(model, _copied(model, f"trainer.ema={trainer.ema:g}"), trainer.ema)
    if trainer.average is not None:
        return LastEpochsAverage(model, _copied(model, f"trainer.average={trainer.average}"), trainer.average)
    return None


def _copied(model: nn.Module, setting: str) -> nn.Module:
    """A copy of the model, which a setting needs. Raises ConfigError if it cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception as error:  # a network of a user's own can have anything in it
        raise ConfigError(f"{setting}: needs a copy of this network, which fails ({one_line(error)})") from error


def _check_last_batch(model: nn.Module, train: Split, batch_size: int, group: ProcessGroup) -> None:
    """Raise ConfigError if an epoch has a batch of one image that the model cannot be trained on."""
    if group.size > 1 or not (batch_size == 1 or len(train) % batch_size == 1):
        return
    try:
        check_batch_of_one(model, train.images[:1].float().div_(255))
    except Exception as error:
        better = next(size for size in itertools.count(max(2, batch_size - 1)) if len(train) % size != 1)
        which = "each batch" if batch_size == 1 else f"of {len(train):,} training images the last batch of an epoch"
        raise ConfigError(
            f"trainer.batch_size={batch_size}: {which} has one image, "
            f"on which this network cannot be trained ({one_line(error)});\nset trainer.batch_size={better}"
        ) from error


def _with_synchronized_batch_norm(model: nn.Module, name: str, device: torch.device) -> nn.Module:
    """The network with batch normalization over the batches of all processes. Raises ConfigError on a CPU."""
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return model
    if device.type == "cpu":
        raise ConfigError(
            f"model={name}: its batch normalization would see only a part of each batch, because PyTorch synchronizes "
            "it on GPUs only; start without torchrun"
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return]
