"""From coarse to fine: a large kernel is looked for in the image at half its size first, and so on.

From nothing, a fit finds large kernels wrongly: many shapes explain the large structures about as well,
and the fine ones are of no help before the kernel is nearly right. At half the size both are half as
large, and the fit costs a quarter (docs/explanation/research.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import map_coordinates  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_vdip.arrays import Frame
    from napari_vdip.result import Result

    FloatArray = npt.NDArray[np.float32]
    Size = tuple[int, int]


def half(frame: Frame) -> Frame:
    """Frame at half the size: means of 2 x 2 px, a last odd row or column doubled.

    A pixel takes part where all four do. The noise of their mean is half as large.
    """
    precision = np.square(_even(frame.weight))
    with np.errstate(divide="ignore"):
        variance = _blocks(1.0 / precision)
    weight = np.where(np.isfinite(variance), 1.0 / np.sqrt(variance), 0.0)
    return replace(
        frame,
        y=_blocks(_even(frame.y)).astype(np.float32),
        weight=weight.astype(np.float32),
        noise_std=frame.noise_std / 2,
        alpha=None if frame.alpha is None else _even(frame.alpha)[::2, ::2],
    )


def doubled_kernel(kernel: FloatArray, kernel_size: Size) -> FloatArray:
    """Kernel at twice the size, (Kh, Kw): interpolated about its middle; sums to 1."""
    at = [
        (np.arange(new) - (new - 1) / 2) / 2 + (old - 1) / 2
        for new, old in zip(kernel_size, kernel.shape, strict=True)
    ]
    found = map_coordinates(kernel, np.meshgrid(*at, indexing="ij"), order=1)
    large: FloatArray = (found / found.sum()).astype(np.float32)
    return large


def doubled(result: Result, shape: Size, kernel_size: Size) -> Result:
    """Enlarge a result, to be looked at while the fit goes on: image (H, W) or (H, W, channels)."""
    from napari_vdip.opencv import cv2

    def larger(values: FloatArray) -> FloatArray:
        height, width = values.shape[:2]
        enlarged: Any = cv2.resize(values, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(enlarged[: shape[0], : shape[1]], dtype=np.float32)

    report = result.report | {"kernel_size": list(kernel_size), "partial": True}
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


def _blocks(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Means of blocks of 2 x 2, (c, H, W) with even sides -> (c, H / 2, W / 2)."""
    channels, height, width = values.shape
    blocks = values.reshape(channels, height // 2, 2, width // 2, 2)
    means: npt.NDArray[Any] = blocks.mean((2, 4), dtype=np.float64)
    return means
