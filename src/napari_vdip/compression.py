"""What JPEG compression has done to an image, read off its pixels.

JPEG cuts an image into blocks of 8 x 8 px and rounds the cosine coefficients of each to multiples
of a step, a step for each frequency. The fine noise is rounded to nothing, so that the image looks
as if it had hardly any, and the errors of rounding sit where the image is. In the pixels the
coefficients still lie on the teeth of a comb; so grid and steps can be read where a file's header
is long gone, in a crop too. Nothing here knows of torch, options or slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.fft import dct  # type: ignore[import-untyped]

from napari_vdip.opencv import cv2

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_SIDE = 8  # px of a block
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, as JPEG takes it (ITU-R BT.601)
_LARGEST_STEP = 100  # grey levels; at quality 50 the largest of the usual table is 121
_TELLING = ((0, 1), (1, 0), (1, 1))  # frequencies whose steps are small and whose coefficients are large
_AT_ONCE = 1024  # blocks that are looked at to find the grid
_WINDOW = 2048  # px; side of the part of a large image that is looked at
_FEWEST = 30  # coefficients that are not rounded to nothing; fewer tell no step
# How well coefficients sit on a comb: 1 on its teeth, 0 anywhere. Measured: .6 to .97 after
# qualities from 90 down to 75, .07 and less at best where there was no compression.
_COMB = 0.3
_ALONE = 2.0  # times as well as on any other grid: where few values are in use, all of them fit by chance
_SURE = 6.0  # standard deviations of chance
_NEARLY = 0.9  # a step of twice the size fits half the teeth; one of half the size fits all of them
_NEAR_WHOLE = 1e-3  # of a grey level


@dataclass(frozen=True)
class Compression:
    """How an image was compressed.

    Attributes
    ----------
    steps : ndarray, (8, 8)
        Step of each frequency in grey levels of the orthonormal cosine transform; 0: not to be read.
    grid : (int, int)
        Row and column of the first whole block's corner, 0 to 7.
    noise_std : float
        Standard deviation of white noise that is as strong as the errors of rounding are where the
        image is, in the image's units.
    """

    steps: Floats
    grid: tuple[int, int]
    noise_std: float

    @property
    def sentence(self) -> str:
        """What a user is told."""
        return (
            f"the image has been compressed (JPEG): errors of {self.noise_std:.2g} in its own units count as "
            "noise; the file before compression, if there is one, would show finer detail"
        )

    def as_dict(self) -> dict[str, Any]:
        """Give what a report tells."""
        return {"kind": "jpeg", "noise_std": self.noise_std}


def jpeg(plane: npt.NDArray[Any], rgb: bool = False) -> Compression | None:
    """Read the traces of JPEG compression.

    Parameters
    ----------
    plane : ndarray, (H, W), or (H, W, 3|4) with `rgb`
        Image of whole grey levels from 0 to 255, of any type, or the same scaled to 0 to 1.
    rgb : bool
        The last axis holds colours.

    Returns
    -------
    Compression or None
        None where there are no traces: there was no compression, its quality was above about 93, or
        the image was scaled, filtered or turned (but by right angles) afterwards.

    References
    ----------
    Z. Fan, R. de Queiroz, "Identification of bitmap compression history: JPEG detection and quantizer
    estimation", IEEE Transactions on Image Processing 12, 2003: that steps can be read from the pixels.
    """
    height, width = plane.shape[:2]
    if min(height, width) < 4 * _SIDE:
        return None
    # Whole blocks are cut off, so that the grid stays as it is.
    top, left = (max(0, side - _WINDOW) // 2 // _SIDE * _SIDE for side in (height, width))
    part = plane[top : top + _WINDOW, left : left + _WINDOW, ...]
    part = part[..., :3] if rgb else part
    unit = _grey_level(part)
    if unit is None:
        return None
    luma = (part @ np.array(_LUMA) if rgb else part.astype(np.float64)) / unit
    grid = _grid(luma)
    if grid is None:
        return None
    coefficients = _coefficients(luma[grid[0] :, grid[1] :])
    steps, heard = np.zeros((_SIDE, _SIDE)), np.zeros((_SIDE, _SIDE))
    for u, v in np.ndindex(_SIDE, _SIDE):
        if u + v > 0:  # the mean of a block is not told from other errors of brightness
            steps[u, v], heard[u, v] = _step(coefficients[:, u, v])
    # A rounded value is wrong by anything up to half a step. White noise is as strong at all frequencies,
    # so that what compares with it is the mean over those coefficients that are not nothing.
    variance = float((heard * steps**2).sum() / max(heard.sum(), 1.0)) / 12.0
    return Compression(steps, grid, math.sqrt(variance) * unit) if variance > 0 else None


def rounding(plane: npt.NDArray[Any], rgb: bool = False) -> float:
    """Return `Compression.noise_std`, 0 where there are no traces of compression; see `jpeg`."""
    found = jpeg(plane, rgb)
    return 0.0 if found is None else found.noise_std


def _grey_level(plane: npt.NDArray[Any]) -> float | None:
    """Tell how much one grey level of 8 bits is; None: the image has others."""
    lowest, highest = float(plane.min()), float(plane.max())
    if not 0.0 <= lowest < highest <= 255.0:  # NaN too
        return None
    if plane.dtype.kind in "ui":
        return 1.0
    unit = 1.0 / 255.0 if highest <= 1.0 else 1.0
    levels = plane / unit
    return unit if bool((np.abs(levels - np.rint(levels)) < _NEAR_WHOLE).all()) else None


def _grid(luma: Floats) -> tuple[int, int] | None:
    """Find the offset at which the coefficients of blocks sit on a comb."""
    basis, fit = dct(np.eye(_SIDE), norm="ortho", axis=0), np.zeros((_SIDE, _SIDE))
    inner = (luma.shape[0] - _SIDE + 1, luma.shape[1] - _SIDE + 1)
    for u, v in _TELLING:
        # A filter gives the coefficient of a block that begins at each pixel.
        filtered = cv2.filter2D(luma, -1, np.outer(basis[u], basis[v]), anchor=(0, 0))
        everywhere = np.asarray(filtered[: inner[0], : inner[1]], dtype=np.float64)
        for row, column in np.ndindex(_SIDE, _SIDE):
            values = everywhere[row::_SIDE, column::_SIDE].ravel()
            fit[row, column] += _best(values[:: math.ceil(values.size / _AT_ONCE)])
    second, best = np.sort(fit.ravel())[-2:]
    if best / len(_TELLING) < _COMB or best < _ALONE * second:
        return None
    row, column = np.unravel_index(int(fit.argmax()), fit.shape)
    return int(row), int(column)


def _coefficients(luma: Floats) -> Floats:
    """Cosine transforms of the blocks, (blocks, 8, 8)."""
    rows, columns = (side // _SIDE for side in luma.shape)
    blocks = luma[: rows * _SIDE, : columns * _SIDE].reshape(rows, _SIDE, columns, _SIDE).swapaxes(1, 2)
    return np.asarray(dct(dct(blocks.reshape(-1, _SIDE, _SIDE), norm="ortho", axis=1), norm="ortho", axis=2))


def _combs(values: Floats) -> list[tuple[int, int, float]]:
    """Step, values that are off zero, and fit of these (1 on the teeth, 0 anywhere) of all combs."""
    found, sizes = [], np.sort(np.abs(values))
    for step in range(2, _LARGEST_STEP + 1):
        far = sizes[np.searchsorted(sizes, step / 2) :]
        if far.size < _FEWEST:
            break
        found.append((step, far.size, float(np.cos(2 * np.pi / step * far).mean())))
    return found


def _best(values: Floats) -> float:
    """Fit of the best comb."""
    return max((fit for _, _, fit in _combs(values)), default=0.0)


def _step(values: Floats) -> tuple[int, int]:
    """Step of a frequency and the number of coefficients that are not rounded to nothing; 0, 0: unknown."""
    # The fit of values anywhere has a standard deviation of 1 / sqrt(2 n).
    sure = [
        (fit * math.sqrt(2 * count), step, count)
        for step, count, fit in _combs(values)
        if fit > _COMB and fit * math.sqrt(2 * count) > _SURE
    ]
    if not sure:
        return 0, 0
    most = max(sure)[0]
    _, step, count = max((found for found in sure if found[0] >= _NEARLY * most), key=lambda found: found[1])
    return step, count
