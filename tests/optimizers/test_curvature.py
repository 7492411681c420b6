"""The estimate against the exact Gauss-Newton diagonal, where the two must agree, and against arithmetic elsewhere."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call

from digitnet.losses import Loss, map_loss, squared_error
from digitnet.models import AllConv, FastNet, LeNet5, OriginalLeNet5
from digitnet.models.lenet5_1998 import ScaledTanh, Subsampling, TableConv2d
from digitnet.optimizers.curvature import check_layers, gauss_newton_diagonal


class Net(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers).double()
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def exact_diagonal(model: nn.Module, loss: Loss, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """J^T H J of each image, with whole Jacobians and Hessians, and its diagonal's mean over the images."""
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for image, label in zip(images.split(1), labels.split(1), strict=True):

        def outputs(*values: Tensor, image: Tensor = image) -> Tensor:
            logits: Tensor = functional_call(model, dict(zip(weights, values, strict=True)), (image,))
            return logits[0]

        def value(y: Tensor, label: Tensor = label) -> Tensor:
            return loss(y[None], label, reduction="sum")

        of_logits = hessian(value, outputs(*weights.values()))
        jacobians = jacobian(outputs, tuple(weights.values()))
        for name, its in zip(weights, jacobians, strict=True):
            flat = its.flatten(1)
            total[name] += torch.einsum("ik,ij,jk->k", flat, of_logits, flat).view_as(total[name]) / len(images)
    return total


IMAGES = torch.randn(5, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 1, 0])


@pytest.mark.parametrize("loss", [F.cross_entropy, partial(map_loss, j=0.5), squared_error])
def test_one_layer_is_exact_for_every_loss(loss: Loss) -> None:
    # dy_i/dw_jk is 0 unless i = j: only the diagonal of the loss's Hessian counts.
    model = Net(nn.Flatten(), nn.Linear(36, 3))
    found, exact = (f(model, loss, IMAGES, LABELS) for f in (gauss_newton_diagonal, exact_diagonal))
    for name in exact:
        torch.testing.assert_close(found[name], exact[name])


@pytest.mark.parametrize("between", [nn.Identity(), nn.Sigmoid(), nn.Tanh(), ScaledTanh(), nn.ReLU()])
def test_two_layers_are_exact_with_a_diagonal_hessian(between: nn.Module) -> None:
    model = Net(nn.Flatten(), nn.Linear(36, 4), between, nn.Linear(4, 3))
    found, exact = (f(model, squared_error, IMAGES, LABELS) for f in (gauss_newton_diagonal, exact_diagonal))
    for name in exact:
        torch.testing.assert_close(found[name], exact[name])


def test_convolution_without_shared_weights_is_exact() -> None:
    model = Net(nn.Conv2d(1, 4, 6), ScaledTanh(), nn.Flatten(), nn.Linear(4, 3))
    found, exact = (f(model, squared_error, IMAGES, LABELS) for f in (gauss_newton_diagonal, exact_diagonal))
    for name in exact:
        torch.testing.assert_close(found[name], exact[name])


def test_max_pooling_carries_back_to_the_largest_alone() -> None:
    model = Net(
        nn.Conv2d(1, 4, 6), nn.Flatten(), nn.Unflatten(1, (1, 2, 2)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1, 3)
    )
    found, exact = (f(model, squared_error, IMAGES, LABELS) for f in (gauss_newton_diagonal, exact_diagonal))
    for name in exact:
        torch.testing.assert_close(found[name], exact[name])


def test_a_shared_weight_has_the_sum_over_its_connections() -> None:
    # y = sum over positions of (w x_p): sum of x_p^2, where the exact Gauss-Newton has the square of the sum.
    model = Net(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(36, 1, bias=False))
    nn.init.ones_(model.layers[2].weight)  # type: ignore[arg-type]
    found = gauss_newton_diagonal(model, squared_error, IMAGES, torch.zeros(5).long())
    assert found["layers.0.weight"].item() == pytest.approx(2 * IMAGES.square().sum().item() / 5)
    assert found["layers.0.bias"].item() == pytest.approx(2 * 36)


def test_subsampling_counts_four_connections() -> None:
    model = Net(Subsampling(1), nn.Flatten(), nn.Linear(9, 1, bias=False))
    nn.init.ones_(model.layers[2].weight)  # type: ignore[arg-type]
    found = gauss_newton_diagonal(model, squared_error, IMAGES, torch.zeros(5).long())
    assert found["layers.0.weight"].item() == pytest.approx(2 * IMAGES.square().sum().item() / 5)


def test_table_convolution_is_the_convolution_with_those_connections() -> None:
    table = TableConv2d(["0", "0"], 1)
    whole = nn.Conv2d(1, 2, 5)
    networks = [Net(layer, ScaledTanh(), nn.Flatten(), nn.Linear(8, 3)) for layer in (table, whole)]
    with torch.no_grad():
        for theirs, ours in zip(networks[1].parameters(), networks[0].parameters(), strict=True):
            theirs.copy_(ours.view_as(theirs))
    one, other = (gauss_newton_diagonal(net, squared_error, IMAGES, LABELS) for net in networks)
    for name in one:
        torch.testing.assert_close(one[name].flatten(), other[name].flatten())


def test_batch_normalization_is_a_scale_by_the_batchs_statistics() -> None:
    model = Net(nn.Conv2d(1, 2, 6), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    found = gauss_newton_diagonal(model, squared_error, IMAGES, LABELS)
    values = model.layers[0](IMAGES)
    deviation, mean = values.var((0, 2, 3), unbiased=False).add(1e-5).sqrt(), values.mean((0, 2, 3))
    norm, last = model.layers[1], model.layers[3]
    of_output = (2 / 3) * last.weight.square().sum(0)  # type: ignore[operator, union-attr]
    normalized = (values - mean[:, None, None]) / deviation[:, None, None]
    torch.testing.assert_close(
        found["layers.1.weight"], (of_output * normalized.square().mean((0, 2, 3))).detach(), check_dtype=False
    )
    of_values = of_output * (norm.weight / deviation).square()  # type: ignore[operator]
    torch.testing.assert_close(found["layers.0.bias"], of_values.detach())
    assert norm.num_batches_tracked == 0  # it remembers nothing of it


def test_radial_basis_units_give_their_input_the_second_derivative_one() -> None:
    model = OriginalLeNet5()
    images, labels = torch.rand(4, 1, 28, 28), torch.tensor([1, 2, 3, 4])
    found = gauss_newton_diagonal(model, partial(map_loss, j=1.0), images, labels)
    values = model.layers[:12](images).detach()  # inputs of F6
    sums = model.layers[12](values).detach().requires_grad_()
    (slopes,) = torch.autograd.grad(ScaledTanh()(sums).sum(), sums)
    torch.testing.assert_close(found["layers.12.weight"], slopes.square().t() @ values.square() / 4)


@pytest.mark.parametrize("network", [LeNet5, AllConv, FastNet, OriginalLeNet5])
def test_every_network_has_positive_curvatures_and_is_not_changed(network: type[nn.Module]) -> None:
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = gauss_newton_diagonal(model, F.cross_entropy, torch.rand(8, 1, 28, 28), torch.arange(8))
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert found[name].shape == parameter.shape
        assert (found[name] >= 0).all()
        assert found[name].max() > 0
        assert parameter.grad is None
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "the network needs all of its layers in an nn.Sequential"),
        (Net(nn.Flatten(), nn.Linear(36, 3), nn.GELU()), "there is no rule for second derivatives through GELU"),
    ],
)
def test_unknown_networks_are_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_layers(model)
