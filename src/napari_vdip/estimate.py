"""What can be read off one blurred image before any fit: its noise, and how far its blur reaches.

Nothing here knows of torch, options or slices; all functions look at one plane
and never fail on it. How the kernel size is found, and how well, stands in
``docs/explanation/kernel-size.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_vdip.opencv import cv2

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

_SURROUNDINGS = 2.0  # px; how far a pixel's brightness is averaged
SMALLEST = 7  # px; a smaller support gains nothing, and a blur that is too small for it is lost
LARGEST = 99  # px
TILE = 512  # px; side of the periodograms that are averaged
WEDGES = 60  # bins of direction over the half circle
ECHO_FLOOR = 16.0  # echoes count where they stand this many times above the cepstrum's floor
ECHO_DENSITY = 8.0  # median of the cepstrum at 3 to 6 px, in floors: 1 to 5 for puncta, 9 and more for motion
ECHO_HINT = 300.0  # below: no sign of motion
ROUNDING = 0.5  # of the power of a compression's errors; stripes that are darker are no stripes of the kernel
ECHO_STRENGTH = 1500.0  # measured: smooth blurs up to 1000, motion nearly always from 2000


@dataclass(frozen=True)
class KernelSize:
    """A size for the blur kernel, and why.

    Attributes
    ----------
    size : (int, int)
        Height and width in px; odd.
    reason : str
        One sentence for the user.
    """

    size: tuple[int, int]
    reason: str


@dataclass(frozen=True)
class _Spectrum:
    """Mean periodogram of a plane on an (n, n) grid, and where its bins lie.

    Attributes
    ----------
    power : ndarray, (n, n)
        1 for white noise of standard deviation 1.
    rho : ndarray, (n, n)
        Frequency in cycles per px.
    ring, wedge : ndarray of int, (n, n)
        Number of the bin of frequency (1 / n wide) and of direction.
    lowest : float
        Frequency under which the plane says nothing, in cycles per px.
    noise : float
        Power of the noise, from the corners of the spectrum, where blur leaves least of the image.
    """

    power: Floats
    rho: Floats
    ring: npt.NDArray[np.intp]
    wedge: npt.NDArray[np.intp]
    lowest: float
    noise: float


def noise_std(plane: npt.ArrayLike, keep: Bools | None = None) -> float:
    """Estimate the standard deviation of an image's noise.

    The difference of two Laplacians (Immerkaer 1996) cancels all that is linear over 3 x 3
    pixels; the median of its absolute value is not moved by the few pixels on edges.

    Parameters
    ----------
    plane : array_like, (h, w)
        Image in any units. NaN and infinite pixels take no part.
    keep : ndarray of bool, (h, w), optional
        False: the pixel takes no part.

    Returns
    -------
    float
        Standard deviation in the image's units; 0 if there are no 3 x 3 pixels to look at. Fine
        texture counts as noise, so that the value is an upper estimate for a sharp image.

    References
    ----------
    J. Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding 64, 1996.
    """
    values, kept = _finite(plane, keep)
    if min(values.shape) < 3:
        return 0.0
    values = np.where(kept, values, 0.0)
    across = values[:, :-2] - 2 * values[:, 1:-1] + values[:, 2:]  # (h, w - 2)
    both = across[:-2] - 2 * across[1:-1] + across[2:]  # (h - 2, w - 2)
    whole = np.lib.stride_tricks.sliding_window_view(kept, (3, 3)).all((2, 3))
    differences = np.abs(both[whole])
    if not differences.size:
        return 0.0
    # Squares of the weights (1, -2, 1) x (1, -2, 1) sum to 36; 0.6745 is the median of |N(0, 1)|.
    median = float(np.median(differences)) / (6 * 0.6745)
    if median > 0:
        return median
    # More than half the pixels equal their neighbours (few counts, wide flat ground): the mean
    # still sees the rest.
    return float(np.mean(differences)) / 6 * math.sqrt(math.pi / 2)


@dataclass(frozen=True)
class NoiseModel:
    """Variance of the noise as a line over brightness: ``gain * (brightness - ground) + read**2``.

    Attributes
    ----------
    gain : float
        Variance for each unit of brightness: of a detector that counts, units a photon.
    read : float
        Standard deviation where the image is darkest: read-out and background.
    ground : float
        Brightness of the darkest parts.
    """

    gain: float
    read: float
    ground: float

    def variance(self, brightness: npt.ArrayLike) -> Floats:
        """Variance of pixels of a (noise-free) brightness; never below a hundredth of the mean one."""
        above = np.maximum(np.asarray(brightness, dtype=np.float64) - self.ground, 0.0)
        found = self.gain * above + self.read**2
        return np.maximum(found, max(0.01 * float(np.mean(found)), np.finfo(np.float64).tiny))


def noise_model(plane: npt.ArrayLike, keep: Bools | None = None) -> NoiseModel:
    """Read gain and read noise off an image, for noise that grows with brightness.

    Pixels are sorted by the brightness of their surroundings into 24 classes, whose noise is the
    robust one of `noise_std`. Structure only ever adds to it, so the line through the classes is
    fitted with less weight on those above it.

    Parameters
    ----------
    plane : array_like, (h, w)
        Image in any units. NaN and infinite pixels take no part.
    keep : ndarray of bool, (h, w), optional
        False: the pixel takes no part.

    Returns
    -------
    NoiseModel
        In the image's units; gain 0 where the noise does not grow, or the image is too small to tell.
    """
    from scipy.optimize import nnls  # type: ignore[import-untyped]

    values, kept = _finite(plane, keep)
    values = np.where(kept, values, 0.0)
    even = NoiseModel(0.0, noise_std(plane, keep), 0.0)
    if min(values.shape) < 16:
        return even
    share = cv2.GaussianBlur(kept.astype(np.float64), (0, 0), _SURROUNDINGS)
    brightness = cv2.GaussianBlur(values, (0, 0), _SURROUNDINGS) / np.maximum(share, 1e-6)
    weights = np.outer((1.0, -2.0, 1.0), (1.0, -2.0, 1.0)) / 6.0
    differences = np.abs(cv2.filter2D(values, -1, weights))
    whole = cv2.erode(kept.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    if np.count_nonzero(whole) < 24 * 10:
        return even
    order = np.argsort(brightness[whole], kind="stable")
    classes = np.array_split(order, 24)
    level = np.array([brightness[whole][part].mean() for part in classes])
    variance = np.array([(np.median(differences[whole][part]) / 0.6745) ** 2 for part in classes])
    if variance.max() == 0.0 or level[0] == level[-1]:
        return even
    ground = float(brightness[whole].min())
    line = np.stack([level - ground, np.ones_like(level)], axis=1)
    trust = np.ones_like(level)
    for _ in range(10):
        # The spread of a variance is in proportion to it.
        weight = trust / np.maximum(variance, 0.01 * variance.mean())
        (gain, floor), _ = nnls(line * weight[:, None], variance * weight)
        excess = variance / np.maximum(line @ (gain, floor), 1e-12 * variance.max()) - 1.0
        trust = 1.0 / (1.0 + np.maximum(excess, 0.0) ** 2)
    return NoiseModel(float(gain), math.sqrt(floor), ground)


def kernel_size(plane: npt.ArrayLike, keep: Bools | None = None, rounding: float = 0.0) -> KernelSize:
    """Estimate a support that holds the unknown blur of an image.

    A kernel that is too large costs time, one that is too small cannot be mended: the answer has a
    margin. Two signs are looked at. Motion leaves echoes: the spectrum's dark and bright stripes,
    whose cepstrum reaches as far as the kernel. Defocus and diffraction leave few; their width is
    read off the spectrum's fall below the power law that images follow.

    Parameters
    ----------
    plane : array_like, (h, w)
        Blurred image in any units. NaN and infinite pixels take no part.
    keep : ndarray of bool, (h, w), optional
        False: the pixel takes no part.
    rounding : float
        Standard deviation of a compression's errors (`Compression.noise_std`), in the image's units.

    Returns
    -------
    KernelSize
        Square and odd, from 7 to 99 px, and not above a third of the shorter side (but for
        images under 21 px, where it is 7 or what fits).
    """
    values, kept = _finite(plane, keep)
    third = min(values.shape) // 3
    most = max(min(LARGEST, third), min(SMALLEST, min(values.shape)), 1)
    if not kept.any():
        return _sized(0, most, "the image has no pixel to look at")
    if np.ptp(values[kept]) == 0:
        return _sized(0, most, "the image is constant, so that nothing can be estimated")
    spectrum = _spectrum(_fill(values, kept))
    frequency, power = _profile(spectrum)
    if (power > math.log(2 * spectrum.noise)).sum() < 4:
        return _sized(0, most, "the image shows no structure above its noise")
    errors = (rounding / float(np.ptp(values[kept]))) ** 2
    reach, strength = _echo(spectrum, min(LARGEST, third), ROUNDING * errors)
    if strength > ECHO_STRENGTH:
        # Nine tenths of the echoes are not the whole kernel, and a size in use has a rim: hence the margin.
        return _sized(1.25 * reach + 6, most, f"the blur spans about {reach} px (echoes in the spectrum)")
    noise = max(spectrum.noise, errors)
    if errors > 0:
        power = np.maximum(power, math.log(noise))
    width = 4 * _smooth_std(frequency, power, noise)  # holds 95 % of a Gaussian along each axis
    if strength > ECHO_HINT and 1.25 * reach + 6 > width + 5:
        # Either sign may be right; the larger size is the safe one.
        return _sized(1.25 * reach + 6, most, f"the blur may span {reach} px (weak echoes in the spectrum)")
    return _sized(
        width + 5, most, f"the blur is smooth and spans about {width:.0f} px (fall of the spectrum)"
    )


def _sized(wanted: float, most: int, because: str) -> KernelSize:
    """Round a wanted size up to odd, hold it within bounds, and say so."""
    size = 2 * math.ceil((wanted - 1) / 2) + 1
    top = most if most % 2 else most - 1
    if size > top:
        because += f"; held at {top} px, the most that is chosen for an image of this size"
    elif size < SMALLEST:
        because += "; smallest size taken"
    size = min(max(size, SMALLEST), top)
    return KernelSize((size, size), f"auto: {because}")


def _finite(plane: npt.ArrayLike, keep: Bools | None) -> tuple[Floats, Bools]:
    """Return the plane in float64, and where it is finite and kept; both (h, w)."""
    values = np.asarray(plane, dtype=np.float64)
    kept = np.isfinite(values)
    return values, kept if keep is None else kept & keep


def _fill(values: Floats, kept: Bools) -> Floats:
    """Scale to the range 0 to 1 and fill dropped pixels smoothly: a hard border would look like detail."""
    low, span = values[kept].min(), np.ptp(values[kept])
    values = np.where(kept, (values - low) / span, 0.0)
    return values if kept.all() else _pull(values, kept.astype(np.float64))


def _pull(values: Floats, weight: Floats) -> Floats:
    """Replace values of weight 0: from the next coarser blocks, themselves filled, then relaxed."""
    h, w = values.shape
    if weight.all() or h * w == 1:
        return values
    odd = ((0, h % 2), (0, w % 2))
    blocks = ((h + 1) // 2, 2, (w + 1) // 2, 2)
    total = np.pad(values * weight, odd).reshape(blocks).sum((1, 3))  # (ceil(h/2), ceil(w/2))
    count = np.pad(weight, odd).reshape(blocks).sum((1, 3))
    coarse = _pull(total / np.maximum(count, 1), (count > 0).astype(np.float64))
    values = np.where(weight > 0, values, coarse.repeat(2, 0).repeat(2, 1)[:h, :w])
    for _ in range(8):  # Jacobi steps of Laplace's equation inside the holes; the coarse levels did the rest
        wide = np.pad(values, 1, "edge")
        near = (wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]) / 4
        values = np.where(weight > 0, values, near)
    return values


def _spectrum(values: Floats) -> _Spectrum:
    """Average the windowed periodograms of up to nine tiles spread over a plane (h, w)."""
    h, w = (min(side, TILE) for side in values.shape)
    n = 1 << (max(h, w) - 1).bit_length() if max(h, w) > 1 else 2
    window = np.outer(np.hanning(h + 2)[1:-1], np.hanning(w + 2)[1:-1])
    tops = sorted({0, (values.shape[0] - h) // 2, values.shape[0] - h})
    lefts = sorted({0, (values.shape[1] - w) // 2, values.shape[1] - w})
    power = np.zeros((n, n))
    for top in tops:
        for left in lefts:
            tile = values[top : top + h, left : left + w]
            tile = (tile - (tile * window).sum() / window.sum()) * window
            power += np.abs(np.fft.fft2(tile, (n, n))) ** 2
    power /= len(tops) * len(lefts) * (window**2).sum()
    power = np.maximum(power, 1e-12 * power.max() + 1e-300)
    along = np.fft.fftfreq(n)
    rho = np.hypot(along[:, None], along[None, :])
    turn = np.arctan2(along[:, None], along[None, :]) / math.pi % 1.0
    return _Spectrum(
        power=power,
        rho=rho,
        ring=np.rint(rho * n).astype(np.intp),
        wedge=np.minimum((turn * WEDGES).astype(np.intp), WEDGES - 1),
        lowest=2 / min(h, w),
        # A periodogram's values are exponentially distributed: the median is log 2 of the mean.
        noise=float(np.median(power[rho >= 0.5])) / math.log(2),
    )


def _profile(spectrum: _Spectrum, bins: int = 26, sectors: int = 12) -> tuple[Floats, Floats]:
    """Return frequencies (b,), evenly spaced in log, and the log power there (b,).

    The log is averaged over directions, so that a few long edges do not rule it.
    """
    edges = np.geomspace(0.75 * spectrum.lowest, 0.5, bins + 1)
    inside = (spectrum.rho > edges[0]) & (spectrum.rho < 0.5)
    place = np.clip(np.digitize(spectrum.rho[inside], edges) - 1, 0, bins - 1)
    cell = place * sectors + spectrum.wedge[inside] * sectors // WEDGES
    count = np.bincount(cell, minlength=bins * sectors).reshape(bins, sectors)
    total = np.bincount(cell, spectrum.power[inside], bins * sectors).reshape(bins, sectors)
    logs = np.where(count > 0, np.log(np.where(count > 0, total, 1.0) / np.maximum(count, 1)), 0.0)
    used = (count > 0).sum(1)
    frequency = np.sqrt(edges[1:] * edges[:-1])
    return frequency[used > 0], logs.sum(1)[used > 0] / used[used > 0]


def _echo(spectrum: _Spectrum, reach: int, errors: float) -> tuple[int, float]:
    """Return how far the echoes of a blur reach, in px, and how strong they are.

    The log spectrum less what depends on frequency alone (any image's fall) and on
    direction alone (long edges) is the kernel's pattern of stripes, and noise. Its cepstrum
    stands out as far as the kernel reaches; the noise is the floor that all lags share. What lies
    below `errors`, a power, is no stripe of the kernel's but what compression has left there.
    """
    mean = np.bincount(spectrum.ring.ravel(), spectrum.power.ravel()) / np.bincount(spectrum.ring.ravel())
    audible = mean[spectrum.ring] > max(3 * spectrum.noise, errors)
    seen = (spectrum.rho > spectrum.lowest) & (spectrum.rho < 0.48) & audible
    if not seen.any() or reach < 5:
        return 0, 0.0
    pattern = np.log(np.maximum(spectrum.power, errors))
    for _ in range(2):
        for bins in (spectrum.ring, spectrum.wedge):
            count = np.maximum(np.bincount(bins[seen]), 1)
            offset = np.bincount(bins[seen], pattern[seen]) / count
            pattern[seen] -= offset[bins[seen]]
    cepstrum = np.fft.ifft2(np.where(seen, np.clip(pattern, -3, 3), 0.0)).real ** 2
    near = np.arange(-reach - 1, reach + 2)
    cepstrum = cepstrum[np.ix_(near, near)]  # lags from -reach - 1 to reach + 1
    smooth = np.lib.stride_tricks.sliding_window_view(cepstrum, (3, 3)).mean((2, 3))
    lag = np.rint(np.hypot(near[1:-1, None], near[None, 1:-1])).astype(np.intp)
    within, rim = (lag > 2) & (lag <= reach), (lag > 0.75 * reach) & (lag <= reach)
    above = smooth / np.median(smooth[rim])
    excess = np.where(within, np.maximum(above - ECHO_FLOOR, 0), 0.0)
    # A few bright points (stars, puncta) are each other's echoes, here and there and at any lag: what
    # the rim has of them is no kernel's, and a kernel's own fill the smallest lags.
    strength = float((excess.sum() - excess[rim].mean() * within.sum()) * seen.mean())
    if np.median(above[(lag > 2) & (lag <= 6)]) < ECHO_DENSITY:
        return 0, 0.0
    # The kernel ends at its faint far echoes, not at the strong near ones: hence the weight of the lag.
    side = np.maximum(np.abs(near[1:-1, None]), np.abs(near[None, 1:-1]))  # the box that holds a lag
    mass = np.cumsum(np.bincount(side.ravel(), (excess * lag).ravel()))
    return int(np.searchsorted(mass, 0.9 * mass[-1])), strength


def _smooth_std(frequency: Floats, power: Floats, noise: float) -> float:
    """Fit power law x Gaussian blur + noise to a log power profile (b,); return the blur's std in px.

    ``log P = log(exp(a - beta log rho - (2 pi std rho)^2) + N)``, by search over a grid; beta is
    held near 2.2, which photographs have, because a steeper law looks like a blur.
    """
    beta = np.arange(0.0, 3.3, 0.2)[:, None, None]  # (16 or 17, 1, 1)
    std = np.geomspace(0.16, 20.0, 64)[None, :, None]  # (1, 64, 1)
    shape = -beta * np.log(frequency) - (2 * math.pi * std * frequency) ** 2  # (., 64, b)
    best, answer = math.inf, 0.0
    for less in (0.0, 0.3, 0.7, 1.5, 3.0):  # the corners hold image too where there is hardly any blur
        level = math.log(noise) - less
        above = power > level + math.log(2)
        signal = np.log(np.maximum(np.exp(power - level) - 1, 1e-9)) + level
        height = np.median((signal - shape)[..., above], axis=-1, keepdims=True)
        misfit = np.minimum(np.abs(power - np.logaddexp(height + shape, level)) / 0.35, 4.0)
        cost = (misfit**2).sum(-1) + ((beta[..., 0] - 2.2) / 0.3) ** 2  # (., 64)
        if cost.min() < best:
            best = float(cost.min())
            answer = float(std[0, cost.argmin() % cost.shape[1], 0])
    return answer
