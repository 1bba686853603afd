"""Several fits of one image from different random numbers, and what they find together.

A fit ends in one of many minima of nearly the same objective, each with errors of its own. The
mean over fits has less error than any of them, as long as none of them is in another league.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from napari_vdip.core.compile import Runner

    FloatArray = npt.NDArray[np.float32]

# A fit whose objective, log(1 - SSIM), ends this much above the best one's takes no part.
_WORSE = 0.5
_SEED_STEP = 0x3C6EF372  # far from the seeds of other slices


@dataclass(frozen=True)
class Course:
    """One fit as it ended.

    Attributes
    ----------
    mean, std : ndarray, (c, h, w)
        Image on the canvas and its standard deviation.
    kernel : ndarray, (Kh, Kw)
    log : ndarray, (steps, 3)
        Objective, misfit and kernel change of each step.
    """

    mean: FloatArray
    std: FloatArray
    kernel: FloatArray
    log: FloatArray

    @classmethod
    def of(cls, program: Any) -> Course:
        """Copy the state of a program."""
        tensors = (program.mean, program.std, program.kernel, program.log[: program.done])
        return cls(*(tensor.cpu().numpy().copy() for tensor in tensors))


def seed_of(seed: int, number: int) -> int:
    """Seed of a start; that of the first is the image's own."""
    return (seed + number * _SEED_STEP) % 2**31


def combined(courses: Sequence[Course]) -> tuple[FloatArray, FloatArray]:
    """Mean image and mean kernel of the fits, each moved onto the best one.

    Fits share image and kernel up to a common shift in opposite directions, so the image
    tells the shift of both.

    Returns
    -------
    mean : ndarray, (c, h, w)
    kernel : ndarray, (Kh, Kw)
        Not negative, sums to 1.
    """
    from scipy.ndimage import shift  # type: ignore[import-untyped]
    from skimage.filters import window
    from skimage.registration import phase_cross_correlation

    # Correlation takes images for periodic: without a window their borders pull the shift to 0.
    fade = window("hann", courses[0].mean.shape[1:])  # type: ignore[no-untyped-call]

    def faded(course: Course) -> FloatArray:
        grey = course.mean.mean(0)
        seen: FloatArray = (grey - grey.mean()) * fade
        return seen

    best = min(courses, key=lambda course: course.log[-1, 0])
    means, kernels = [], []
    for course in courses:
        if not course.log[-1, 0] <= best.log[-1, 0] + _WORSE:
            continue
        down, right = phase_cross_correlation(  # type: ignore[no-untyped-call]
            faded(best), faded(course), upsample_factor=20, normalization=None
        )[0]
        means.append(shift(course.mean, (0.0, down, right), order=3, mode="nearest"))
        kernel = np.maximum(shift(course.kernel, (-down, -right), order=3), 0.0)
        kernels.append(kernel / kernel.sum())
    return np.mean(means, 0, dtype=np.float32), np.mean(kernels, 0, dtype=np.float32)


class Starts:
    """Drives one program through several fits and the polish that follows them.

    Parameters
    ----------
    loop : Runner
        Its program is started here.
    begin : callable
        Starts the program with the image and a seed.
    seed, count : int
        Seed of the image; number of fits.
    """

    def __init__(self, loop: Runner, begin: Callable[[int], None], seed: int, count: int) -> None:
        self.program: Any = loop.program
        self._loop, self._begin, self._seed = loop, begin, seed
        self._left = count - 1  # fits to come after this one
        self._courses: list[Course] = []
        self.kernel_std: FloatArray | None = None  # the kernel's share of the std, once it is found
        self.draws = 0  # other kernels that it comes from
        begin(seed)
        self._fit_steps = self.program.steps - self.program.polish
        self.steps = (count - 1) * self._fit_steps + self.program.steps

    @property
    def done(self) -> int:
        """Steps done, over all fits."""
        return len(self._courses) * self._fit_steps + int(self.program.done)

    @property
    def last_fit(self) -> slice:
        """Which steps are of the present fit, without the polish: that does not chase the misfit."""
        begun, done = len(self._courses) * self._fit_steps, int(self.program.done)
        return slice(begun, begun + min(done, self._fit_steps))

    def stage(self) -> int:
        """Stage of the next step, see `Program.stage`."""
        return int(self.program.stage())

    @property
    def held(self) -> bool:
        """Whether what is shown is that of an earlier start than the one at work."""
        return bool(self._courses) and self.program.done < self._fit_steps

    def words(self) -> str:
        """Say which start the next step is of; empty where there is only one, and for the polish."""
        count = len(self._courses) + 1 + self._left
        if count == 1 or self.program.done >= self._fit_steps:
            return ""
        return f", start {len(self._courses) + 1} of {count}"

    def run(self, n: int) -> None:
        """Do n steps, or as many as this fit still has."""
        program, before = self.program, self.program.done < self._fit_steps
        self._loop.run(min(n, self._fit_steps - program.done) if before else n)
        if before and program.done == self._fit_steps:
            if self._left > 0:
                self._courses.append(Course.of(program))
                self._begin(seed_of(self._seed, len(self._courses)))
                self._left -= 1
            elif self._courses:
                mean, kernel = combined([*self._courses, Course.of(program)])
                program.mean.copy_(torch.as_tensor(mean))
                program.kernel.copy_(torch.as_tensor(kernel))

    def log(self) -> FloatArray:
        """Log of all steps, (steps, 3)."""
        return np.concatenate([course.log for course in [*self._courses, Course.of(self.program)]])

    def shown(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean, std and kernel to show: of the first fit until the polish has begun."""
        course = self._courses[0] if self.held else Course.of(self.program)
        std = course.std if self.kernel_std is None else np.hypot(course.std, self.kernel_std)
        return course.mean, std, course.kernel
