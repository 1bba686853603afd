"""How far the pixels of a deblurred image can be trusted, and how to write that down. Numpy only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[Any]

OF_VALUE, OF_RANGE = "the pixel's value", "the image's range"
# In percent. A detail is told from noise where it stands 5 standard deviations high (Rose 1948).
DOUBTFUL = {OF_RANGE: 5.0, OF_VALUE: 20.0}


def suited(noise: str) -> str:
    """Tell what a limit should be of: counts are compared with nothing, pictures with their contrast.

    Parameters
    ----------
    noise : {"gaussian", "poisson"}
        As the fit took it.
    """
    return OF_VALUE if noise == "poisson" else OF_RANGE


def grey(std: Floats) -> Floats:
    """Take the root mean square over the colours of a std (..., 3 or 4): (...). An alpha has none."""
    mean: Floats = np.sqrt(np.mean(np.square(std[..., :3]), axis=-1))
    return mean


def relative(image: Floats, std: Floats) -> npt.NDArray[np.float32]:
    """Give the standard deviation as a share of the pixel's own value.

    Parameters
    ----------
    image : ndarray, (...) or (..., 3 or 4)
        Deblurred image; of colours the mean is taken.
    std : ndarray, (...)
        One standard deviation, in the units of `image`.

    Returns
    -------
    ndarray of float32, (...)
        In percent; infinite where the value is 0, NaN where there is no standard deviation.
    """
    values = np.abs(image[..., :3].mean(-1) if image.ndim > std.ndim else image)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.asarray(100.0 * std / values, dtype=np.float32)
    share[(values == 0) & np.isfinite(std)] = np.inf
    return share


def doubtful(
    image: Floats, std: Floats, percent: float = DOUBTFUL[OF_VALUE], of: str = OF_VALUE
) -> npt.NDArray[np.bool_]:
    """Mark the pixels that are not to be trusted.

    Parameters
    ----------
    image, std : ndarray
        As of `relative`.
    percent : float
        Largest standard deviation that is trusted.
    of : {"the pixel's value", "the image's range"}
        What the percentage is of. The value suits counts above a background of 0; the range (from the
        0.5th to the 99.5th percentile of the image) suits pictures, in which black is no lack of light.

    Returns
    -------
    ndarray of bool, (...)
        True where the standard deviation is larger, or absent.
    """
    if of == OF_VALUE:
        share: Floats = relative(image, std)
    else:
        low, high = np.nanpercentile(image, (0.5, 99.5))
        share = 100.0 * std / max(float(high - low), 1e-30)
    marked: npt.NDArray[np.bool_] = ~(share <= percent)
    return marked


def written(value: float, std: float) -> str:
    """Write a value and its standard deviation with the digits that mean something: ``412 ± 18``."""
    if not math.isfinite(std) or not math.isfinite(value):
        return f"{value:.4g} ± ?"
    digits = 0 if std == 0 else 1 - math.floor(math.log10(std))  # two digits of the std
    if -6 <= -digits <= 6:
        places = max(digits, 0)
        return f"{round(value, digits):.{places}f} ± {round(std, digits):.{places}f}"
    return f"{value:.3e} ± {std:.1e}"
