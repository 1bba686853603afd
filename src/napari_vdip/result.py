"""What a fit returns, and what it reports on the way. Nothing here computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

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


class Fitted(Protocol):
    """The network of a fit, which can write itself with what the result adds to it."""

    def save(
        self,
        result: Result,
        path: str | os.PathLike[str],
        pixel_size: Mapping[str, tuple[float, str]] | None = None,
    ) -> None:
        """Write a model, see `Result.save_model`."""


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
    fitted : Fitted or None
        The network, for `save_model`; None for a stack of several slices.
    kernel_grid : ndarray of float32, (rows, columns, Kh, Kw), or None
        With the option `kernel_grid`: the kernels of the parts of a single frame, of which `kernel` is that
        of the most telling part.
    """

    image: FloatArray
    uncertainty: FloatArray
    kernel: FloatArray
    history: History
    report: dict[str, Any]
    fitted: Fitted | None = field(default=None, repr=False)
    kernel_grid: FloatArray | None = field(default=None, repr=False)

    def save_model(
        self,
        path: str | os.PathLike[str],
        pixel_size: Mapping[str, tuple[float, str]] | None = None,
    ) -> None:
        """Write the fitted network and all else that gives this result again as one file.

        Parameters
        ----------
        path : path-like
            ``.pt``: a TorchScript archive, which `torch.jit.load` reads where this package is not
            installed. ``.onnx``: a graph for ONNX Runtime (needs the extra ``onnx``).
        pixel_size : mapping, optional
            Length and unit of a pixel by axis, ``{"Y": (0.1, "um"), "X": (0.1, "um")}``; kept with
            the model.

        Raises
        ------
        InvalidInput
            If the result is that of a stack: each slice has a network of its own, and only that of
            a single image is kept.
        InvalidOption
            If the extension is another one, or the extra is not installed.
        OSError
            If the disk is full, read-only, or the folder is absent.
        """
        if self.fitted is None:
            raise InvalidInput(
                f"the result of shape {self.image.shape} has no single fitted network: those of a stack's "
                "slices are not kept; deblur one slice to save its model"
            )
        self.fitted.save(self, path, pixel_size)


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
        The result is that of the starts before the one at work, and stays so until that one has ended.
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
