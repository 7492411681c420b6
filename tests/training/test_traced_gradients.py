from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import SGD

from digitnet.config.compose import load_config
from digitnet.experiment.components import Components, build_components
from digitnet.losses import map_loss, true_penalty
from digitnet.models import AllConv, LeNet5, OriginalLeNet5
from digitnet.training.runtime import restored_settings
from digitnet.training.step import compute_gradients, train_step
from digitnet.training.traced_gradients import TracedGradients

IMAGES = torch.rand(6, 1, 28, 28, generator=Generator().manual_seed(0))
LABELS = torch.tensor([3, 1, 4, 1, 5, 9])


def trained(
    network: Callable[..., nn.Module], loss: Callable[..., Tensor], traced: bool, momentum: float
) -> list[Tensor]:
    """The logits of six steps, of one image each and then of two, and the weights after them."""
    model = network(generator=Generator().manual_seed(0)).train()
    optimizer = SGD(model.parameters(), lr=0.01, momentum=momentum)
    gradients = TracedGradients(partial(compute_gradients, model, loss=loss), model) if traced else None
    torch.manual_seed(0)  # of dropout
    batches = [*zip(IMAGES.split(1), LABELS.split(1), strict=True), (IMAGES[:2], LABELS[:2])]
    logits = [train_step(model, optimizer, *batch, loss=loss, gradients=gradients) for batch in batches]
    return [*logits, *(parameter.detach() for parameter in model.parameters())]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(
    ("network", "loss"),
    [
        (OriginalLeNet5, partial(map_loss, j=1.0)),
        (OriginalLeNet5, true_penalty),
        (partial(OriginalLeNet5, output="units"), F.cross_entropy),
        (LeNet5, partial(F.cross_entropy, label_smoothing=0.1)),
        (AllConv, F.cross_entropy),
    ],
)
def test_traced_steps_are_those_of_autograd_to_the_last_bit(
    network: Callable[..., nn.Module], loss: Callable[..., Tensor], momentum: float
) -> None:
    eager, traced = (trained(network, loss, is_traced, momentum) for is_traced in (False, True))
    assert all(torch.equal(one, other) for one, other in zip(eager, traced, strict=True))


@pytest.mark.parametrize(
    "words",
    [
        "optimizer=sgd optimizer.momentum=0.9 optimizer.nesterov=true optimizer.weight_decay=0.1",
        "optimizer=rmsprop optimizer.momentum=0.5 optimizer.weight_decay=0.1",
        "optimizer=adam optimizer.weight_decay=0.1",
        "optimizer=adam optimizer.fused=false",
        "optimizer=adamw optimizer.weight_decay=0.1",
        "optimizer=sdlm",
        "optimizer=sgd trainer.clip_norm=0.01 trainer.ema=0.5",
    ],
)
def test_every_optimizer_takes_traced_gradients_as_others(words: str) -> None:
    found = []
    for is_traced in (True, False):
        made = components("experiment=lenet5_1998", "optimizer.lr=0.001", *words.split())
        if not is_traced:
            made.step.keywords["gradients"] = None  # type: ignore[attr-defined]
        with restored_settings():
            torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
            made.state.begin_epoch(made.data.train)
            for image, label in zip(IMAGES.split(1), LABELS.split(1), strict=True):
                made.step(image, label)
        found.append(torch.cat([value.flatten() for value in made.state.evaluated.state_dict().values()]))
    assert torch.equal(*found)


def test_the_networks_python_code_runs_for_the_first_image_only() -> None:
    model = OriginalLeNet5()
    calls: list[int] = []
    model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    gradients = TracedGradients(partial(compute_gradients, model, loss=F.cross_entropy), model)
    gradients(IMAGES[:1], LABELS[:1])
    before = len(calls)
    for number in range(1, 5):
        model.zero_grad()
        gradients(IMAGES[number : number + 1], LABELS[number : number + 1])
    assert len(calls) == before
    model.zero_grad()
    gradients(IMAGES[:2], LABELS[:2])  # of another size
    assert len(calls) == before + 1


def test_weights_that_were_loaded_are_used() -> None:
    model = OriginalLeNet5()
    gradients = TracedGradients(partial(compute_gradients, model, loss=F.cross_entropy), model)
    gradients(IMAGES[:1], LABELS[:1])
    model.load_state_dict(OriginalLeNet5(generator=Generator().manual_seed(7)).state_dict())
    with torch.no_grad():
        expected = model(IMAGES[1:2])
    torch.testing.assert_close(gradients(IMAGES[1:2], LABELS[1:2]), expected, check_stride=False)


def components(*overrides: str) -> Components:
    with restored_settings():
        return build_components(load_config(["data=digits", *overrides]))


@pytest.mark.parametrize(
    ("overrides", "is_traced"),
    [
        (["experiment=lenet5_1998"], True),
        (["trainer.batch_size=1"], True),
        ([], False),
        (["trainer.batch_size=2", "model=lenet5_1998"], False),
        (["trainer.batch_size=1", "model=fastnet"], False),  # batch normalization remembers
        (["trainer.batch_size=1", "debug=nan"], False),  # which looks into the layers
        (["trainer.batch_size=1", "trainer.precision=bf16"], False),
    ],
)
def test_single_images_of_our_networks_are_traced(overrides: list[str], is_traced: bool) -> None:
    assert (components(*overrides).step.keywords["gradients"] is not None) == is_traced  # type: ignore[attr-defined]


def test_settings_for_single_images_end_with_the_run() -> None:
    with restored_settings():
        build_components(load_config(["data=digits", "trainer.batch_size=1"]))
        assert not torch.backends.mkldnn.enabled
    assert torch.backends.mkldnn.enabled
