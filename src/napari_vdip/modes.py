"""In which order the slices of a stack are deblurred, and where each has its kernel from.

Plans only: nothing is fitted here. What an image has to tell about its kernel is its edges
above the noise; `telling` measures that for slices as well as for parts of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_vdip import estimate
from napari_vdip.opencv import cv2
from napari_vdip.pace import fitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_vdip.layout import Layout

    Floats = npt.NDArray[np.floating]

_LOOKED_AT = 64  # so that a long stack is not read twice
_ALIKE = 0.7  # correlation under which a kernel is not one of those to be averaged
# Squared central differences of white noise of variance 1 behind the filter of `edges`.
_NOISE_SHARE = 0.05
_EXACT = 1e-3  # noise below this share of the range is not trusted


@dataclass(frozen=True)
class Visit:
    """One slice's turn.

    Attributes
    ----------
    number : int
        The slice, counted in C order of the leading axes.
    sources : tuple of int
        Slices, visited before, whose kernels it takes; none: it is fitted on its own.
    follow : bool
        Whether the kernel is moved towards what the slice says.
    """

    number: int
    sources: tuple[int, ...] = ()
    follow: bool = False


def grey(
    plane: npt.NDArray[np.generic], mask: npt.NDArray[np.bool_] | None, rgb: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Image as grey values, (H, W), and which of its pixels take part."""
    values = plane.astype(np.float64)
    values = values[..., :3].mean(-1) if rgb else values
    keep = np.isfinite(values)
    return values, keep if mask is None else keep & ~mask


def edges(plane: Floats, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Gradient of each pixel, (H, W), in units of the noise and without the noise's own share.

    The root of the energy: many edges tell more of a kernel than a single strong one.

    Parameters
    ----------
    plane : ndarray, (H, W)
        In any units; pixels that do not take part may have any value.
    keep : ndarray of bool, (H, W)
        False: the pixel takes no part, and tells nothing.
    """
    if not keep.any():
        return np.zeros(plane.shape, dtype=np.float32)
    low, high = float(plane[keep].min()), float(plane[keep].max())
    noise = max(estimate.noise_std(plane, keep), _EXACT * (high - low))
    if noise == 0.0:
        return np.zeros(plane.shape, dtype=np.float32)
    values = np.where(keep, (plane - low) / noise, 0.0).astype(np.float32)
    smooth = cv2.GaussianBlur(values, (0, 0), 1.0)
    down, right = np.gradient(smooth)
    found = np.sqrt(np.maximum(down * down + right * right - np.float32(_NOISE_SHARE), np.float32(0.0)))
    seen = cv2.erode(keep.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    return np.where(seen, found, np.float32(0.0)).astype(np.float32)


def telling(plane: Floats, keep: npt.NDArray[np.bool_]) -> float:
    """Say how much a slice tells about its kernel: the mean of its `edges`."""
    return float(edges(plane, keep).mean())


def groups(layout: Layout, channel_axis: int | None) -> list[list[int]]:
    """Numbers of the slices that can share a kernel: those of one channel."""
    numbers = np.arange(len(layout.slices)).reshape(layout.leading_shape)
    if channel_axis is None:
        return [numbers.ravel().tolist()]
    axis = layout.leading.index(channel_axis % len(layout.shape))
    return [part.ravel().tolist() for part in np.moveaxis(numbers, axis, 0)]


def looked_at(group: Sequence[int]) -> list[int]:
    """Choose the slices among which the telling ones are found: all of a group, or some evenly spread."""
    some = np.linspace(0, len(group) - 1, min(len(group), _LOOKED_AT)).round().astype(int)
    return [group[at] for at in some]


def shared(group: Sequence[int], scores: Sequence[float]) -> list[Visit]:
    """Order for one kernel: the most telling slices are fitted, then all take the mean of their kernels.

    Parameters
    ----------
    group : sequence of int
        Slices of one channel.
    scores : sequence of float
        What each slice of the stack tells, by its number.
    """
    count = fitted(len(group))
    best = sorted(group, key=lambda number: (-scores[number], number))[:count]
    sources = tuple(sorted(best))
    rest = [number for number in sorted(group) if count > 1 or number not in sources]
    return [Visit(number) for number in best] + [Visit(number, sources) for number in rest]


def warm(group: Sequence[int], scores: Sequence[float], leading_shape: tuple[int, ...]) -> list[Visit]:
    """Order for a kernel that drifts: from the most telling slice outwards, each from its neighbour's.

    The neighbour is the one a step nearer to the first slice, along the axis on which it is farthest.
    """
    first = min(group, key=lambda number: (-scores[number], number))
    origin = np.array(np.unravel_index(first, leading_shape))

    def away(number: int) -> npt.NDArray[np.int64]:
        return np.array(np.unravel_index(number, leading_shape)) - origin

    visits = [Visit(first)]
    for number in sorted(group, key=lambda number: (int(np.abs(away(number)).sum()), number)):
        if number != first:
            steps = away(number)
            axis = int(np.abs(steps).argmax())
            at = np.array(np.unravel_index(number, leading_shape))
            at[axis] -= np.sign(steps[axis])
            visits.append(Visit(number, (int(np.ravel_multi_index(tuple(at), leading_shape)),), follow=True))
    return visits


def mean_kernel(kernels: Sequence[Floats]) -> npt.NDArray[np.float32]:
    """Mean of the kernels that agree, each moved onto the one that agrees best with all.

    Parameters
    ----------
    kernels : sequence of ndarray, (Kh, Kw)
        Each sums to 1.

    Returns
    -------
    ndarray of float32, (Kh, Kw)
        Not negative, sums to 1.
    """
    if len(kernels) == 1:
        return kernels[0].astype(np.float32)
    from scipy.ndimage import shift  # type: ignore[import-untyped]
    from scipy.signal import fftconvolve  # type: ignore[import-untyped]
    from skimage.registration import phase_cross_correlation

    def alike(a: Floats, b: Floats) -> float:
        return float(fftconvolve(a, b[::-1, ::-1]).max() / np.sqrt(np.square(a).sum() * np.square(b).sum()))

    best = max(kernels, key=lambda kernel: sum(alike(kernel, other) for other in kernels))
    moved = []
    for kernel in kernels:
        if alike(kernel, best) < _ALIKE:
            continue
        wide = [np.pad(part, [(n // 2,) * 2 for n in part.shape]) for part in (best, kernel)]
        by = phase_cross_correlation(*wide, upsample_factor=20, normalization=None)[0]  # type: ignore[no-untyped-call]
        placed = np.maximum(shift(kernel, by, order=3), 0.0)
        moved.append(placed / placed.sum())
    mean: npt.NDArray[np.float32] = np.asarray(np.mean(moved, 0), dtype=np.float32)
    return mean
