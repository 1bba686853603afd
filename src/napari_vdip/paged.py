"""A TIFF that stays in its file: a stack of planes, of which only those asked for are read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import tifffile

    Array = npt.NDArray[Any]

_RGB = 2  # TIFF tag 262


class PagedStack:
    """Pages of a TIFF as an array, each read when it is asked for.

    The file is opened for each reading and closed again: nothing is held open for hours, and the
    object can be sent to another process.

    Attributes
    ----------
    shape : tuple of int, (..., Y, X) or (..., Y, X, 3 or 4)
    dtype : numpy.dtype
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], plane: tuple[int, ...]
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._path, self._plane = path, plane

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Memory that all of it would take."""
        return self.size * self.dtype.itemsize

    def __getitem__(self, index: Any) -> Array:
        import tifffile

        index = index if isinstance(index, tuple) else (index,)
        leading = self.shape[: len(self.shape) - len(self._plane)]
        numbers = np.arange(math.prod(leading)).reshape(leading)[index[: len(leading)]]
        data = np.empty((numbers.size, *self._plane), self.dtype)
        with tifffile.TiffFile(self._path) as file:
            series = file.series[0]
            for place, number in enumerate(numbers.ravel()):
                data[place] = self._read(file, series, int(number))
        data = data.reshape(*numbers.shape, *self._plane)
        part: Array = data[(slice(None),) * numbers.ndim + index[len(leading) :]]
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        whole = self[()]
        return whole if dtype is None else whole.astype(dtype)

    def _read(self, file: tifffile.TiffFile, series: tifffile.TiffPageSeries, number: int) -> Array:
        """Read one plane."""
        if series.dataoffset is not None:  # one after the other in the file, uncompressed
            count = math.prod(self._plane)
            offset = series.dataoffset + number * count * self.dtype.itemsize
            stored = self.dtype.newbyteorder(file.byteorder)
            return np.asarray(file.filehandle.read_array(stored, count, offset)).reshape(self._plane)
        page = series.pages[number]
        if page is None:  # OME-TIFF: a plane that the file does not have
            return np.zeros(self._plane, self.dtype)
        return np.asarray(page.asarray()).reshape(self._plane)


def paged(path: Path, series: tifffile.TiffPageSeries) -> PagedStack | None:
    """Take a series as a stack that stays in its file; None where its pages are not its planes."""
    axes, shape = series.axes, tuple(series.shape)
    colours = axes.endswith("YXS") and int(series.keyframe.photometric) == _RGB and shape[-1] in (3, 4)
    within = 3 if colours else 2
    if not (colours or axes.endswith("YX")) or len(shape) <= within or len(set(axes)) < len(axes):
        return None
    if "S" in axes[:-1] or series.dtype is None or series.dtype.kind not in "uif":
        return None
    plane, planes = shape[-within:], math.prod(shape[:-within])
    if series.dataoffset is None and (len(series.pages) != planes or series.keyframe.shape != plane):
        return None
    return PagedStack(path, shape, series.dtype, plane)
