"""The polish's prior of the image: its differences are sparse.

Of the first order, ``dv`` and ``dh``: edges between flat parts, as in photographs. Of the second, ``dvdv``,
``dhdh`` and ``dvdh``, the Hessian: smooth bumps and ridges, as in micrographs. A list with one map for each
difference goes with either, so the number of its entries tells the order.

Shapes: image (c, h, w); dv (c, h - 1, w), dh (c, h, w - 1), dvdv (c, h - 2, w), dhdh (c, h, w - 2), dvdh
(c, h - 1, w - 1). Several images at once have a first axis more in all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from napari_vdip.core.objective import dh, dv


class Sparse(NamedTuple):
    """A prior of differences d: ``exp(-weight |d / c|^exponent)``, c being the contrast, the image's std.

    Differences below 0.002 c count as flat. ``dvdh``, which stands for ``dhdv`` too, has twice the weight.
    """

    order: int  # of the differences, 1 or 2
    weight: float
    exponent: float


NATURAL = Sparse(1, 1.6, 0.8)  # natural images have exponents of 0.5 to 0.8


def total(x: Tensor) -> Tensor:
    """Sum over each image, (1, 1, 1) or (n, 1, 1, 1)."""
    return x.sum([-3, -2, -1], keepdim=True)


def dv_adjoint(x: Tensor) -> Tensor:
    """Adjoint of `dv`: (..., h - 1, w) -> (..., h, w)."""
    return F.pad(x, [0, 0, 1, 0]) - F.pad(x, [0, 0, 0, 1])


def dh_adjoint(x: Tensor) -> Tensor:
    """Adjoint of `dh`: (..., h, w - 1) -> (..., h, w)."""
    return F.pad(x, [1, 0]) - F.pad(x, [0, 1])


def differences(x: Tensor, order: int) -> list[Tensor]:
    """Differences of an image, of the order 1 or 2."""
    v, h = dv(x), dh(x)
    if order == 1:
        return [v, h]
    return [dv(v), dh(h), dh(v)]


def differences_adjoint(parts: list[Tensor]) -> Tensor:
    """Adjoint of `differences`: (c, h, w)."""
    if len(parts) == 2:
        return dv_adjoint(parts[0]) + dh_adjoint(parts[1])
    straight = dv_adjoint(dv_adjoint(parts[0])) + dh_adjoint(dh_adjoint(parts[1]))
    return straight + dv_adjoint(dh_adjoint(parts[2]))


def smoothed(x: Tensor, precision: list[Tensor]) -> Tensor:
    """Product of the prior's matrix, ``D' P D``, with an image: (c, h, w)."""
    parts: list[Tensor] = []
    for i, difference in enumerate(differences(x, len(precision) - 1)):
        parts.append(precision[i] * difference)
    return differences_adjoint(parts)


def expected_squares(x: Tensor, var: Tensor, order: int) -> list[Tensor]:
    """Take the expected square of each difference.

    Parameters
    ----------
    x : Tensor, (c, h, w)
        Mean of the image.
    var : Tensor, (c, h, w)
        Variance of a difference around each pixel.
    order : int
    """
    down = 0.5 * (var[..., 1:, :] + var[..., :-1, :])
    across = 0.5 * (var[..., 1:] + var[..., :-1])
    around = [down, across]
    if order == 2:
        around = [var[..., 1:-1, :], var[..., 1:-1], 0.5 * (down[..., 1:] + down[..., :-1])]
    found: list[Tensor] = []
    for i, difference in enumerate(differences(x, order)):
        found.append(difference.square() + around[i])
    return found


def penalty(square: Tensor, contrast: Tensor, sparse: Sparse) -> Tensor:
    """Negative logarithm of the prior of a difference, from its expected square."""
    return sparse.weight * (square / contrast.square() + 0.002 * 0.002).pow(0.5 * sparse.exponent)


def precisions(squares: list[Tensor], contrast: Tensor, sparse: Sparse) -> list[Tensor]:
    """Precision of each difference under the quadratic bound of the prior.

    The bound is taken where a difference's expected square is what `expected_squares` tells, its
    own variance included.
    """
    found: list[Tensor] = []
    for i, square in enumerate(squares):
        u = square / contrast.square() + 0.002 * 0.002
        weight = sparse.weight * (2.0 if i == 2 else 1.0)
        found.append(weight * sparse.exponent * u.pow(0.5 * sparse.exponent - 1.0) / contrast.square())
    return found


def density(parts: list[Tensor]) -> Tensor:
    """Mean precision of the differences around each pixel, (c, h, w).

    It is the `diagonal` over that of differences of precision 1: with the squared weights 1, 1 of
    each first difference; 1, 4, 1 of dvdv and of dhdh, and 1, 1, 1, 1 of dvdh, which counts twice.
    """
    return diagonal(parts) / (4.0 if len(parts) == 2 else 20.0)


def diagonal(parts: list[Tensor]) -> Tensor:
    """Diagonal of the prior's matrix, ``D' P D``, from the precisions P: (c, h, w)."""
    if len(parts) == 2:
        v, h = parts[0], parts[1]
        return F.pad(v, [0, 0, 1, 0]) + F.pad(v, [0, 0, 0, 1]) + F.pad(h, [1, 0]) + F.pad(h, [0, 1])
    v, h, c = parts[0], parts[1], parts[2]
    total = F.pad(v, [0, 0, 2, 0]) + 4.0 * F.pad(v, [0, 0, 1, 1]) + F.pad(v, [0, 0, 0, 2])
    total = total + F.pad(h, [2, 0]) + 4.0 * F.pad(h, [1, 1]) + F.pad(h, [0, 2])
    c = F.pad(c, [1, 0]) + F.pad(c, [0, 1])
    return total + F.pad(c, [0, 0, 1, 0]) + F.pad(c, [0, 0, 0, 1])
