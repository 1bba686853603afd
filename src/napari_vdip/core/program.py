"""The fit of one image: its state, its step and its read-out, with autograd and Adam inside.

`Program` is scripted as a whole by `compile` and runs the same way without. Everything that
changes from step to step is a tensor on the device, rates and step number included; the host
decides only which stage a step belongs to, which is known beforehand. So a step can be
captured in a CUDA graph, and nothing waits for the device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_vdip.core.blur import blur, crop
from napari_vdip.core.generators import ImageGenerator, KernelGenerator, draw, first_input
from napari_vdip.core.grey import colour_shares, grey, grey_weight
from napari_vdip.core.objective import (
    centre_distance,
    correlation_gain,
    data_spread,
    data_term,
    entropy,
    extreme_prior,
    gaussian_filter,
    kernel_term,
    local_moments,
    sparse_precision,
    sparse_prior,
    ssim,
)
from napari_vdip.core.patches import simple
from napari_vdip.core.prior import Sparse, density, differences
from napari_vdip.core.random import normal, uniform
from napari_vdip.core.refine import (
    Blur,
    KernelFit,
    drop_weak,
    improve_image,
    polish_weights,
    within_sight,
)
from napari_vdip.core.search import KernelSearch, aligned
from napari_vdip.core.spread import Spread


class Plan(NamedTuple):
    """What a program is built from; all of it is fixed before the first step.

    The last entries are the schedule: numbers of steps in the pre-fit, with the published
    bound, with the published ``1 - SSIM``, with the profile objective, and of the polish.
    """

    image_channels: int
    height: int
    width: int
    kernel_height: int
    kernel_width: int
    by_fft: bool
    bfloat16: bool
    channels: int
    skip_channels: int
    outer_channels: int
    levels: int
    nonlocal_from: int
    prior: str  # "sparse", "extreme" or "none"
    variational: bool
    bound_weight: float
    centre_weight: float
    ridge: float
    sparse: Sparse  # what the polish takes for sparse
    shares: tuple[float, float, float]  # of posterior, second opinion and kernel in the variance told
    hold_kernel: bool
    image_rate: float
    kernel_rate: float
    cosine: bool
    prefit: int
    bound: int
    ssim: int
    profile: int
    polish: int
    climb: int = 0  # before the polish, which holds the kernel that is found
    last_climb: int = 0
    glass: float = 0.7  # std in px of the blur that sharp images of this kind have of their own
    patches: int = 0  # steps of the polish, its last ones, that hold the image to its own patches


def contrast_of(y: Tensor, weight: Tensor) -> Tensor:
    """Compute the standard deviation of the pixels (c, H, W) that take part, ()."""
    seen = (weight > 0).to(y.dtype)
    mean = (y * seen).sum() / seen.sum()
    contrast: Tensor = (((y - mean) * seen).square().sum() / seen.sum()).sqrt()
    return contrast


class Program(nn.Module):
    """State and loop of one fit.

    Attributes
    ----------
    mean, std : Tensor, (c, H + Kh - 1, W + Kw - 1)
        Posterior of the sharp image on the canvas as of the last step.
    kernel : Tensor, (Kh, Kw)
        Kernel as of the last step.
    log : Tensor, (steps, 3)
        Objective, root mean square misfit and kernel change of each step.
    done : int
        Steps done.
    steps : int
        Steps of the whole schedule.
    """

    if TYPE_CHECKING:  # the buffers below; TorchScript takes class annotations for attributes
        y: Tensor
        y_mean: Tensor
        y_var: Tensor
        weight: Tensor
        colour_shares: Tensor
        grey: Tensor
        grey_weight: Tensor
        grey_contrast: Tensor
        support: Tensor
        noise_var: Tensor
        prior_kernel: Tensor
        logits: Tensor
        contrast: Tensor
        floor: Tensor
        noise: Tensor
        kernel_noise: Tensor
        seed: Tensor
        image_theta: Tensor
        image_first: Tensor
        image_second: Tensor
        kernel_theta: Tensor
        kernel_first: Tensor
        kernel_second: Tensor
        clock: Tensor
        adam_clock: Tensor
        mean: Tensor
        var: Tensor
        std: Tensor
        kernel: Tensor
        generated: Tensor
        slope_var: Tensor
        log: Tensor

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        c, rows, columns = plan.image_channels, plan.height, plan.width
        canvas = [c, rows + plan.kernel_height - 1, columns + plan.kernel_width - 1]
        self.height: int = rows
        self.width: int = columns
        self.kernel_height: int = plan.kernel_height
        self.kernel_width: int = plan.kernel_width
        self.by_fft: bool = plan.by_fft
        self.prior: str = plan.prior
        self.variational: bool = plan.variational
        # The profile objective needs no network for the std: the bound has its maximum in closed form.
        self.by_network: bool = plan.variational and plan.profile == 0
        self.bound_weight: float = plan.bound_weight
        self.centre_weight: float = plan.centre_weight
        self.ridge: float = plan.ridge
        self.sparse: tuple[int, float, float] = (*plan.sparse,)
        self.shares: tuple[float, float, float] = plan.shares
        self.hold_kernel: bool = plan.hold_kernel
        self.rates: tuple[float, float] = (plan.image_rate, plan.kernel_rate)
        self.cosine: bool = plan.cosine
        # What a kernel that is not quite right leaves unexplained, as a share of the contrast.
        self.model_error: float = 0.01 if plan.hold_kernel else 0.025
        # Standard deviation of the networks' image, as a share of the contrast.
        self.guess_error: float = 0.6
        # Variance of what is grain in the polished image, as a share of the posterior's.
        self.grain: float = 0.64
        self.widest: float = 1.0 / 12.0  # variance of a pixel of which nothing is known, in (0, 1)
        self.prefit: int = plan.prefit
        self.bound: int = plan.bound
        self.ssim: int = plan.ssim
        self.polish: int = plan.polish
        self.patches: int = plan.patches
        self.fitted: int = plan.prefit + plan.bound + plan.ssim + plan.profile
        self.steps: int = self.fitted + plan.climb + plan.last_climb + plan.polish
        self.done: int = 0

        self.image_generator = ImageGenerator(
            3,
            plan.channels,
            plan.skip_channels,
            plan.levels,
            plan.nonlocal_from,
            c,
            self.by_network,
            plan.bfloat16,
            plan.outer_channels,
        )
        self.kernel_generator = KernelGenerator(200, 1000, plan.kernel_height, plan.kernel_width)
        self.search = KernelSearch(
            canvas, plan.kernel_height, plan.kernel_width, plan.climb, plan.last_climb, plan.glass
        )

        # Written by `start`: the data.
        self._zeros("y", [c, rows, columns])
        self._zeros("y_mean", [c, rows, columns])
        self._zeros("y_var", [c, rows, columns])
        self._zeros("weight", [c, rows, columns])
        self._zeros("colour_shares", [c, 1, 1])
        self._zeros("grey", [1, rows, columns])
        self._zeros("grey_weight", [1, rows, columns])
        self._zeros("grey_contrast", [])
        self._zeros("support", canvas)
        self._zeros("noise_var", [])
        self._zeros("contrast", [])
        self.register_buffer("floor", torch.full([], -1e6))  # what no image lies below; nothing is known
        self._zeros("prior_kernel", [plan.kernel_height, plan.kernel_width])
        self._zeros("logits", [plan.kernel_height, plan.kernel_width])
        self._zeros("noise", [3, *canvas[1:]])
        self._zeros("kernel_noise", [200])
        self.register_buffer("seed", torch.zeros([], dtype=torch.int64))
        # Written by each step: weights, Adam's moments, the clock, the outputs.
        for name, count in (("image", self.image_generator.count), ("kernel", self.kernel_generator.count)):
            self._zeros(f"{name}_theta", [count])
            self._zeros(f"{name}_first", [count])
            self._zeros(f"{name}_second", [count])
        self.register_buffer("clock", torch.zeros([], dtype=torch.int64))
        self.register_buffer("adam_clock", torch.zeros([], dtype=torch.int64))
        self._zeros("mean", canvas)
        self._zeros("var", canvas)
        self._zeros("std", canvas)
        self._zeros("kernel", [plan.kernel_height, plan.kernel_width])
        self._zeros("generated", canvas)
        self._zeros("slope_var", canvas)
        self._zeros("log", [self.steps, 3])

    def _zeros(self, name: str, shape: list[int]) -> None:
        self.register_buffer(name, torch.zeros(shape))

    def start(self, y: Tensor, weight: Tensor, noise_var: Tensor, kernel: Tensor, seed: Tensor) -> None:
        """Take an image and go back to step 0.

        Parameters
        ----------
        y : Tensor, (c, H, W)
            Blurred image in [0, 1], finite everywhere.
        weight : Tensor, (c, H, W)
            Square root of each pixel's precision relative to the mean one; 0: takes no part.
        noise_var : Tensor, ()
            Variance of the noise of a pixel of weight 1.
        kernel : Tensor, (Kh, Kw)
            Kernel to start from (or to hold); sums to 1. Flat if nothing is known.
        seed : Tensor, int64, ()
            All random numbers of the fit follow from it.
        """
        self.y.copy_(y)
        self.weight.copy_(weight)
        self.noise_var.copy_(noise_var)
        self.contrast.copy_(contrast_of(y, weight))
        self.colour_shares.copy_(colour_shares(weight))
        self.grey.copy_(grey(y, self.colour_shares))
        self.grey_weight.copy_(grey_weight(weight, self.colour_shares))
        self.grey_contrast.copy_(contrast_of(self.grey, self.grey_weight))
        self.prior_kernel.copy_(kernel)
        self.logits.copy_((kernel + 1e-3 / kernel.numel()).log())
        self.seed.copy_(seed)
        # What a canvas pixel's variance is weighted with: the mean precision of the pixels that see it.
        tall, wide = self.kernel_height, self.kernel_width
        seen = F.pad(self.weight.square()[None], [wide - 1, wide - 1, tall - 1, tall - 1], mode="replicate")
        self.support.copy_(F.avg_pool2d(seen, [tall, wide], [1, 1])[0])
        y_mean, y_var = local_moments(self.y)
        self.y_mean.copy_(y_mean)
        self.y_var.copy_(y_var)
        stream = torch.zeros_like(self.seed)
        self.noise.copy_(first_input(self.seed, self.noise.size(1), self.noise.size(2)))
        self.kernel_noise.copy_(0.1 * uniform(self.kernel_noise.numel(), self.seed, stream + 1))
        self.image_theta.copy_(
            draw(self.image_generator.sizes, self.image_generator.start, self.seed, stream + 2)
        )
        self.kernel_theta.copy_(
            draw(self.kernel_generator.sizes, self.kernel_generator.start, self.seed, stream + 3)
        )
        self.kernel.copy_(kernel)
        self.mean.zero_()
        self.var.fill_(self.widest)
        self.std.fill_(math.sqrt(self.widest))
        self.log.zero_()
        self.clock.zero_()
        self.done = 0
        self._reset_adam()

    def _reset_adam(self) -> None:
        """Forget the gradients of the pre-fit: its objective is another one."""
        for tensor in [
            self.image_first,
            self.image_second,
            self.kernel_first,
            self.kernel_second,
            self.adam_clock,
        ]:
            tensor.zero_()

    def stage(self) -> int:
        """Stage of the next step.

        0 pre-fit, 1 bound, 2 SSIM, 3 profile, 6 search and 7 its last part, 4 polish, 5 its kernel and 8 its
        patches.
        """
        if self.done < self.prefit:
            return 0
        if self.done < self.prefit + self.bound:
            return 1
        if self.done < self.prefit + self.bound + self.ssim:
            return 2
        if self.done < self.fitted:
            return 3
        if self.done < self.fitted + self.search.climbing:
            return 6
        if self.done < self.fitted + self.search.steps:
            return 7
        if self.done >= self.steps - self.patches:
            return 8
        # Every fifth step of the polish, but not in its last third, is one of the kernel.
        step = self.done - (self.steps - self.polish)
        if not self.hold_kernel and self.search.steps == 0 and step % 5 == 4 and 3 * step < 2 * self.polish:
            return 5
        return 4

    def forward(self, n: int) -> None:
        """Do n steps, see `run`."""
        self.run(n)

    def run(self, n: int) -> None:
        """Do n steps, or as many as the schedule still has."""
        for _ in range(min(n, self.steps - self.done)):
            self.prepare()
            self.step(self.stage())
            self.done += 1

    def prepare(self) -> None:
        """Do what belongs between two stages; nothing inside one."""
        if self.done == self.prefit:
            self._reset_adam()
        if self.search.steps > 0 and self.fitted <= self.done <= self.fitted + self.search.steps:
            with torch.no_grad():
                self.search.prepare(
                    self.done - self.fitted,
                    self.mean,
                    self.kernel,
                    self.grey,
                    self.grey_weight * self.search.telling,
                    self.noise_var,
                    self.grey_contrast,
                )
        if self.done == self.steps - self.polish:
            if self.search.steps > 0:
                self.kernel.copy_(self.search.likeliest)
                self.mean.copy_(aligned(self.search.generated, self.kernel, self.y, self.weight))
            elif not self.hold_kernel:
                self.kernel.copy_(drop_weak(self.kernel, 0.02))
            self.mean.copy_(within_sight(self.mean, self.kernel))
            self.generated.copy_(self.mean)
            self.slope_var.zero_()

    def step(self, stage: int) -> None:
        """One step of a stage. Reads and writes tensors of the state only."""
        if stage < 4:
            self.fit_step(stage)
        else:
            with torch.no_grad():
                if stage == 8:
                    self.patch_step()
                elif stage >= 6:
                    self.search_step(3 if stage == 6 else 1)
                else:
                    self.polish_step(stage)

    def fit_step(self, stage: int) -> None:
        """Networks forward, objective, gradient, Adam."""
        image_theta = self.image_theta.detach().requires_grad_(True)
        kernel_theta = self.kernel_theta.detach().requires_grad_(True)
        mean, std = self.image_generator(image_theta, self.noise)
        if self.hold_kernel:
            kernel = self.prior_kernel + 0.0 * kernel_theta[0]
        else:
            kernel = self.kernel_generator(kernel_theta, self.kernel_noise, self.logits)

        if stage == 0:
            loss, misfit = self.prefit_loss(mean, std, kernel)
        else:
            blurred = blur(mean, kernel, self.by_fft)
            residual = (blurred - self.y) * self.weight
            misfit = residual.detach().square().mean().sqrt()
            if stage == 1:
                loss = self.bound_loss(mean, std, kernel, residual)
            else:
                # A pixel that takes no part agrees with the data by definition.
                seen = torch.where(self.weight > 0, blurred, self.y)
                gap = 1.0 - ssim(seen, self.y, self.y_mean, self.y_var)
                if stage == 2:
                    loss = gap
                else:
                    loss = gap.clamp_min(1e-7).log()
            if self.centre_weight > 0.0:
                loss = loss + self.centre_weight * centre_distance(kernel)

        found = torch.autograd.grad([loss], [image_theta, kernel_theta], allow_unused=True)
        image_grad, kernel_grad = found[0], found[1]
        assert image_grad is not None
        assert kernel_grad is not None
        with torch.no_grad():
            self.log.index_copy_(
                0,
                self.clock.view(1),
                torch.stack([loss.detach(), misfit, (kernel.detach() - self.kernel).abs().sum()])[None],
            )
            self.mean.copy_(mean)
            self.kernel.copy_(kernel)
            if self.by_network:
                self.std.copy_(std)
            elif self.variational and stage == 3:
                self.improve_std(misfit)
            self.adam(image_grad, kernel_grad)

    def prefit_loss(self, mean: Tensor, std: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Mean to y, std to 0, kernel to its start; returns the loss and the misfit of the mean."""
        residual = (crop(mean, self.kernel_height, self.kernel_width) - self.y) * self.weight
        error = residual.square().mean()
        loss = error + (kernel - self.prior_kernel).square().mean()
        if self.by_network:
            loss = loss + std.square().mean()
        return loss, error.detach().sqrt()

    def bound_loss(self, mean: Tensor, std: Tensor, kernel: Tensor, residual: Tensor) -> Tensor:
        """Take the published bound: one sample of x a step, ``b`` times the KL terms; negated."""
        if not self.variational:
            return -data_term(residual, mean.numel())
        stream = 16 + 2 * self.clock
        eps = normal(mean.numel(), self.seed, stream).view_as(mean)
        # Convolution is linear: the sample's residual is the mean's plus the blurred deviation.
        sampled = residual + blur(std * eps, kernel, self.by_fft) * self.weight
        likelihood = data_term(sampled, mean.numel())
        if self.prior == "none":
            return -likelihood
        if self.prior == "sparse":
            prior = sparse_prior(mean, std)
        else:
            prior = extreme_prior(mean, std, self.seed, stream + 1)
        weight = self.bound_weight * torch.pow(0.1, torch.floor(5.0 * self.fraction()))
        return -(weight * (entropy(std) + prior + kernel_term(kernel)) + likelihood)

    def improve_std(self, misfit: Tensor) -> None:
        """Move the std to the maximum of the bound for this mean and kernel: one fixed-point step.

        The noise variance is what the image has: the misfit reached, but not below the noise
        read from the image, since a flexible generator fits noise too. The prior counts half: at
        its full weight the bound has no maximum where the image is flat, and the std goes to 0.
        """
        noise = torch.maximum(misfit.square(), self.noise_var)
        data = 2.0 * data_spread(self.kernel, self.height, self.width, 0) * self.support / noise
        prior = torch.full_like(data, 1.0 / self.widest)
        if self.prior == "sparse":
            prior = prior + 0.5 * sparse_precision(self.mean, self.var)
        self.var.copy_(1.0 / (data + prior))
        gain = correlation_gain(self.kernel, prior.mean() * noise, data.size(1), data.size(2), self.by_fft)
        self.std.copy_((self.var.sqrt() * gain).clamp_max(math.sqrt(self.widest)))

    def polish_step(self, stage: int) -> None:
        """Image by 20 conjugate gradient steps in the reweighted sparse prior, or kernel by least squares.

        What the data do not follow is noise and, with a kernel that is only estimated, an error of
        the model in proportion to the contrast. The networks' image counts as a second opinion of
        each pixel, the less the more noise there was for them to fit.
        """
        before = self.kernel.clone()
        if stage == 5:
            fit = KernelFit(
                0.5 * (self.mean + self.generated),
                self.y,
                self.weight,
                self.kernel_height,
                self.kernel_width,
                self.ridge,
            )
            self.kernel.copy_(drop_weak(fit.improve(self.kernel, 60), 0.02))
        else:
            sparse = Sparse(self.sparse[0], self.sparse[1], self.sparse[2])
            precision = self.precision()
            near, noisy = (self.guess_error * self.contrast).square(), 100.0 * self.noise_var
            prior, guess, trust = polish_weights(
                self.mean,
                self.generated,
                self.slope_var,
                self.contrast,
                self.noise_var,
                self.floor,
                near,
                sparse,
            )
            better = improve_image(self.mean, self.y, precision, self.kernel, prior, guess, trust, 20)
            # What a step takes below the floor is held there by the next one.
            self.mean.copy_(torch.maximum(better, self.floor))
            seen = Blur(self.kernel, precision).adjoint(precision)
            seen = seen.clamp_min(0.01 * seen.max())
            known = (near + noisy + (self.mean - self.generated).square()).reciprocal().mean()
            spread = Spread(self.kernel, density(prior) / seen, known / seen.mean(), sparse.order)
            self.slope_var.copy_(spread.difference() / seen)
            self.var.copy_(spread.pixel() / seen)
            doubt = near / (near + noisy) * gaussian_filter((self.mean - self.generated).square())
            told = self.shares[0] * self.var + self.shares[1] * doubt
            self.std.copy_(told.sqrt().clamp_max(math.sqrt(self.widest)))
        self.note(before)

    def precision(self) -> Tensor:
        """Precision of each pixel of the data, (c, H, W): noise, and what the model leaves unexplained."""
        noise = self.noise_var + (self.model_error * self.contrast).square()
        return self.weight.square() / noise

    def patch_step(self) -> None:
        """Image by 20 conjugate gradient steps towards data and simple patches, in place of differences.

        Patches are taken from the image as it is (half-quadratic splitting, as in Zoran and Weiss, "From
        learning models of natural image patches to whole image restoration", ICCV 2011). What counts as their
        noise is a share of the posterior's variance, which the differences have left. That stays.
        """
        before = self.kernel.clone()
        var = self.grain * self.var
        free = [torch.zeros_like(part) for part in differences(self.mean, 1)]
        simpler = simple(self.mean, var)
        better = improve_image(
            self.mean, self.y, self.precision(), self.kernel, free, simpler, var.reciprocal(), 20
        )
        self.mean.copy_(torch.maximum(better, self.floor))
        self.note(before)

    def search_step(self, climbs: int) -> None:
        """Go a step towards the kernel of greatest evidence, and show the first climb's image.

        What colours differ by is the networks'.
        """
        before = self.kernel.clone()
        weight = self.grey_weight * self.search.telling
        self.search.step(self.grey, weight, self.noise_var, self.grey_contrast, 0, climbs)
        self.kernel.copy_(self.search.kernel[0, 0])
        networks = self.search.generated
        self.mean.copy_(networks - grey(networks, self.colour_shares) + self.search.image(0))
        self.note(before)

    def note(self, before: Tensor) -> None:
        """Write a line of the log after a step without networks; `before`: the kernel then."""
        blurred = blur(self.mean, self.kernel, self.by_fft)
        misfit = ((blurred - self.y) * self.weight).square().mean().sqrt()
        agreed = torch.where(self.weight > 0, blurred, self.y)
        gap = (1.0 - ssim(agreed, self.y, self.y_mean, self.y_var)).clamp_min(1e-7).log()
        self.log.index_copy_(
            0, self.clock.view(1), torch.stack([gap, misfit, (self.kernel - before).abs().sum()])[None]
        )
        self.clock.add_(1)

    def fraction(self) -> Tensor:
        """Part of the fit after the pre-fit that is done, 0 to 1; 0 in the pre-fit."""
        steps = max(self.fitted - self.prefit, 1)
        return ((self.clock - self.prefit).to(self.y.dtype) / steps).clamp_min(0.0)

    def adam(self, image_grad: Tensor, kernel_grad: Tensor) -> None:
        """Adam step (Kingma and Ba 2015) and the clock; a step with a NaN in its gradient is skipped."""
        fraction = self.fraction()
        if self.cosine:
            decay = 0.5 * (1.0 + torch.cos(math.pi * ((fraction - 0.3) / 0.7).clamp(0.0, 1.0)))
        else:
            halvings = torch.floor(5.0 * fraction + 1e-4).clamp(1.0, 4.0) - 1.0
            decay = torch.pow(0.5, halvings)
        sound = torch.isfinite(image_grad.sum() + kernel_grad.sum())
        self.adam_clock.add_(sound)
        time = self.adam_clock.to(self.y.dtype).clamp_min(1.0)
        first_scale = 1.0 / (1.0 - torch.pow(0.9, time))
        second_scale = 1.0 / (1.0 - torch.pow(0.999, time))
        for theta, first, second, grad, rate in [
            (self.image_theta, self.image_first, self.image_second, image_grad, self.rates[0]),
            (self.kernel_theta, self.kernel_first, self.kernel_second, kernel_grad, self.rates[1]),
        ]:
            new_first = 0.9 * first + 0.1 * grad
            new_second = 0.999 * second + 0.001 * grad.square()
            move = rate * decay * first_scale * new_first / ((second_scale * new_second).sqrt() + 1e-8)
            first.copy_(torch.where(sound, new_first, first))
            second.copy_(torch.where(sound, new_second, second))
            theta.copy_(torch.where(sound, theta - move, theta))
        self.clock.add_(1)
