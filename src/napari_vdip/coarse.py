"""From coarse to fine: a large kernel is looked for in the image at half its size first, and so on.

From nothing, a fit finds large kernels wrongly: many shapes explain the large structures about as well,
and the fine ones are of no help before the kernel is nearly right. At half the size both are half as
large, and the fit costs a quarter (docs/explanation/research.md).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import map_coordinates  # type: ignore[import-untyped]

from napari_vdip.options import PRESETS

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_vdip.arrays import Frame
    from napari_vdip.options import Options
    from napari_vdip.result import Result

    FloatArray = npt.NDArray[np.float32]
    Size = tuple[int, int]


def half(frame: Frame) -> Frame:
    """Frame at half the size: means of 2 x 2 px, a last odd row or column doubled."""
    alpha = None if frame.alpha is None else _even(frame.alpha)
    even = replace(frame, y=_even(frame.y), weight=_even(frame.weight), alpha=alpha)
    return reduced(even, (even.y.shape[1] // 2, even.y.shape[2] // 2))


def reduced(frame: Frame, shape: Size) -> Frame:
    """Frame at a smaller size, (H, W): the mean over what each pixel covers.

    A pixel takes part where all that it covers does. The noise of their mean is smaller.
    """
    from napari_vdip.opencv import cv2

    def mean(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        size = (shape[1], shape[0])
        planes = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in values.astype(float)]
        return np.stack(planes)

    height, width = frame.y.shape[1:]
    whole = mean(frame.weight > 0) > 1 - 1e-6
    variance = mean(1.0 / np.square(np.where(frame.weight > 0, frame.weight, 1.0)))
    rows, columns = ((np.arange(new) * old) // new for new, old in zip(shape, (height, width), strict=True))
    return replace(
        frame,
        y=mean(frame.y).astype(np.float32),
        weight=np.where(whole, 1.0 / np.sqrt(variance), 0.0).astype(np.float32),
        noise_std=frame.noise_std * float(np.sqrt(shape[0] * shape[1] / (height * width))),
        alpha=None if frame.alpha is None else frame.alpha[np.ix_(rows, columns)],
    )


def doubled_kernel(kernel: FloatArray, kernel_size: Size) -> FloatArray:
    """Kernel at twice the size, (Kh, Kw)."""
    return enlarged_kernel(kernel, kernel_size, 2.0)


def enlarged_kernel(kernel: FloatArray, kernel_size: Size, ratio: float) -> FloatArray:
    """Kernel at another size, (Kh, Kw): interpolated about its middle; sums to 1."""
    at = [
        (np.arange(new) - (new - 1) / 2) / ratio + (old - 1) / 2
        for new, old in zip(kernel_size, kernel.shape, strict=True)
    ]
    found = map_coordinates(kernel, np.meshgrid(*at, indexing="ij"), order=1)
    large: FloatArray = (found / found.sum()).astype(np.float32)
    return large


def enlarged(values: FloatArray, shape: Size) -> FloatArray:
    """Image (H, W) or (H, W, channels) at the size of the whole, to be looked at while the fit goes on."""
    from napari_vdip.opencv import cv2

    large: Any = cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, dtype=np.float32)


def doubled(result: Result, shape: Size, kernel_size: Size, options: Options) -> Result:
    """Enlarge a result at half the size: image (H, W) or (H, W, channels)."""
    even = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)

    def larger(values: FloatArray) -> FloatArray:
        return enlarged(values, even)[: shape[0], : shape[1]]

    asked = {"options": options.as_dict(), "preset": asdict(PRESETS[options.preset])}
    report = result.report | asked | {"kernel_size": list(kernel_size), "partial": True}
    if not result.report["partial"]:
        report |= {"stop_reason": "stopped at half the size", "findings": [], "warnings": []}
    return replace(
        result,
        image=larger(result.image),
        uncertainty=larger(result.uncertainty),
        kernel=doubled_kernel(result.kernel, kernel_size),
        report=report,
        fitted=None,
    )


def _even(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Double a last odd row and column, (..., H, W)."""
    odd = [(0, 0)] * (values.ndim - 2) + [(0, size % 2) for size in values.shape[-2:]]
    return np.pad(values, odd, mode="edge")
