"""What data and prior leave open: variances of a posterior whose precision varies slowly."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from napari_vdip.core.blur import fast_length
from napari_vdip.core.prior import total


class Spread:
    """Posterior of an image around each pixel, as if data and prior were there the same everywhere.

    Under this assumption its precision ``w (|K|^2 + r |D|^2 + g)`` is diagonal in the frequencies, D
    being all differences of the prior's order, and all that is asked for is a mean over the frequencies.
    The means are tabulated over log r and read off at each pixel.

    Parameters
    ----------
    kernel : Tensor, (Kh, Kw) or (n, 1, Kh, Kw)
    ratio : Tensor, (c, h, w) or (n, c, h, w)
        r: the prior's precision of a difference in units of the data's w; positive.
    guess : Tensor, ()
        g: precision of another estimate of each pixel, in the same units.
    order : int
        Of the prior's differences, see `prior`.
    """

    def __init__(self, kernel: Tensor, ratio: Tensor, guess: Tensor, order: int) -> None:
        # The spectrum of a kernel is smooth: as many frequencies as four kernels have pixels.
        rows, columns = fast_length(max(48, 2 * kernel.size(-2))), fast_length(max(48, 2 * kernel.size(-1)))
        fy = torch.arange(rows, device=kernel.device, dtype=kernel.dtype) / rows
        fx = torch.arange(columns, device=kernel.device, dtype=kernel.dtype) / columns
        slope = 4.0 * (math.pi * fy).sin().square()[:, None] + 4.0 * (math.pi * fx).sin().square()
        share = 0.5  # two differences of the first order have this spectrum, and four of the second
        if order == 2:
            slope, share = slope.square(), 0.25
        power = torch.fft.fft2(kernel, s=[rows, columns], dim=[-2, -1], norm=None).abs().square()
        place = ratio.log()
        levels = 16
        low = place.amin([-3, -2, -1], keepdim=True)
        step = ((place.amax([-3, -2, -1], keepdim=True) - low) / (levels - 1)).clamp_min(1e-6)
        table: list[Tensor] = []
        totals: list[Tensor] = []
        for level in range(levels):
            precision = power + (low + level * step).exp() * slope + guess + 1e-6
            totals.append(precision)
            table.append(
                torch.stack(
                    [
                        precision.reciprocal().mean([-2, -1]),
                        (share * slope / precision).mean([-2, -1]),
                        (power / precision).mean([-2, -1]),
                        precision.log().mean([-2, -1]),
                    ]
                )
            )
        self.totals: list[Tensor] = totals
        self.table: Tensor = torch.stack(table, -1).view(4, -1)  # (4, n * levels)
        self.first: Tensor = levels * torch.arange(low.numel(), device=low.device).view_as(low)
        self.below: Tensor = ((place - low) / step).floor().clamp(0, levels - 2)
        self.part: Tensor = (place - low) / step - self.below

    def read(self, row: int) -> Tensor:
        """Interpolate one row of the table, (c, h, w)."""
        values = self.table[row]
        below = (self.first + self.below.to(torch.int64)).flatten()
        low, high = values.index_select(0, below), values.index_select(0, below + 1)
        result: Tensor = torch.lerp(low, high, self.part.flatten()).view_as(self.part)
        return result

    def pixel(self) -> Tensor:
        """Variance of each pixel, in units of 1 / w."""
        return self.read(0)

    def difference(self) -> Tensor:
        """Variance of a difference, the mean over those of the order, in units of 1 / w."""
        return self.read(1)

    def data_share(self) -> Tensor:
        """Part of each pixel that the data decide, 0 to 1."""
        return self.read(2)

    def log_precision(self) -> Tensor:
        """Logarithm of the precision for each pixel, in units of w: its sum is the log determinant."""
        return self.read(3)

    def spectrum(self) -> Tensor:
        """Variance by frequency, summed over the pixels, in units of 1 / w: (1, rows, columns)."""
        found = torch.zeros_like(self.totals[0])
        for level, precision in enumerate(self.totals):
            share = total((1.0 - (self.below + self.part - level).abs()).clamp_min(0.0))
            found = found + share / precision
        return found
