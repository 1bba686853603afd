"""Several fits of one image from different random numbers, and what they find together.

A fit ends in one of many minima of nearly the same objective, each with errors of its own. The mean
over fits, each polished with its own kernel, has less error than one of them by chance, as long as
none of them is in another league.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip import pace
from napari_vdip.core.compile import run_together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from napari_vdip.core.compile import Runner

    FloatArray = npt.NDArray[np.float32]

# A fit whose objective, log(1 - SSIM), ends this much above the best one's takes no part.
_WORSE = 0.5
# What has to be left of a kernel that is moved with its image: else the shift was none, the images differ.
_LEAST_KERNEL = 0.5
_LEAST_SHARE = 0.25  # of a fit's variance is left, however much the fits differ
_SEED_STEP = 0x3C6EF372  # far from the seeds of other slices


@dataclass(frozen=True)
class Course:
    """One fit and its polish as they ended.

    Attributes
    ----------
    mean, std : ndarray, (c, h, w)
        Image on the canvas and its standard deviation.
    kernel : ndarray, (Kh, Kw)
    log : ndarray, (steps, 3)
        Objective, misfit and kernel change of each step.
    objective : float
        At the end of the fit, before the polish.
    """

    mean: FloatArray
    std: FloatArray
    kernel: FloatArray
    log: FloatArray
    objective: float

    @classmethod
    def of(cls, program: Any) -> Course:
        """Copy the state of a program."""
        tensors = (program.mean, program.std, program.kernel, program.log[: program.done])
        mean, std, kernel, log = (tensor.cpu().numpy().copy() for tensor in tensors)
        fitted = min(program.done, program.fitted)
        return cls(mean, std, kernel, log, float(log[fitted - 1, 0]) if fitted > 0 else np.inf)


def seed_of(seed: int, number: int) -> int:
    """Seed of a start; that of the first is the image's own."""
    return (seed + number * _SEED_STEP) % 2**31


def _work(program: Any, steps: int) -> float:
    """Work of the first steps of a fit, in steps of its networks."""
    fitted, search = int(program.fitted), program.search
    ends = (fitted, fitted + int(search.climbing), fitted + int(search.steps), int(program.steps))
    costs = (1.0, pace.CLIMBS_COST, pace.CLIMB_COST, pace.POLISH_COST)
    begins = (0, *ends[:-1])
    return sum(
        cost * max(min(steps, end) - begin, 0) for begin, end, cost in zip(begins, ends, costs, strict=True)
    )


def combined(courses: Sequence[Course]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean image and mean kernel of the fits, each moved onto the best one; one that cannot be takes no part.

    Fits share image and kernel up to a common shift in opposite directions, so the image
    tells the shift of both.

    Returns
    -------
    mean, std : ndarray, (c, h, w)
        The variance goes with that of a fit and that between fits together, and is that of a fit less
        what the mean over n fits takes away, ``1 - 1 / n`` of the variance between them, in the median.
    kernel : ndarray, (Kh, Kw)
        Not negative, sums to 1.
    """
    if len(courses) == 1:
        return courses[0].mean, courses[0].std, courses[0].kernel
    from scipy.ndimage import shift  # type: ignore[import-untyped]
    from skimage.filters import window
    from skimage.registration import phase_cross_correlation

    # Correlation takes images for periodic: without a window their borders pull the shift to 0.
    fade = window("hann", courses[0].mean.shape[1:])  # type: ignore[no-untyped-call]

    def faded(course: Course) -> FloatArray:
        grey = course.mean.mean(0)
        seen: FloatArray = (grey - grey.mean()) * fade
        return seen

    best = min(courses, key=lambda course: course.objective)
    means, variances, kernels = [], [], []
    for course in courses:
        if not course.objective <= best.objective + _WORSE:
            continue
        down, right = phase_cross_correlation(  # type: ignore[no-untyped-call]
            faded(best), faded(course), upsample_factor=20, normalization=None
        )[0]
        kernel = np.maximum(shift(course.kernel, (-down, -right), order=3), 0.0)
        if kernel.sum() < _LEAST_KERNEL:
            continue
        means.append(shift(course.mean, (0.0, down, right), order=3, mode="nearest"))
        variances.append(shift(course.std**2, (0.0, down, right), order=1, mode="nearest"))
        kernels.append(kernel / kernel.sum())
    own, between = np.mean(variances, 0), np.var(means, 0)
    # What the mean takes away is taken from all pixels alike: where the fits differ it errs most, not least.
    # The median, as few pixels, of the canvas around the image above all, differ by far more than the rest.
    share = float(np.median(between / own))
    variance = (own + between) * max(1.0 - share, _LEAST_SHARE) / (1.0 + share)
    found = (np.mean(means, 0), np.sqrt(variance), np.mean(kernels, 0))
    mean, std, kernel = (part.astype(np.float32) for part in found)
    return mean, std, kernel


class Starts:
    """Drives several fits of one image, each with its polish.

    Parameters
    ----------
    loops : sequence of Runner
        As many fits are done at once; each loop's program is started here, as often as it takes.
    begin : callable
        Starts a program with the image and a seed.
    seed, count : int
        Seed of the image; number of fits.
    """

    def __init__(
        self, loops: Sequence[Runner], begin: Callable[[Any, int], None], seed: int, count: int
    ) -> None:
        self._loops, self._begin, self._seed, self._count = loops, begin, seed, count
        self._past: list[Course] = []  # starts before those at work
        self._together: tuple[FloatArray, FloatArray, FloatArray] | None = None  # all that have ended
        self.kernel_std: FloatArray | None = None  # the kernel's share of the std, once it is found
        self.draws = 0  # other kernels that it comes from
        self._begin_next()
        self.steps = count * int(self.program.steps)

    def _begin_next(self) -> None:
        """Start the next fits."""
        begun = len(self._past)
        self._now = self._loops[: self._count - begun]
        for number, loop in enumerate(self._now, begun):
            self._begin(loop.program, seed_of(self._seed, number))

    @property
    def program(self) -> Any:
        """Program of the first of the starts at work."""
        return self._now[0].program

    @property
    def done(self) -> int:
        """Steps done, over all starts."""
        return len(self._past) * int(self.program.steps) + len(self._now) * int(self.program.done)

    def work(self) -> tuple[float, float]:
        """Work done, and that of all starts, in steps of the networks."""
        program = self.program
        whole = _work(program, int(program.steps))
        done = len(self._past) * whole + len(self._now) * _work(program, int(program.done))
        return done, self._count * whole

    @property
    def last_fit(self) -> slice:
        """Which steps are of the present fit, without the polish: that does not chase the misfit."""
        program, begun = self.program, len(self._past) * int(self.program.steps)
        return slice(begun, begun + min(int(program.done), int(program.fitted)))

    def stage(self) -> int:
        """Stage of the next step, see `Program.stage`."""
        return int(self.program.stage())

    @property
    def held(self) -> bool:
        """Whether what is shown is that of earlier starts than those at work."""
        return bool(self._past) and not self._ended

    @property
    def _ended(self) -> bool:
        """Whether the starts at work have come to their end, which only the last ones do."""
        return bool(self.program.done == self.program.steps)

    def words(self) -> str:
        """Say which start the next step is of; empty where there is only one."""
        first, last = len(self._past) + 1, len(self._past) + len(self._now)
        if self._count == 1:
            return ""
        return f", start {first} of {self._count}" if first == last else f", {len(self._now)} starts at once"

    def run(self, n: int) -> None:
        """Do n steps over the starts at work, at least one of each, or as many as they still have."""
        run_together(self._now, -(-n // len(self._now)))
        if self._ended:
            self._together = None
            if len(self._past) + len(self._now) < self._count:
                self._past += self._courses()
                self._begin_next()

    def _courses(self) -> list[Course]:
        """Copy the state of the starts at work."""
        return [Course.of(loop.program) for loop in self._now]

    def log(self) -> FloatArray:
        """Log of all steps, (steps, 3), one start after the other."""
        return np.concatenate([course.log for course in [*self._past, *self._courses()]])

    def turns(self) -> npt.NDArray[np.int64]:
        """For each row of the log, how many steps were done by the time that it was."""
        whole, now = int(self.program.steps), int(self.program.done)
        turns = []
        for first in range(0, len(self._past) + 1, len(self._loops)):
            abreast = min(len(self._loops), self._count - first)
            own = np.arange(1, (whole if first < len(self._past) else now) + 1)
            turns += [first * whole + abreast * own] * abreast
        return np.concatenate(turns)

    def shown(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean, std and kernel to show: of all starts that have ended together, until then of the first."""
        if not self._past and not self._ended:
            course = Course.of(self.program)
            return course.mean, course.std, course.kernel
        if self._together is None:
            self._together = combined([*self._past, *(self._courses() if self._ended else [])])
        mean, std, kernel = self._together
        return mean, std if self.kernel_std is None else np.hypot(std, self.kernel_std), kernel
