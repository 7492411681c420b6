"""Each distortion against a hand computation, and the ranges of the random draws."""

import math

import pytest
import torch
from torch import Generator, Tensor

from digitnet.augment import distort


def blob() -> Tensor:
    """(1, 1, 28, 28): an asymmetric shape away from the edges."""
    image = torch.zeros(1, 1, 28, 28)
    image[0, 0, 8:20, 10:13] = 1.0
    image[0, 0, 17:20, 10:18] = 0.5
    return image


@pytest.fixture
def largest_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every draw is the largest possible, plus the given value."""
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.ones(*size))


def test_default_arguments_change_nothing() -> None:
    torch.testing.assert_close(distort(blob()), blob(), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("largest_draw")
def test_rotation_by_90_degrees() -> None:
    turned = distort(blob(), rotation_deg=90.0)
    torch.testing.assert_close(turned, torch.rot90(blob(), 1, (2, 3)), atol=1e-4, rtol=0)


@pytest.mark.usefixtures("largest_draw")
def test_shift_is_a_fraction_of_the_width() -> None:
    moved = distort(blob(), shift=0.25)
    torch.testing.assert_close(moved, blob().roll((-7, -7), (2, 3)), atol=1e-4, rtol=0)


@pytest.mark.usefixtures("largest_draw")
@pytest.mark.parametrize(("knob", "wider", "higher"), [({"scale": 0.5}, 1.5, 1.5), ({"squeeze": 0.5}, 1.5, 1 / 1.5)])
def test_scale_and_squeeze_change_width_and_height(knob: dict[str, float], wider: float, higher: float) -> None:
    def spread(image: Tensor) -> tuple[float, float]:
        place = torch.arange(28.0) - 13.5
        rows, columns = image[0, 0].sum(1), image[0, 0].sum(0)
        return tuple(
            math.sqrt((ink * place**2).sum() / ink.sum() - ((ink * place).sum() / ink.sum()) ** 2)
            for ink in (columns, rows)
        )

    across, down = spread(blob())
    across_after, down_after = spread(distort(blob(), **knob))
    assert across_after / across == pytest.approx(wider, rel=0.05)
    assert down_after / down == pytest.approx(higher, rel=0.05)


@pytest.mark.usefixtures("largest_draw")
def test_shear_is_horizontal() -> None:
    sheared = distort(blob(), shear_deg=45.0)
    torch.testing.assert_close(sheared.sum(3), blob().sum(3), atol=1e-3, rtol=0)  # rows keep their ink
    top, bottom = sheared[0, 0, 8].argmax().item(), sheared[0, 0, 16].argmax().item()
    assert abs(top - bottom) == 8


def maps_of(count: int, **knobs: float) -> tuple[Tensor, Tensor]:
    """The inverse map around the centre: (count, 2, 2) matrices and (count, 2) shifts in pixels."""
    ramp = torch.arange(28.0) - 13.5
    across = ramp.expand(count, 1, 28, 28)
    down = ramp.view(28, 1).expand(count, 1, 28, 28)
    places = [distort(r, generator=Generator().manual_seed(0), **knobs)[:, 0] for r in (across, down)]
    columns = [[p[:, 13, 14] - p[:, 13, 13], p[:, 14, 13] - p[:, 13, 13]] for p in places]
    matrix = torch.stack([torch.stack(column, 1) for column in columns], 1)
    shift = torch.stack([p[:, 13:15, 13:15].mean((1, 2)) for p in places], 1)
    return matrix, shift


def test_draws_fill_the_notebooks_ranges_and_stay_inside() -> None:
    matrix, shift = maps_of(2000, rotation_deg=25.0, shift=0.1)
    angle = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    for values, limit in ((angle, 25.0), (shift[:, 0], 2.8), (shift[:, 1], 2.8)):
        assert values.abs().max() <= limit * 1.001
        assert values.min() < -0.98 * limit
        assert values.max() > 0.98 * limit
        assert abs(values.mean()) < 0.05 * limit
    assert torch.corrcoef(torch.stack([angle, *shift.T])).triu(1).abs().max() < 0.08  # independent draws


def test_images_are_never_mirrored() -> None:
    matrix, _ = maps_of(2000, rotation_deg=25.0, shift=0.1, scale=0.3, shear_deg=30.0, squeeze=0.3)
    assert torch.linalg.det(matrix).min() > 0


def test_each_image_has_its_own_draw_from_the_generator() -> None:
    images = blob().expand(16, 1, 28, 28)
    first, same, other = (
        distort(images, rotation_deg=25.0, shift=0.1, generator=Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first}) == 16


def test_elastic_distortion_has_the_expected_deviation_and_is_smooth() -> None:
    matrix, shift = maps_of(400, elastic_alpha=34.0, elastic_sigma=4.0)
    # Noise of variance 1/3, smoothed in two directions by a Gaussian, each of which keeps 1 / (2 sqrt(pi) sigma) of it.
    deviation = 34.0 * math.sqrt(1 / 3) / (2 * math.sqrt(math.pi) * 4.0)
    assert shift.std().item() == pytest.approx(deviation, rel=0.1)
    assert matrix.std(0).max() < 1.0  # smooth: neighbouring pixels move together
    warped = distort(blob().expand(2, 1, 28, 28), elastic_alpha=34.0)
    assert not torch.equal(warped[0], warped[1])
