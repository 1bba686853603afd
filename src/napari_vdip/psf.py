"""A kernel (PSF) as a thing of its own: how wide it is, and how it looks on other pixels. Numpy and scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]

from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Kernel = npt.NDArray[np.float32]

_FINE = 6  # points a pixel at which a kernel is looked at: enough for a blur of std 1 px
_POINTS = 240  # a side at most: a wide blur needs less per pixel, and is shown while a fit runs
_SAME = 0.01  # pixel sizes that differ by less are the same: a kernel of 31 px is then 0.3 px off at its rim


@dataclass(frozen=True)
class PixelSize:
    """Height and width of a pixel.

    Attributes
    ----------
    height, width : float
        In `unit`.
    unit : str
        As pint reads it: "um", "micrometer", "arcsec", ...; "pixel" where none is known.
    """

    height: float = 1.0
    width: float = 1.0
    unit: str = "pixel"

    @property
    def known(self) -> bool:
        """Whether somebody has said how large a pixel is; 1 x 1 pixel is what everything begins with."""
        return self != PixelSize()

    def __str__(self) -> str:
        sides = dict.fromkeys(f"{abs(side):.4g}" for side in (self.height, self.width))
        return f"{' x '.join(sides)} {self.unit}"


@dataclass(frozen=True)
class HalfMaximum:
    """How wide a kernel is where it is at least half as high as its peak.

    The region is taken whole, also where it is in several parts: a shaken camera's path may be
    bright at both ends. The kernel is interpolated by splines of order 5 between its pixels.

    Attributes
    ----------
    length, width : float
        Extent of the region along the principal axis of its points, and across it; for a round
        blur both are the full width at half maximum (FWHM). In px, or in the unit of `pixel_size`.
    diameter : float
        Diameter of the disc that has the region's area; alike.
    angle : float
        Direction of the principal axis in degrees, from -90 to 90: 0 along the rows of pixels, positive
        where it rises to the right on the screen.
    outline : list of ndarray, (n, 2)
        Border of the region as rows and columns from the middle of the window, in px.
    """

    length: float
    width: float
    diameter: float
    angle: float
    outline: list[Floats]


def half_maximum(kernel: npt.ArrayLike, pixel_size: tuple[float, float] = (1.0, 1.0)) -> HalfMaximum | None:
    """Measure a kernel at half its maximum.

    Parameters
    ----------
    kernel : array_like, (h, w)
        In any units.
    pixel_size : (float, float), optional
        Height and width of a pixel, to measure in another unit than px.

    Returns
    -------
    HalfMaximum or None
        None if the kernel has no positive value, or one that is not finite.
    """
    from skimage.measure import find_contours

    values = np.asarray(kernel, dtype=np.float64)
    if not np.isfinite(values).all() or values.max(initial=0.0) <= 0.0:
        return None
    top, left, part = _interesting(values)
    points = max(2, min(_FINE, _POINTS // max(part.shape)))
    rows, columns = (np.arange((n - 1) * points + 1) / points for n in part.shape)
    fine = ndimage.map_coordinates(part, np.meshgrid(rows, columns, indexing="ij"), order=5)
    level = fine.max() / 2
    # (n, 2) in points of the fine grid -> px from the middle of the window
    middle = np.array([(n - 1) / 2 for n in values.shape])
    outline = [line / points + (top, left) - middle for line in find_contours(fine, level)]  # type: ignore[no-untyped-call]
    size = np.asarray(pixel_size, dtype=np.float64)
    inside = np.argwhere(fine >= level) / points * size
    axes = np.linalg.eigh(np.cov(inside.T) if len(inside) > 1 else np.eye(2))[1].T[::-1]
    border = np.concatenate(outline) * size
    length, width = np.ptp(border @ axes.T, axis=0)
    angle = math.degrees(math.atan2(-axes[0, 0], axes[0, 1]))
    return HalfMaximum(
        length=float(max(length, width)),
        width=float(min(length, width)),
        diameter=2 * math.sqrt(abs(sum(map(_area, outline))) * float(size.prod()) / math.pi),
        angle=(angle + 90.0) % 180.0 - 90.0,
        outline=outline,
    )


class Centred(NamedTuple):
    """A kernel with its centre of mass within half a pixel of its middle.

    Attributes
    ----------
    kernel : ndarray, (Kh, Kw)
        Sums to 1.
    down, right : int
        How far the centre of mass was off.
    lost : float
        Share of the light that has left the window, 0 to 1.
    """

    kernel: Kernel
    down: int
    right: int
    lost: float

    @property
    def holding(self) -> int:
        """Side in px of a window that would have held all of it."""
        height, width = self.kernel.shape
        return int(max(height + 2 * abs(self.down), width + 2 * abs(self.right)))


def centred(kernel: Kernel) -> Centred:
    """Move a kernel (Kh, Kw) by whole pixels until its centre of mass is in the middle of its window."""
    total = float(kernel.sum())
    if not np.isfinite(total) or total <= 0.0:
        return Centred(kernel.copy(), 0, 0, 0.0)
    rows, columns = (np.arange(n) - n // 2 for n in kernel.shape)
    down = round(float(kernel.sum(1) @ rows) / total)
    right = round(float(kernel.sum(0) @ columns) / total)
    padded = np.pad(kernel, [(abs(down),) * 2, (abs(right),) * 2])
    moved = padded[abs(down) + down :, abs(right) + right :][: kernel.shape[0], : kernel.shape[1]]
    left = float(moved.sum())
    return Centred((moved / left).astype(np.float32), down, right, max(1.0 - left / total, 0.0))


def _interesting(values: Floats) -> tuple[int, int, Floats]:
    """Cut out what is higher than a fifth of the peak, and a rim; its first row and column, and itself."""
    rim = 4
    padded = np.pad(values, rim)
    high = padded > 0.2 * values.max()
    spans = [np.flatnonzero(high.any(axis)) for axis in (1, 0)]
    top, left = (int(span[0]) - rim for span in spans)
    bottom, right = (int(span[-1]) + rim + 1 for span in spans)
    part = padded[top:bottom, left:right]
    return top - rim, left - rim, part


def _area(line: Floats) -> float:
    """Area within a closed line (n, 2), by the shoelace formula; holes run the other way round."""
    row, column = line.T
    return float(np.dot(row[:-1], column[1:]) - np.dot(row[1:], column[:-1])) / 2


def matched(kernel: npt.NDArray[Any], own: PixelSize, wanted: PixelSize) -> tuple[npt.NDArray[Any], str]:
    """Bring a kernel onto the pixels of an image, if both sizes are known.

    Parameters
    ----------
    kernel : ndarray, (h, w)
    own, wanted : PixelSize
        Of the kernel and of the image.

    Returns
    -------
    kernel : ndarray, (H, W)
        As `resampled` gives it.
    note : str
        What was done, or taken for granted, as a sentence for the user; empty if nothing.

    Raises
    ------
    InvalidInput
        If the units cannot be converted, or the kernel cannot be resampled.
    """
    if own.known != wanted.known:
        which, other = ("image", "kernel") if own.known else ("kernel", "image")
        return kernel, f"the pixel size of the {which} is not known; taken to be that of the {other}"
    if not own.known:
        return kernel, ""
    factor = _conversion(own.unit, wanted.unit)
    made = resampled(
        kernel,
        (abs(own.height) * factor, abs(own.width) * factor),
        (abs(wanted.height), abs(wanted.width)),
    )
    if made is kernel:
        return kernel, ""
    sizes = [f"{array.shape[0]} x {array.shape[1]} px" for array in (kernel, made)]
    return made, f"the kernel was resampled from {sizes[0]} of {own} to {sizes[1]} of {wanted}"


def _conversion(unit: str, wanted: str) -> float:
    """Tell how many of one unit make another."""
    if unit == wanted:
        return 1.0
    import pint

    registry = pint.get_application_registry()  # type: ignore[no-untyped-call]
    try:
        return float(registry.Quantity(1.0, unit).to(wanted).magnitude)
    except (pint.PintError, AttributeError, ValueError) as error:  # all three for units of the wrong sort
        raise InvalidInput(
            f"the kernel's pixels are measured in {unit!r}, the image's in {wanted!r}, and one cannot be "
            "converted into the other; set the units of either layer or file"
        ) from error


def resampled(
    kernel: npt.NDArray[Any], pixel_size: tuple[float, float], wanted: tuple[float, float]
) -> npt.NDArray[Any]:
    """Bring a kernel onto pixels of another size.

    Each new pixel gets the light that falls onto its area; the light within an old pixel is
    spread smoothly and is nowhere negative. The middle stays the middle.

    Parameters
    ----------
    kernel : ndarray, (h, w)
        Not negative.
    pixel_size, wanted : (float, float)
        Height and width of a pixel before and after, in the same unit.

    Returns
    -------
    ndarray, (H, W)
        Float32 of odd sides that cover the old ones, 3 px or more, of sum 1. The kernel itself where
        the sizes differ by less than 1 %.

    Raises
    ------
    InvalidInput
        If the kernel is not 2-D or holds values that are negative, not finite or all 0; if a size
        is not positive; if the result would have more than 1,001 px a side.
    """
    if kernel.ndim != 2 or not np.isfinite(kernel).all() or kernel.min() < 0 or kernel.max() <= 0:
        raise InvalidInput(
            f"the kernel of shape {kernel.shape} cannot be resampled; expected two axes and finite values, "
            "none negative, some positive: subtract its background and clip it at 0"
        )
    sizes = (*pixel_size, *wanted)
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        raise InvalidInput(f"pixels of {pixel_size} and {wanted} were given; expected sizes above 0")
    factors = [old / new for old, new in zip(pixel_size, wanted, strict=True)]
    if all(abs(factor - 1) < _SAME for factor in factors):
        return kernel
    sides = [
        max(3, 2 * math.ceil((n * factor - 1) / 2 - 1e-6) + 1)
        for n, factor in zip(kernel.shape, factors, strict=True)
    ]
    if max(sides) > 1001:
        raise InvalidInput(
            f"the kernel would have {sides[0]} x {sides[1]} px when resampled from pixels of {pixel_size} to "
            f"{wanted}; check the pixel sizes of image and kernel"
        )
    values = kernel.astype(np.float64)
    for axis, (side, factor) in enumerate(zip(sides, factors, strict=True)):
        values = _rebinned(values, axis, side, factor)
    return np.asarray(values / values.sum(), dtype=np.float32)


def _rebinned(values: Floats, axis: int, side: int, factor: float) -> Floats:
    """Collect light along one axis into `side` pixels, of which `factor` make an old one."""
    from scipy.interpolate import PchipInterpolator  # type: ignore[import-untyped]

    n = values.shape[axis]
    edges = np.arange(n + 1) - n / 2
    total = np.concatenate([np.zeros_like(values.take([0], axis)), values.cumsum(axis)], axis)
    wanted = np.clip((np.arange(side + 1) - side / 2) / factor, edges[0], edges[-1])
    # Monotone interpolation of the running sum: no pixel becomes negative, no light is lost.
    made: Floats = np.diff(PchipInterpolator(edges, total, axis=axis)(wanted), axis=axis)
    return made.clip(0)
