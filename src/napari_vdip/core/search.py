"""The kernel of greatest evidence: expectation maximisation with the image integrated out.

A fit of image and kernel together ends in one of many minima, and what explains the data best need
not be the likeliest kernel. Given a kernel the image's posterior under a sparse prior is Gaussian
(`evidence`); given the posterior, mean and covariance, the kernel is a quadratic problem on the simplex.
In turn they climb to a kernel whose evidence is greatest (Levin et al., "Efficient marginal
likelihood optimization in blind deconvolution", CVPR 2011).

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
# Share of the contrast that a kernel may leave unexplained: by the tenth of a climb from which on.
_ANNEALED = {0: 0.2, 3: 0.1, 4: 0.05, 6: 0.025}


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


def rms_radius(kernel: Tensor) -> Tensor:
    """Root mean square distance in px of a kernel's (Kh, Kw) light from its centre, ()."""
    rows = torch.arange(kernel.size(0), device=kernel.device, dtype=kernel.dtype)
    columns = torch.arange(kernel.size(1), device=kernel.device, dtype=kernel.dtype)
    down, across = kernel.sum(1), kernel.sum(0)
    middle, centre = (down * rows).sum(), (across * columns).sum()
    square = (down * (rows - middle).square()).sum() + (across * (columns - centre).square()).sum()
    return square.sqrt()


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


def moved(image: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Image (c, h, w) moved by parts of a pixel, cubic (Catmull and Rom 1974); its border is repeated."""
    tap = torch.arange(-2, 3, device=image.device, dtype=image.dtype)
    far, near = (tap - down).abs(), (tap - right).abs()
    columns, rows = _cubic(far), _cubic(near)
    wide = F.pad(image[:, None], [2, 2, 2, 2], mode="replicate")
    result: Tensor = F.conv2d(wide, (columns.flip(0)[:, None] * rows.flip(0))[None, None])[:, 0]
    return result


def _cubic(x: Tensor) -> Tensor:
    """Interpolating kernel at distances below 2; 0 beyond."""
    inner = (1.5 * x - 2.5) * x * x + 1.0
    outer = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return torch.where(x < 1.0, inner, torch.where(x < 2.0, outer, torch.zeros_like(x)))


def aligned(image: Tensor, kernel: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Image moved to where this kernel blurs it to the data best, by up to 3 px: (c, h, w).

    Image and kernel may move against each other, and two kernels that are found apart lie apart.
    """
    model = Blur(kernel, weight)
    misfits: list[Tensor] = []
    for rows in range(-2, 3):
        for columns in range(-2, 3):
            residual = weight * (model.forward(image.roll([rows, columns], [1, 2])) - y)
            misfits.append(residual.square().mean())
    best = torch.stack(misfits).argmin()
    image = _rolled(image, best // 5 - 2, best % 5 - 2)
    ahead = torch.zeros(2, device=y.device, dtype=y.dtype)
    here = image
    for _ in range(3):  # Gauss and Newton's steps for the rest
        residual = weight * (model.forward(here) - y)
        down = weight * model.forward(0.5 * (here.roll(1, 1) - here.roll(-1, 1)))
        right = weight * model.forward(0.5 * (here.roll(1, 2) - here.roll(-1, 2)))
        own, other, both = down.square().sum(), right.square().sum(), (down * right).sum()
        against_down, against_right = (down * residual).sum(), (right * residual).sum()
        area = (own * other - both * both).clamp_min(1e-12)
        step = torch.stack(
            [both * against_right - other * against_down, both * against_down - own * against_right]
        )
        ahead = (ahead + step / area).clamp(-1.0, 1.0)
        here = moved(image, ahead[0], ahead[1])
    return here


def _rolled(image: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Roll (c, h, w) by numbers of pixels that only the device knows."""
    rows = (torch.arange(image.size(1), device=image.device) - down) % image.size(1)
    columns = (torch.arange(image.size(2), device=image.device) - right) % image.size(2)
    return image.index_select(1, rows).index_select(2, columns)


def _off(heights: Tensor) -> Tensor:
    """How many px the middle of what is not 0 is beyond that of the window."""
    place = torch.arange(heights.size(0), device=heights.device)
    high = heights > 0.0
    first = torch.where(high, place, torch.full_like(place, heights.size(0))).min()
    last = torch.where(high, place, torch.full_like(place, -1)).max()
    return torch.div(first + last + 1 - heights.size(0), 2, rounding_mode="trunc")


class KernelSearch(nn.Module):
    """Three climbs: from the fit's kernel, from it blurred, from a blob. The likeliest kernel is taken.

    The last two believe the data little at first, which lets a kernel move far. A climb into a wrong
    valley costs time only, and where the likeliest kernel is next to no blur, the fit's kernel stays. They go
    up side by side, which takes less time than one after the other.
    The last part is for the kernel that is taken: its specks are noise that it has more freedom to
    follow than data to follow it by; without them, and with nothing outside of what is left, it climbs on.

    Parameters
    ----------
    canvas : list of int
        Shape of the canvas, (c, h, w).
    kernel_height, kernel_width : int
    climbing, last : int
        Steps of the three climbs and of the last part; 0 and 0: there is no search.
    glass : float
        Std of the glass in px.

    Attributes
    ----------
    steps : int
        Of climbs and last part.
    kernel : Tensor, (3, 1, Kh, Kw)
        Where the climbs are; the first one goes on in the last part.
    likeliest : Tensor, (Kh, Kw)
        The best end of a climb; at the end what came of it without its specks.
    support : Tensor, (1, 1, Kh, Kw)
        1 where a kernel may be.
    generated : Tensor, (c, h, w)
        The fit's image.
    """

    if TYPE_CHECKING:
        glass: Tensor
        generated: Tensor
        fitted: Tensor
        likeliest: Tensor
        kernel: Tensor
        support: Tensor
        latent: Tensor
        slope_var: Tensor
        scale: Tensor
        error: Tensor
        energy: Tensor
        stride: Tensor
        trusted: Tensor

    def __init__(
        self,
        canvas: list[int],
        kernel_height: int,
        kernel_width: int,
        climbing: int,
        last: int,
        glass: float,
    ) -> None:
        super().__init__()
        self.climbing: int = climbing
        self.steps: int = climbing + last
        # Times the way to the best kernel for a posterior; one way alone would creep.
        self.farthest: float = 64.0
        # Nats a pixel by which a later climb has to be better: none is at rest when its steps are done.
        self.clearly: float = 0.004
        # A fit tells how far the blur reaches. A kernel of less than this share of it leaves the blur in the
        # image, and where it is the likeliest, edges are so dense that no blur seems likelier than any.
        self.narrowest: float = 0.65
        # Of the prior, in units of the contrast: a fit's kernel that is wrong by far asks for twice that of
        # the right one, and with so large a scale the search does not leave it.
        self.largest_scale: float = 1.3
        # Where the kernels are centred, and the `error` of the last two climbs from then on; -1: as before.
        self.marks: list[tuple[int, float]] = []
        for tenth in range(1, 7):
            self.marks.append((tenth * climbing // 10, _ANNEALED.get(tenth, -1.0)))
        self.first_error: float = _ANNEALED[0]
        self.last_error: float = _ANNEALED[6]
        kernel, latent = (
            [kernel_height, kernel_width],
            [3, canvas[0], canvas[1] + 2 * REACH, canvas[2] + 2 * REACH],
        )
        if self.steps == 0:
            canvas, latent = [canvas[0], 1, 1], [3, canvas[0], 1, 1]
        shapes: dict[str, list[int]] = {"generated": canvas, "latent": latent, "slope_var": latent}
        shapes |= {
            "fitted": kernel,
            "likeliest": kernel,
            "kernel": [3, 1, *kernel],
            "support": [1, 1, *kernel],
        }
        shapes |= {name: [3, 1, 1, 1] for name in ("error", "energy", "stride")} | {"scale": []}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("trusted", torch.zeros([]))  # 1: the likeliest kernel is taken
        self.register_buffer("glass", gaussian(glass, REACH, self.scale))

    def precision(self, weight: Tensor, noise_var: Tensor, contrast: Tensor, count: int) -> Tensor:
        """Precision of the data as the climbs believe them now, (n, c, H, W)."""
        return weight.square() / (noise_var + (self.error[:count] * contrast).square())

    def prepare(
        self,
        step: int,
        image: Tensor,
        kernel: Tensor,
        y: Tensor,
        weight: Tensor,
        noise_var: Tensor,
        contrast: Tensor,
    ) -> None:
        """Do what belongs before a step, and after the last one.

        Parameters
        ----------
        step : int
            From 0; `steps`: all are done.
        image, kernel : Tensor, (c, h, w), (Kh, Kw)
            By the fit.
        y, weight : Tensor, (c, H, W)
        noise_var, contrast : Tensor, ()
        """
        if step == 0:
            self.generated.copy_(image)
            self.fitted.copy_(kernel)
            self.scale.copy_(contrast)
            self.support.fill_(1.0)
            self.error.fill_(self.first_error)
            self.error[:1] = self.last_error
            self.begin(self.precision(weight, noise_var, contrast, 3), y, contrast)
        for at, error in self.marks:
            if step == at:
                if error > 0.0:
                    self.error[1:] = error
                    self.energy[1:] = math.inf
                    self.stride[1:] = 1.0
                self.centre()
        if step == self.climbing:
            self.take(self.precision(weight, noise_var, contrast, 3), y)
        if step == self.steps:
            end = self.kernel[0, 0]
            kept = self.wide_enough(end) & (self.trusted > 0.0)
            self.likeliest.copy_(torch.where(kept, end, without_specks(self.likeliest)))

    def begin(self, precision: Tensor, y: Tensor, contrast: Tensor) -> None:
        """Go to where the climbs begin; the first finds the prior's scale, with the fit's kernel."""
        spot = torch.zeros_like(self.fitted)
        spot[spot.size(0) // 2, spot.size(1) // 2] = 1.0
        blob = widened(spot, max(spot.size(0), spot.size(1)) / 6.0)
        self.kernel.copy_(torch.stack([self.fitted, widened(self.fitted, 2.0), blob])[:, None])
        self.rest(y)
        for round_ in range(10):
            if round_ > 3:
                scale = rescaled(self.latent[:1], self.slope_var[:1], self.scale)
                self.scale.copy_(torch.minimum(scale, self.largest_scale * contrast))
            self.settle(precision, y, 0, 1, 1)
        self.settle(precision, y, 1, 3, 3)

    def rest(self, y: Tensor) -> None:
        """Forget what the climbs have found but the kernels: latent images are the blurred one."""
        tall, wide = self.latent.size(-2) - y.size(-2), self.latent.size(-1) - y.size(-1)
        down, right = (tall + 1) // 2, (wide + 1) // 2
        self.latent.copy_(F.pad(y, [right, wide - right, down, tall - down], mode="replicate"))
        self.slope_var.zero_()
        self.energy.fill_(math.inf)
        self.stride.fill_(1.0)

    def settle(self, precision: Tensor, y: Tensor, first: int, end: int, rounds: int) -> Tensor:
        """Improve the posteriors of some climbs, whose kernels stay as they are; returns their energies."""
        both = through(self.kernel[first:end], self.glass)
        energy = self.energy[first:end]
        for _ in range(rounds):
            latent, slope_var, energy = expectation(
                self.latent[first:end], self.slope_var[first:end], y, precision[first:end], both, self.scale
            )
            self.latent[first:end] = latent
            self.slope_var[first:end] = slope_var
        return energy

    def take(self, precision: Tensor, y: Tensor) -> None:
        """Keep the likeliest end, of a later climb if clearly so; go on from it without its specks."""
        energies = self.settle(precision, y, 0, 3, 3)  # as far with each, whatever its last steps were
        likeliest, least = self.kernel[0, 0], energies[0]
        for climb in range(1, 3):
            better = energies[climb] < least - self.clearly * self.latent[0].numel()
            likeliest = torch.where(better[0], self.kernel[climb, 0], likeliest)
            least = torch.where(better, energies[climb], least)
        self.trusted.copy_(self.wide_enough(likeliest))
        likeliest = torch.where(self.trusted > 0.0, likeliest, self.fitted)
        self.likeliest.copy_(likeliest)
        cleaned = without_specks(likeliest)
        self.support.copy_(cleaned > 0.0)
        self.kernel.copy_(cleaned)
        self.rest(y)
        self.settle(precision, y, 0, 1, 3)

    def wide_enough(self, kernel: Tensor) -> Tensor:
        """Whether a kernel (Kh, Kw) is about as wide as the fit's, or wider, ()."""
        return rms_radius(kernel) >= self.narrowest * rms_radius(self.fitted)

    def centre(self) -> None:
        """Move kernel and latent image against each other until the kernel has the same room on all sides.

        Light is where it was blurred to, so the centre of mass is in the middle, and the far end of a kernel
        that is heavy at one would be cut off.
        """
        for climb in range(3):
            kernel = without_specks(self.kernel[climb, 0])
            down, right = _off(kernel.amax(1)), _off(kernel.amax(0))
            self.kernel[climb] = _rolled(self.kernel[climb], -down, -right)
            self.latent[climb] = _rolled(self.latent[climb], down, right)
            self.slope_var[climb] = _rolled(self.slope_var[climb], down, right)
            self.energy[climb] = torch.where(down.abs() + right.abs() > 0, math.inf, self.energy[climb])

    def step(self, y: Tensor, weight: Tensor, noise_var: Tensor, contrast: Tensor, count: int) -> None:
        """Go a multiple of the way to the best kernel for this posterior; less far where energy rises.

        Parameters
        ----------
        y, weight : Tensor, (c, H, W)
        noise_var, contrast : Tensor, ()
        count : int
            Of the climbs that go on: 3 in the first `climbing` steps, then 1.
        """
        precision = self.precision(weight, noise_var, contrast, count)
        old, image, var = self.kernel[:count], self.latent[:count], self.slope_var[:count]
        best = maximisation(image, var, y, precision, old, self.support, self.glass, self.scale)
        kernel = on_support(old + self.stride[:count] * (best - old), self.support)
        latent, slope_var, energy = expectation(
            image, var, y, precision, through(kernel, self.glass), self.scale
        )
        good = energy < self.energy[:count]
        self.kernel[:count] = torch.where(good, kernel, old)
        self.latent[:count] = torch.where(good, latent, image)
        self.slope_var[:count] = torch.where(good, slope_var, var)
        self.energy[:count] = torch.where(good, energy, self.energy[:count])
        farther, nearer = (1.5 * self.stride).clamp_max(self.farthest), (0.25 * self.stride).clamp_min(0.25)
        self.stride[:count] = torch.where(good, farther[:count], nearer[:count])

    def image(self) -> Tensor:
        """Sharp image of the first climb, as sharp as images of this kind are: (c, h, w)."""
        seen: Tensor = F.conv2d(self.latent[0][:, None], self.glass[None, None])[:, 0]
        return seen
