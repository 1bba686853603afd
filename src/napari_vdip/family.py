"""Kernels of few numbers, and the one among them that an image asks for.

A free kernel has hundreds of unknowns. Optics and air leave kernels that a few numbers describe:
they are smooth, and can be told from an image that says too little about a free one. The numbers
are those under which the image is most probable, whatever the sharp image is (`core.evidence`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_vdip.core.evidence import Evidence
from napari_vdip.opencv import cv2

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from napari_vdip.arrays import Frame

    Floats = npt.NDArray[np.float64]

SIDE = 192  # px; as much of an image is looked at: more costs time and changes little
_FINE = 3  # points a pixel, either way, over which a kernel is averaged
_SCALES = (1.4, 2.0)  # of the prior, in units of the contrast: few photons ask for the wider one
MODEL_ERROR = 0.01  # of the contrast, as in the polish
_ROUNDS_NEAR = 5
_FAR = 4.0  # of a parameter from that of a round kernel
_GRID = 128  # samples of a pupil, either way


@dataclass(frozen=True)
class Number:
    """A parameter of a kernel.

    Attributes
    ----------
    value, std : float
        The std is that of the Laplace approximation at the best fit; NaN where it has none.
    unit : str
    """

    value: float
    std: float
    unit: str


@dataclass(frozen=True)
class Found:
    """The most probable kernel of a family.

    Attributes
    ----------
    kernel : ndarray of float32, (Kh, Kw)
        Sums to 1, centred.
    numbers : dict of Number
        What describes it, by name.
    """

    kernel: npt.NDArray[np.float32]
    numbers: dict[str, Number]


@dataclass(frozen=True)
class _Family:
    """How a family's free parameters are read.

    Attributes
    ----------
    draw : callable
        Parameters and window to a kernel.
    start : callable
        Parameters of the round one whose Gaussian core has about this std in px.
    steps : tuple of float
        How far each parameter is moved at first.
    names : dict of str
        Names of the numbers that are reported, and their units.
    tell : callable
        Parameters to these numbers.
    """

    draw: Callable[[Floats, tuple[int, int]], Floats]
    start: Callable[[float], Floats]
    steps: tuple[float, ...]
    names: dict[str, str]
    tell: Callable[[Floats], tuple[float, ...]]


def fit(
    frame: Frame, name: str, size: tuple[int, int], near: npt.NDArray[np.floating] | None = None
) -> Found:
    """Find the kernel of a family under which an image is most probable.

    Parameters
    ----------
    frame : Frame
        The blurred image; of a large one its richest part is looked at.
    name : {"gaussian", "moffat", "pupil"}
    size : (int, int)
        Height and width of the kernel's window.
    near : ndarray, (Kh, Kw), optional
        Kernel of a neighbour, from which this one can have drifted: it is looked for around it, in a
        sixth of the time.

    Returns
    -------
    Found
    """
    import torch
    from scipy.optimize import minimize, minimize_scalar  # type: ignore[import-untyped]

    family = FAMILIES[name]
    part = richest(frame, max(SIDE, 3 * max(size)))
    y, weight = frame.y[part], frame.weight[part]
    contrast = float(frame.y[frame.weight > 0].std())
    precision = weight**2 / (frame.noise_std**2 + (MODEL_ERROR * contrast) ** 2)
    tensors = [torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)) for values in (y, precision)]

    def asked(scale: float) -> Callable[..., float]:
        """Tell how probable the image is under parameters, with a prior of this scale."""
        evidence = Evidence(tensors[0], tensors[1], torch.tensor(scale * contrast), size)

        def energy(values: Floats, rounds: int = 10) -> float:
            kernel = family.draw(np.asarray(values, dtype=np.float64), size)
            return evidence(torch.from_numpy(kernel.astype(np.float32)), rounds)

        return energy

    def search(scale: float) -> tuple[float, Floats, Callable[..., float]]:
        """Find the best round kernel under a prior of this scale: energy, parameters, and how to ask."""
        energy = asked(scale)
        widths = np.geomspace(0.4, max(1.0, min(size) / 4), 6)
        best = int(np.argmin([energy(family.start(width)) for width in widths]))
        found = minimize_scalar(
            lambda at: energy(family.start(math.exp(at))),
            bounds=np.log(widths[[max(best - 1, 0), min(best + 1, len(widths) - 1)]]),
            method="bounded",
            options={"maxiter": 8},
        )
        return float(found.fun), family.start(math.exp(float(found.x))), energy

    def around(scale: float) -> tuple[float, Floats, Callable[..., float]]:
        """As `search`, at the neighbour's kernel."""
        energy = asked(scale)
        return energy(there), there, energy

    there = np.zeros(0) if near is None else _parameters(family, near)
    first, reach, evaluations = (search, 1.0, 20) if near is None else (around, 0.5, 8)
    _, start, exact = min((first(scale) for scale in _SCALES), key=lambda found: found[0])
    # Near the best kernel the image that each question goes on from is nearly the right one already.
    energy = exact if near is None else functools.partial(exact, rounds=_ROUNDS_NEAR)
    simplex = np.stack([start, *(start + reach * np.diag(family.steps))])
    options = {"initial_simplex": simplex, "maxfev": evaluations * len(start), "xatol": 0.01, "fatol": 0.5}
    values = minimize(energy, start, method="Nelder-Mead", options=options).x
    told = family.tell(values)
    errors = _errors(energy, values, family)
    numbers = {
        key: Number(float(value), float(error), unit)
        for (key, unit), value, error in zip(family.names.items(), told, errors, strict=True)
    }
    return Found(family.draw(values, size).astype(np.float32), numbers)


def _parameters(family: _Family, kernel: npt.NDArray[np.floating]) -> Floats:
    """Parameters whose kernel is nearest to one that is drawn already."""
    from scipy.optimize import minimize

    size = (kernel.shape[0], kernel.shape[1])
    rows = np.arange(size[0]) - size[0] // 2
    spread = float(np.sqrt(max((kernel.sum(1) * rows**2).sum(), 0.15)))

    def apart(values: Floats) -> float:
        if np.abs(values - start).max() > _FAR:  # under a pixel, shapes cannot be told apart: no end of them
            return float("inf")
        return float(np.square(family.draw(values, size) - kernel).sum())

    start = family.start(spread)
    simplex = np.stack([start, *(start + np.diag(family.steps))])
    options = {"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-12, "maxfev": 400}
    return np.asarray(minimize(apart, start, method="Nelder-Mead", options=options).x, dtype=np.float64)


def richest(frame: Frame, side: int) -> tuple[slice, slice, slice]:
    """Part of an image with the most gradient for its noise."""
    height, width = frame.y.shape[1:]
    rows, columns = min(side, height), min(side, width)
    grey = frame.y.mean(0)
    seen = (frame.weight > 0).all(0)
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) * seen
    # A square root: one bright star is not worth a hundred cells.
    table = cv2.integral(np.sqrt(slope * frame.weight.mean(0)).astype(np.float64))
    sums = (
        table[rows:, columns:] - table[:-rows, columns:] - table[rows:, :-columns] + table[:-rows, :-columns]
    )
    top, left = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return slice(None), slice(int(top), int(top) + rows), slice(int(left), int(left) + columns)


def _errors(energy: Callable[[Floats], float], at: Floats, family: _Family) -> Floats:
    """Take the standard deviations of the numbers told from the curvature of the energy at its minimum."""
    count, steps = len(at), np.asarray(family.steps) * 0.5
    moves = np.diag(steps)
    middle = energy(at)
    plus = [energy(at + move) for move in moves]
    minus = [energy(at - move) for move in moves]
    curvature = np.diag([(p + m - 2 * middle) / s**2 for p, m, s in zip(plus, minus, steps, strict=True)])
    for i in range(count):
        for j in range(i):
            both = energy(at + moves[i] + moves[j])
            mixed = (both - plus[i] - plus[j] + middle) / (steps[i] * steps[j])
            curvature[i, j] = curvature[j, i] = mixed
    slopes = np.array(
        [
            np.subtract(family.tell(at + 1e-4 * unit), family.tell(at - 1e-4 * unit)) / 2e-4
            for unit in np.eye(count)
        ]
    )  # (parameters, numbers)
    if np.linalg.eigvalsh(curvature)[0] <= 0:  # two numbers that cannot be told apart: each on its own
        own = np.diagonal(curvature)
        curvature = np.diag(np.where(own > 0, own, np.nan))
    variance = np.einsum("pn,pq,qn->n", slopes, np.linalg.inv(curvature), slopes)
    return np.asarray(np.sqrt(variance), dtype=np.float64)


def _places(size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Rows and columns from the middle of a window, at the points of a finer grid."""
    rows, columns = ((np.arange(n * _FINE) - (n * _FINE - 1) / 2) / _FINE for n in size)
    return rows[:, None], columns[None]


def _on_pixels(fine: Floats) -> Floats:
    """Average a finer grid over the pixels; sums to 1."""
    height, width = fine.shape[0] // _FINE, fine.shape[1] // _FINE
    kernel = fine.reshape(height, _FINE, width, _FINE).sum((1, 3))
    return np.asarray(kernel / kernel.sum(), dtype=np.float64)


def _ellipse(values: Floats) -> tuple[float, float, float]:
    """Long and short axis (px) and angle (degrees, as `psf.HalfMaximum.angle`) of an ellipse.

    The parameters (a, b, c) are those of the logarithm of a matrix of squares, [[a + b, c], [c, a - b]]
    in columns and rows: any three numbers are an ellipse.
    """
    a, b, c = values[:3]
    apart = math.hypot(b, c)
    angle = -math.degrees(0.5 * math.atan2(c, b))  # rows count downwards
    return math.exp(0.5 * (a + apart)), math.exp(0.5 * (a - apart)), angle


def _distance(values: Floats, size: tuple[int, int]) -> Floats:
    """Squared distance from the middle in units of the ellipse."""
    a, b, c = values[:3]
    apart = math.hypot(b, c)
    even, odd = math.cosh(apart), (math.sinh(apart) / apart if apart > 1e-9 else 1.0)
    rows, columns = _places(size)
    # The inverse of a matrix exponential is that of the negative matrix.
    across = math.exp(-a) * (even - odd * b)
    along = math.exp(-a) * (even + odd * b)
    mixed = -math.exp(-a) * odd * c
    return np.asarray(across * columns**2 + along * rows**2 + 2 * mixed * rows * columns, dtype=np.float64)


def _gaussian(values: Floats, size: tuple[int, int]) -> Floats:
    return _on_pixels(np.exp(-0.5 * _distance(values, size)))


def _tell_gaussian(values: Floats) -> tuple[float, ...]:
    long, short, angle = _ellipse(values)
    factor = 2 * math.sqrt(2 * math.log(2))
    return factor * long, factor * short, angle


def _moffat(values: Floats, size: tuple[int, int]) -> Floats:
    """Draw the profile ``(1 + r^2)^-beta`` (Moffat, Astronomy and Astrophysics 3, 1969)."""
    return _on_pixels((1 + _distance(values, size)) ** -_beta(values))


def _beta(values: Floats) -> float:
    return 1 + math.exp(min(max(float(values[3]), math.log(1.5)), 3.0))  # air: 2.5 to 5


def _tell_moffat(values: Floats) -> tuple[float, ...]:
    long, short, angle = _ellipse(values)
    factor = 2 * math.sqrt(2 ** (1 / _beta(values)) - 1)
    return factor * long, factor * short, angle, _beta(values)


def _pupil(values: Floats, size: tuple[int, int]) -> Floats:
    """Draw the image of a point through a round pupil with defocus and astigmatism.

    The aberrations are Zernike terms 4, 5 and 6 in Noll's order (J. Opt. Soc. Am. 66, 1976).
    """
    cutoff, defocus, oblique, vertical = _pupil_numbers(values)
    frequency = np.fft.fftfreq(_GRID)
    fy, fx = frequency[:, None] * 2 / cutoff, frequency[None] * 2 / cutoff  # 1 at the pupil's edge
    square = fx**2 + fy**2
    phase = (
        math.sqrt(3) * defocus * (2 * square - 1)
        + math.sqrt(6) * oblique * 2 * fx * fy
        + math.sqrt(6) * vertical * (fx**2 - fy**2)
    )
    # The edge lies between samples: a soft one, so that a small change of the cutoff counts.
    edge = np.clip((1 - np.sqrt(square)) * cutoff / 2 * _GRID + 0.5, 0, 1)
    field = np.fft.fftshift(np.fft.ifft2(edge * np.exp(2j * np.pi * phase)))
    image = np.abs(field) ** 2
    top, left = (_GRID // 2 - n // 2 for n in size)
    room = [(max(-top, 0),) * 2, (max(-left, 0),) * 2]
    image = np.pad(image, room)[max(top, 0) :, max(left, 0) :][: size[0], : size[1]]
    return np.asarray(image / image.sum(), dtype=np.float64)


def _pupil_numbers(values: Floats) -> tuple[float, float, float, float]:
    """Cutoff frequency in cycles per px, and aberrations in waves."""
    cutoff = 1 / (1 + math.exp(-float(values[0])))  # a coarser sampling than two a cycle is not resolved
    return cutoff, float(values[1]), float(values[2]), float(values[3])


def _start_pupil(width: float) -> Floats:
    """Parameters of an ideal pupil whose Airy disc has a core of this std, which is 0.42 / cutoff px."""
    cutoff = min(max(0.42 / width, 0.02), 0.95)
    return np.array([math.log(cutoff / (1 - cutoff)), 0.05, 0.0, 0.0])


_AXES = {"fwhm_long": "px", "fwhm_short": "px", "angle": "degrees"}
FAMILIES: dict[str, _Family] = {
    "gaussian": _Family(
        draw=_gaussian,
        start=lambda width: np.array([2 * math.log(width), 0.0, 0.0]),
        steps=(0.15, 0.15, 0.15),
        names=_AXES,
        tell=_tell_gaussian,
    ),
    "moffat": _Family(
        draw=_moffat,
        start=lambda width: np.array([2 * math.log(2.2 * width), 0.0, 0.0, 0.7]),
        steps=(0.15, 0.15, 0.15, 0.3),
        names=_AXES | {"beta": ""},
        tell=_tell_moffat,
    ),
    "pupil": _Family(
        draw=_pupil,
        start=_start_pupil,
        steps=(0.15, 0.1, 0.05, 0.05),
        names={
            "cutoff_frequency": "cycles/px",
            "defocus": "waves",
            "astigmatism_oblique": "waves",
            "astigmatism_vertical": "waves",
        },
        tell=_pupil_numbers,
    ),
}
