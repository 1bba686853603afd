"""How well a standard deviation of each pixel tells the error that the pixel has.

All functions take the errors and the standard deviations as arrays of one shape, in the same
units, and look at no image: who calls them has aligned result and truth.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating]
    Curve = npt.NDArray[np.float64]

_POINTS = 100  # of the sparsification curve


def coverage(error: Floats, std: Floats, level: float) -> float:
    """Share of pixels whose error is within the central interval of a level.

    Parameters
    ----------
    error, std : ndarray
        Result less truth, and one standard deviation; of one shape.
    level : float
        Probability that the interval ought to hold, between 0 and 1: 0.68 for about one
        standard deviation.

    Returns
    -------
    float
        0 to 1; equals `level` if the errors are Gaussian with these standard deviations.
    """
    from scipy.special import ndtri  # type: ignore[import-untyped]

    return float(np.mean(np.abs(error) <= float(ndtri((1.0 + level) / 2.0)) * std))


def sparsification(error: Floats, order: Floats) -> Curve:
    """Root mean square error of what is left as ever more pixels are taken out.

    Parameters
    ----------
    error : ndarray
        Result less truth.
    order : ndarray
        Of the same shape; the pixels with the largest values go first.

    Returns
    -------
    ndarray, (100,)
        After 0 %, 1 %, ... 99 % of the pixels are gone, as a share of the first value.
    """
    squares = np.square(error.ravel().astype(np.float64))[np.argsort(order, axis=None, kind="stable")]
    means = np.cumsum(squares) / np.arange(1, squares.size + 1)  # of the n pixels that go last
    left = np.ceil(squares.size * (1.0 - np.arange(_POINTS) / _POINTS)).astype(int)
    curve = np.sqrt(means[left - 1])
    relative: Curve = curve / curve[0] if curve[0] > 0.0 else curve
    return relative


def ause(error: Floats, std: Floats) -> float:
    """Area under the sparsification error curve.

    Between the curve of the pixels ordered by their standard deviation and that of the best
    order, by the true error. Only the order of `std` counts, not its scale, so that any map may be
    put to the test.

    Returns
    -------
    float
        0: the most uncertain pixels are those with the largest errors. About 0.5 for a useless
        order of Gaussian errors.

    References
    ----------
    .. [1] E. Ilg et al., "Uncertainty estimates and multi-hypotheses networks for optical flow",
       ECCV 2018.
    """
    gap = sparsification(error, std) - sparsification(error, np.abs(error))
    return float(np.mean((gap[1:] + gap[:-1]) / 2.0) * (_POINTS - 1) / _POINTS)


def rank_correlation(error: Floats, std: Floats) -> float:
    """Spearman's rank correlation of the standard deviation with the size of the error.

    Returns
    -------
    float
        -1 to 1; NaN if either is the same everywhere.
    """
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    ranks = [rankdata(values, axis=None) for values in (np.abs(error), std)]
    first, second = (rank - rank.mean() for rank in ranks)
    size = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / size if size > 0.0 else math.nan


def ence(error: Floats, std: Floats, bins: int = 20) -> float:
    """Compute the expected normalised calibration error.

    The pixels are put into bins of equal number by their standard deviation. In each, the root mean
    square of the standard deviations is compared with that of the errors: the mean over the
    bins of ``|std - error| / std``.

    Parameters
    ----------
    error, std : ndarray
        Of one shape; `std` positive.
    bins : int
        How many; at most one a pixel.

    Returns
    -------
    float
        0 if each bin has the error that it tells; 1 if the errors are twice as large (or absent).

    References
    ----------
    .. [1] D. Levi, L. Gispan, N. Giladi, E. Fetaya, "Evaluating and calibrating uncertainty prediction
       in regression tasks", Sensors 22(15), 2022.
    """
    order = np.argsort(std, axis=None, kind="stable")
    parts = np.array_split(order, min(bins, order.size))
    told = np.array([math.sqrt(np.mean(np.square(std.ravel()[part], dtype=np.float64))) for part in parts])
    seen = np.array([math.sqrt(np.mean(np.square(error.ravel()[part], dtype=np.float64))) for part in parts])
    return float(np.mean(np.abs(told - seen) / told))
