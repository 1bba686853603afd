"""How well a kernel explains an image, whatever the sharp image is: a bound of the marginal likelihood.

The likelihood of the best image prefers a kernel that does nothing. What is wanted is the
likelihood of the kernel alone, the image integrated out (Levin et al., "Understanding blind
deconvolution algorithms", PAMI 2011). Under the polish's prior, bounded by a quadratic, the
posterior of the image is Gaussian and its free energy bounds the logarithm of that integral.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_vdip.core.prior import NATURAL, density, expected_squares, penalty, precisions
from napari_vdip.core.refine import Blur, improve_image
from napari_vdip.core.spread import Spread


class Evidence:
    """Free energy of kernels for one image; each call goes on from the posterior of the best one so far.

    Parameters
    ----------
    y : Tensor, (c, H, W)
    precision : Tensor, (c, H, W)
        Reciprocal of each pixel's noise variance; 0: takes no part.
    contrast : Tensor, ()
        Scale of the prior: of the order of the image's standard deviation, rather twice that, as
        sharp gradients are steeper than blurred ones. Evidences of two scales can be compared.
    kernel_size : (int, int)
        Height and width of the kernels.
    """

    def __init__(self, y: Tensor, precision: Tensor, contrast: Tensor, kernel_size: tuple[int, int]) -> None:
        self.y, self.precision, self.contrast = y, precision, contrast
        height, width = kernel_size
        room = [width // 2, width - 1 - width // 2, height // 2, height - 1 - height // 2]
        self.image = F.pad(y, room, mode="replicate")
        self.slope_var = torch.zeros_like(self.image)
        self.least = float("inf")

    def __call__(self, kernel: Tensor, rounds: int = 10) -> float:
        """Compute the negative logarithm of the evidence, up to a constant, in nats.

        Parameters
        ----------
        kernel : Tensor, (Kh, Kw)
            Sums to 1.
        rounds : int
            Of 15 conjugate gradient steps, each with a new bound of the prior.
        """
        x, loose, nothing = self.image, self.slope_var, torch.zeros([])
        seen = Blur(kernel, self.precision).adjoint(self.precision)
        seen = seen.clamp_min(0.01 * seen.max())
        for _ in range(rounds):
            prior = precisions(expected_squares(x, loose, 1), self.contrast, NATURAL)
            x = improve_image(x, self.y, self.precision, kernel, prior, x, nothing, 15)
            spread = Spread(kernel, density(prior) / seen, nothing, 1)
            loose = spread.difference() / seen
        residual = Blur(kernel, self.precision).forward(x) - self.y
        energy = 0.5 * (self.precision * residual.square()).sum() + 0.5 * spread.data_share().sum()
        for square in expected_squares(x, loose, 1):
            energy = energy + penalty(square, self.contrast, NATURAL).sum()
        energy = energy + 0.5 * (spread.log_precision() + seen.log()).sum()
        # What normalises the prior: its volume grows with its scale in each of the image's dimensions.
        found = float(energy + x.numel() * self.contrast.log())
        if found < self.least:
            self.least, self.image, self.slope_var = found, x, loose
        return found
