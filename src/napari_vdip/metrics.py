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
    image: Floats, truth: Floats, full_scale: float, border: int = 15, reach: int = 10
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
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    image, truth = image / full_scale, truth / full_scale
    inner = (slice(border, -border or None),) * 2
    wide = np.pad(image, reach, mode="edge")
    height, width = image.shape

    def error_whole(down: int, right: int) -> float:
        moved = wide[reach - down : reach - down + height, reach - right : reach - right + width]
        return float(np.mean((moved[inner] - truth[inner]) ** 2))

    whole = [(d, r) for d in range(-reach, reach + 1) for r in range(-reach, reach + 1)]
    down, right = min(whole, key=lambda at: error_whole(*at))
    spline = spline_filter(image, order=3, mode="nearest")

    def moved(at: tuple[float, float]) -> Floats:
        result: Floats = shifted(spline, at, order=3, mode="nearest", prefilter=False)
        return result[inner]

    steps = np.arange(-0.75, 0.76, 0.25)
    fine = [(float(down + d), float(right + r)) for d in steps for r in steps]
    best = min(fine, key=lambda at: float(np.mean((moved(at) - truth[inner]) ** 2)))
    final = moved(best)
    psnr = peak_signal_noise_ratio(truth[inner], final, data_range=1.0)  # type: ignore[no-untyped-call]
    similar = structural_similarity(  # type: ignore[no-untyped-call]
        truth[inner], final, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return Closeness(float(psnr), float(similar), best)


def kernel_similarity(kernel: Floats, truth: Floats) -> float:
    """Largest normalised cross-correlation of two kernels over all shifts, 0 to 1."""
    from scipy.signal import fftconvolve  # type: ignore[import-untyped]

    product = fftconvolve(kernel, truth[::-1, ::-1]).max()
    return float(product / np.sqrt(np.square(kernel).sum() * np.square(truth).sum()))
