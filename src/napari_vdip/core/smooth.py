"""A first image for a kernel that is known: what the polish starts from where no network was fitted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_vdip.core.prior import differences
from napari_vdip.core.refine import improve_image

# Precision of every gradient in units of the contrast: the prior of an image of which nothing is known yet.
_SMOOTHNESS = 100.0


def smooth_image(y: Tensor, precision: Tensor, kernel: Tensor, contrast: Tensor, steps: int = 30) -> Tensor:
    """Posterior mean on the canvas under a Gaussian prior of the gradients (a Wiener filter with borders).

    Parameters
    ----------
    y, precision : Tensor, (c, H, W)
        Data, and the precision of each pixel; 0: takes no part.
    kernel : Tensor, (Kh, Kw)
        Odd sides; sums to 1.
    contrast : Tensor, ()
        Standard deviation of the image.
    steps : int
        Conjugate gradient steps, from the blurred image.
    """
    tall, wide = kernel.size(0) // 2, kernel.size(1) // 2
    x = F.pad(y[None], [wide, wide, tall, tall], mode="replicate")[0]
    prior = _SMOOTHNESS / contrast.square()
    gradients = [torch.ones_like(part) * prior for part in differences(x, 1)]
    return improve_image(x, y, precision, kernel, gradients, x, torch.zeros_like(contrast), steps)
