"""Objects built from configurations: each option becomes what it names."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Generator, nn

from digitnet.config import rules
from digitnet.config.compose import load_config
from digitnet.errors import ConfigError
from digitnet.experiment import build
from digitnet.losses import squared_error, true_penalty
from digitnet.models import AllConv, FastNet, LeNet5, OriginalLeNet5
from options import NEEDED, OPTIONS


@pytest.mark.parametrize("option", OPTIONS)
def test_option_composes_and_builds(option: str) -> None:
    config = load_config([option, *NEEDED.get(option, [])])
    model = build.model(config.model, 10, Generator())
    assert model(torch.rand(2, 1, 28, 28)).shape[0] == 2
    build.optimizer(config.optimizer, model)
    epochs = rules.run_length(config)
    schedule = build.schedule(config.schedule, epochs)
    assert all(0 < schedule(epoch) <= 1 for epoch in range(epochs))
    augment = build.augment(config.aug, Generator())
    assert augment is None or augment(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)


@pytest.mark.parametrize(
    ("function", "option"),
    [
        (LeNet5, "model=lenet5"),
        (AllConv, "model=allconv"),
        (FastNet, "model=fastnet"),
        (OriginalLeNet5, "model=lenet5_1998"),
    ],
)
def test_networks_have_the_same_defaults_from_python_as_from_yaml(function: Callable[..., object], option: str) -> None:
    defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    config = load_config([option]).model.model_dump(exclude={"name"})
    assert {name: defaults[name] for name in config} == config


@pytest.mark.parametrize(
    ("kind", "supported"), [("cuda", "torch.cuda.is_bf16_supported"), ("mps", "torch.backends.mps.is_macos_or_newer")]
)
def test_device_without_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch, kind: str, supported: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: kind == "cuda")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: kind == "mps")
    monkeypatch.setattr(supported, lambda *_, **__: False)
    with pytest.raises(ConfigError) as error:
        build.device("auto", "bf16")
    assert str(error.value) == (
        f"trainer.precision=bf16: this machine's {kind} has no bfloat16; set trainer.precision=fp32"
    )
    assert build.device("auto", "fp32").type == kind
    monkeypatch.setattr(supported, lambda *_, **__: True)
    assert build.device("auto", "bf16").type == kind


def test_preloaded_data_are_used_for_equal_configurations_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_preloaded", {})
    digits = load_config(["data=digits", "data.enlarge_to=1437"]).data
    build.preload_data(digits)
    assert build.data(digits) is build.data(digits)
    assert len(build.data(load_config(["data=digits", "data.enlarge_to=1500"]).data).train) == 1500


@pytest.mark.parametrize("option", ["sgd optimizer.momentum=0.9", "adam", "adamw optimizer.weight_decay=0.1"])
def test_fused_optimizer_takes_the_same_step(option: str) -> None:
    models = []
    for fused in ("false", "true"):
        config = load_config([f"optimizer={option.partition(' ')[0]}", *option.split()[1:], f"optimizer.fused={fused}"])
        model = LeNet5(generator=Generator().manual_seed(0), dropout=0)
        optimizer = build.optimizer(config.optimizer, model)
        assert optimizer.defaults["fused"] is (fused == "true")
        for _ in range(3):
            model(torch.full((2, 1, 28, 28), 0.5)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        models.append(model)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_fused_optimizer_that_pytorch_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("`fused=True` requires all the params to be floating point Tensors\nof supported devices")

    monkeypatch.setattr(build, "SGD", refuse)
    with pytest.raises(ConfigError) as error:
        build.optimizer(load_config(["optimizer.fused=true"]).optimizer, LeNet5())
    assert str(error.value) == (
        "optimizer.fused: RuntimeError: `fused=True` requires all the params to be floating point Tensors; "
        "set optimizer.fused=false"
    )


def test_squared_error_of_radial_basis_units_is_their_own_distance() -> None:
    config = load_config(["loss=mse"])
    assert build.loss(config.loss, config.model) is squared_error
    assert build.loss(config.loss, load_config(["model=lenet5_1998"]).model) is true_penalty


def test_codes_of_other_classes_than_ten_are_refused() -> None:
    config = load_config(["model=lenet5_1998"]).model
    with pytest.raises(ConfigError) as error:
        build.model(config, 7)
    assert str(error.value) == "model.output=codes: codes are of 10 digits, not of 7 classes; set model.output=units"


def test_optimizer_without_a_rule_for_a_layer_is_refused() -> None:
    model = nn.Module()
    model.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.GELU())
    with pytest.raises(ConfigError) as error:
        build.optimizer(load_config(["optimizer=sdlm"]).optimizer, model)
    assert str(error.value) == (
        "optimizer=sdlm: there is no rule for second derivatives through GELU; choose another optimizer"
    )


@pytest.mark.parametrize(
    ("option", "dtype", "is_fused"),
    [
        ("adam", torch.float32, True),
        ("adamw", torch.float32, True),
        ("adam", torch.float64, False),
        ("sgd", torch.float32, False),
    ],
)
def test_adam_is_fused_on_a_cpu(option: str, dtype: torch.dtype, is_fused: bool) -> None:
    optimizer = build.optimizer(load_config([f"optimizer={option}"]).optimizer, nn.Linear(2, 2, dtype=dtype))
    assert bool(optimizer.defaults["fused"]) == is_fused
