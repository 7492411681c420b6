import torch
import torch.nn.functional as F

from digitnet.data import load_digits
from digitnet.models import OriginalLeNet5
from digitnet.optimizers.curvature import gauss_newton_diagonal
from digitnet.optimizers.sdlm import SDLM


def test_each_weight_has_its_own_rate() -> None:
    model = OriginalLeNet5()
    optimizer = SDLM(model, F.cross_entropy, lr=0.01, mu=0.02, images=8)
    images, labels = torch.rand(8, 1, 28, 28), torch.arange(8)
    optimizer.estimate(images, labels)
    curvature = gauss_newton_diagonal(model, F.cross_entropy, images, labels)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    F.cross_entropy(model(images), labels).backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        expected = before[name] - 0.01 / (0.02 + curvature[name]) * parameter.grad
        torch.testing.assert_close(parameter.detach(), expected)


def test_rates_of_the_first_pass_are_in_the_papers_range() -> None:
    # Section III.B: "the resulting effective learning rates for each weight varied between 7e-5 and 0.016".
    train = load_digits(enlarge_to=1437).train
    images, labels = train.images[:500].float() / 255, train.labels[:500]
    model = OriginalLeNet5(generator=torch.Generator().manual_seed(0))
    optimizer = SDLM(model, F.cross_entropy, lr=5e-4, mu=0.02, images=500)
    optimizer.estimate(images, labels)
    rates = torch.cat([5e-4 * optimizer.state[p]["rate"].flatten() for p in model.parameters()])
    assert 7e-5 / 10 < rates.min() < 7e-5 * 10
    assert 0.016 / 2 < rates.max() < 0.016 * 2


def test_a_new_estimate_is_written_where_the_old_one_is() -> None:
    model = OriginalLeNet5()
    optimizer = SDLM(model, F.cross_entropy, lr=0.01, mu=0.02, images=2)
    parameter = next(model.parameters())
    optimizer.estimate(torch.rand(2, 1, 28, 28), torch.arange(2))
    rate = optimizer.state[parameter]["rate"]
    before = rate.clone()
    optimizer.estimate(torch.rand(2, 1, 28, 28), torch.arange(2))
    assert optimizer.state[parameter]["rate"] is rate
    assert not torch.equal(rate, before)


def test_a_rate_on_the_device_is_the_same_step() -> None:
    results = []
    for lr in (0.01, torch.tensor(0.01)):
        model = OriginalLeNet5(generator=torch.Generator().manual_seed(0))
        optimizer = SDLM(model, F.cross_entropy, lr=lr, mu=0.02, images=2)
        images = torch.linspace(0, 1, 2 * 784).view(2, 1, 28, 28)
        optimizer.estimate(images, torch.arange(2))
        F.cross_entropy(model(images), torch.arange(2)).backward()
        optimizer.step()
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*results)
