"""Builders: a group of the configuration becomes plain arguments, and these an object."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from digitnet import optim, schema
from digitnet.augment import distort
from digitnet.data import Dataset, load_digits, load_folder, load_idx
from digitnet.errors import ConfigError, DataError, DataMissingError
from digitnet.models import AllConv, LeNet5, build_custom


def device(name: str) -> torch.device:
    """The torch device; raises ConfigError where this machine has none of that name."""
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, available in here.items() if available)
    if not here[name]:
        raise ConfigError(f"device={name}: this machine has none that PyTorch can use; set device=cpu or device=auto")
    return torch.device(name)


def data(config: schema.IdxData | schema.DigitsData | schema.AutoData | schema.FolderData) -> Dataset:
    match config:
        case schema.IdxData():
            return load_idx(config.name, config.root, config.validation)
        case schema.DigitsData():
            return load_digits(config.enlarge_to, config.validation)
        case schema.FolderData():
            return load_folder(config.root, config.test_fraction, config.invert, config.validation)
        case schema.AutoData():
            try:
                return load_idx("mnist", config.root, config.validation)
            except DataMissingError:
                why = f"MNIST is not in {config.root}, see data.root, and cannot be downloaded"
                try:
                    digits = load_digits(config.enlarge_to, config.validation)
                except DataError as error:
                    raise DataError(f"{error}\nthese are the embedded digits: {why}") from error
                digits.notes["why"] = why
                return digits


def model(config: schema.LeNet5 | schema.AllConv | schema.CustomModel, classes: int, generator: Generator) -> nn.Module:
    match config:
        case schema.LeNet5():
            return LeNet5(classes, config.dropout, config.init, generator)
        case schema.AllConv():
            return AllConv(classes, config.final_relu, config.init, generator)
        case schema.CustomModel():
            return build_custom(config.target, config.kwargs or {})


def optimizer(config: schema.SGD | schema.RMSprop | schema.Adam, model: nn.Module) -> Optimizer:
    parameters = model.parameters()
    match config:
        case schema.SGD(lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay):
            return SGD(parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay)
        case schema.RMSprop(lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=decay):
            return RMSprop(parameters, lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=decay)
        case schema.Adam(name=name, lr=lr, betas=[beta1, beta2], eps=eps, weight_decay=decay):
            adam = Adam if name == "adam" else AdamW
            return adam(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay)
    raise AssertionError(config)


AnySchedule = schema.StepSchedule | schema.ConstantSchedule | schema.CosineSchedule | schema.OneCycleSchedule


def schedule(config: AnySchedule, epochs: int | None) -> tuple[optim.Schedule, int]:
    """The schedule, and the length of the run: `epochs`, or the schedule's own."""
    match config:
        case schema.StepSchedule():
            phases = [(phase.epochs, phase.factor) for phase in config.phases]
            return partial(optim.step, phases=phases), epochs or sum(length for length, _ in phases)
        case schema.ConstantSchedule():
            return optim.constant, epochs or config.epochs
        case schema.CosineSchedule():
            length = epochs or config.epochs
            return partial(optim.cosine, epochs=length, final_factor=config.final_factor), length
        case schema.OneCycleSchedule():
            length = epochs or config.epochs
            return (
                partial(
                    optim.onecycle,
                    epochs=length,
                    warmup_fraction=config.warmup_fraction,
                    start_factor=config.start_factor,
                    final_factor=config.final_factor,
                ),
                length,
            )


def augment(config: schema.NoDistortion | schema.Distort, generator: Generator) -> Callable[[Tensor], Tensor] | None:
    match config:
        case schema.NoDistortion():
            return None
        case schema.Distort():
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
