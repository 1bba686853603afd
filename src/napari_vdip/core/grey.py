"""An image in grey: colours share a kernel, which one plane tells nearly as well as three."""

from __future__ import annotations

import torch
from torch import Tensor


def colour_shares(weight: Tensor) -> Tensor:
    """How much each colour counts in grey, (c, 1, 1): all alike, or only the one of most pixels.

    A pixel that one colour has lost is lost in grey. Where that would be more than half of the pixels, as
    where one colour is saturated, the mean tells less than one colour alone.

    Parameters
    ----------
    weight : Tensor, (c, H, W)
        Square root of each pixel's relative precision; 0: takes no part.
    """
    count = weight.size(0)
    kept = (weight > 0.0).flatten(1).sum(1)
    together = (weight.amin(0) > 0.0).sum()
    best = (torch.arange(count, device=weight.device) == kept.argmax()).to(weight.dtype)
    shares: Tensor = torch.where(2 * together >= kept.max(), torch.full_like(best, 1.0 / count), best)
    return shares[:, None, None]


def grey_weight(weight: Tensor, shares: Tensor) -> Tensor:
    """Weight in grey, (1, H, W): the least of the colours that count, as their noise may be the same."""
    unused = weight.amax() * (shares == 0.0).to(weight.dtype)
    return torch.maximum(weight, unused).amin(0, keepdim=True)


def grey(colours: Tensor, shares: Tensor) -> Tensor:
    """Mean of the colours that count, (c, h, w) -> (1, h, w)."""
    return (shares * colours).sum(0, keepdim=True)
