"""Climbs to kernels of great evidence: expectation maximisation with the image integrated out.

Given a kernel the image's posterior under a sparse prior is Gaussian (`evidence`); given the posterior,
mean and covariance, the kernel is a quadratic problem on the simplex. In turn they climb to a kernel whose
evidence is greatest near where they began (Levin et al., "Efficient marginal likelihood optimization in
blind deconvolution", CVPR 2011).

What is sharp in an image is not as sharp as such a prior thinks: optics and pixels have a blur of
their own, without which each kernel comes out too wide by it. So the latent image of the prior is
seen through a narrow Gaussian, the `glass`, and the kernel.

Shapes: kernels (n, 1, Kh, Kw), n being the number of climbs, which go up at the same time; glass (g, g), both
together (n, 1, Kh + g - 1, Kw + g - 1); latent images (n, c, H + Kh + g - 2, W + Kw + g - 2); data (c, H, W),
their precisions (n, c, H, W); scalars of a climb (n, 1, 1, 1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_vdip.core.blur import fast_length
from napari_vdip.core.prior import Sparse, density, expected_squares, penalty, precisions, total
from napari_vdip.core.refine import Blur, improve_image, on_simplex
from napari_vdip.core.spread import Spread

REACH = 3  # of the glass to either side, px


def steep() -> Sparse:
    """Prior of the latent image: heavier tails than the polish has, as the steepest edges tell a kernel."""
    return Sparse(1, 1.6, 0.5)


def gaussian(width: float, reach: int, like: Tensor) -> Tensor:
    """Draw a round Gaussian of this std in px, (2 reach + 1, 2 reach + 1); sums to 1."""
    place = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
    bell = torch.exp(-0.5 * (place / width).square())
    bell = bell / bell.sum()
    return bell[:, None] * bell


def through(kernel: Tensor, glass: Tensor) -> Tensor:
    """Kernels and glass together."""
    sides = [glass.size(1) - 1, glass.size(1) - 1, glass.size(0) - 1, glass.size(0) - 1]
    return F.conv2d(F.pad(kernel, sides), glass[None, None])


def through_adjoint(both: Tensor, glass: Tensor) -> Tensor:
    """Adjoint of `through`: (n, 1, Kh + g - 1, Kw + g - 1) -> (n, 1, Kh, Kw)."""
    return F.conv2d(both, glass[None, None])


def widened(kernel: Tensor, width: float) -> Tensor:
    """Kernel (Kh, Kw) blurred by a Gaussian of this std in px; sums to 1."""
    bell = gaussian(width, max(kernel.size(0), kernel.size(1)) // 2, kernel)
    reach = bell.size(0) // 2
    wide = F.conv2d(F.pad(kernel, [reach, reach, reach, reach])[None, None], bell[None, None])[0, 0]
    return wide / wide.sum()


def without_specks(kernel: Tensor) -> Tensor:
    """Kernel (Kh, Kw) without what stands alone, which is noise; sums to 1.

    A pixel stays by what is around it. Where that leaves parts, a weaker way from one to another stays
    too: a camera that is shaken moves on a line, and where it was fast the line is faint.
    """
    around = F.avg_pool2d(kernel[None], 3, 1, 1)[0]
    weak = (around > 0.03 * around.max()).to(kernel.dtype)
    strong = (around > 0.08 * around.max()).to(kernel.dtype)
    peak = (around >= around.max()).to(kernel.dtype)
    for _ in range(3):
        near = (steps_from(peak, strong) < math.inf).to(kernel.dtype)
        way = steps_from(near, weak) + steps_from(strong - near, weak)
        strong = torch.maximum(strong, ((way <= way.min() + 1.0) & (way < math.inf)).to(kernel.dtype))
    kept = kernel * strong
    return kept / kept.sum()


def steps_from(start: Tensor, within: Tensor) -> Tensor:
    """Count the steps, to any of eight neighbours, from pixels that are 1 through others; inf: no way."""
    count = torch.full_like(start, math.inf)
    reached = start
    for step in range(2 * (start.size(0) + start.size(1))):
        count = torch.where((reached > 0.0) & (count > step), torch.full_like(start, float(step)), count)
        reached = torch.maximum(reached, F.max_pool2d(reached[None], 3, 1, 1)[0] * within)
    return count


def on_support(values: Tensor, support: Tensor) -> Tensor:
    """Nearest kernel that is 0 where the support is, see `on_simplex`."""
    return on_simplex(torch.where(support > 0.0, values, values.amin([-2, -1], keepdim=True) - 1.0))


def seen_by(both: Tensor, precision: Tensor) -> Tensor:
    """Precision with which the data see each latent pixel, (n, c, h, w)."""
    seen = Blur(both, precision).adjoint(precision)
    return torch.maximum(seen, 0.01 * seen.amax([-3, -2, -1], keepdim=True))


def expectation(
    latent: Tensor, slope_var: Tensor, y: Tensor, precision: Tensor, both: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Improve the posterior of the latent image for a kernel: mean, variance of a difference, free energy.

    Parameters
    ----------
    latent, slope_var : Tensor, (n, c, h, w)
        Where to start.
    y : Tensor, (c, H, W)
    precision : Tensor, (n, c, H, W)
    both : Tensor
        Kernel and glass.
    scale : Tensor, ()
        Of the prior.
    """
    nothing = torch.zeros_like(scale)
    prior = precisions(expected_squares(latent, slope_var, 1), scale, steep())
    latent = improve_image(latent, y, precision, both, prior, latent, nothing, 10)
    seen = seen_by(both, precision)
    spread = Spread(both, density(prior) / seen, nothing, 1)
    slope_var = spread.difference() / seen
    residual = Blur(both, precision).forward(latent) - y
    energy = 0.5 * total(precision * residual.square()) + 0.5 * total(spread.data_share())
    for square in expected_squares(latent, slope_var, 1):
        energy = energy + total(penalty(square, scale, steep()))
    energy = energy + 0.5 * total(spread.log_precision() + seen.log())
    return latent, slope_var, energy


def rescaled(latent: Tensor, slope_var: Tensor, scale: Tensor) -> Tensor:
    """Scale of the prior that fits the posterior better: a fixed-point step, ()."""
    steepness = torch.zeros_like(scale)
    for square in expected_squares(latent, slope_var, 1):
        u = square / scale.square()
        bent = (u + 0.002 * 0.002).pow(0.5 * steep().exponent - 1.0)
        steepness = steepness + (steep().weight * steep().exponent * bent * u).sum()
    return scale * (steepness / latent.numel()).pow(1.0 / steep().exponent)


def maximisation(
    latent: Tensor,
    slope_var: Tensor,
    y: Tensor,
    precision: Tensor,
    kernel: Tensor,
    support: Tensor,
    glass: Tensor,
    scale: Tensor,
) -> Tensor:
    """Kernel that explains the data best under the posterior of the latent image, on its support.

    The gradient is exact. The curvature, between kernels that sum to 1, is taken as if image and
    covariance were the same everywhere, so that it is diagonal in the frequencies.
    """
    both = through(kernel, glass)
    tall, wide = both.size(-2), both.size(-1)
    rows, columns = latent.size(-2), latent.size(-1)
    prior = precisions(expected_squares(latent, slope_var, 1), scale, steep())
    spread = Spread(both, density(prior) / seen_by(both, precision), torch.zeros_like(scale), 1)
    doubt = spread.spectrum()
    grid = [doubt.size(-2), doubt.size(-1)]

    size = [fast_length(rows + tall), fast_length(columns + wide)]
    image = torch.fft.rfft2(latent, s=size, dim=[-2, -1], norm=None)
    residual = precision * (Blur(both, precision).forward(latent) - y)
    padded = F.pad(residual, [wide - 1, 0, tall - 1, 0])
    product = (torch.fft.rfft2(padded, s=size, dim=[-2, -1], norm=None) * image.conj()).sum(-3, keepdim=True)
    slope = torch.fft.irfft2(product, s=size, dim=[-2, -1], norm=None)[..., :tall, :wide]
    uncertain = torch.fft.fft2(both, s=grid, dim=[-2, -1], norm=None) * doubt
    slope = slope + torch.fft.ifft2(uncertain, dim=[-2, -1], norm=None).real[..., :tall, :wide]
    slope = through_adjoint(slope, glass)

    varied = latent - latent.mean([-2, -1], keepdim=True)
    power = torch.fft.rfft2(varied, s=size, dim=[-2, -1], norm=None).abs().square().sum(-3, keepdim=True)
    lags = torch.fft.irfft2(power, s=size, dim=[-2, -1], norm=None).roll([tall - 1, wide - 1], [-2, -1])
    lags = lags[..., : 2 * tall - 1, : 2 * wide - 1] * _taper(tall, lags)[:, None] * _taper(wide, lags)
    # Centred at the first corner again: its spectrum is real.
    lags = F.pad(lags, [0, grid[1] - lags.size(-1), 0, grid[0] - lags.size(-2)])
    lags = lags.roll([1 - tall, 1 - wide], [-2, -1])
    curvature = torch.fft.rfft2(lags, dim=[-2, -1], norm=None).real.clamp_min(0.0)
    curvature = curvature * precision.mean([-3, -2, -1], keepdim=True)
    curvature = curvature + doubt[..., : curvature.size(-1)]
    curvature = curvature * torch.fft.rfft2(glass, s=grid, dim=[-2, -1], norm=None).abs().square()
    steepest = curvature.amax([-2, -1], keepdim=True)
    curvature = curvature + 1e-7 * steepest

    start, found, ahead, time = kernel, kernel, kernel, 1.0
    for _ in range(60):  # accelerated projected gradient, as in `KernelFit`
        spectrum = torch.fft.rfft2(ahead - start, s=grid, dim=[-2, -1], norm=None)
        bend = torch.fft.irfft2(spectrum * curvature, s=grid, dim=[-2, -1], norm=None)
        step = 0.98 / steepest * (slope + bend[..., : kernel.size(-2), : kernel.size(-1)])
        new = on_support(ahead - step, support)
        new_time = 0.5 + 0.5 * (1.0 + 4.0 * time * time) ** 0.5
        ahead = new + (time - 1.0) / new_time * (new - found)
        found = new
        time = new_time
    return found


def _taper(length: int, like: Tensor) -> Tensor:
    """Triangle over the lags, (2 length - 1,): an autocorrelation that ends softly has no negative power."""
    lag = torch.arange(1 - length, length, device=like.device, dtype=like.dtype)
    return 1.0 - lag.abs() / length


def rolled(image: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Roll (c, h, w) by numbers of pixels that only the device knows."""
    rows = (torch.arange(image.size(1), device=image.device) - down) % image.size(1)
    columns = (torch.arange(image.size(2), device=image.device) - right) % image.size(2)
    return image.index_select(1, rows).index_select(2, columns)


def off(heights: Tensor) -> Tensor:
    """How many px the middle of what is not 0 is beyond that of the window."""
    place = torch.arange(heights.size(0), device=heights.device)
    high = heights > 0.0
    first = torch.where(high, place, torch.full_like(place, heights.size(0))).min()
    last = torch.where(high, place, torch.full_like(place, -1)).max()
    return torch.div(first + last + 1 - heights.size(0), 2, rounding_mode="trunc")


class Climbs(nn.Module):
    """Kernels that climb side by side, which takes less time than one after the other.

    Parameters
    ----------
    count : int
        Of the climbs.
    canvas : list of int
        Shape of the latent image without what the glass adds, (c, h, w).
    kernel_height, kernel_width : int
    glass : float
        Std of the glass in px.
    used : bool
        Off: no climb is ever made, and next to no memory is taken.

    Attributes
    ----------
    kernel : Tensor, (n, 1, Kh, Kw)
        Where the climbs are.
    support : Tensor, (1, 1, Kh, Kw)
        1 where a kernel may be.
    latent, slope_var : Tensor, (n, c, h, w)
        Posterior of the latent images: mean, and variance of a difference.
    scale : Tensor, ()
        Of the prior.
    error : Tensor, (n, 1, 1, 1)
        Share of the contrast that a kernel may leave unexplained.
    energy : Tensor, (n, 1, 1, 1)
        Free energy in nats; inf: not known.
    """

    if TYPE_CHECKING:
        glass: Tensor
        kernel: Tensor
        support: Tensor
        latent: Tensor
        slope_var: Tensor
        scale: Tensor
        error: Tensor
        energy: Tensor
        stride: Tensor

    def __init__(
        self, count: int, canvas: list[int], kernel_height: int, kernel_width: int, glass: float, used: bool
    ) -> None:
        super().__init__()
        # Times the way to the best kernel for a posterior; one way alone would creep.
        self.farthest: float = 64.0
        latent = [count, canvas[0], canvas[1] + 2 * REACH, canvas[2] + 2 * REACH]
        if not used:
            latent = [count, canvas[0], 1, 1]
        shapes: dict[str, list[int]] = {"latent": latent, "slope_var": latent}
        shapes |= {"kernel": [count, 1, kernel_height, kernel_width]}
        shapes |= {name: [count, 1, 1, 1] for name in ("error", "energy", "stride")} | {"scale": []}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("support", torch.ones([1, 1, kernel_height, kernel_width]))
        self.register_buffer("glass", gaussian(glass, REACH, self.scale))

    def precision(self, weight: Tensor, noise_var: Tensor, contrast: Tensor, first: int, end: int) -> Tensor:
        """Precision of the data as some climbs believe them now, (end - first, c, H, W)."""
        return weight.square() / (noise_var + (self.error[first:end] * contrast).square())

    def believe(self, error: float, first: int) -> None:
        """Take what this and later climbs leave unexplained for this share of the contrast from now on."""
        self.error[first:] = error
        self.energy[first:] = math.inf
        self.stride[first:] = 1.0

    def rest(self, y: Tensor) -> None:
        """Forget what the climbs have found but the kernels: latent images are the blurred one."""
        tall, wide = self.latent.size(-2) - y.size(-2), self.latent.size(-1) - y.size(-1)
        down, right = (tall + 1) // 2, (wide + 1) // 2
        self.latent.copy_(F.pad(y, [right, wide - right, down, tall - down], mode="replicate"))
        self.slope_var.zero_()
        self.energy.fill_(math.inf)
        self.stride.fill_(1.0)

    def keep(self, climbs: Tensor) -> None:
        """Let only these go on, in this order."""
        self.kernel, self.latent, self.slope_var = (
            self.kernel[climbs],
            self.latent[climbs],
            self.slope_var[climbs],
        )
        self.error, self.energy, self.stride = self.error[climbs], self.energy[climbs], self.stride[climbs]

    def settle(self, precision: Tensor, y: Tensor, first: int, end: int, rounds: int) -> Tensor:
        """Improve the posteriors of some climbs, whose kernels stay as they are; returns their energies.

        Parameters
        ----------
        precision : Tensor, (end - first, c, H, W)
        y : Tensor, (c, H, W)
        first, end, rounds : int
        """
        both = through(self.kernel[first:end], self.glass)
        energy = self.energy[first:end]
        for _ in range(rounds):
            latent, slope_var, energy = expectation(
                self.latent[first:end], self.slope_var[first:end], y, precision, both, self.scale
            )
            self.latent[first:end] = latent
            self.slope_var[first:end] = slope_var
        return energy

    def centre(self) -> None:
        """Move kernels and latent images against each other until kernels have the same room on all sides.

        Light is where it was blurred to, so the centre of mass is in the middle, and the far end of a kernel
        that is heavy at one would be cut off.
        """
        for climb in range(self.kernel.size(0)):
            kernel = without_specks(self.kernel[climb, 0])
            down, right = off(kernel.amax(1)), off(kernel.amax(0))
            self.kernel[climb] = rolled(self.kernel[climb], -down, -right)
            self.latent[climb] = rolled(self.latent[climb], down, right)
            self.slope_var[climb] = rolled(self.slope_var[climb], down, right)
            self.energy[climb] = torch.where(down.abs() + right.abs() > 0, math.inf, self.energy[climb])

    def step(
        self, y: Tensor, weight: Tensor, noise_var: Tensor, contrast: Tensor, first: int, end: int
    ) -> None:
        """Go a multiple of the way to the best kernel for this posterior; less far where energy rises.

        Parameters
        ----------
        y, weight : Tensor, (c, H, W)
        noise_var, contrast : Tensor, ()
        first, end : int
            Which climbs go on.
        """
        precision = self.precision(weight, noise_var, contrast, first, end)
        old, image, var = self.kernel[first:end], self.latent[first:end], self.slope_var[first:end]
        best = maximisation(image, var, y, precision, old, self.support, self.glass, self.scale)
        stride, least = self.stride[first:end], self.energy[first:end]
        kernel = on_support(old + stride * (best - old), self.support)
        latent, slope_var, energy = expectation(
            image, var, y, precision, through(kernel, self.glass), self.scale
        )
        good = energy < least
        self.kernel[first:end] = torch.where(good, kernel, old)
        self.latent[first:end] = torch.where(good, latent, image)
        self.slope_var[first:end] = torch.where(good, slope_var, var)
        self.energy[first:end] = torch.where(good, energy, least)
        farther, nearer = (1.5 * stride).clamp_max(self.farthest), (0.25 * stride).clamp_min(0.25)
        self.stride[first:end] = torch.where(good, farther, nearer)

    def image(self, climb: int) -> Tensor:
        """Sharp image of a climb, as sharp as images of this kind are: (c, h, w)."""
        seen: Tensor = F.conv2d(self.latent[climb][:, None], self.glass[None, None])[:, 0]
        return seen
