"""Corruptions: seeded, reproducible, and each what its name says; translations and rotations are exact."""

import zlib

import numpy as np
import pytest
import torch
from torch import Tensor

from digitnet.corruptions import CHUNK, CORRUPTIONS, corrupt, rotated, translated
from digitnet.data import load_digits

CERTAIN = ("brightness", "stripe", "scale", "canny_edges")  # nothing is drawn


@pytest.fixture(scope="module")
def images() -> Tensor:
    return load_digits(enlarge_to=1437).test.images


def same(n: int, level: int) -> Tensor:
    """(n, 1, 28, 28) uint8 of one grey level."""
    return torch.full((n, 1, 28, 28), level, dtype=torch.uint8)


def masses(images: Tensor) -> Tensor:
    return images.double().sum((1, 2, 3))


def centres(images: Tensor) -> tuple[Tensor, Tensor]:
    """(across, down) (N,) of the ink, in pixels."""
    places, values = torch.arange(28.0).double(), images[:, 0].double()
    return (values.sum(1) * places).sum(1) / masses(images), (values.sum(2) * places).sum(1) / masses(images)


def test_names_are_those_of_the_paper() -> None:
    assert CORRUPTIONS == (
        "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "shear", "scale", "rotate", "brightness",
        "translate", "stripe", "fog", "spatter", "dotted_line", "zigzag", "canny_edges",
    )  # fmt: skip
    with pytest.raises(ValueError, match="no corruption 'frost'; there are shot_noise, impulse_noise"):
        corrupt(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), "frost")


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_is_seeded_and_leaves_its_input_alone(images: Tensor, name: str) -> None:
    before, state = images.clone(), (torch.get_rng_state(), np.random.get_state()[1].copy())
    first, again, other = (corrupt(images, name, seed) for seed in (0, 0, 1))
    assert (first.shape, first.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name in CERTAIN)
    changed = (first != images).flatten(1).any(1)
    assert changed.all()
    assert torch.equal(corrupt(images[:300], name), first[:300]) or name not in CERTAIN


def test_images_beyond_a_chunk_get_other_draws(images: Tensor) -> None:
    many = images[:1].expand(CHUNK + 3, 1, 28, 28)
    found = corrupt(many, "impulse_noise")
    assert not torch.equal(found[:3], found[CHUNK:])


def test_draws_are_those_of_pcg64_by_seed_name_and_chunk() -> None:
    found = corrupt(same(CHUNK + 3, 128), "impulse_noise", seed=5)
    for number, part in enumerate(found.split(CHUNK)):
        bits = np.random.PCG64([5, zlib.crc32(b"impulse_noise"), number])
        draws = np.random.Generator(bits).random((len(part), 28, 28))
        expected = np.where(draws < 0.17, np.where(draws < 0.085, 255, 0), 128)
        assert np.array_equal(part[:, 0].numpy(), expected)


def test_shot_noise_keeps_the_mean_and_has_four_levels(images: Tensor) -> None:
    found = corrupt(images, "shot_noise")
    assert set(found.unique().tolist()) == {0, 85, 170, 255}
    assert 0.75 < float(masses(found).mean() / masses(images).mean()) < 1  # more than three photons are white as well


def test_impulse_noise_hits_17_percent(images: Tensor) -> None:
    paper = torch.full_like(images, 128)
    found = corrupt(paper, "impulse_noise").double()
    for level in (0, 255):
        assert float((found == level).double().mean()) == pytest.approx(0.085, abs=0.003)


def test_blurs_keep_the_ink_and_spread_it(images: Tensor) -> None:
    for name in ("glass_blur", "motion_blur"):
        found = corrupt(images, name)
        assert float(masses(found).mean() / masses(images).mean()) == pytest.approx(1, abs=0.08)
        assert (found > 0).double().mean() > (images > 0).double().mean() + 0.05
        assert found.double().flatten(1).std(1).mean() < images.double().flatten(1).std(1).mean() - 5
    moved, still = centres(corrupt(images, "motion_blur"))[0], centres(images)[0]
    assert float((moved - still).mean().abs()) > 1  # the blur is on one side


def test_glass_blur_blurs_before_and_after_two_rounds_of_swaps() -> None:
    dots = same(600, 0)
    dots[::2, :, 14, 14] = 255
    found = corrupt(dots, "glass_blur")
    assert int(found[1::2].max()) == 0  # nothing of the next image
    assert len(found[::2].amax((1, 2, 3)).unique()) > 2  # one blurred pixel has one height, wherever it has gone
    _, down = centres(found[::2])
    assert float(down.std()) == pytest.approx(0.38, abs=0.05)  # 0.26 after one round


def test_motion_blur_weighs_by_half_a_gaussian_of_three_pixels() -> None:
    bars = same(50, 0)
    bars[..., 20] = 255
    unmoved = 1 / sum(np.exp(-0.5 * (step / 3) ** 2) for step in range(21))
    assert corrupt(bars, "motion_blur")[..., 20].unique().tolist() == [round(255 * unmoved)]


def test_shear_moves_rows_sideways() -> None:
    square = same(40, 0)
    square[:, :, 9:19, 9:19] = 255
    rows = corrupt(square, "shear")[:, 0].double()
    middles = (rows * torch.arange(28.0).double()).sum(2) / rows.sum(2)
    assert torch.allclose((middles[:, 17] - middles[:, 10]).abs(), torch.tensor(7 * np.sin(0.4)), atol=0.05)


def test_affine_corruptions_keep_the_middle(images: Tensor) -> None:
    square = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    square[:, :, 9:19, 9:19] = 255
    squares = square.expand(400, 1, 28, 28)
    for name, ratio in (("shear", 1 / np.cos(0.4)), ("scale", 0.49), ("rotate", 1.0)):
        found = corrupt(squares, name)
        assert float(masses(found).mean() / masses(squares).mean()) == pytest.approx(ratio, abs=0.03), name
        across, down = centres(found)
        assert float((across - 13.5).abs().max()) < 0.1
        assert float((down - 13.5).abs().max()) < 0.1
    for name in ("shear", "rotate"):
        found = corrupt(squares, name)
        assert len({image.numpy().tobytes() for image in found}) == 2  # in both directions
    one = corrupt(squares, "rotate")[0].unsqueeze(0)
    assert any(
        float((rotated(square, sign * np.degrees(0.4)).double() - one.double()).abs().mean()) < 0.5 for sign in (1, -1)
    )


def test_translate_moves_three_pixels_diagonally(images: Tensor) -> None:
    across, down = (
        after - before for after, before in zip(centres(corrupt(images, "translate")), centres(images), strict=True)
    )
    kept = masses(corrupt(images, "translate")) == masses(images)  # what left the image has no centre
    assert kept.double().mean() > 0.5
    for move in (across[kept], down[kept]):
        assert torch.allclose(move.abs(), torch.tensor(3.0).double(), atol=1e-4)
        assert 0.3 < float((move > 0).double().mean()) < 0.7
    assert 0.3 < float((across[kept] * down[kept] > 0).double().mean()) < 0.7  # both diagonals


def test_brightness_stripe_and_fog_have_their_levels(images: Tensor) -> None:
    bright = corrupt(images, "brightness")
    assert int(bright.min()) == 128
    assert torch.equal(bright == 255, images >= 128)
    striped = corrupt(images, "stripe")
    assert torch.equal(striped[..., 7:21], images[..., 7:21])
    assert torch.equal(striped[..., :7], 255 - images[..., :7])
    assert torch.equal(striped[..., 21:], 255 - images[..., 21:])
    fog = corrupt(images, "fog").double()
    white = images.amax((1, 2, 3)) == 255
    assert fog[white].max() <= 255
    grounds = fog[(images == 0) & (white[:, None, None, None])]
    assert 60 < float(grounds.mean()) < 130
    assert float(grounds.std()) > 15
    assert fog[images == 255].mean() - grounds.mean() == pytest.approx(255 / 4, abs=12)


def test_fog_is_smooth_and_differs_between_images() -> None:
    found = corrupt(same(300, 255), "fog")[:, 0].double()
    assert len(found.flatten(1).unique(dim=0)) == 300
    maps = (found / 255 * 4 - 1) / 3  # from 0 to 1
    assert float(maps.diff(dim=2).abs().mean()) == pytest.approx(0.0082, rel=0.3)  # as the published code's
    assert float(maps.mean((1, 2)).std()) > 0.1


def test_spatter_covers_with_dark_drops() -> None:
    drops = corrupt(same(600, 0), "spatter")
    assert 50 <= int(drops.max()) <= 63
    assert float((drops > 0).double().mean()) == pytest.approx(0.137, abs=0.02)
    on_white = corrupt(same(600, 255), "spatter")
    assert torch.equal(on_white < 255, drops > 0)
    assert int(on_white[on_white < 255].max()) <= 255 - 0.8 * (255 - 63) + 1


def test_lines_only_add_ink(images: Tensor) -> None:
    for name, columns in (("dotted_line", 14), ("zigzag", 23)):
        assert (corrupt(images, name) >= images).all()
        drawn = (corrupt(same(600, 0), name)[:, 0] > 127).any(1).double().sum(1)
        assert float(drawn.median()) == pytest.approx(columns, abs=3)


def test_dotted_line_is_straight_and_fades() -> None:
    dotted = corrupt(same(600, 0), "dotted_line")[:, 0]
    is_drawn = torch.arange(28) // 2 % 2 == 1
    assert int(dotted[..., ~is_drawn].max()) == 0
    inside = dotted[:, :, is_drawn][:, :, :13]  # the last column is left out
    is_level = (inside == inside[:, :, :1]).flatten(1).all(1)
    assert 0 < float(is_level.double().mean()) < 0.1
    assert dotted[is_level].unique().tolist() == [0, round(255 * (1 + np.log(1 - 1 / 2.3))), 255]


def test_zigzag_swings_by_two_pixels_and_rises_or_falls() -> None:
    drawn = corrupt(same(600, 0), "zigzag")[:, 0].double()
    drawn = drawn[drawn[:, [0, 27]].sum((1, 2)) == 0]  # those that are whole
    heights = (drawn * torch.arange(28.0).double()[:, None]).sum(1) / drawn.sum(1)
    swings = (heights[:, 4] - 2 * heights[:, 8] + heights[:, 12]) / 4
    assert float((swings - 2).abs().max()) < 0.25
    rises = heights[:, 24] - heights[:, 8]
    assert float(rises.min()) == pytest.approx(-5 / 23 * 16, abs=0.8)
    assert float(rises.max()) == pytest.approx(4 / 23 * 16, abs=0.8)


def test_canny_finds_the_outline() -> None:
    square = same(3, 0)
    square[0, :, 8:20, 8:20] = 255
    square[1, :, 8:20, 8:20] = 14  # above the lower threshold, below the upper
    square[2, :, 8:20, 8:20] = 23  # just above the upper threshold
    edges = corrupt(square, "canny_edges")
    assert set(edges.unique().tolist()) == {0, 255}
    assert int(edges[1].sum()) == 0
    for image in (0, 2):
        found = edges[image, 0] > 0
        assert found[14].nonzero().flatten().tolist() in ([7, 8, 19, 20], [7, 20], [8, 19], [7, 19], [8, 20])
        assert int(found[10:18, 10:18].sum()) == 0
        assert 40 <= int(found.sum()) <= 110


def test_canny_follows_an_edge_that_fades() -> None:
    fading = same(1, 0)
    fading[:, :, 8:20, 4:24] = torch.linspace(60, 12, 20).round().to(torch.uint8)
    edges = corrupt(fading, "canny_edges")[0, 0]
    assert int(edges[7:9, 4:24].amax(0).min()) == 255


def test_translations_and_rotations_are_exact(images: Tensor) -> None:
    assert torch.equal(translated(images, 0), images)
    assert torch.equal(rotated(images, 0), images)
    assert torch.equal(translated(images, 3)[..., 3:], images[..., :-3])
    assert int(translated(same(1, 255), 3)[..., :3].max()) == 0
    assert torch.equal(translated(images, -2, 5)[:, :, 5:, :-2], images[:, :, :-5, 2:])
    assert (rotated(images, 90).int() - torch.rot90(images, 1, (2, 3)).int()).abs().max() <= 1
    assert (rotated(images, -90).int() - torch.rot90(images, -1, (2, 3)).int()).abs().max() <= 1
