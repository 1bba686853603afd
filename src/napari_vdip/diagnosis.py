"""Signs that a fit went wrong, read off its kernel and its course, and what to try. Numpy and scipy.

Each sign is one function of arrays. None of them proves a failure: the sentences say what is seen.
The thresholds, and how they were chosen, stand in ``docs/explanation/checks.md``.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_vdip.options import Options
    from napari_vdip.result import History

    Floats = npt.NDArray[Any]

BORDER = 0.04  # share of the kernel's mass on the outermost ring of its window
RIM = 0.5  # the same share, from which on it is no blur that the window cuts off
LOST = 0.02  # share of its light that has left the window when the kernel was moved to its middle
SPARSE, ROOMY = 0.03, 2.5  # share of the window that is filled; its side over that of the main bit
SMALL = 11  # px; a window up to this size is neither too large nor made for more than a point
BITS, MAIN_BIT = 10, 0.4  # bits of a scattered kernel, and the share of the largest at most
FLAT = 0.95  # share of the window that is filled; a disc that just fits has 0.79
POINT = 0.8  # share of the mass in 2 x 2 px
SPIKE = 5.0  # one pixel over the next strongest
LONG = 2.0  # long over short axis of a kernel of optics or air
FAR, FAR_OF_START = 5.0, 0.1  # misfit over noise, and over the misfit that the fit began with
RISEN = 1.5  # misfit at the end over the least one
NEAR, AT_REST = 2.0, 5e-3  # misfit over noise, and change of the kernel in a step, of a fit that may end
_TAIL = 10  # steps over which the course is smoothed


@dataclass(frozen=True)
class Finding:
    """Something that the user should know about a result.

    Attributes
    ----------
    code : str
        "flat", "scattered", "point", "long", "cut", "border", "roomy", "misfit" or "risen".
    sentence : str
        What is seen and what to try.
    remedy : dict
        Options to change for another run; JSON-ready.
    """

    code: str
    sentence: str
    remedy: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Fields by name, JSON-ready."""
        return dataclasses.asdict(self)


def examine(
    kernel: Floats,
    history: History,
    noise_std: float,
    options: Options,
    shape: tuple[int, int],
    axes: tuple[float, float] | None = None,
    lost: tuple[float, int] = (0.0, 0),
) -> list[Finding]:
    """Look for all signs.

    Parameters
    ----------
    kernel : ndarray, (h, w)
        Sums to 1.
    history : History
        Of one finished fit.
    noise_std : float
        Noise read from the image, in the units of ``history.misfit``.
    options : Options
        What the fit was asked for.
    shape : (int, int)
        Height and width of the image in px, which bound the kernel's.
    axes : (float, float), optional
        Long and short axis in px, at half maximum, of a kernel of a family that the evidence of this image
        has told; stars cannot be misled.
    lost : (float, int), optional
        Share of the kernel's light that has left the window when it was moved to its middle, and the side
        in px of a window that holds all.

    Returns
    -------
    list of Finding
        Of the signs about the kernel's shape at most one: the rest follow from it. A kernel that was
        held is not looked at.
    """
    if not np.isfinite(kernel).all():
        return []  # told as an error
    held = options.kernel is not None and options.kernel_fixed
    free = options.kernel is None  # its size can be changed
    signs = [
        None if held else scattered(kernel, options),
        None if held else point(kernel, options),
        long(*axes) if axes else None,
        cut(kernel, shape, *lost) or border(kernel, shape) if free else None,
        roomy(kernel) if free else None,
    ]
    course = [misfit(history, noise_std, options, held), risen(history, noise_std, options)]
    return [*[sign for sign in signs if sign][:1], *[sign for sign in course if sign][:1]]


def border(kernel: Floats, shape: tuple[int, int]) -> Finding | None:
    """Find mass on the border of the window: the blur may be larger than it."""
    mass = _on_border(kernel)
    if mass <= BORDER:
        return None
    height, width = kernel.shape
    told = f"{mass:.0%} of the kernel lies on its border: the blur may be larger than {height} x {width} px"
    larger = max(int(1.4 * max(kernel.shape)) // 2 * 2 + 1, max(kernel.shape) + 4)
    return Finding("border", *_with_larger(told, larger, shape))


def cut(kernel: Floats, shape: tuple[int, int], lost: float, holding: int) -> Finding | None:
    """Find light that has left the window: the image has been made with it, another one would lack it."""
    if lost <= LOST:
        return None
    height, width = kernel.shape
    told = (
        f"with its centre in the middle, {lost:.0%} of the kernel lies beyond its {height} x {width} px: "
        "the image is made with all of it, but the kernel shown lacks it"
    )
    return Finding("cut", *_with_larger(told, holding, shape))


def _with_larger(told: str, larger: int, shape: tuple[int, int]) -> tuple[str, dict[str, Any]]:
    """Advise a larger window, where the image has room for it: sentence and remedy."""
    if larger > min(shape):
        return f"{told}; deblur a larger part of the image", {}
    return f"{told}; try kernel_size={larger}", {"kernel_size": larger}


def _on_border(kernel: Floats) -> float:
    """Share of the mass on the outermost ring of the window."""
    return 1.0 - float(kernel[1:-1, 1:-1].sum()) / float(kernel.sum())


def roomy(kernel: Floats) -> Finding | None:
    """Find a window that is far larger than what is in it: mass gets lost in the empty parts."""
    _, boxes, masses = _bits(kernel, 0.2)
    box = boxes[int(np.argmax(masses))]
    side = max(box)
    if min(kernel.shape) <= SMALL or filled(kernel) >= SPARSE or min(kernel.shape) < ROOMY * side:
        return None
    smaller = 2 * math.ceil((1.5 * side + 3) / 2) + 1
    return Finding(
        "roomy",
        f"the kernel's main part measures {box[0]} x {box[1]} px in a window of {kernel.shape[0]} x "
        f"{kernel.shape[1]}: a smaller one is faster and more exact; try kernel_size={smaller}",
        {"kernel_size": smaller},
    )


def scattered(kernel: Floats, options: Options) -> Finding | None:
    """Find a kernel that is spread evenly, in bits like snow, or on its rim: no blur leaves such a trace."""
    height, width = kernel.shape
    if filled(kernel) > FLAT:
        remedy = _longer(options)
        return Finding(
            "flat",
            f"the kernel is nearly flat over its {height} x {width} px: the fit has not found the blur; try "
            f"{_in_words(remedy)}, or a part of the image with strong edges",
            remedy,
        )
    count, _, masses = _bits(kernel, 0.3)
    if min(kernel.shape) > SMALL and _on_border(kernel) > RIM:
        how = f"{_on_border(kernel):.0%} of the kernel lies on its border, as no blur does"
    elif count >= BITS and max(masses) <= MAIN_BIT * sum(masses):
        how = f"the kernel is scattered over {count} bits like snow"
    else:
        return None
    size = max(5, int(0.6 * max(kernel.shape)) // 2 * 2 + 1)
    return Finding(
        "scattered",
        f"{how}: the fit has probably failed; try "
        f"kernel_size={size}, a part of the image with strong edges, or noise='poisson' for few photons",
        {"kernel_size": size} if options.kernel is None else {},
    )


def filled(kernel: Floats) -> float:
    """Share of the window that a kernel fills: the number of pixels of its entropy over all pixels."""
    share = kernel / kernel.sum()
    entropy = -float((share * np.log(np.maximum(share, 1e-30))).sum())
    return math.exp(entropy) / kernel.size


def point(kernel: Floats, options: Options) -> Finding | None:
    """Find a kernel that is hardly more than a pixel in a window made for more."""
    if min(kernel.shape) <= SMALL:
        return None
    blocks = kernel[1:, 1:] + kernel[1:, :-1] + kernel[:-1, 1:] + kernel[:-1, :-1]
    mass = float(blocks.max()) / float(kernel.sum())
    second, first = np.partition(kernel, -2, axis=None)[-2:]
    if mass > POINT:
        told = f"{mass:.0%} of the kernel lies within 2 x 2 px: the fit takes the image for sharp"
    elif options.family_used == "free" and first > SPIKE * second:
        told = (
            f"one pixel of the kernel is {first / second:.0f} times as strong as any other: the image is "
            "sharp, or part of its blur has been left in it"
        )
    else:
        return None
    remedy = _longer(options) or {"seed": options.seed + 1}
    return Finding(
        "point",
        f"{told}. If it looks blurred, try {_in_words(remedy)}, or a part of the image with strong edges",
        remedy,
    )


def long(longest: float, shortest: float) -> Finding | None:
    """Find a kernel of optics or air that is far from round, of these axes in px."""
    if longest <= LONG * shortest:
        return None
    return Finding(
        "long",
        f"the kernel is {longest / shortest:.1f} times as long as it is wide ({longest:.1f} x "
        f"{shortest:.1f} px), as lenses and air seldom make one. Where edges of one direction rule, an image "
        "says little of the blur along them: deblur a larger part, or one with edges in all directions",
        {},
    )


def misfit(history: History, noise_std: float, options: Options, held: bool = False) -> Finding | None:
    """Find a misfit that has stayed far above the noise."""
    course = smoothed(history.misfit)
    if course.size < _TAIL or noise_std <= 0:
        return None
    end, start = float(course[-1]), float(np.median(history.misfit[:5]))
    if end <= FAR * noise_std or end <= FAR_OF_START * start:
        return None
    remedy = {} if held else _longer(options) or {"seed": options.seed + 1}
    why = "the kernel that is held may be wrong" if held else f"try {_in_words(remedy)}"
    return Finding("misfit", f"the misfit has stayed at {end / noise_std:.0f} times the noise: {why}", remedy)


def risen(history: History, noise_std: float, options: Options) -> Finding | None:
    """Find a misfit that has risen again: the fit has left what it had reached."""
    course = smoothed(history.misfit)
    if course.size < _TAIL:
        return None
    end, least = float(course[-1]), float(course.min())
    if end <= RISEN * least or end <= NEAR * noise_std:
        return None
    return Finding(
        "risen",
        f"the misfit has risen to {end / least:.1f} times the least one it had: the fit has gone astray; "
        f"try seed={options.seed + 1}, or preset='balanced'",
        {"seed": options.seed + 1},
    )


def rest_step(history: History, noise_std: float) -> int | None:
    """Find the step from which on more steps gain little.

    Parameters
    ----------
    history : History
        Of one image, finished or not.
    noise_std : float
        Noise read from the image, in the units of ``history.misfit``.

    Returns
    -------
    int or None
        First step, after the kernel has moved most, at which the misfit is at most twice the noise and
        the kernel changes by at most 0.5 % of its mass a step, both as the median of 10 steps;
        None if there is none yet.
    """
    if not history.misfit.size:
        return None
    near = smoothed(history.misfit) <= NEAR * noise_std
    change = smoothed(history.kernel_change)
    # Before it moves most the kernel is at rest too: the pre-fit hardly touches it.
    moved = np.arange(change.size) > np.argmax(change)
    found = np.flatnonzero(near & (change <= AT_REST) & moved)
    return int(found[0]) if found.size else None


def smoothed(values: Floats) -> npt.NDArray[np.float64]:
    """Median of each value and the nine before it, (n,); of fewer at the beginning."""
    if not values.size:
        return np.zeros(0)
    padded = np.concatenate([np.full(_TAIL - 1, np.nan), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, _TAIL)  # (n, 10)
    medians: npt.NDArray[np.float64] = np.nanmedian(windows, axis=1)
    return medians


def _bits(kernel: Floats, level: float) -> tuple[int, list[tuple[int, int]], list[float]]:
    """Count the parts at or above `level` times the peak that hang together; their boxes and masses."""
    high = np.where(kernel >= level * kernel.max(), kernel, 0.0)
    parts, count = ndimage.label(high, np.ones((3, 3)))
    boxes = [
        (rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in ndimage.find_objects(parts)
    ]
    return count, boxes, list(ndimage.sum_labels(high, parts, range(1, count + 1)))


def _longer(options: Options) -> dict[str, Any]:
    """Options of a longer fit; none if it is a long one already."""
    if options.iterations is not None:
        return {"iterations": None}
    return {"preset": "balanced"} if options.preset == "fast" else {}


def _in_words(remedy: dict[str, Any]) -> str:
    """Write options as Python would take them; advice in words where there are none."""
    if remedy == {"iterations": None}:
        return "as many iterations as the preset has"
    return ", ".join(f"{name}={value!r}" for name, value in remedy.items()) or "another seed"
