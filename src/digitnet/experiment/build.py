"""Builders: each builds an object from a group of the configuration, passed on as plain arguments."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from digitnet import schedules
from digitnet.augment import distort
from digitnet.config import data_schema, schema
from digitnet.config.data_schema import DataConfig
from digitnet.config.schema import (
    AugConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
)
from digitnet.config.tracker_schema import TrackerConfig
from digitnet.data import Dataset, load_csv, load_digits, load_folder, load_idx, load_usps
from digitnet.errors import ConfigError, DataError, DataMissingError
from digitnet.losses import Loss, map_loss, squared_error, true_penalty
from digitnet.models import AllConv, FastNet, LeNet5, OriginalLeNet5, build_custom
from digitnet.optimizers.sdlm import SDLM
from digitnet.report.trackers.mlflow import MlflowTracker
from digitnet.report.trackers.tensorboard import TensorBoardTracker
from digitnet.report.trackers.tracker import Tracker
from digitnet.report.trackers.trackio import TrackioTracker
from digitnet.report.trackers.wandb import WandbTracker
from digitnet.text import one_line
from digitnet.training.runtime import has_bfloat16


def loss(config: LossConfig, model: ModelConfig) -> Loss:
    """The loss that is minimized; loss=mse of radial basis units is their own squared distance."""
    match config:
        case schema.CrossEntropyConfig():
            return partial(cross_entropy, label_smoothing=config.label_smoothing)
        case schema.MapLossConfig():
            return partial(map_loss, j=config.j)
        case schema.SquaredErrorConfig():
            return true_penalty if isinstance(model, schema.OriginalLeNet5Config) else squared_error


def device(name: str, precision: str) -> torch.device:
    """The torch device. Raises ConfigError if this machine does not have it, or it does not support the precision."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, present in available.items() if present)
    if not available[name]:
        raise ConfigError(f"device={name}: this machine has none that PyTorch can use; set device=cpu or device=auto")
    if precision == "bf16" and name != "cpu" and not has_bfloat16(name):
        raise ConfigError(f"trainer.precision=bf16: this machine's {name} has no bfloat16; set trainer.precision=fp32")
    return torch.device(name)


_preloaded: dict[str, Dataset] = {}


def preload_data(config: DataConfig) -> None:
    """Load the data set into this process; processes that are forked from it share the memory."""
    _preloaded[config.model_dump_json()] = data(config, download=False)


def data(config: DataConfig, download: bool = True) -> Dataset:
    """Load the data set; missing files are downloaded only with `download`. Raises DataError."""
    if (preloaded := _preloaded.get(config.model_dump_json())) is not None:
        return preloaded
    match config:
        case data_schema.IdxDataConfig():
            return load_idx(config.name, config.root, config.validation, download)
        case data_schema.QmnistDataConfig():
            return load_idx(config.name, config.root, config.validation, download, config.part)
        case data_schema.UspsDataConfig():
            return load_usps(config.root, config.validation, download)
        case data_schema.DigitsDataConfig():
            return load_digits(config.enlarge_to, config.validation)
        case data_schema.FolderDataConfig():
            return load_folder(
                config.root,
                config.test_fraction,
                config.invert,
                config.validation,
                config.bad_files,
                config.links,
                config.prepare,
            )
        case data_schema.CsvDataConfig():
            return load_csv(config.root, config.test_fraction, config.validation)
        case data_schema.AutoDataConfig():
            try:
                return load_idx("mnist", config.root, config.validation, download)
            except DataMissingError:
                why = f"MNIST is not in {config.root}, see data.root, and cannot be downloaded"
                try:
                    digits = load_digits(config.enlarge_to, config.validation)
                except DataError as error:
                    raise DataError(f"{error}\nthese are the embedded digits: {why}") from error
                digits.notes["why"] = why
                return digits


def with_resolved_paths(config: DataConfig, name: str) -> DataConfig:
    """The configuration of the same data with absolute paths and, for data=auto, of the data set `name` that it found.

    With it, a resumed run uses the data that the run started with.
    """
    if isinstance(config, data_schema.AutoDataConfig):
        kind = data_schema.DigitsDataConfig if name == "digits" else data_schema.IdxDataConfig
        keys = {key: value for key, value in config.model_dump().items() if key in kind.model_fields}
        config = kind.model_validate({**keys, "name": name})
    if not isinstance(config, data_schema.AutoDataConfig | data_schema.DigitsDataConfig):
        config = config.model_copy(update={"root": str(Path(os.path.expanduser(config.root)).absolute())})
    return config


def model(config: ModelConfig, classes: int, generator: Generator | None = None) -> nn.Module:
    match config:
        case schema.LeNet5Config():
            return LeNet5(classes, config.dropout, config.init, generator)
        case schema.OriginalLeNet5Config():
            return _original_lenet5(config, classes, generator)
        case schema.AllConvConfig():
            return AllConv(classes, config.final_relu, config.init, generator)
        case schema.FastNetConfig():
            return FastNet(classes, config.init, generator)
        case schema.CustomModelConfig():
            return build_custom(config.target, config.kwargs or {})


def _original_lenet5(config: schema.OriginalLeNet5Config, classes: int, generator: Generator | None) -> nn.Module:
    try:
        return OriginalLeNet5(classes, config.output, config.init, generator)
    except ValueError as error:
        raise ConfigError(f"model.output={config.output}: {error}; set model.output=units") from error


def optimizer(
    config: OptimizerConfig, model: nn.Module, loss: Loss = cross_entropy, capturable: bool = False
) -> Optimizer:
    """The optimizer of the model's parameters. Each parameter group has `initial_lr`, which the schedule multiplies.

    With `capturable`, for CUDA, its step can be recorded: all numbers that change, including the learning rate, are
    tensors on the device. `loss` is for optimizers that need its curvature. Raises ConfigError if PyTorch has no fused
    optimizer for it, or optimizer=sdlm no rule for one of the model's layers.
    """
    try:
        built = _optimizer(config, model, loss, capturable)
    except ValueError as error:
        raise ConfigError(f"optimizer={config.name}: {error}; choose another optimizer") from error
    except RuntimeError as error:  # PyTorch has fused optimizers for some devices and types of numbers only
        raise ConfigError(f"optimizer.fused: {one_line(error)}; set optimizer.fused=false") from error
    for group in built.param_groups:
        group["initial_lr"] = config.lr  # a Python float: group["lr"] may be a float32 tensor
    return built


def _optimizer(config: OptimizerConfig, model: nn.Module, loss: Loss, capturable: bool) -> Optimizer:
    parameters = list(model.parameters())
    lr = torch.tensor(config.lr, device=parameters[0].device) if capturable else config.lr
    fused = config.fused if isinstance(config, schema.SGDConfig | schema.AdamConfig) else None
    if fused is None:  # SGD's other implementations would read the tensor back
        fused = capturable or (isinstance(config, schema.AdamConfig) and _on_cpu(parameters)) or None
    match config:
        case schema.SGDConfig(momentum=momentum, nesterov=nesterov, weight_decay=decay):
            return SGD(parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=fused)
        case schema.RMSpropConfig(alpha=alpha, eps=eps, momentum=momentum, weight_decay=decay):
            return RMSprop(
                parameters, lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=decay, capturable=capturable
            )
        case schema.AdamConfig(name=name, betas=[beta1, beta2], eps=eps, weight_decay=decay):
            adam = Adam if name == "adam" else AdamW
            return adam(
                parameters,
                lr=lr,
                betas=(beta1, beta2),
                eps=eps,
                weight_decay=decay,
                fused=fused,
                capturable=capturable,
            )
        case schema.SDLMConfig(mu=mu, images=images):
            return SDLM(model, loss, lr=lr, mu=mu, images=images)
    raise AssertionError(config)


def _on_cpu(parameters: Iterable[Tensor]) -> bool:
    """Whether all are of float32 on a CPU, for which PyTorch has fused optimizers."""
    return all(parameter.device.type == "cpu" and parameter.dtype == torch.float32 for parameter in parameters)


def channels_last(config: schema.Config, device: torch.device) -> bool:
    """Whether images and weights have the memory format torch.channels_last: (B, H, W, C)."""
    if config.trainer.channels_last is not None:
        return config.trainer.channels_last
    if isinstance(
        config.model, schema.CustomModelConfig
    ):  # its code may need the default layout, for Tensor.view for instance
        return False
    if config.trainer.batch_size == 1:  # see runtime.choose_convolutions
        return False
    return device.type == "cpu" or (device.type == "cuda" and config.trainer.precision == "bf16")


def cuda_graph(config: schema.Config, device: torch.device) -> bool:
    """Whether to record a training step as a CUDA graph and replay it, without running the network's Python code."""
    setting = config.trainer.cuda_graph
    return (
        device.type == "cuda"
        and config.debug.name != "nan"
        and (not isinstance(config.model, schema.CustomModelConfig) if setting is None else setting)
    )


def traces_gradients(config: schema.Config, device: torch.device) -> bool:
    """Whether to list the operations of a step once and call them from then on: for single images on a CPU."""
    return (
        device.type == "cpu"
        and config.trainer.batch_size == 1
        and config.trainer.precision == "fp32"
        and config.debug.name not in ("nan", "profile")  # which watch layers, and autograd
        and isinstance(config.model, schema.LeNet5Config | schema.OriginalLeNet5Config | schema.AllConvConfig)
    )


def schedule(config: ScheduleConfig, epochs: int) -> schedules.Schedule:
    """The schedule of a run of `epochs` epochs."""
    match config:
        case schema.StepScheduleConfig():
            return partial(schedules.step_decay, phases=[(phase.epochs, phase.factor) for phase in config.phases])
        case schema.ConstantScheduleConfig():
            return schedules.constant
        case schema.CosineScheduleConfig():
            return partial(schedules.cosine, epochs=epochs, final_factor=config.final_factor)
        case schema.OneCycleScheduleConfig():
            return partial(
                schedules.onecycle,
                epochs=epochs,
                warmup_fraction=config.warmup_fraction,
                start_factor=config.start_factor,
                final_factor=config.final_factor,
            )
        case schema.TrapezoidScheduleConfig():
            return partial(
                schedules.trapezoid,
                epochs=epochs,
                warmup_fraction=config.warmup_fraction,
                decay_fraction=config.decay_fraction,
                start_factor=config.start_factor,
                final_factor=config.final_factor,
            )


def augment(config: AugConfig, generator: Generator) -> Callable[[Tensor], Tensor] | None:
    match config:
        case schema.NoDistortionConfig():
            return None
        case schema.DistortConfig():
            return partial(
                distort,
                rotation_deg=config.rotation_deg,
                shift=config.shift,
                scale=config.scale,
                shear_deg=config.shear_deg,
                squeeze=config.squeeze,
                elastic_alpha=config.elastic_alpha,
                elastic_sigma=config.elastic_sigma,
                generator=generator,
            )


def trackers(config: TrackerConfig) -> list[Tracker]:
    """The trackers of the run, which need their libraries only when they start."""
    chosen: list[Tracker] = []
    if config.tensorboard is not None:
        chosen.append(TensorBoardTracker(folder=config.tensorboard.folder))
    if config.mlflow is not None:
        chosen.append(MlflowTracker(uri=config.mlflow.uri, experiment=config.mlflow.experiment))
    if config.wandb is not None:
        chosen.append(WandbTracker(project=config.wandb.project, entity=config.wandb.entity, mode=config.wandb.mode))
    if config.trackio is not None:
        chosen.append(TrackioTracker(project=config.trackio.project, space=config.trackio.space))
    return chosen
