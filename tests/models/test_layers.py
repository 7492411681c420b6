"""The faster layers against those of torch.nn."""

import pytest
import torch
from torch import Tensor, nn

from digitnet.models.layers import Dropout, PointwiseConv2d


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pointwise_convolution_equals_torchs_in_values_and_gradients(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    ours, theirs = PointwiseConv2d(16, 120), nn.Conv2d(16, 120, 1)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(8, 16, 4, 4).to(memory_format=layout)
    found: list[list[Tensor]] = []
    for layer in (ours, theirs):
        x = images.clone().requires_grad_()
        y = layer.to(memory_format=layout)(x)
        (y**2).sum().backward()
        assert x.grad is not None
        assert y.is_contiguous(memory_format=layout)
        found.append([y, x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)])
    assert len(found[0]) == 4
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other)


def test_pointwise_convolution_in_channels_last_is_a_matrix_product() -> None:
    layer, images = PointwiseConv2d(16, 120), torch.randn(8, 16, 4, 4)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profile:
        layer(images.to(memory_format=torch.channels_last))
    assert "aten::addmm" in {event.key for event in profile.key_averages()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.001, 0.1, 0.5])
def test_dropout_keeps_a_fraction_and_scales_it(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, values = Dropout(p), torch.ones(400, 500, dtype=dtype, requires_grad=True)
    kept = layer(values)
    assert kept.dtype == dtype
    assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=0.003)
    assert (kept > 0).float().mean().item() == pytest.approx(1 - p, abs=5 * (p * (1 - p) / 200_000) ** 0.5)
    kept.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, kept)  # dropped values have no gradient
    torch.manual_seed(0)
    assert torch.equal(layer(values), kept)


@pytest.mark.parametrize("layer", [Dropout(0.5).eval(), Dropout(0.0)])
def test_dropout_in_eval_mode_or_of_zero_changes_nothing(layer: Dropout) -> None:
    values = torch.randn(5, 7)
    assert torch.equal(layer(values), values)
