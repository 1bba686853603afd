"""Pixels that do not tell what fell on them: saturated ones, cosmic rays, hot and dead pixels.

One plane in, a mask and sentences out. Nothing here knows of torch, options or slices. What is
found is rather too little than too much: a missed pixel costs a small ring, but texture and stars
that are taken out are lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

_DEPTHS = (10, 12, 14)  # bits of detectors whose counts come in 16
_FEW = 3  # pixels at the top of a bit depth: fewer may be an image that was stretched to it
_PLATEAU = 10  # pixels with one and the same largest value ...
_CROWDED = 5.0  # ... and this many times more than the values just below it have
_NEAR_TOP = 0.05  # of the range: "just below"
# A larger share is a white background or a sky: the blur's traces at its edges are all that there is.
_MOST_SATURATED = 0.05
_OTHER_UNITS = 1.5  # values this many times above the header's saturation show that it is not theirs
_SIGMAS = 10.0  # an outlier stands out of the noise around it by this ...
_ABOVE_OTHERS = 2.0  # ... and out of what else stands alone in this image by this factor
_OTHERS = 99.5  # percentile of the latter
_BESIDE = 0.15  # excess of the pixels beside an outlier; a star of 1.5 px width at half maximum has 0.29
_LARGEST = 6  # px of a group; longer thin tracks are as likely the trails that points leave in motion blur
_EIGHT = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
_MOST_OUTLIERS = 0.005  # of the pixels; where more stand out it is texture, and none is taken out
_ROUND = 2  # px; the local median is of 5 x 5
_NEIGHBOURHOOD = 9  # px; the noise around a pixel is read here


@dataclass(frozen=True)
class Defects:
    """What was found in one plane.

    Attributes
    ----------
    mask : ndarray of bool, (H, W) or (H, W, 3)
        True: the pixel, or one colour of it, takes no part in the fit.
    saturated, outliers : int
        How many of them are saturated, and how many cosmic rays, hot or dead pixels.
    sentences : list of str
        For the user; empty where nothing was found.
    """

    mask: Bools
    saturated: int = 0
    outliers: int = 0
    sentences: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, int]:
        """Give the numbers for a report."""
        return {"saturated": self.saturated, "outliers": self.outliers}


def find(plane: npt.NDArray[Any], mask: Bools | None, rgb: bool = False) -> Defects:
    """Find saturated pixels and outliers.

    Parameters
    ----------
    plane : ndarray, (H, W), or (H, W, 3|4) with `rgb`
        Integers or floats; NaN pixels are not looked at. Opacity is not looked at.
    mask : ndarray of bool, (H, W), or None
        True: the pixel is known to be of no use, and not looked at.
    rgb : bool
        The last axis holds colours; each is looked at on its own.

    Returns
    -------
    Defects
    """
    colours = [plane[..., i] for i in range(3)] if rgb else [plane]
    marked, sentences = [], []
    saturated = outliers = 0
    for name, colour in zip(("red", "green", "blue") if rgb else ("",), colours, strict=True):
        seen = np.isfinite(colour) if mask is None else np.isfinite(colour) & ~mask
        full, sentence = _saturated(colour, seen)
        alone = _outliers(colour.astype(np.float64), seen & ~full)
        saturated, outliers = saturated + int(full.sum()), outliers + int(alone.sum())
        marked.append(full | alone)
        if sentence:
            sentences.append(f"{name}: {sentence}" if name else sentence)
    if outliers:
        sentences.append(
            f"left out as cosmic rays, hot or dead pixels: {_pixels(outliers, plane.size)}; what comes out "
            "there follows from the pixels around them"
        )
    return Defects(np.stack(marked, axis=-1) if rgb else marked[0], saturated, outliers, sentences)


def _saturated(values: npt.NDArray[Any], seen: Bools) -> tuple[Bools, str]:
    """Pixels at the top, and a sentence; none where they are too few to tell or too many to leave out."""
    nothing = np.zeros(values.shape, dtype=bool)
    if values.dtype.kind == "b" or not seen.any():
        return nothing, ""
    used = values[seen]
    top, low = used.max(), used.min()
    full = seen & (values == top)
    count = int(full.sum())
    if top == low or count < _FEW or not (_is_top(values.dtype, top) or _is_plateau(used, count)):
        return nothing, ""
    told = f"{_pixels(count, int(seen.sum()))} with the largest value, {top:g}"
    if count > _MOST_SATURATED * seen.sum():
        return (
            nothing,
            f"perhaps saturated, but too many to be left out: {told}; give a mask if they are not true",
        )
    rest = values[seen & ~full]
    if rest.min() == rest.max():
        return nothing, ""  # points on a flat ground: without them there is nothing
    return full, f"left out as saturated: {told}; what comes out there is a guess"


def beyond(values: npt.NDArray[Any], saturation: float) -> tuple[Bools, str]:
    """Pixels from the saturation on that a file's header tells, and a sentence where there are any.

    Where values lie far beyond it, it was told of other units (the detector's, before the frame was
    calibrated), and no pixel is marked.
    """
    full: Bools = np.isfinite(values) & (values >= saturation)
    count = int(full.sum())
    if not count or np.nanmax(values) > _OTHER_UNITS * saturation or count == full.size:
        return np.zeros(values.shape, dtype=bool), ""
    told = f"{_pixels(count, full.size)} from {saturation:g} on, as the header tells"
    return full, f"left out as saturated: {told}; what comes out there is a guess"


def _is_top(dtype: np.dtype[Any], top: Any) -> bool:
    """Whether a value is the largest that a detector or its file can hold."""
    if dtype.kind not in "ui":
        return False
    depths = _DEPTHS if dtype.itemsize == 2 else ()
    return bool(top == np.iinfo(dtype).max) or int(top) in [2**bits - 1 for bits in depths]


def _is_plateau(used: npt.NDArray[Any], count: int) -> bool:
    """Whether the largest value has more pixels than the values just below it make likely."""
    if count < _PLATEAU:
        return False
    values = used.astype(np.float64)
    top = values.max()
    near = values[(values < top) & (values >= top - _NEAR_TOP * (top - values.min()))]
    levels = len(np.unique(near))
    if levels < 2:  # a drawing of a few grey values has no noise that could tell
        return False
    return bool(count > _CROWDED * max(len(near) / levels, 1.0))


def _outliers(values: Floats, seen: Bools) -> Bools:
    """Pixels, or groups of few, that stand alone with sharp edges: no optical blur makes such."""
    from scipy.ndimage import laplace, maximum_filter, median_filter  # type: ignore[import-untyped]

    nothing = np.zeros(values.shape, dtype=bool)
    if not seen.any() or min(values.shape) < _NEIGHBOURHOOD:
        return nothing
    values = np.where(seen, values, np.median(values[seen]))
    ground = median_filter(values, size=2 * _ROUND + 1, mode="reflect")
    excess = values - ground
    size = np.abs(excess)
    # A median follows a slope exactly, without a rest that could tell the noise: hence the curvature.
    curvature = np.abs(laplace(values, mode="reflect")) / np.sqrt(20.0)
    around = np.maximum(
        *(median_filter(rest, size=_NEIGHBOURHOOD, mode="reflect") for rest in (size, curvature))
    )
    noise = 1.4826 * np.maximum(around, np.median(size[seen]))
    if not (noise > 0).any():
        return nothing
    noise = np.where(noise > 0, noise, np.median(noise[noise > 0]))
    # A bright point has more noise than its surroundings: as photons have, if they are all that counts.
    low = np.percentile(values[seen], 1)
    noise = noise * np.sqrt(np.maximum((values - low) / np.maximum(ground - low, noise), 1.0))
    found = nothing.copy()
    for signed in (excess, -excess):
        beside = maximum_filter(signed, footprint=_EIGHT, mode="reflect")
        height = np.where(seen, signed / noise, 0.0)
        others = np.percentile(np.where(beside < _BESIDE * signed, height, 0.0)[seen], _OTHERS)
        found |= _alone(signed, height > max(_SIGMAS, _ABOVE_OTHERS * float(others)))
    found &= seen
    return found if found.sum() <= _MOST_OUTLIERS * seen.sum() else nothing


def _alone(excess: Floats, candidates: Bools) -> Bools:
    """Of the candidates, groups of few pixels whose surroundings are dark against each of them."""
    from scipy.ndimage import label, maximum_filter, minimum

    groups, count = label(candidates, structure=np.ones((3, 3)))
    if count == 0:
        return candidates
    numbers = np.arange(1, count + 1)
    size = np.bincount(groups.ravel(), minlength=count + 1)[1:]
    # What lies around a group is no candidate; seen from it, the brightest of its neighbours.
    outside = np.where(candidates, -np.inf, excess)
    around = maximum_filter(outside, size=3, mode="reflect")
    brightest = -minimum(-around, groups, numbers)
    good = (size <= _LARGEST) & (brightest < _BESIDE * minimum(excess, groups, numbers))
    alone: Bools = np.concatenate([[False], good])[groups]
    return alone


def _pixels(count: int, of: int) -> str:
    """Write a number of pixels with its share: ``37 pixels (0.05 %)``."""
    share = 100 * count / of
    told = f"{share:.2g}" if share >= 0.01 else "under 0.01"
    return f"{count} pixel{'' if count == 1 else 's'} ({told} %)"
