"""One result against its truth: the figures of a row. Metrics only, no fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_vdip import calibration, metrics

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_vdip.benchmark.cases import Truth

    Floats = npt.NDArray[np.floating]

LEVELS = (50, 68, 90, 95)  # per cent
FAILURE = 1.0  # dB; a smaller gain is a failure


@dataclass(frozen=True)
class Quality:
    """How close a result is; `None` where there is nothing to compare with.

    Attributes
    ----------
    psnr_blurred, ssim_blurred, psnr, ssim : float
        After the best shift, of the blurred image and of the result; dB, and at most 1.
    gain : float
        ``psnr - psnr_blurred``, in dB.
    kernel_similarity : float or None
        0 to 1; the better of the two orientations of the known kernel.
    coverage_50, coverage_68, coverage_90, coverage_95 : float or None
        Share of the pixels whose error is within the interval of that many per cent.
    ause, ause_gradient : float or None
        Area under the sparsification error curve: of the uncertainty, and of the gradient magnitude
        of the result, which costs nothing.
    rank_correlation : float or None
        Of the uncertainty with the size of the error.
    ence : float or None
        Expected normalised calibration error.
    """

    psnr_blurred: float
    ssim_blurred: float
    psnr: float
    ssim: float
    gain: float
    kernel_similarity: float | None
    coverage_50: float | None
    coverage_68: float | None
    coverage_90: float | None
    coverage_95: float | None
    ause: float | None
    ause_gradient: float | None
    rank_correlation: float | None
    ence: float | None


def measure(truth: Truth, image: Floats, uncertainty: Floats, kernel: Floats) -> Quality:
    """Compare a result with its truth.

    Parameters
    ----------
    truth : Truth
    image, uncertainty : ndarray, (H, W)
        Result and one standard deviation (NaN: none) in the units of ``truth.blurred``.
    kernel : ndarray, (Kh, Kw)
        The kernel found.
    """
    allowed = metrics.allowance(truth.kernel, truth.sharp.shape)
    before = metrics.closeness(truth.blurred.astype(np.float64), truth.sharp, truth.full_scale, *allowed)
    after = metrics.closeness(image.astype(np.float64), truth.sharp, truth.full_scale, *allowed)
    similarity = None
    if truth.kernel is not None:
        known = (truth.kernel, truth.kernel[::-1, ::-1])  # a file may be meant for correlation
        similarity = max(metrics.kernel_similarity(kernel, one) for one in known)
    return Quality(
        before.psnr,
        before.ssim,
        after.psnr,
        after.ssim,
        after.psnr - before.psnr,
        similarity,
        *_calibration(truth, image, uncertainty, after.shift, allowed[0]),
    )


def _calibration(
    truth: Truth, image: Floats, uncertainty: Floats, at: tuple[float, float], border: int
) -> list[float | None]:
    """Figures of the uncertainty, moved with the image to its best shift; in the order of `Quality`."""
    from scipy.ndimage import gaussian_gradient_magnitude, shift  # type: ignore[import-untyped]

    if not np.isfinite(uncertainty).all() or not (uncertainty > 0.0).all():
        return [None] * (len(LEVELS) + 4)
    inner = (slice(border, -border),) * 2
    moved = shift(image.astype(np.float64), at, order=3, mode="nearest")
    error = (moved - truth.sharp)[inner]
    std = shift(uncertainty.astype(np.float64), at, order=1, mode="nearest")[inner]
    gradient = gaussian_gradient_magnitude(moved, 1.0)[inner]
    return [
        *(calibration.coverage(error, std, level / 100) for level in LEVELS),
        calibration.ause(error, std),
        calibration.ause(error, gradient),
        calibration.rank_correlation(error, std),
        calibration.ence(error, std),
    ]


def error_ratio(psnr: float, reference_psnr: float) -> float:
    """Squared error over that of the known kernel's result, both at their best shift."""
    return float(10.0 ** ((reference_psnr - psnr) / 10.0))
