"""What people use today, on the cases of the benchmark: Richardson-Lucy, told the kernel or blind, Wiener.

Each takes a blurred image in units of full scale and gives a sharp one and the kernel that was used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_vdip.benchmark.reference import oriented
from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_vdip.benchmark.cases import Truth

    Floats = npt.NDArray[np.float64]

Classical = Literal["rl", "blind-rl", "wiener"]
PRESET = "classical"  # what rows of theirs have in place of a preset
RL_STEPS = 30  # a usual number; more sharpens noise
BLIND_ROUNDS, BLIND_STEPS = 10, 5  # steps for the kernel and for the image in each round
_LEAST = 1e-6  # of full scale; ratios to less are not taken


def deconvolve(method: Classical, truth: Truth, kernel_size: int) -> tuple[Floats, Floats, int]:
    """Deconvolve a case.

    Parameters
    ----------
    method : {"rl", "blind-rl", "wiener"}
        Richardson-Lucy with the known kernel, blind, or Wiener's filter with the known kernel, its
        weight read from the image.
    truth : Truth
        Of which the blind method looks at the blurred image only.
    kernel_size : int
        Side of the kernel that the blind method looks for, in px; odd.

    Returns
    -------
    image : ndarray, (H, W)
        In the units of ``truth.blurred``.
    kernel : ndarray, (Kh, Kw)
        Oriented for convolution; sums to 1.
    steps : int
        How many were done.

    Raises
    ------
    InvalidInput
        If the kernel is not known and the method needs it.
    """
    low = float(truth.blurred.min())
    y = (truth.blurred.astype(np.float64) - low) / truth.full_scale
    if method == "blind-rl":
        image, kernel = blind_richardson_lucy(y, kernel_size)
        steps = 2 * BLIND_ROUNDS * BLIND_STEPS
    elif truth.kernel is None:
        raise InvalidInput(f"baseline {method} needs the known kernel; give kernels/, or use blind-rl")
    else:
        kernel = oriented(truth)
        image = (richardson_lucy if method == "rl" else wiener)(y, kernel)
        steps = RL_STEPS if method == "rl" else 1
    return image * truth.full_scale + low, kernel, steps


def richardson_lucy(y: Floats, kernel: Floats, steps: int = RL_STEPS, start: Floats | None = None) -> Floats:
    """Richardson-Lucy by scikit-image, on an image that is continued beyond its borders.

    Parameters
    ----------
    y : ndarray, (H, W)
        Not negative.
    kernel : ndarray, (Kh, Kw)
        Odd sides; sums to 1.
    """
    from skimage import restoration

    margins = [(n // 2, n // 2) for n in kernel.shape]
    padded = np.pad(y, margins, mode="symmetric")
    steps_of: Any = restoration.richardson_lucy  # carries no types
    sharp: Floats = steps_of(padded, kernel, num_iter=steps, clip=False, filter_epsilon=_LEAST)
    return _inner(sharp, y, margins)


def wiener(y: Floats, kernel: Floats) -> Floats:
    """Wiener's filter by scikit-image, its weight read from the image (Orieux et al. 2010)."""
    from skimage import restoration

    margins = [(n, n) for n in kernel.shape]
    padded = np.pad(y, margins, mode="symmetric")
    filtered: Any = restoration.unsupervised_wiener  # carries no types
    sharp, _ = filtered(padded, kernel, clip=False, rng=0)
    return _inner(sharp, y, margins)


def blind_richardson_lucy(y: Floats, size: int) -> tuple[Floats, Floats]:
    """Blind Richardson-Lucy: steps for the kernel and steps for the image in turn.

    Parameters
    ----------
    y : ndarray, (H, W)
        Not negative.
    size : int
        Side of the kernel in px; odd.

    Returns
    -------
    image : ndarray, (H, W)
    kernel : ndarray, (size, size)

    References
    ----------
    .. [1] D. A. Fish, A. M. Brinicombe, E. R. Pike, J. G. Walker, "Blind deconvolution by means of the
       Richardson-Lucy algorithm", J. Opt. Soc. Am. A 12(1), 1995.
    """
    from scipy.signal import fftconvolve  # type: ignore[import-untyped]

    half = size // 2
    margins = [(half, half)] * 2
    padded = np.pad(y, margins, mode="symmetric")
    # A broad hump: from a flat kernel the first steps give an image that is blurred once more.
    profile = np.exp(-0.5 * ((np.arange(size) - half) / (size / 4)) ** 2)
    kernel = np.outer(profile, profile)
    kernel /= kernel.sum()
    image = padded.copy()
    for _ in range(BLIND_ROUNDS):
        for _ in range(BLIND_STEPS):
            blurred = fftconvolve(image, kernel, mode="valid")  # (H, W)
            ratio = y / np.maximum(blurred, _LEAST)
            kernel *= fftconvolve(image[::-1, ::-1], ratio, mode="valid")[::-1, ::-1]  # (size, size) lags
            kernel = np.maximum(kernel, 0.0)
            kernel /= kernel.sum()
        for _ in range(BLIND_STEPS):
            blurred = np.maximum(fftconvolve(image, kernel, mode="same"), _LEAST)
            image = np.maximum(image * fftconvolve(padded / blurred, kernel[::-1, ::-1], mode="same"), 0.0)
    return _inner(image, y, margins), kernel


def _inner(padded: Floats, like: Floats, margins: list[tuple[int, int]]) -> Floats:
    (top, _), (left, _) = margins
    return padded[top : top + like.shape[0], left : left + like.shape[1]]
