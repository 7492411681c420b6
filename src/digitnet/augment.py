"""Random distortions of a batch of images, drawn for each image separately, computed on the images' device."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def distort(
    images: Tensor,
    *,
    rotation_deg: float = 0.0,
    shift: float = 0.0,
    scale: float = 0.0,
    shear_deg: float = 0.0,
    squeeze: float = 0.0,
    elastic_alpha: float = 0.0,
    elastic_sigma: float = 4.0,
    generator: Generator | None = None,
) -> Tensor:
    """(B, 1, H, W) float -> (B, 1, H, W): each image rotated, shifted, scaled, sheared, squeezed and warped at random.

    Every draw is uniform between minus and plus the given value: `rotation_deg` and `shear_deg` in degrees, `shift`
    as a fraction of width and height, `scale` and `squeeze` as exponents of (1 + value), so that growing and
    shrinking are equally likely. Bilinear interpolation; zeros outside. `generator` must be on the images' device.

    The affine distortions are those of LeCun et al. 1998 (section III.B: translation, scaling, squeezing, horizontal
    shearing) and of the notebook (rotation, shifts). The elastic distortion is that of Simard, Steinkraus and Platt
    2003, section 2: `elastic_alpha` pixels times a field of uniform noise in [-1, 1], smoothed by a Gaussian with a
    standard deviation of `elastic_sigma` pixels; `elastic_alpha=0` disables it. The paper's values for MNIST are 34
    and 4.

    Differs from Keras's ImageDataGenerator: one resampling for all affine distortions, and zeros instead of the nearest
    edge pixel, which is black on MNIST as well.
    """
    n, _, height, width = images.shape
    draws = torch.rand(6, n, generator=generator, device=images.device).mul_(2).sub_(1)
    angle = draws[0] * math.radians(rotation_deg)
    shear = torch.tan(draws[1] * math.radians(shear_deg))
    size, stretch = (1 + scale) ** draws[2], (1 + squeeze) ** draws[3]
    cos, sin = torch.cos(angle), torch.sin(angle)
    # The inverse map, from a position in the result to its position in the image, coordinates in [-1, 1]:
    # rotation @ shear @ 1 / (size * stretch, size / stretch), then the shift (2 is the full width).
    across, down = 1 / (size * stretch), stretch / size
    inverse = torch.stack(
        [
            torch.stack([cos * across, (cos * shear - sin) * down * (height / width), draws[4] * (2 * shift)], 1),
            torch.stack([sin * across * (width / height), (sin * shear + cos) * down, draws[5] * (2 * shift)], 1),
        ],
        1,
    )
    grid = F.affine_grid(inverse, [n, 1, height, width], align_corners=False)
    if elastic_alpha > 0:
        grid = grid + _elastic_field(images, elastic_alpha, elastic_sigma, generator)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _elastic_field(images: Tensor, alpha: float, sigma: float, generator: Generator | None) -> Tensor:
    """Displacements (B, H, W, 2) in the units of grid_sample, where the full width is 2."""
    n, _, height, width = images.shape
    noise = torch.rand(2 * n, 1, height, width, generator=generator, device=images.device).mul_(2).sub_(1)
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    smooth = F.conv2d(noise, kernel.view(1, 1, 1, -1), padding=(0, radius))
    smooth = F.conv2d(smooth, kernel.view(1, 1, -1, 1), padding=(radius, 0)).view(n, 2, height, width)
    across, down = smooth[:, 0] * (alpha * 2 / width), smooth[:, 1] * (alpha * 2 / height)
    return torch.stack([across, down], 3)
