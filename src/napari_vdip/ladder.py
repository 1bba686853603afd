"""A kernel from nothing: many beginnings at a small size, of which the likeliest climb on.

From nothing, no single climb finds a kernel of many pixels; at a size at which it is small one of many does.
The evidence tells which, and the few likeliest go on at larger sizes, fewer and fewer, the last one at that
of the image. A fit begins with what it finds. A smaller kernel a fit finds by itself, but not each time:
there one of the climbs of its search begins with it.

What an image is made of can mislead it: bars and lines do not change along themselves, so that each of their
pixels is the same piece of evidence once more. Where an image changes in one direction only, its data
count less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline  # type: ignore[import-untyped]
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]
from scipy.signal import correlate  # type: ignore[import-untyped]

from napari_vdip import coarse, pace

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import numpy.typing as npt
    import torch

    from napari_vdip.arrays import Frame
    from napari_vdip.core.climbs import Climbs

    FloatArray = npt.NDArray[np.float32]
    Size = tuple[int, int]

_ONE_WAY = 0.3  # weaker change, in the stronger one, from which on data count in full
_LEAST = 0.1  # of their weight where there is one direction only
_ALIKE = 0.93  # similarity of climbs of which one is enough
_GROUP = 8
_SETTLED = 4  # rounds for the image, before a rung and after it
_SETTLING = 10  # steps of a fixed point, of which one is almost enough
# Scale of the prior in the search after the networks: at least this share of the ladder's, and at most so
# much in units of the contrast.
_AFTERWARDS = 0.7
STEEPEST = 1.5


Course = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Terms:
    """On which terms the climbs are made.

    Attributes
    ----------
    scale : float
        Of the prior, in units of the contrast.
    within : (float, float)
        Bounds to it, in units of the scale that the blurred image asks for, see `steepness`.
    judged : float
        Times this scale climbs are compared: with that on which they climb, less blur seems the likelier.
    glass : float
        Std of the glass in px: what a sharp image has of its own is smaller in a smaller image.
    weighed : bool
        Whether data count by how much they tell, see `telling`.
    first, further : tuple
        Shares of the contrast that a kernel may leave unexplained, each with the part of the steps of a rung
        for which it does: of the first rung and those below half of the size, and of the others.
    """

    scale: float
    within: tuple[float, float]
    judged: float
    glass: float
    weighed: bool
    first: Course
    further: Course = ()


LARGE = Terms(
    scale=2.2,
    within=(6.5, 12.0),
    judged=1.5,
    glass=0.4,
    weighed=True,
    first=((0.2, 0.3), (0.1, 0.2), (0.05, 0.2), (0.035, 0.3)),
    further=((0.1, 0.33), (0.05, 0.28), (0.035, 0.39)),
)
SMALL = Terms(
    scale=1.0,
    within=(0.0, 8.0),
    judged=1.0,
    glass=0.55,
    weighed=False,
    first=((0.2, 0.28), (0.1, 0.28), (0.05, 0.22), (0.035, 0.22)),
)


@dataclass(frozen=True)
class Seen:
    """How far the climbs are.

    Attributes
    ----------
    rung, rungs : int
    done, steps : int
        Of all rungs.
    share : float
        Of the work that is done, parts of a step included.
    image, std : ndarray, (1, h, w)
        Of the likeliest climb, at the size of the rung.
    kernel : ndarray, (Kh, Kw)
        Its kernel at the size of the whole.
    energy, misfit : float
        Its free energy in nats, and the root mean square of what it does not explain.
    """

    rung: int
    rungs: int
    done: int
    steps: int
    share: float
    image: FloatArray
    std: FloatArray
    kernel: FloatArray
    energy: float
    misfit: float


def climb(
    frame: Frame, kernel_size: Size, device: torch.device, seed: int
) -> Generator[Seen, None, FloatArray]:
    """Look for a kernel from nothing.

    Parameters
    ----------
    frame : Frame
        The whole image; of colours their mean is looked at.
    kernel_size : (int, int)
    device : torch.device
    seed : int
        Of the strokes that some begin from.

    Yields
    ------
    Seen
        After every part of a step.

    Returns
    -------
    ndarray, (Kh, Kw)
        The likeliest kernel; sums to 1.
    """
    frame, shape = frame.grey(), (frame.y.shape[1], frame.y.shape[2])
    ladder = pace.rungs(kernel_size, shape)
    terms = LARGE if max(kernel_size) > pace.LARGEST else SMALL
    steps, work = sum(rung.steps for rung in ladder), sum(_time(rung, rung.steps) for rung in ladder)
    done, worked = 0, 0.0
    kernels = beginnings(ladder[0].kernel_size, ladder[0].climbs[0], seed)
    for number, rung in enumerate(ladder):
        if number > 0:
            ratio = rung.factor / ladder[number - 1].factor
            kernels = [coarse.enlarged_kernel(kernel, rung.kernel_size, ratio) for kernel in kernels]
        far = number == 0 or rung.factor < 0.5  # from what the kernels come to
        errors = _errors(terms.first if far else terms.further, rung.steps)
        on = _Rung(coarse.reduced(frame, rung.shape), kernels, terms, errors[0], device)
        for step, count in enumerate(rung.climbs):
            so_far, then = _time(rung, step), _time(rung, step + 1)
            for part in chain(on.keep(count), on.step(errors[step])):
                best = on.likeliest()
                yield Seen(
                    rung=number,
                    rungs=len(ladder),
                    done=done + step + math.floor(part),
                    steps=steps,
                    share=(worked + so_far + part * (then - so_far)) / work,
                    image=on.image(best),
                    std=on.std(best),
                    kernel=coarse.enlarged_kernel(on.kernel(best), kernel_size, 1 / rung.factor),
                    energy=on.energy(best),
                    misfit=on.misfit(best),
                )
        done, worked = done + rung.steps, worked + _time(rung, rung.steps)
        above = ladder[number + 1 : number + 2]
        kernels = on.ends(above[0].climbs[0] if above else 1)
    return coarse.enlarged_kernel(kernels[0], kernel_size, 1 / ladder[-1].factor)


def _time(rung: pace.Rung, steps: int) -> float:
    """Time of the first steps of a rung, as `Rung.work_of` has it; its images go `_SETTLED` rounds before."""
    return rung.work_of(steps) + (_SETTLED - 1) * rung.work_of(min(steps, 1))


def _errors(course: Course, steps: int) -> list[float]:
    """Error that is believed at each step."""
    errors, parts = zip(*course, strict=True)
    at = np.searchsorted(np.cumsum(parts), (np.arange(steps) + 0.5) / steps)
    return [errors[part] for part in at]


def beginnings(size: Size, count: int, seed: int) -> list[FloatArray]:
    """Kernels to begin from: two blobs, lines in eight directions, half as long ones in four, and strokes."""
    height, width = size
    rows, columns = np.indices(size) - np.array([height // 2, width // 2])[:, None, None]
    blobs = [np.exp(-0.5 * (rows**2 + columns**2) / (max(size) / part) ** 2) for part in (6, 4)]
    lines = [_line(size, math.pi * turn / 8, 1.0) for turn in range(8)]
    lines += [_line(size, math.pi * turn / 4, 0.5) for turn in range(4)]
    random = np.random.default_rng(seed)
    strokes = [_stroke(size, random) for _ in range(count - len(blobs) - len(lines))]
    return [(kernel / kernel.sum()).astype(np.float32) for kernel in blobs + lines + strokes]


def _line(size: Size, angle: float, length: float) -> npt.NDArray[np.floating]:
    """Line about the middle, from border to border at length 1; 0: along a row."""
    along = np.linspace(-length, length, 4 * max(size))
    return _drawn(size, along * math.sin(angle), along * math.cos(angle))


def _stroke(size: Size, random: np.random.Generator) -> npt.NDArray[np.floating]:
    """Curve through four places anywhere, from border to border in one direction."""
    places = CubicSpline(np.arange(4), random.uniform(-1, 1, (4, 2)))(np.linspace(0, 3, 8 * max(size)))
    places -= (places.max(0) + places.min(0)) / 2
    return _drawn(size, *(places / np.abs(places).max()).T)


def _drawn(
    size: Size, down: npt.NDArray[np.floating], right: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Draw a curve; its places are -1 to 1 from border to border."""
    line = np.zeros(size)
    rows, columns = (
        np.round(length // 2 + at * (length / 2 - 1.5)).astype(int)
        for length, at in zip(size, (down, right), strict=True)
    )
    line[rows, columns] = 1.0
    drawn: npt.NDArray[np.floating] = gaussian_filter(line, 0.8, mode="constant")
    return drawn


def telling(frame: Frame, kernel_size: Size) -> FloatArray:
    """Weight of data by how much they tell of a kernel, (H, W): little where there is one direction only."""
    grey = gaussian_filter(frame.y.mean(0, dtype=np.float64), 1.0, mode="nearest")
    down, right = np.gradient(grey)
    width = max(kernel_size) / 2.5
    own, other, both = (
        gaussian_filter(values, width, mode="nearest") for values in (down**2, right**2, down * right)
    )
    middle, apart = (own + other) / 2, np.hypot((own - other) / 2, both)
    share = np.maximum(middle - apart, 0.0) / np.maximum(middle + apart, np.finfo(float).tiny)
    weight: FloatArray = np.clip(share / _ONE_WAY, _LEAST, 1.0).astype(np.float32)
    return weight


def steepness(frame: Frame, terms: Terms) -> float:
    """Scale of the prior for a sharp image, in units of the blurred one's contrast.

    Where it is too small, no blur is the likeliest, and where it is too large, too much of it: what is left
    of an edge goes through as one. A sharp image's edges go with its contrast, unless that is one of large
    even parts, or edges are dense: so the blurred one's own edges, of which a blur leaves little, bound it.
    """
    import torch

    from napari_vdip.core.climbs import rescaled

    y, weight = (torch.from_numpy(values)[None] for values in (frame.y, frame.weight))
    contrast = y[weight > 0.0].std()
    still, scale = torch.zeros_like(y), contrast
    for _ in range(_SETTLING):
        scale = rescaled(y, still, scale)
    least, most = (bound * float(scale / contrast) for bound in terms.within)
    return min(max(terms.scale, least), most)


def gentlest(frame: Frame) -> float:
    """Least scale for the search after the networks, in the same units: their kernel may want too little."""
    return _AFTERWARDS * steepness(frame.grey(), LARGE)


class _Rung:
    """The climbs at one size."""

    def __init__(
        self, frame: Frame, kernels: list[FloatArray], terms: Terms, error: float, device: torch.device
    ) -> None:
        import torch

        from napari_vdip.core.climbs import Climbs

        height, width = kernels[0].shape
        channels, rows, columns = frame.y.shape
        canvas = [channels, rows + height - 1, columns + width - 1]
        self._climbs: Climbs = Climbs(len(kernels), canvas, height, width, terms.glass, True).to(device)
        self._climbs.kernel.copy_(torch.from_numpy(np.stack(kernels))[:, None])
        weight = frame.weight * telling(frame, (height, width)) if terms.weighed else frame.weight
        self._y, self._weight = (torch.from_numpy(values).to(device) for values in (frame.y, weight))
        taken = self._y[self._weight > 0.0]
        self._contrast = taken.std()
        self._noise_var = torch.tensor(frame.noise_std**2, device=device)
        self._climbs.scale.copy_(steepness(frame, terms) * self._contrast)
        self._climbs.rest(self._y)
        self._climbs.believe(error, 0)
        self._error, self._judged = error, terms.judged
        self._settled = False

    def _settle(self, first: int, end: int) -> torch.Tensor:
        """Improve the images of some climbs; returns their energies, (end - first,)."""
        precision = self._climbs.precision(self._weight, self._noise_var, self._contrast, first, end)
        return self._climbs.settle(precision, self._y, first, end, _SETTLED).flatten()

    def _groups(self) -> list[tuple[int, int]]:
        """First and end of those that go at a time: more take more memory, and more time each."""
        count = self._climbs.kernel.size(0)
        return [(first, min(first + _GROUP, count)) for first in range(0, count, _GROUP)]

    def _judge(self) -> Iterator[torch.Tensor]:
        """Find the energies by which climbs are compared, group by group; `_settle` undoes what it does."""
        own = self._climbs.scale.clone()
        for group in self._groups():
            self._climbs.scale.copy_(self._judged * own)
            energies = self._settle(*group)
            self._climbs.scale.copy_(own)
            yield energies

    def keep(self, count: int) -> Iterator[float]:
        """Let no more than so many go on, the likeliest; yields 0 after each group that is compared."""
        import torch

        if count >= self._climbs.kernel.size(0):
            return
        energies = self._climbs.energy.flatten()
        if self._judged != 1.0:
            judged: list[torch.Tensor] = []
            for group in self._judge():
                judged.append(group)
                yield 0.0
            energies, self._settled = torch.cat(judged), False
        self._climbs.keep(energies.argsort()[:count])

    def step(self, error: float) -> Iterator[float]:
        """Go on, the images first; yields the share of the step that is done, after each group.

        Parameters
        ----------
        error : float
            Share of the contrast that may be left unexplained.
        """
        if error < self._error:
            self._climbs.centre()
            self._climbs.believe(error, 0)
            self._error = error
        climbing = self._groups()
        settling = [] if self._settled else climbing
        parts = len(settling) + len(climbing)
        for number, group in enumerate(settling):
            self._settle(*group)
            yield (number + 1) / parts
        self._settled = True
        for number, group in enumerate(climbing, len(settling)):
            self._climbs.step(self._y, self._weight, self._noise_var, self._contrast, *group)
            yield (number + 1) / parts

    def likeliest(self) -> int:
        """Which climb has the least energy."""
        return int(self._climbs.energy.argmin())

    def energy(self, climb: int) -> float:
        """Free energy in nats."""
        return float(self._climbs.energy[climb])

    def kernel(self, climb: int) -> FloatArray:
        """Kernel of a climb, (Kh, Kw)."""
        kernel: FloatArray = self._climbs.kernel[climb, 0].cpu().numpy().copy()
        return kernel

    def image(self, climb: int) -> FloatArray:
        """Image of a climb, (1, h, w)."""
        return self._inner(self._climbs.image(climb))

    def std(self, climb: int) -> FloatArray:
        """Std of its pixels, (1, h, w), from that of their differences."""
        from napari_vdip.core.climbs import REACH

        inner = self._climbs.slope_var[climb, :, REACH:-REACH, REACH:-REACH]
        return self._inner((0.5 * inner).sqrt())

    def _inner(self, values: torch.Tensor) -> FloatArray:
        """Leave out what lies beyond the frame."""
        (_, rows, columns), (height, width) = self._y.shape, self._climbs.kernel.shape[-2:]
        inner = values[:, height // 2 : height // 2 + rows, width // 2 : width // 2 + columns]
        cut: FloatArray = inner.cpu().numpy().copy()
        return cut

    def misfit(self, climb: int) -> float:
        """Root mean square of what a climb does not explain."""
        from napari_vdip.core.climbs import through
        from napari_vdip.core.refine import Blur

        climbs = self._climbs
        both = through(climbs.kernel[climb : climb + 1], climbs.glass)
        seen = Blur(both, self._weight).forward(climbs.latent[climb : climb + 1])
        return float((seen - self._y).square().mean().sqrt())

    def ends(self, most: int) -> list[FloatArray]:
        """Kernels without their specks, the likeliest first, no two of them alike."""
        import torch

        from napari_vdip.core.climbs import without_specks

        self._climbs.centre()
        kept: list[FloatArray] = []
        for climb in torch.cat(list(self._judge())).argsort().tolist():
            kernel = without_specks(self._climbs.kernel[climb, 0]).cpu().numpy()
            if len(kept) < most and all(_similarity(kernel, other) < _ALIKE for other in kept):
                kept.append(kernel)
        return kept


def _similarity(one: FloatArray, other: FloatArray) -> float:
    """Greatest correlation over all shifts, at most 1."""
    together = correlate(one, other, method="fft").max()
    return float(together / np.sqrt(np.square(one).sum() * np.square(other).sum()))
