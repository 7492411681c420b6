"""A user's own network, given by its import path."""

import contextlib
import copy
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from digitnet.errors import ConfigError
from digitnet.text import one_line


def build_custom(target: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """Import the class `package.module:Class` and call it with `kwargs`; it may be in the working directory.

    Raises ConfigError if the class cannot be imported or built, is not a subclass of torch.nn.Module, or has no
    parameters to train.
    """
    module_name, colon, class_name = target.partition(":")
    if not (module_name and colon and class_name):
        raise ConfigError(f"model.target={target}: not of the form package.module:Class")
    working_dir = str(Path.cwd())
    try:
        with _first_on_path(working_dir):
            network_class = getattr(importlib.import_module(module_name), class_name)
            if not (
                isinstance(network_class, type) and issubclass(network_class, nn.Module)
            ):  # nothing but a Module may be called
                raise ConfigError(f"model.target={target}: {class_name} is not a subclass of torch.nn.Module")
            network = network_class(**kwargs)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"model.target={target}: cannot build it from {dict(kwargs)} ({one_line(error)});\n"
            f"it must be importable from {working_dir} or installed, and take model.kwargs as keyword arguments"
        ) from error
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(f"model.target={target}: has no parameters to train")
    return network


@contextlib.contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    """In this block modules are looked for in `folder` first, and after it there last.

    Then what digitnet and its libraries import later is not a `statistics.py` that lies beside the network; what the
    network itself imports later is found.
    """
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def check_batch_of_one(model: nn.Module, image: Tensor) -> None:
    """Raise ValueError if `model` cannot be trained on a batch of one `image` (1, 1, 28, 28): BatchNorm1d cannot.

    The model, which a pass in training mode changes, and the random numbers stay as they are.
    """
    try:
        copied = copy.deepcopy(model)
    except Exception:  # not every network can be copied: then its training will show it
        return
    with torch.no_grad(), torch.random.fork_rng(devices=[image.device] if image.is_cuda else []):
        copied.train()(image)


@torch.no_grad()
def check_output(model: nn.Module, images: Tensor, classes: int) -> None:
    """Pass `images` (B, 1, 28, 28) through `model` once; raise ConfigError unless it returns (B, classes) logits."""
    wanted = f"(B, classes) = {(len(images), classes)}"
    training = model.training
    try:
        logits = model.eval()(images)
    except Exception as error:
        raise ConfigError(
            f"model: no forward pass of images {tuple(images.shape)} ({one_line(error)});\n"
            f"the network must take (B, 1, 28, 28) float32 and return {wanted} logits"
        ) from error
    finally:
        model.train(training)
    if not isinstance(logits, Tensor):
        raise ConfigError(f"model: its output is a {type(logits).__name__}, not a tensor {wanted} of logits")
    if logits.shape != (len(images), classes):
        raise ConfigError(f"model: its output has shape {tuple(logits.shape)}, not {wanted}; fix its last layer")
