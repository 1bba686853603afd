"""The terms of the objective, one function each.

Equations are those of Huo et al., "Blind Image Deconvolution Using Variational Deep Image
Prior" (arXiv 2202.00179): y = k * x + n, q(x) = N(mean, std^2) for each pixel. Terms of the
bound are written as they are maximised.

Shapes: mean and std (c, h, w) on the canvas, residual (c, H, W), kernel (Kh, Kw).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_vdip.core.random import normal


def dv(x: Tensor) -> Tensor:
    """Vertical forward difference, (..., h, w) -> (..., h - 1, w)."""
    return x[..., 1:, :] - x[..., :-1, :]


def dh(x: Tensor) -> Tensor:
    """Horizontal forward difference, (..., h, w) -> (..., h, w - 1)."""
    return x[..., 1:] - x[..., :-1]


def data_term(residual: Tensor, canvas_values: int) -> Tensor:
    """Log likelihood of one x: ``-sum_D w_D ||D r||^2 / canvas_values``, r = k * x - y.

    D runs over 1, dv, dh, dvdv, dvdh, dhdv, dhdh. The weights are 1/2; 1/2 each (the published
    1/4 and 1/4 for the blurred gradients, the same number); 1/8 each, dvdh and dhdv as one.
    """
    v, h = dv(residual), dh(residual)
    second = (dv(v).square().sum() + 2.0 * dh(v).square().sum() + dh(h).square().sum()) / 8.0
    first = (v.square().sum() + h.square().sum()) / 2.0
    return -(residual.square().sum() / 2.0 + first + second) / canvas_values


def data_spread(kernel: Tensor, height: int, width: int, orders: int) -> Tensor:
    """Share of each canvas pixel's variance in the expected data term (closed form).

    ``E||D(k*x - y)||^2 = ||D(k*mean - y)||^2 + sum(std^2 correlated with (Dk)^2)``; the map A
    returned here has ``sum_D w_D sum(std^2 correlated with (Dk)^2) = sum(std^2 A)``. Summing over
    all outputs turns each correlation into box sums of (Dk)^2, taken from a table of sums.

    Parameters
    ----------
    kernel : Tensor, (Kh, Kw)
    height, width : int
        Size H, W of the blurred image.
    orders : int
        0: D = 1 only. 2: all seven operators of `data_term`, with its weights.

    Returns
    -------
    Tensor, (H + Kh - 1, W + Kw - 1)
    """
    operators: list[tuple[int, int, float]] = [(0, 0, 0.5)]  # order along v, along h, weight
    if orders == 2:
        operators += [(1, 0, 0.5), (0, 1, 0.5), (2, 0, 0.125), (1, 1, 0.25), (0, 2, 0.125)]
    rows, columns = height + kernel.size(0) - 1, width + kernel.size(1) - 1
    total = torch.zeros([rows, columns], dtype=kernel.dtype, device=kernel.device)
    for order_v, order_h, weight in operators:
        part = kernel
        for _ in range(order_v):
            part = F.pad(part, [0, 0, 0, 1]) - F.pad(part, [0, 0, 1, 0])
        for _ in range(order_h):
            part = F.pad(part, [0, 1, 0, 0]) - F.pad(part, [1, 0, 0, 0])
        table = F.pad(part.square().cumsum(0).cumsum(1), [1, 0, 1, 0])  # (a + 1, b + 1)
        sums = _box(table, 0, height - order_v, rows)  # (rows, b + 1)
        total = total + weight * _box(sums, 1, width - order_h, columns)
    return total


def _box(table: Tensor, axis: int, outputs: int, inputs: int) -> Tensor:
    """Sum, for each canvas index, the kernel entries that carry it into a valid output."""
    size = table.size(axis) - 1
    first = size - 1 - torch.arange(inputs, device=table.device)
    low = first.clamp(0, size)
    high = (first + outputs).clamp(0, size)
    return table.index_select(axis, high) - table.index_select(axis, low)


def entropy(std: Tensor) -> Tensor:
    """Entropy of q, up to a constant: mean of ``log std``."""
    return std.clamp_min(1e-12).log().mean()


def sparse_prior(mean: Tensor, std: Tensor) -> Tensor:
    """Take the expected log-gradient prior by reweighted least squares.

    ``g = (m_i - m_j)^2 + s_i^2 + s_j^2`` for each neighbouring pair;
    ``-1/4 sum g / (stop_gradient(g) + 1e-6) / ((h - 1)(w - 1) c)``.
    """
    var = std.square()
    total = torch.zeros([], dtype=mean.dtype, device=mean.device)
    for g in [
        dv(mean).square() + var[:, 1:] + var[:, :-1],
        dh(mean).square() + var[:, :, 1:] + var[:, :, :-1],
    ]:
        total = total + (g / (g.detach() + 1e-6)).sum()
    return -0.25 * total / ((mean.size(1) - 1) * (mean.size(2) - 1) * mean.size(0))


def window_minimum(image: Tensor, window: int) -> Tensor:
    """Minimum over channels and a square window: (c, h, w) -> (h - window + 1, w - window + 1).

    The window is cut to the image where the image is smaller; one axis after the other.
    """
    lowest = -image.amin(0)[None, None]  # (1, 1, h, w)
    lowest = F.max_pool2d(lowest, [min(window, image.size(1)), 1], [1, 1])
    return -F.max_pool2d(lowest, [1, min(window, image.size(2))], [1, 1])[0, 0]


def sparse_precision(mean: Tensor, var: Tensor) -> Tensor:
    """Precision that `sparse_prior` gives to each pixel: half the sum of 1 / g over its neighbours.

    It is what the stationary point of entropy and prior in the variance asks for, g held.
    """
    v = 0.5 / (dv(mean).square() + var[:, 1:] + var[:, :-1] + 1e-6)
    h = 0.5 / (dh(mean).square() + var[:, :, 1:] + var[:, :, :-1] + 1e-6)
    down, right = F.pad(v, [0, 0, 0, 1]), F.pad(h, [0, 1])
    up, left = F.pad(v, [0, 0, 1, 0]), F.pad(h, [1, 0])
    total: Tensor = down + up + right + left
    return total


def correlation_gain(kernel: Tensor, regularity: Tensor, rows: int, columns: int, by_fft: bool) -> Tensor:
    """By how much a pixel's standard deviation exceeds the mean-field one.

    A factorised posterior gives the reciprocal of the precision's diagonal, which is less than the
    diagonal of its inverse: deconvolved noise is correlated. For a stationary precision
    ``|K|^2 + regularity`` (in units of 1 / noise variance) both are means over the frequencies.
    """
    if by_fft:
        spectrum: Tensor = torch.fft.rfft2(kernel, s=[rows, columns], dim=[-2, -1], norm=None)
        power = spectrum.abs().square()
    else:
        power = kernel_power(kernel, rows, columns)
    power = power + regularity
    return (power.reciprocal().mean() * power.mean()).sqrt()


def kernel_power(kernel: Tensor, rows: int, columns: int) -> Tensor:
    """``|K|^2`` at the frequencies of `rfft2`, (rows, columns // 2 + 1), by products with waves."""
    down = waves(rows, rows, kernel.size(0), kernel)
    across = waves(columns // 2 + 1, columns, kernel.size(1), kernel)
    cosines, sines = torch.matmul(down[0], kernel), torch.matmul(down[1], kernel)
    along, over = across[0].t(), across[1].t()
    real = torch.matmul(cosines, along) - torch.matmul(sines, over)
    imaginary = torch.matmul(sines, along) + torch.matmul(cosines, over)
    return real.square() + imaginary.square()


def waves(count: int, length: int, places: int, like: Tensor) -> Tensor:
    """Cosine and sine of the first frequencies of an axis at its first places, (2, count, places)."""
    frequency = torch.arange(count, device=like.device, dtype=like.dtype)
    place = torch.arange(places, device=like.device, dtype=like.dtype)
    # Whole turns are left out before they cost digits.
    angle = 2.0 * math.pi / length * torch.remainder(frequency[:, None] * place[None], float(length))
    return torch.stack([angle.cos(), angle.sin()])


def extreme_prior(mean: Tensor, std: Tensor, seed: Tensor, stream: Tensor, window: int = 35) -> Tensor:
    """Take the expected extreme-channel prior: window minima of x^2 (dark) and (1 - x)^2 (bright).

    The samples are Gaussian with the exact mean and variance of the squares: ``u^2 + s^2`` and
    ``4 u^2 s^2 + 2 s^4`` with u = m or 1 - m. Each minimum is divided by its detached value;
    ``-1/4`` each, over the number of windows.
    """
    var = std.square()
    draws = (
        normal(2 * mean.numel(), seed, stream)
        .to(mean.dtype)
        .view(2, mean.size(0), mean.size(1), mean.size(2))
    )
    total = torch.zeros([], dtype=mean.dtype, device=mean.device)
    for i, u in enumerate([mean, 1.0 - mean]):
        spread = (4.0 * u.square() * var + 2.0 * var.square()).clamp_min(1e-24).sqrt()
        lowest = window_minimum(u.square() + var + spread * draws[i], window)
        scale = lowest.detach()
        scale = torch.where(scale.abs() < 1e-6, torch.full_like(scale, 1e-6), scale)
        total = total + (lowest / scale).mean()
    return -0.25 * total


def kernel_term(kernel: Tensor) -> Tensor:
    """Gaussian prior of the kernel: ``-10 sum(k^2) / 2``."""
    return -5.0 * kernel.square().sum()


def centre_distance(kernel: Tensor) -> Tensor:
    """Squared distance in px^2 of the kernel's centre of mass from its middle; keeps it from drifting."""
    rows = torch.arange(kernel.size(0), device=kernel.device, dtype=kernel.dtype) - (kernel.size(0) - 1) / 2.0
    columns = (
        torch.arange(kernel.size(1), device=kernel.device, dtype=kernel.dtype) - (kernel.size(1) - 1) / 2.0
    )
    return (kernel.sum(1) * rows).sum().square() + (kernel.sum(0) * columns).sum().square()


def gaussian_filter(maps: Tensor) -> Tensor:
    """11 x 11 Gaussian window of SSIM, sigma 1.5, zero padding, one axis after the other: (n, H, W).

    As products with banded matrices: torch's backward pass of a convolution of one channel takes five
    times as long on the CPU at 255 px, and still somewhat longer at 1024 px.
    """
    rows, columns = gaussian_band(maps.size(1), maps), gaussian_band(maps.size(2), maps)
    return torch.matmul(torch.matmul(rows, maps), columns)


def gaussian_band(size: int, like: Tensor) -> Tensor:
    """Matrix (size, size) whose rows hold the window of SSIM around the diagonal; symmetric."""
    x = torch.arange(11, device=like.device, dtype=like.dtype) - 5.0
    total = torch.exp(-x.square() / (2.0 * 1.5 * 1.5)).sum()
    at = torch.arange(size, device=like.device, dtype=like.dtype)
    apart = (at[:, None] - at[None]).square()
    window = torch.exp(-apart / (2.0 * 1.5 * 1.5)) / total
    return torch.where(apart > 25.5, torch.zeros_like(window), window)


def ssim(image: Tensor, target: Tensor, target_mean: Tensor, target_var: Tensor) -> Tensor:
    """Mean structural similarity (Wang et al. 2004) of (c, H, W) images in [0, 1].

    Parameters
    ----------
    image, target : Tensor, (c, H, W)
    target_mean, target_var : Tensor, (c, H, W)
        From `local_moments` of the target: they do not change from step to step.
    """
    channels = image.size(0)
    maps = gaussian_filter(torch.cat([image, image.square(), image * target]))
    mean = maps[:channels]
    var = maps[channels : 2 * channels] - mean.square()
    covariance = maps[2 * channels :] - mean * target_mean
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2.0 * mean * target_mean + c1) * (2.0 * covariance + c2)
    denominator = (mean.square() + target_mean.square() + c1) * (var + target_var + c2)
    return (numerator / denominator).mean()


def local_moments(image: Tensor) -> tuple[Tensor, Tensor]:
    """Windowed mean and variance of (c, H, W), as `ssim` takes them."""
    maps = gaussian_filter(torch.cat([image, image.square()]))
    mean = maps[: image.size(0)]
    return mean, maps[image.size(0) :] - mean.square()
