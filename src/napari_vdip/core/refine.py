"""The last stage: image and kernel from convex problems, solved by the FFT.

With the kernel known, the image's posterior under a sparse prior of differences is Gaussian once the
prior is bounded by a quadratic (reweighted least squares, as in Levin et al., "Image and depth
from a conventional camera with a coded aperture", SIGGRAPH 2007). The bound is taken at the
expected squares of the gradients, which makes it a variational posterior with a mean and a
variance (Girolami, "A variational method for learning sparse and overcomplete representations",
Neural Computation 13, 2001; for deblurring Levin et al., "Efficient marginal likelihood
optimization in blind deconvolution", CVPR 2011). With the image known, the kernel is a least
squares problem on the simplex.

Shapes: canvas x (c, h, w) = (c, H + Kh - 1, W + Kw - 1), blurred y (c, H, W), kernel (Kh, Kw). `Blur`,
`improve_image` and `on_simplex` also take several problems of one size at once: a first axis more
in all of them, and kernels (n, 1, Kh, Kw).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_vdip.core.blur import crop, fast_length
from napari_vdip.core.objective import dh, dv
from napari_vdip.core.prior import (
    Sparse,
    dh_adjoint,
    diagonal,
    dv_adjoint,
    expected_squares,
    precisions,
    smoothed,
    total,
)


class Blur:
    """Blur by one kernel, its adjoint and the data's part of the normal equations.

    Parameters
    ----------
    kernel : Tensor, (Kh, Kw)
    precision : Tensor, (c, H, W)
        Precision of each pixel; 0: takes no part.
    """

    def __init__(self, kernel: Tensor, precision: Tensor) -> None:
        self.top: int = kernel.size(-2) - 1
        self.left: int = kernel.size(-1) - 1
        self.rows: int = precision.size(-2) + self.top
        self.columns: int = precision.size(-1) + self.left
        self.size: list[int] = [fast_length(self.rows), fast_length(self.columns)]
        self.spectrum: Tensor = torch.fft.rfft2(kernel, s=self.size, dim=[-2, -1], norm=None)
        self.precision: Tensor = precision

    def forward(self, x: Tensor) -> Tensor:
        """``k * x``: (c, h, w) -> (c, H, W)."""
        spectrum = torch.fft.rfft2(x, s=self.size, dim=[-2, -1], norm=None) * self.spectrum
        full: Tensor = torch.fft.irfft2(spectrum, s=self.size, dim=[-2, -1], norm=None)
        return full[..., self.top : self.rows, self.left : self.columns]

    def adjoint(self, r: Tensor) -> Tensor:
        """Transpose of `forward`: (c, H, W) -> (c, h, w)."""
        padded = F.pad(r, [self.left, 0, self.top, 0])
        spectrum = torch.fft.rfft2(padded, s=self.size, dim=[-2, -1], norm=None) * self.spectrum.conj()
        full: Tensor = torch.fft.irfft2(spectrum, s=self.size, dim=[-2, -1], norm=None)
        return full[..., : self.rows, : self.columns]

    def normal(self, x: Tensor) -> Tensor:
        """``K' W K x``."""
        return self.adjoint(self.precision * self.forward(x))


def within_sight(image: Tensor, kernel: Tensor) -> Tensor:
    """Image that goes on evenly where less than a tenth of its light reaches the frame: (c, h, w).

    What networks make there is arbitrary, and the light of it that does reach the frame is missed inside.

    Parameters
    ----------
    image : Tensor, (c, h, w)
    kernel : Tensor, (Kh, Kw)
    """
    rows, columns = kernel.size(0), kernel.size(1)
    frame = crop(image, rows, columns)
    edges = [columns // 2, columns - 1 - columns // 2, rows // 2, rows - 1 - rows // 2]
    even = F.pad(frame, edges, mode="replicate")
    ones = torch.ones_like(frame)
    share = (10.0 * Blur(kernel, ones).adjoint(ones)).clamp(0.0, 1.0)
    return even + share * (image - even)


def polish_weights(
    image: Tensor,
    generated: Tensor,
    slope_var: Tensor,
    contrast: Tensor,
    noise_var: Tensor,
    floor: Tensor,
    near: Tensor,
    sparse: Sparse,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Precisions that the polish gives to differences and to the networks' image.

    What does not lie above the floor is pulled there ten times as strongly as data pull: rings around bright
    points would be darker than anything can be.

    Parameters
    ----------
    image, generated : Tensor, (c, h, w)
        As of now, and by the networks.
    slope_var : Tensor, (c, h, w)
        Variance of a difference around each pixel.
    contrast, noise_var, floor : Tensor, ()
    near : Tensor, ()
        Variance of the networks' image without noise.
    sparse : Sparse
        The prior.

    Returns
    -------
    prior : list of Tensor
        Of the differences, at their expected squares.
    guess, precision : Tensor, (c, h, w)
        The networks' image and its precision: an outlier counts less, and all of it where there was much
        noise to fit.
    """
    precision = (near + 100.0 * noise_var + (image - generated).square()).reciprocal()
    low = 10.0 * (image <= floor).to(image.dtype) / noise_var.clamp_min(1e-9)
    guess = (precision * generated + low * floor) / (precision + low)
    prior = precisions(expected_squares(image, slope_var, sparse.order), contrast, sparse)
    return prior, guess, precision + low


def improve_image(
    x: Tensor,
    y: Tensor,
    precision: Tensor,
    kernel: Tensor,
    prior: list[Tensor],
    guess: Tensor,
    guess_precision: Tensor,
    steps: int,
) -> Tensor:
    """Conjugate gradients towards the posterior mean of the image.

    Minimises ``sum W (k * x - y)^2 + sum_D P_D (D x)^2 + g sum (x - guess)^2``. Where W differs from pixel to
    pixel by orders of magnitude, as between a star and the sky, few steps lead nowhere unless each pixel
    is measured by its own curvature, the diagonal of the matrix (Jacobi's preconditioner).

    Parameters
    ----------
    x : Tensor, (c, h, w)
        Start.
    y, precision : Tensor, (c, H, W)
        Data and the precision W of each pixel.
    kernel : Tensor, (Kh, Kw)
    prior : list of Tensor
        Precision P of each difference D, see `prior`.
    guess, guess_precision : Tensor, (c, h, w)
        Another estimate of the image, and g; () for a g that is the same everywhere.
    steps : int
    """
    model = Blur(kernel, precision)
    own = Blur(kernel.square(), precision).adjoint(precision).clamp_min(0.0)
    curvature = own + diagonal(prior) + guess_precision
    right = model.adjoint(precision * y) + guess_precision * guess
    left = model.normal(x) + smoothed(x, prior) + guess_precision * x
    residual = right - left
    direction = residual / curvature
    energy = total(residual * direction)
    for _ in range(steps):
        image = model.normal(direction) + smoothed(direction, prior) + guess_precision * direction
        along = energy / total(direction * image).clamp_min(1e-30)
        x = x + along * direction
        residual = residual - along * image
        downhill = residual / curvature
        found = total(residual * downhill)
        direction = downhill + found / energy.clamp_min(1e-30) * direction
        energy = found
    return x


def on_simplex(values: Tensor) -> Tensor:
    """Nearest point (same shape) that is nowhere negative and sums to 1 (Duchi et al., ICML 2008)."""
    falling = torch.sort(values.flatten(-2), descending=True)[0]
    count = torch.arange(1, falling.size(-1) + 1, device=values.device, dtype=values.dtype)
    level = (falling.cumsum(-1) - 1.0) / count
    last = (falling > level).sum(-1, keepdim=True) - 1
    return (values - level.gather(-1, last)[..., None]).clamp_min(0.0)


def drop_weak(kernel: Tensor, share: float) -> Tensor:
    """Kernel without what is below this share of its peak: noise that costs sharpness; sums to 1."""
    kept = torch.where(kernel > share * kernel.max(), kernel, torch.zeros_like(kernel))
    return kept / kept.sum()


class KernelFit:
    """Least squares for the kernel, in the gradients: ``||D (k * x - y)||^2 / (2 n) + ridge ||k||^2 / 2``.

    Parameters
    ----------
    x : Tensor, (c, h, w)
    y, weight : Tensor, (c, H, W)
        Data, and the square root of each pixel's relative precision.
    kernel_height, kernel_width : int
    ridge : float
    """

    def __init__(
        self, x: Tensor, y: Tensor, weight: Tensor, kernel_height: int, kernel_width: int, ridge: float
    ) -> None:
        self.ridge: float = ridge
        self.kernel_height: int = kernel_height
        self.kernel_width: int = kernel_width
        self.rows: int = x.size(1)
        self.columns: int = x.size(2)
        self.size: list[int] = [fast_length(self.rows), fast_length(self.columns)]
        self.spectrum: Tensor = torch.fft.rfft2(x, s=self.size, dim=[-2, -1], norm=None)
        self.v: Tensor = weight[:, 1:] * weight[:, :-1] / (2 * y.numel())
        self.h: Tensor = weight[:, :, 1:] * weight[:, :, :-1] / (2 * y.numel())
        self.right: Tensor = self.gather(y)

    def gather(self, r: Tensor) -> Tensor:
        """Gradient towards the kernel: ``D' W D r`` correlated with x, (c, H, W) -> (Kh, Kw)."""
        r = dv_adjoint(self.v * dv(r)) + dh_adjoint(self.h * dh(r))
        padded = F.pad(r, [self.kernel_width - 1, 0, self.kernel_height - 1, 0])
        spectrum = torch.fft.rfft2(padded, s=self.size, dim=[-2, -1], norm=None) * self.spectrum.conj()
        full: Tensor = torch.fft.irfft2(spectrum.sum(0), s=self.size, dim=[-2, -1], norm=None)
        return full[: self.kernel_height, : self.kernel_width]

    def normal(self, kernel: Tensor) -> Tensor:
        """Matrix of the normal equations times a kernel."""
        spectrum = torch.fft.rfft2(kernel, s=self.size, dim=[-2, -1], norm=None) * self.spectrum
        full: Tensor = torch.fft.irfft2(spectrum, s=self.size, dim=[-2, -1], norm=None)
        blurred = full[:, self.kernel_height - 1 : self.rows, self.kernel_width - 1 : self.columns]
        return self.gather(blurred) + self.ridge * kernel

    def improve(self, kernel: Tensor, steps: int) -> Tensor:
        """Accelerated projected gradient (Beck and Teboulle 2009) from a kernel; stays on the simplex."""
        ahead = kernel
        probe = kernel
        for _ in range(10):  # power iteration for the largest eigenvalue
            probe = self.normal(probe / probe.norm())
        rate = 0.9 / probe.norm()
        time = 1.0
        for _ in range(steps):
            new = on_simplex(ahead - rate * (self.normal(ahead) - self.right))
            new_time = 0.5 + 0.5 * (1.0 + 4.0 * time * time) ** 0.5
            ahead = new + (time - 1.0) / new_time * (new - kernel)
            kernel = new
            time = new_time
        return kernel
