"""What an image looks like where its patches are simple: few cosines each, as in images without noise.

Differences of neighbours know little of an image: the grain that deconvolution leaves is as likely
under them as a fine texture. A patch of 8 x 8 px knows more. Its cosine transform has few large
coefficients where there is an edge, a line or a texture, and grain spreads over all of them, so that
what is small is dropped. Done for the patches at all places, and averaged (Coifman and Donoho,
"Translation-invariant de-noising", in Wavelets and Statistics, 1995; with cosines Yu and Sapiro, "DCT
image denoising", Image Processing On Line 1, 2011), there is no grid of blocks to be seen.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 8  # px of a patch; 5 are as good, 16 blur more
LARGE = 2.7  # standard deviations from which a coefficient is no noise


def cosines(like: Tensor, side: int) -> Tensor:
    """Orthonormal cosine transform (DCT-II) of one axis, (side, side), on the device of another tensor."""
    place = torch.arange(side, device=like.device, dtype=like.dtype)
    waves = torch.cos(math.pi / side * (place + 0.5) * place[:, None]) * math.sqrt(2.0 / side)
    return torch.cat([waves[:1] / math.sqrt(2.0), waves[1:]])


def simple(image: Tensor, var: Tensor, side: int = SIDE, large: float = LARGE) -> Tensor:
    """Drop the small coefficients of all patches: an image of the same shape and mean brightness.

    A patch that needs few coefficients counts more, as less noise is left in it.

    Parameters
    ----------
    image : Tensor, (c, h, w)
    var : Tensor, (c, h, w)
        Variance of the noise of each pixel; a patch has the mean of its pixels'.
    side : int
        Of a patch, in px.
    large : float
        Standard deviations above which a coefficient is kept; the mean of a patch always is.
    """
    channels, height, width = image.size(0), image.size(1), image.size(2)
    waves = cosines(image, side)
    around = [side - 1, side - 1, side - 1, side - 1]
    wide = F.pad(image, around, mode="replicate")
    wide_var = F.pad(var, around, mode="replicate")
    sums, weights = torch.zeros_like(wide), torch.zeros_like(wide)
    for top in range(side):
        down = (wide.size(1) - top) // side
        for left in range(side):
            across = (wide.size(2) - left) // side
            rows, columns = side * down, side * across
            blocks = [channels, down, side, across, side]
            part = wide[:, top : top + rows, left : left + columns].reshape(channels, down, side, columns)
            noise = wide_var[:, top : top + rows, left : left + columns].reshape(blocks).mean([2, 4], True)
            found = torch.matmul(torch.matmul(waves, part).view(blocks), waves.t())
            kept = (found.square() > large * large * noise).to(image.dtype)
            kept[:, :, 0, :, 0] = 1.0
            weight = 1.0 / kept.sum([2, 4], True)
            back = torch.matmul(found * kept * weight, waves).view(channels, down, side, columns)
            back = torch.matmul(waves.t(), back).view(channels, rows, columns)
            sums[:, top : top + rows, left : left + columns] += back
            weights[:, top : top + rows, left : left + columns] += weight.expand(blocks).reshape(
                channels, rows, columns
            )
    inner: Tensor = (sums / weights)[:, side - 1 : side - 1 + height, side - 1 : side - 1 + width]
    return inner
