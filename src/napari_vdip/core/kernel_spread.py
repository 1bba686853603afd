"""What the image owes to its kernel: how it changes where the kernel is another one that the data allow.

The posterior of the polish holds the kernel. Its own uncertainty is added by moving it and
polishing the image again: along the directions of a Laplace approximation where the kernel has few
numbers, and by a parametric bootstrap where it is free (Efron and Tibshirani, "An introduction to
the bootstrap", 1993): data drawn from the fitted model, kernel and image fitted to them again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from napari_vdip.core.prior import Sparse
from napari_vdip.core.refine import Blur, KernelFit, drop_weak, improve_image, polish_weights

_ROUNDS = 3  # of 20 conjugate gradient steps; the difference of two images settles before either does
_REFITS = 2  # of kernel and image to drawn data


class KernelSpread:
    """A polished image, and how it changes with its kernel.

    Parameters
    ----------
    program : Program
        At its end.
    """

    def __init__(self, program: Any) -> None:
        self.y: Tensor = program.y
        self.weight: Tensor = program.weight
        self.noise_var: Tensor = program.noise_var
        self.contrast: Tensor = program.contrast
        self.floor: Tensor = program.floor
        self.kernel: Tensor = program.kernel
        self.image: Tensor = program.mean
        self.generated: Tensor = program.generated
        self.slope_var: Tensor = program.slope_var
        self.model_var = self.noise_var + (program.model_error * self.contrast).square()
        self.precision = self.weight.square() / self.model_var
        self.ridge: float = program.ridge
        self.sparse = Sparse(*program.sparse)
        self.near = (program.guess_error * self.contrast).square()
        self.total = torch.zeros_like(self.image)
        self._own: Tensor | None = None

    def polished(self, kernel: Tensor, y: Tensor, image: Tensor) -> Tensor:
        """Polish an image on with a kernel, both held to these data: (c, h, w)."""
        for _ in range(_ROUNDS):
            prior, guess, trust = polish_weights(
                image,
                self.generated,
                self.slope_var,
                self.contrast,
                self.noise_var,
                self.floor,
                self.near,
                self.sparse,
            )
            image = improve_image(image, y, self.precision, kernel, prior, guess, trust, 20)
            image = torch.maximum(image, self.floor)
        return image

    def add(self, kernel: Tensor, share: float) -> None:
        """Add a share of the squared change that another kernel makes to `total`, (c, h, w)."""
        if self._own is None:
            self._own = self.polished(self.kernel, self.y, self.image)
        change = self.polished(kernel, self.y, self.image) - self._own
        self.total += share * change.square()

    def drawn(self, noise: Tensor | None) -> Tensor:
        """Fit kernel and image to data drawn from the model.

        Parameters
        ----------
        noise : Tensor or None, (c, H, W)
            Standard normal numbers; None: data without noise.
        """
        y = Blur(self.kernel, self.precision).forward(self.image)
        if noise is not None:
            y = y + noise * self.model_var.sqrt() / self.weight.clamp_min(1e-3)
        kernel, image = self.kernel, self.image
        for _ in range(_REFITS):
            fit = KernelFit(image, y, self.weight, kernel.size(0), kernel.size(1), self.ridge)
            kernel = drop_weak(fit.improve(kernel, 60), 0.02)
            image = self.polished(kernel, y, image)
        return kernel
