"""What a classical method makes of an image if it is told the kernel: the yardstick of the error ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip.metrics import closeness

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_vdip.benchmark.cases import Truth

    Floats = npt.NDArray[np.float64]

_STEPS = 100
# Weight of the prior over noise variance / mean gradient of the blurred image. Both come from a Laplace
# prior of the gradients; the factor was chosen once on images of Levin et al., where the mean meets the
# published one for the known kernel.
_WEIGHT = 1.2
_DATA_PENALTY = 0.02
_EDGE = 0.05  # gradient, of a full scale of 1 a px, from which the splitting takes it for an edge


def deconvolve(blurred: Floats, kernel: Floats, noise_std: float) -> Floats:
    """Deconvolve with a known kernel and a total-variation prior.

    Minimises ``|M (k * x) - y|^2 / 2 + w |grad x|`` over a canvas that is larger than the image by
    the kernel; the mask ``M`` cuts the image out of it, so that nothing is assumed about what lies
    beyond the borders. Solved by the alternating direction method of multipliers.

    Parameters
    ----------
    blurred : ndarray, (H, W)
        In units in which full scale is 1.
    kernel : ndarray, (Kh, Kw)
        Odd sides; oriented for convolution; sums to 1.
    noise_std : float
        Standard deviation of the noise of `blurred`.

    Returns
    -------
    ndarray, (H, W)

    References
    ----------
    .. [1] Y. Wang, J. Yang, W. Yin, Y. Zhang, "A new alternating minimization algorithm for total
       variation image reconstruction", SIAM J. Imaging Sciences 1(3), 2008.
    .. [2] M. S. C. Almeida, M. A. T. Figueiredo, "Deconvolving images with unknown boundaries using the
       alternating direction method of multipliers", IEEE Trans. Image Processing 22(8), 2013.
    """
    high, wide = (n // 2 for n in kernel.shape)
    y = np.pad(blurred, ((high, high), (wide, wide)), mode="edge")
    mask = np.pad(np.ones_like(blurred), ((high, high), (wide, wide)))
    transfer = _transfer(kernel, y.shape)
    across = _transfer(np.array([[0.0, 1.0, -1.0]]), y.shape)
    down = _transfer(np.array([[0.0], [1.0], [-1.0]]), y.shape)
    gradient = float(np.hypot(*np.gradient(blurred)).mean())
    w = max(_WEIGHT * noise_std**2 / max(gradient, 1e-6), 1e-9)
    a, b = _DATA_PENALTY, w / _EDGE
    whole = a * np.abs(transfer) ** 2 + b * (np.abs(across) ** 2 + np.abs(down) ** 2)

    x = y
    u, v = y.copy(), np.zeros((2, *y.shape))  # stand in for k * x and for the gradient of x
    du, dv = np.zeros_like(u), np.zeros_like(v)  # scaled multipliers
    for _ in range(_STEPS):
        right = a * np.conj(transfer) * _fft(u - du)
        right += b * (np.conj(across) * _fft(v[0] - dv[0]) + np.conj(down) * _fft(v[1] - dv[1]))
        spectrum = right / whole
        x, blur = _back(spectrum, y.shape), _back(spectrum * transfer, y.shape)
        edges = np.stack([_back(spectrum * across, y.shape), _back(spectrum * down, y.shape)])
        u = (mask * y + a * (blur + du)) / (mask + a)
        length = np.sqrt(np.square(edges + dv).sum(0))
        v = (edges + dv) * (1.0 - np.minimum(1.0, w / b / np.maximum(length, 1e-12)))
        du += blur - u
        dv += edges - v
    return x[high : high + blurred.shape[0], wide : wide + blurred.shape[1]]


def oriented(truth: Truth) -> Floats:
    """Turn the known kernel by half a circle if that explains the blurred image better.

    Kernel files are meant for correlation or for convolution; within one set, even.

    Returns
    -------
    ndarray, (Kh, Kw)
        For convolution.
    """
    from scipy.signal import fftconvolve  # type: ignore[import-untyped]

    assert truth.kernel is not None  # asked for only where there is one
    blurred = truth.blurred.astype(np.float64)

    def explained(kernel: Floats) -> float:
        return closeness(fftconvolve(truth.sharp, kernel, mode="same"), blurred, truth.full_scale).psnr

    return max((truth.kernel, truth.kernel[::-1, ::-1]), key=explained)


def _transfer(kernel: Floats, shape: tuple[int, ...]) -> npt.NDArray[np.complex128]:
    """Fourier transform of a kernel whose middle is the origin."""
    sheet = np.zeros(shape)
    sheet[: kernel.shape[0], : kernel.shape[1]] = kernel
    return _fft(np.roll(sheet, [-(n // 2) for n in kernel.shape], (0, 1)))


def _fft(values: Floats) -> npt.NDArray[Any]:
    from scipy.fft import rfft2  # type: ignore[import-untyped]

    spectrum: npt.NDArray[Any] = rfft2(values)
    return spectrum


def _back(spectrum: npt.NDArray[Any], shape: tuple[int, ...]) -> Floats:
    from scipy.fft import irfft2

    values: Floats = irfft2(spectrum, shape)
    return values
