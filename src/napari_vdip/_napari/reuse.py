"""A kernel found in a part of an image, for the rest of the image. No Qt, no viewer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_vdip._napari import layers

if TYPE_CHECKING:
    import weakref

    import numpy as np
    import numpy.typing as npt
    from napari.layers import Image

    from napari_vdip._napari.region import Index
    from napari_vdip.options import Options
    from napari_vdip.result import Result


@dataclass(frozen=True)
class Task:
    """What a run does: a part of a layer, and how.

    Attributes
    ----------
    image : weak reference to Image
        The layer may be removed at any time.
    options : Options
        With a mask for the whole layer, if any.
    index : tuple of slice
        The part, one slice for each axis of the layer.
    axes : (int, int)
        Axes of height and width.
    """

    image: weakref.ref[Image]
    options: Options
    index: Index
    axes: tuple[int, int]

    def for_image(self, kernel: npt.NDArray[np.float32]) -> Task:
        """Take the whole height and width of the same slices, with a known kernel."""
        index = tuple(slice(None) if axis in self.axes else part for axis, part in enumerate(self.index))
        return dataclasses.replace(self, options=_held(self.options, kernel), index=index)

    def for_slices(self, kernel: npt.NDArray[np.float32]) -> Task:
        """Take the same height and width of all slices and channels, with a known kernel."""
        index = tuple(part if axis in self.axes else slice(None) for axis, part in enumerate(self.index))
        return dataclasses.replace(self, options=_held(self.options, kernel), index=index)

    def leaves(self, shape: tuple[int, ...]) -> tuple[bool, bool]:
        """Whether height or width is cut, and whether slices are left out, for an image of some shape."""
        lengths = [len(range(*part.indices(length))) for part, length in zip(self.index, shape, strict=False)]
        cut = [axis for axis, length in enumerate(lengths) if length < shape[axis]]
        return any(axis in self.axes for axis in cut), any(axis not in self.axes for axis in cut)


def single_kernel(result: Result) -> npt.NDArray[np.float32] | None:
    """Kernel of a result that has only one, (Kh, Kw), else None."""
    kernel = result.kernel
    if kernel.size != kernel.shape[-2] * kernel.shape[-1]:
        return None
    one: npt.NDArray[np.float32] = kernel.reshape(kernel.shape[-2:])
    return one


@dataclass(frozen=True)
class Found:
    """A kernel, and the task that it was found by."""

    task: Task
    kernel: npt.NDArray[np.float32]

    @classmethod
    def by(cls, task: Task, result: Result) -> Found | None:
        """Keep the kernel of a result, if it has only one."""
        kernel = single_kernel(result)
        return None if kernel is None else cls(task, kernel)

    def leaves(self) -> tuple[bool, bool]:
        """As `Task.leaves`; of a layer that is gone, nothing is left."""
        image = self.task.image()
        return (False, False) if image is None else self.task.leaves(layers.full_resolution(image).shape)


def _held(options: Options, kernel: npt.NDArray[np.float32]) -> Options:
    changes: dict[str, Any] = {"kernel": kernel, "kernel_fixed": True, "kernel_size": "auto"}
    return dataclasses.replace(options, **changes)
