"""How close a result is to a known truth: PSNR and SSIM after the best shift, kernel similarity.

A blind fit leaves the common shift of image and kernel free, so images are compared at their
best shift, as published tables do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating]


# As in published tables: pixels left out on each side, and largest shift.
BORDER = 15
REACH = 10
_SSIM_WINDOW = 11  # px, at sigma 1.5
_HELD = 0.99  # share of a kernel's light that its window has to hold


@dataclass(frozen=True)
class Closeness:
    """Figures of an image against its truth.

    Attributes
    ----------
    psnr : float
        Peak signal-to-noise ratio in dB.
    ssim : float
        Mean structural similarity (Gaussian window, sigma 1.5).
    shift : tuple of float
        By how much the image was moved down and right, in px.
    """

    psnr: float
    ssim: float
    shift: tuple[float, float]


def closeness(
    image: Floats, truth: Floats, full_scale: float, border: int = BORDER, reach: int = REACH
) -> Closeness:
    """Compare an image with its truth at the best shift.

    Parameters
    ----------
    image, truth : ndarray, (H, W)
        In the same units.
    full_scale : float
        The peak of PSNR and the range of SSIM: 255 for 8-bit photographs.
    border : int
        Pixels left out on each side.
    reach : int
        Largest shift tried either way, in px; steps of 0.25 px about the best whole one.

    References
    ----------
    .. [1] A. Levin et al., "Understanding and evaluating blind deconvolution algorithms", CVPR 2009:
       the test images; border and shift search as in the tables of later papers.
    """
    from scipy.ndimage import shift as shifted  # type: ignore[import-untyped]
    from scipy.ndimage import spline_filter
    from scipy.signal import correlate  # type: ignore[import-untyped]
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    image, truth = image / full_scale, truth / full_scale
    inner = (slice(border, -border or None),) * 2
    sought = truth[inner]
    # Squared differences at all whole shifts at once, less the truth's own square, which all have.
    middle = sought.mean()
    wide = np.pad(image - middle, reach, mode="edge")[border : -border or None, border : -border or None]
    power = correlate(wide**2, np.ones_like(sought), mode="valid", method="fft")
    apart = power - 2.0 * correlate(wide, sought - middle, mode="valid", method="fft")
    down, right = (reach - int(at) for at in np.unravel_index(int(apart.argmin()), apart.shape))
    spline = spline_filter(image, order=3, mode="nearest")

    def moved(at: tuple[float, float]) -> Floats:
        result: Floats = shifted(spline, at, order=3, mode="nearest", prefilter=False)
        return result[inner]

    steps = np.arange(-0.75, 0.76, 0.25)
    fine = [(float(down + d), float(right + r)) for d in steps for r in steps]
    best = min(fine, key=lambda at: float(np.mean((moved(at) - sought) ** 2)))
    final = moved(best)
    psnr = peak_signal_noise_ratio(sought, final, data_range=1.0)  # type: ignore[no-untyped-call]
    similar = structural_similarity(  # type: ignore[no-untyped-call]
        sought, final, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return Closeness(float(psnr), float(similar), best)


def allowance(kernel: Floats | None, shape: tuple[int, ...]) -> tuple[int, int]:
    """Border and reach for `closeness` in images (H, W) under this kernel (Kh, Kw), or an unknown one: None.

    As in published tables, but half of what holds the kernel's light where that is more than the border: a
    kernel with too much light on one side moves the image by as much.
    """
    half = 0 if kernel is None else held_size(kernel) // 2
    most = (min(shape) - _SSIM_WINDOW) // 2
    return (BORDER, REACH) if half <= BORDER or most <= BORDER else (min(half, most), min(half, most))


def held_size(kernel: Floats) -> int:
    """Side in px, odd, of the smallest window about the centre of mass with 99 % of a kernel's light."""
    kernel = kernel / kernel.sum()
    row, column = (round(float(kernel.sum(1 - axis) @ np.arange(n))) for axis, n in enumerate(kernel.shape))
    half = 1
    while (
        kernel[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1].sum() < _HELD
    ):
        half += 1
    return 2 * half + 1


def kernel_similarity(kernel: Floats, truth: Floats) -> float:
    """Largest normalised cross-correlation of two kernels over all shifts, 0 to 1."""
    from scipy.signal import fftconvolve

    product = fftconvolve(kernel, truth[::-1, ::-1]).max()
    return float(product / np.sqrt(np.square(kernel).sum() * np.square(truth).sum()))
