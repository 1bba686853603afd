"""What a fit returns, and what it reports on the way. Nothing here computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class History:
    """The course of a fit, one entry a step.

    For a stack, the entries of the slices follow one another.

    Attributes
    ----------
    steps : ndarray of int, (n,)
        Number of the step within its slice, from 0, the pre-fit included.
    objective : ndarray of float32, (n,)
        Value that is minimised; its meaning changes with the stage.
    misfit : ndarray of float32, (n,)
        Root mean square of ``k * mean - y`` in the input's intensity units.
    kernel_change : ndarray of float32, (n,)
        Sum of absolute changes of the kernel since the step before (0 to 2).
    seconds : ndarray of float64, (n,)
        Time since the start of the fit at which the step was done, in s.
    """

    steps: npt.NDArray[np.int64]
    objective: FloatArray
    misfit: FloatArray
    kernel_change: FloatArray
    seconds: npt.NDArray[np.float64]

    def part(self, steps: slice) -> History:
        """Cut out some of the steps."""
        return History(
            self.steps[steps],
            self.objective[steps],
            self.misfit[steps],
            self.kernel_change[steps],
            self.seconds[steps],
        )

    @classmethod
    def joined(cls, parts: Sequence[tuple[float, History]]) -> History:
        """Put histories one after the other, each with the time at which it was begun, on one clock."""
        import numpy as np

        def column(name: str, dtype: type) -> Any:
            columns = [getattr(history, name) for _, history in parts]
            return np.concatenate(columns) if columns else np.zeros(0, dtype=dtype)

        clocks = [begun + history.seconds for begun, history in parts]
        return cls(
            steps=column("steps", np.int64),
            objective=column("objective", np.float32),
            misfit=column("misfit", np.float32),
            kernel_change=column("kernel_change", np.float32),
            seconds=np.concatenate(clocks) if clocks else np.zeros(0),
        )


@dataclass(frozen=True)
class Result:
    """The outcome of a fit, finished or stopped.

    Attributes
    ----------
    image : ndarray of float32
        Deblurred image: shape and intensity units of the input.
    uncertainty : ndarray of float32
        One standard deviation of each pixel of `image`, same shape and units;
        NaN where the method has none (``method="dip"``).
    kernel : ndarray of float32, (Kh, Kw) or (slices..., Kh, Kw)
        Blur kernel (PSF): not negative, sums to 1, centred (centre of mass).
    history : History
        Objective, misfit and kernel change of each step.
    report : dict
        Options, seed, device, versions, stop reason, warnings, and findings with their remedies;
        JSON-ready.
    """

    image: FloatArray
    uncertainty: FloatArray
    kernel: FloatArray
    history: History
    report: dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """What a running fit yields, at least every half second or every step.

    Attributes
    ----------
    stage : str
        What is being done, for people: "pre-fit", "fit", "fit, start 2 of 4", ...
    step, steps : int
        Steps done and steps planned, over all slices.
    slice_index, slices : int
        The slice at work, from 0, and the number of slices.
    seconds : float
        Time since the start, in s.
    seconds_left : float
        Estimate of the time still needed, in s; NaN before the first step is done.
    result : Result
        What has been reached: usable as it is if the fit is stopped here. Slices
        not yet begun are NaN.
    held : bool
        The result is that of the first start and stays so until all starts are averaged.
    """

    stage: str
    step: int
    steps: int
    slice_index: int
    slices: int
    seconds: float
    seconds_left: float
    result: Result = field(repr=False)
    held: bool = False
