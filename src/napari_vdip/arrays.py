"""Between numpy images and what the core takes: (c, h, w) float32 in [0, 1], and the way back.

Data types, intensity scale, NaN and masks are dealt with here and nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip import compression, estimate
from napari_vdip.defects import Defects, find
from napari_vdip.errors import InvalidInput
from napari_vdip.opencv import cv2

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

# Room for what a sharp image has beyond the blurred one, as a share of the blurred range.
_ROOM_BELOW, _ROOM_ABOVE = 0.1, 0.5
_MOST_WEIGHT = 10.0  # dark pixels are not to rule the fit
# Standard deviations under the darkest surroundings: deconvolved noise reaches so far, no light does.
_DARKER = 5.0


@dataclass(frozen=True)
class Frame:
    """One image as the core takes it.

    Attributes
    ----------
    y : ndarray of float32, (c, H, W)
        Intensities in [0, 1], finite everywhere.
    weight : ndarray of float32, (c, H, W)
        Square root of each pixel's relative precision; 0: takes no part.
    noise_std : float
        Noise of a pixel of weight 1, in units of `y`.
    scale, offset : float
        ``intensity = scale * y + offset``.
    alpha : ndarray or None, (H, W)
        Opacity, passed through.
    floor : float or None
        What the sharp image does not lie below, in units of `y`; None: nothing is known.
    defects : Defects
        What was found and left out.
    compressed : Compression or None
        How the image was compressed; its errors are in `noise_std`. None: no traces of that.
    """

    y: FloatArray
    weight: FloatArray
    noise_std: float
    scale: float
    offset: float
    alpha: npt.NDArray[Any] | None
    floor: float | None = None
    defects: Defects = field(default_factory=lambda: Defects(np.zeros((0, 0), dtype=bool)))
    compressed: compression.Compression | None = None

    @property
    def sentences(self) -> list[str]:
        """What a user is told of the image: what was left out, and how it was compressed."""
        return [*self.defects.sentences, *([] if self.compressed is None else [self.compressed.sentence])]

    def grey(self) -> Frame:
        """Mean of the colours, (1, H, W), or the one of most pixels, see `core.grey`."""
        import torch

        from napari_vdip.core import grey

        if len(self.y) == 1:
            return self
        y, weight = torch.from_numpy(self.y), torch.from_numpy(self.weight)
        shares = grey.colour_shares(weight)
        mean, least = grey.grey(y, shares).numpy(), grey.grey_weight(weight, shares).numpy()
        return replace(self, y=mean, weight=least, alpha=None)

    def image(self, values: FloatArray) -> FloatArray:
        """Intensities (H, W) or (H, W, 3|4) in the input's units from (c, H, W) in [0, 1]."""
        return self._last(values * np.float32(self.scale) + np.float32(self.offset), self.alpha)

    def uncertainty(self, values: FloatArray) -> FloatArray:
        """Scale standard deviations to the input's units; opacity is exact, so its own is 0."""
        return self._last(values * np.float32(self.scale), None if self.alpha is None else 0 * self.alpha)

    def _last(self, values: FloatArray, alpha: npt.NDArray[Any] | None) -> FloatArray:
        planes = [*values] if alpha is None else [*values, alpha.astype(np.float32)]
        image: FloatArray = np.stack(planes, axis=-1) if len(planes) > 1 else planes[0]
        return image


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Raise InvalidInput unless the type is boolean, integer or float."""
    if dtype.kind not in "buif":
        raise InvalidInput(
            f"the image has data type {dtype}; expected integers or floats"
            + ("; for complex data deblur the magnitude, np.abs(image)" if dtype.kind == "c" else "")
        )


def frame(
    plane: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_] | None,
    rgb: bool,
    poisson: bool,
    find_defects: bool = False,
    own_error: float = 0.0,
) -> Frame:
    """Prepare one image.

    Parameters
    ----------
    plane : ndarray, (H, W), or (H, W, 3|4) with `rgb`
        Any integer or float type, byte order and strides; NaN pixels take no part.
    mask : ndarray of bool, (H, W), or None
        True: the pixel takes no part.
    rgb : bool
        The last axis holds colours, and opacity where there are four.
    poisson : bool
        Weigh pixels by a variance that grows linearly with their brightness; both numbers of the
        line are read from the image.
    find_defects : bool
        Leave out saturated pixels, cosmic rays, hot and dead pixels.
    own_error : float
        With `poisson`: share of its light to which a pixel is trusted, whatever its noise.

    Raises
    ------
    InvalidInput
        If there are infinite values, no usable pixel, a colour without one, or a single value everywhere.
    """
    check_dtype(plane.dtype)
    alpha = plane[..., 3] if rgb and plane.shape[-1] == 4 else None
    planes = np.moveaxis(plane[..., :3], -1, 0) if rgb else plane[None]
    values = planes.astype(np.float64)  # native byte order, contiguous, our own copy
    keep = np.isfinite(values)
    if mask is not None:
        keep &= ~mask
        values[:, mask] = np.nan
    if np.isinf(values).any():
        raise InvalidInput(
            f"the image has {np.isinf(values).sum()} infinite values; replace them by NaN or mask them"
        )
    if not keep.any():
        raise InvalidInput("the image has no usable pixel: all are NaN or masked")
    low, high = float(values[keep].min()), float(values[keep].max())
    if low == high:
        raise InvalidInput(f"the image is constant ({low:g} everywhere); there is nothing to deblur")
    found = find(plane, mask, rgb) if find_defects else Defects(np.zeros((0, 0), dtype=bool))
    if found.mask.any():
        marked = np.moveaxis(found.mask, -1, 0) if rgb else found.mask[None]
        keep &= ~marked
        values[marked] = np.nan
    for number, kept in enumerate(keep, 1):
        if not kept.any():
            raise InvalidInput(
                f"colour {number} of {len(keep)} has no usable pixel: all are NaN, masked or saturated; "
                "leave it out, and give the others as channels (channel_axis) in place of colours (rgb)"
            )
    low, high = float(values[keep].min()), float(values[keep].max())
    offset, scale = _range(low, high, plane.dtype)
    # Rounded to 20 bits, so that the same image in other units is the same fit: the course of a
    # fit hangs on the last bit of its data.
    values = np.round((values - offset) / scale * 2**20) / 2**20
    y = np.stack([_filled(v, k) for v, k in zip(values, keep, strict=True)])
    weight, floor = keep.astype(np.float32), None
    compressed = compression.jpeg(plane, rgb)
    rounding = 0.0 if compressed is None else compressed.noise_std / scale
    if poisson:
        counted = [_counted(v, k) for v, k in zip(y, keep, strict=True)]
        variance, light = (np.stack([part[i] for part in counted]) for i in (0, 1))
        variance += rounding**2
        floor = min(part[2] for part in counted)
        noise = math.sqrt(float(variance[keep].mean()))
        doubt = np.sqrt(variance + (own_error * light) ** 2)
        weight *= np.minimum(noise / doubt, _MOST_WEIGHT).astype(np.float32)
    else:
        read = float(np.median([estimate.noise_std(v, k) for v, k in zip(y, keep, strict=True)]))
        noise = math.hypot(read, rounding)
    return Frame(y, weight, noise, scale, offset, alpha, floor, found, compressed)


def _range(low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Offset and scale that leave room around the data, but not beyond what integers can hold."""
    bottom, top = low - _ROOM_BELOW * (high - low), high + _ROOM_ABOVE * (high - low)
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        bottom, top = max(bottom, float(limits.min)), min(top, float(limits.max))
    return bottom, top - bottom


def _filled(values: npt.NDArray[np.float64], keep: npt.NDArray[np.bool_]) -> FloatArray:
    """Fill what takes no part from its surroundings, from ever farther away until all is filled."""
    result = np.where(keep, values, 0.0).astype(np.float32)
    share = keep.astype(np.float32)
    sigma = 2.0
    while not (share > 1e-3).all():
        wide = cv2.GaussianBlur(np.where(keep, values, 0.0).astype(np.float32), (0, 0), sigma)
        found = cv2.GaussianBlur(keep.astype(np.float32), (0, 0), sigma)
        new = (share <= 1e-3) & (found > 1e-3)
        result[new] = wide[new] / found[new]
        share[new] = 1.0
        sigma *= 2.0
    return result


def _counted(
    y: FloatArray, keep: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Variance of each pixel's noise, its light over the darkest, and what no light lies below."""
    wide = cv2.GaussianBlur(y, (0, 0), 2.0)
    variance = estimate.noise_model(y, keep).variance(wide)
    ground = float(wide[keep].min()) if keep.any() else 0.0
    light = np.maximum(cv2.GaussianBlur(y, (0, 0), 1.0) - ground, 0.0).astype(np.float64)
    return variance, light, ground - _DARKER * math.sqrt(float(variance.mean()))
