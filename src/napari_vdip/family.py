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

from napari_vdip import optics, stars
from napari_vdip.core.evidence import Evidence
from napari_vdip.opencv import cv2

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from napari_vdip.arrays import Frame
    from napari_vdip.optics import Optics

    Floats = npt.NDArray[np.float64]

EVIDENCE = "evidence of the image"  # what tells a kernel that no stars have told
SIDE = 192  # px; as much of an image is looked at: more costs time and changes little
_MIDDLE = (0.0, 0.0)
_FINE = 3  # points a pixel, either way, over which a kernel is averaged
_SCALES = (1.4, 2.0)  # of the prior, in units of the contrast: few photons ask for the wider one
# Energies are sums over pixels that do not know each other's errors. Divided by this the curvature tells
# what widths are off by on simulated micrographs (docs/explanation/research.md).
_TEMPERATURE = 100.0
_ROUND = 0.3  # std of the logarithm of an ellipse's axes' ratio
MODEL_ERROR = 0.01  # of the contrast, as in the polish
# Of each question to the evidence: on a grid, of which each point is far from the last one; along the widths;
# and where the image that it goes on from is nearly the right one already.
_ROUNDS_FAR, _ROUNDS, _ROUNDS_NEAR = 10, 5, 3
_FAR = 4.0  # of a parameter from that of a round kernel
# Waves, where a search begins whose cutoff is known: the energy has several minima. A point's image is the
# same with all signs changed.
_DEFOCUS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.7)
_ASTIGMATISM = ((0.0, 0.0), (0.12, 0.0), (-0.12, 0.0), (0.0, 0.12), (0.0, -0.12))
_FARTHEST = 2.0  # first steps of a search; a standard deviation is not taken for more
_LIKELY = (1.0, 0.3, 0.3)  # waves; defocus and astigmatisms of instruments that people use
_LIKELY_IN_AIR = 0.2  # waves; what the air does, seeing tells


@dataclass(frozen=True)
class Number:
    """A parameter of a kernel.

    Attributes
    ----------
    value, std : float
        The std is that of the Laplace approximation at the best fit; 0 for what is held.
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
    source : str
        What tells it, for the report.
    moved : tuple of ndarray, (Kh, Kw) each
        Kernels one standard deviation away, a direction each, in which they are independent; the one that
        differs most comes first.
    """

    kernel: npt.NDArray[np.float32]
    numbers: dict[str, Number]
    source: str = ""
    moved: tuple[npt.NDArray[np.float32], ...] = ()


@dataclass(frozen=True)
class _Family:
    """How a family's free parameters are read.

    Attributes
    ----------
    draw : callable
        Parameters, window, and place in px from its middle (by default there) to a kernel.
    start : callable
        Parameters of the round one whose Gaussian core has about this std in px.
    steps : tuple of float
        How far each parameter is moved at first.
    names : dict of str
        Names of the numbers that are reported, and their units.
    tell : callable
        Parameters to these numbers.
    grid : tuple of ndarray
        Parameters of which the best is the start; empty: the best round one is.
    unlikely : callable
        Parameters to the energy, in nats, that they have whatever the image is.
    """

    draw: Callable[..., Floats]
    start: Callable[[float], Floats]
    steps: tuple[float, ...]
    names: dict[str, str]
    tell: Callable[[Floats], tuple[float, ...]]
    grid: tuple[Floats, ...] = ()
    unlikely: Callable[[Floats], float] = lambda values: 0.0


def fit(
    frame: Frame,
    name: str,
    size: tuple[int, int],
    known: Optics | None = None,
    sky: bool = False,
    near: npt.NDArray[np.floating] | None = None,
) -> Found:
    """Find the kernel of a family: that of the stars, or the one under which an image is most probable.

    Parameters
    ----------
    frame : Frame
        The blurred image; of a large one its richest part is looked at.
    name : {"gaussian", "moffat", "pupil"}
    size : (int, int)
        Height and width of the kernel's window.
    known : Optics, optional
        Instrument whose pupil it is.
    sky : bool
        Points are stars: where enough of them stand alone, they tell the kernel.
    near : ndarray, (Kh, Kw), optional
        Kernel of a neighbour, from which this one can have drifted: it is looked for around it, in a
        quarter of the time.

    Returns
    -------
    Found
    """
    family = FAMILIES[name] if known is None else _instrument(known)
    # A pupil takes long to draw.
    most = 30 if known is None else 8
    seen = stars.fit(frame, family.draw, family.start, size, most) if sky else None
    if seen is not None:
        return _found(family, size, seen.values, seen.cov, f"{seen.count} stars")
    values, cov = _most_probable(frame, family, size, near)
    return _found(family, size, values, cov, EVIDENCE)


def _found(family: _Family, size: tuple[int, int], values: Floats, cov: Floats, source: str) -> Found:
    """Describe the kernel with these parameters and their covariance."""
    slopes = _slopes(family.tell, values)
    errors = np.sqrt(np.einsum("pn,pq,qn->n", slopes, cov, slopes))
    numbers = {
        key: Number(float(value), float(error), unit)
        for (key, unit), value, error in zip(family.names.items(), family.tell(values), errors, strict=True)
    }
    kernel = family.draw(values, size)
    moved = [family.draw(values + move, size) for move in _directions(cov, family.steps)]
    moved.sort(key=lambda other: -float(np.abs(other - kernel).sum()))
    return Found(
        kernel.astype(np.float32), numbers, source, tuple(other.astype(np.float32) for other in moved)
    )


def _most_probable(
    frame: Frame, family: _Family, size: tuple[int, int], near: npt.NDArray[np.floating] | None
) -> tuple[Floats, Floats]:
    """Parameters, and their covariance, of the kernel under which an image is most probable."""
    import torch
    from scipy.optimize import minimize, minimize_scalar  # type: ignore[import-untyped]

    part = richest(frame, max(SIDE, 3 * max(size)))
    y, weight = frame.y[part], frame.weight[part]
    contrast = float(frame.y[frame.weight > 0].std())
    precision = weight**2 / (frame.noise_std**2 + (MODEL_ERROR * contrast) ** 2)
    tensors = [torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)) for values in (y, precision)]

    def asked(scale: float) -> Callable[..., float]:
        """Tell how probable the image is under parameters, with a prior of this scale."""
        evidence = Evidence(tensors[0], tensors[1], torch.tensor(scale * contrast), size)

        def energy(values: Floats, rounds: int = _ROUNDS) -> float:
            kernel = family.draw(np.asarray(values, dtype=np.float64), size)
            found = evidence(torch.from_numpy(kernel.astype(np.float32)), rounds)
            return found / _TEMPERATURE + family.unlikely(values)

        return energy

    def search(scale: float) -> tuple[float, Floats, Callable[..., float]]:
        """Find where to begin under a prior of this scale: energy, parameters, and how to ask."""
        energy = asked(scale)
        if family.grid:
            energies = [energy(values, _ROUNDS_FAR) for values in family.grid]
            return min(energies), family.grid[int(np.argmin(energies))], energy
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
    first, reach, evaluations = (search, 1.0, 20) if near is None else (around, 1.0, 8)
    _, start, exact = min((first(scale) for scale in _SCALES), key=lambda found: found[0])
    energy = functools.partial(exact, rounds=_ROUNDS_NEAR)
    simplex = np.stack([start, *(start + reach * np.diag(family.steps))])
    options = {"initial_simplex": simplex, "maxfev": evaluations * len(start), "xatol": 0.01, "fatol": 0.005}
    values = minimize(energy, start, method="Nelder-Mead", options=options).x
    return values, _covariance(energy, values, family.steps)


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


def _covariance(energy: Callable[[Floats], float], at: Floats, steps: tuple[float, ...]) -> Floats:
    """Take the covariance of the parameters, (p, p), from the curvature of the energy at its minimum."""
    count, lengths = len(at), np.asarray(steps) * 0.5
    moves = np.diag(lengths)
    middle = energy(at)
    plus = [energy(at + move) for move in moves]
    minus = [energy(at - move) for move in moves]
    curvature = np.diag([(p + m - 2 * middle) / s**2 for p, m, s in zip(plus, minus, lengths, strict=True)])
    for i in range(count):
        for j in range(i):
            both = energy(at + moves[i] + moves[j])
            mixed = (both - plus[i] - plus[j] + middle) / (lengths[i] * lengths[j])
            curvature[i, j] = curvature[j, i] = mixed
    # Numbers that cannot be told apart, or not at all, are left as far apart as the search began.
    values, vectors = np.linalg.eigh(curvature * np.outer(steps, steps))
    cov = (vectors / np.maximum(values, 1 / _FARTHEST**2)) @ vectors.T
    return np.asarray(cov * np.outer(steps, steps), dtype=np.float64)


def _slopes(tell: Callable[[Floats], tuple[float, ...]], at: Floats) -> Floats:
    """How the numbers told change with the parameters: (parameters, numbers)."""
    units = 1e-4 * np.eye(len(at))
    return np.array([np.subtract(tell(at + unit), tell(at - unit)) / 2e-4 for unit in units])


def _directions(cov: Floats, steps: tuple[float, ...]) -> Floats:
    """Split a covariance into independent moves, one standard deviation each: (p, p), a row a move."""
    far = np.asarray(steps)
    values, vectors = np.linalg.eigh(cov / np.outer(far, far))
    return np.asarray(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T * far, dtype=np.float64)


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


def _unlikely_ellipse(values: Floats) -> float:
    """Energy of an ellipse for not being round."""
    return 0.5 * float(values[1] ** 2 + values[2] ** 2) / _ROUND**2


def _distance(values: Floats, size: tuple[int, int], place: tuple[float, float]) -> Floats:
    """Squared distance from a place in units of the ellipse."""
    a, b, c = values[:3]
    apart = math.hypot(b, c)
    even, odd = math.cosh(apart), (math.sinh(apart) / apart if apart > 1e-9 else 1.0)
    rows, columns = (line - at for line, at in zip(_places(size), place, strict=True))
    # The inverse of a matrix exponential is that of the negative matrix.
    across = math.exp(-a) * (even - odd * b)
    along = math.exp(-a) * (even + odd * b)
    mixed = -math.exp(-a) * odd * c
    return np.asarray(across * columns**2 + along * rows**2 + 2 * mixed * rows * columns, dtype=np.float64)


def _gaussian(values: Floats, size: tuple[int, int], place: tuple[float, float] = _MIDDLE) -> Floats:
    return _on_pixels(np.exp(-0.5 * _distance(values, size, place)))


def _tell_gaussian(values: Floats) -> tuple[float, ...]:
    long, short, angle = _ellipse(values)
    factor = 2 * math.sqrt(2 * math.log(2))
    return factor * long, factor * short, angle


def _moffat(values: Floats, size: tuple[int, int], place: tuple[float, float] = _MIDDLE) -> Floats:
    """Draw the profile ``(1 + r^2)^-beta`` (Moffat, Astronomy and Astrophysics 3, 1969)."""
    return _on_pixels((1 + _distance(values, size, place)) ** -_beta(values))


def _beta(values: Floats) -> float:
    return 1 + math.exp(min(max(float(values[3]), math.log(1.5)), 3.0))  # air: 2.5 to 5


def _tell_moffat(values: Floats) -> tuple[float, ...]:
    long, short, angle = _ellipse(values)
    factor = 2 * math.sqrt(2 ** (1 / _beta(values)) - 1)
    return factor * long, factor * short, angle, _beta(values)


def _pupil(values: Floats, size: tuple[int, int], place: tuple[float, float] = _MIDDLE) -> Floats:
    """Draw the image of a point through a round pupil."""
    cutoff, *waves = _pupil_numbers(values)
    return optics.draw(size, cutoff, (waves[0], waves[1], waves[2]), place=place)


def _pupil_numbers(values: Floats) -> tuple[float, float, float, float]:
    """Cutoff frequency in cycles per px, and aberrations in waves."""
    cutoff = 1 / (1 + math.exp(-float(values[0])))  # a coarser sampling than two a cycle is not resolved
    return cutoff, float(values[1]), float(values[2]), float(values[3])


def _start_pupil(width: float) -> Floats:
    """Parameters of an ideal pupil whose Airy disc has a core of this std, which is 0.42 / cutoff px."""
    cutoff = min(max(0.42 / width, 0.02), 0.95)
    return np.array([math.log(cutoff / (1 - cutoff)), 0.05, 0.0, 0.0])


def _instrument(known: Optics) -> _Family:
    """Pupil of a known instrument: what is left to be found are aberrations and, unless told, the air."""
    in_air = known.telescope and known.seeing is None
    likely = np.array((_LIKELY_IN_AIR,) * 3 if in_air else _LIKELY)

    def apart(values: Floats) -> tuple[float, tuple[float, float, float]]:
        """Seeing in cycles/px, and aberrations in waves."""
        seeing = math.exp(min(float(values[0]), 20.0)) if known.seeing is None else known.seeing
        defocus, oblique, vertical = (float(value) for value in values[-3:])
        return seeing, (defocus, oblique, vertical)

    def drawn(values: Floats, size: tuple[int, int], place: tuple[float, float] = _MIDDLE) -> Floats:
        seeing, waves = apart(values)
        return optics.draw(size, known.cutoff, waves, known.obstruction, seeing, place)

    def told(values: Floats) -> tuple[float, ...]:
        seeing, waves = apart(values)
        air = (known.fried_parameter(seeing), known.seeing_width(seeing)) if known.telescope else ()
        return (known.cutoff, *waves, *air)

    def start(width: float) -> Floats:
        # The core of a seeing disc of 0.976 / seeing px at half maximum has 0.42 times that as its std.
        begin = [math.log(0.414 / width), 0.02, 0.0, 0.0]
        return np.array(begin if in_air else begin[1:])

    return _Family(
        draw=drawn,
        start=start,
        steps=(0.1, 0.05, 0.05, 0.05) if in_air else (0.05, 0.05, 0.05),
        names=_PUPIL | ({"fried_parameter": "cm", "seeing_fwhm": "arcsec"} if known.telescope else {}),
        tell=told,
        grid=() if in_air else tuple(np.array([d, *a]) for d in _DEFOCUS for a in _ASTIGMATISM),
        unlikely=lambda values: float(0.5 * ((values[-3:] / likely) ** 2).sum()),
    )


_PUPIL = {
    "cutoff_frequency": "cycles/px",
    "defocus": "waves",
    "astigmatism_oblique": "waves",
    "astigmatism_vertical": "waves",
}
_AXES = {"fwhm_long": "px", "fwhm_short": "px", "angle": "degrees"}
FAMILIES: dict[str, _Family] = {
    "gaussian": _Family(
        draw=_gaussian,
        start=lambda width: np.array([2 * math.log(width), 0.0, 0.0]),
        steps=(0.15, 0.15, 0.15),
        names=_AXES,
        tell=_tell_gaussian,
        unlikely=_unlikely_ellipse,
    ),
    "moffat": _Family(
        draw=_moffat,
        start=lambda width: np.array([2 * math.log(2.2 * width), 0.0, 0.0, 0.7]),
        steps=(0.15, 0.15, 0.15, 0.3),
        names=_AXES | {"beta": ""},
        tell=_tell_moffat,
        unlikely=_unlikely_ellipse,
    ),
    "pupil": _Family(
        draw=_pupil,
        start=_start_pupil,
        steps=(0.15, 0.1, 0.05, 0.05),
        names=_PUPIL,
        tell=_pupil_numbers,
    ),
}
