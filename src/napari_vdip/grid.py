"""A blur that varies over the field: the cells of a frame, and the share of each cell's kernel at a place.

Kernels are interpolated as they are, between the middles of four cells (Nagy and O'Leary, "Restoring images
degraded by spatially variant blur", SIAM J. Sci. Comput. 19, 1998). Plans only: nothing is fitted here.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from napari_vdip.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_vdip.options import Options

    Floats = npt.NDArray[np.floating]
    Window = tuple[slice, slice]

LEAST_CELL = 3  # kernels that fit into a cell side by side: a smaller one tells too little


def grid_of(options: Options) -> tuple[int, int] | None:
    """Rows and columns of kernels; None where there is one for the whole frame."""
    given = options.kernel_grid
    if given is None:
        return None
    grid = given if isinstance(given, tuple) else (given, given)
    return None if grid == (1, 1) else grid


def check(options: Options, stacked: bool) -> None:
    """Raise InvalidOption if a grid of kernels is asked for together with kernels from elsewhere."""
    if grid_of(options) is None:
        return
    if options.kernel is not None:
        raise InvalidOption(
            f"kernel_grid={options.kernel_grid!r} and kernel were both given; expected kernels to be found, "
            "or one that is known: leave one of them out"
        )
    if stacked and options.kernel_mode != "each":
        raise InvalidOption(
            f"kernel_grid={options.kernel_grid!r} with kernel_mode={options.kernel_mode!r} is not possible: "
            "slices share one kernel; use kernel_mode='each'"
        )


def cells(shape: tuple[int, int], grid: tuple[int, int], kernel_size: tuple[int, int]) -> list[Window]:
    """Cut a frame into cells, row after row.

    Raises
    ------
    InvalidOption
        If they are too small to tell a kernel of this size.
    """
    least = LEAST_CELL * max(kernel_size)
    if min(shape[0] // grid[0], shape[1] // grid[1]) < least:
        raise InvalidOption(
            f"kernel_grid={grid!r} leaves cells of {shape[0] // grid[0]} x {shape[1] // grid[1]} px; "
            f"expected at least {least} x {least} px for a kernel of {kernel_size[0]} x {kernel_size[1]} px"
        )
    rows, columns = (
        np.linspace(0, n, count + 1).round().astype(int).tolist()
        for n, count in zip(shape, grid, strict=True)
    )
    return [
        (slice(top, bottom), slice(left, right))
        for top, bottom in itertools.pairwise(rows)
        for left, right in itertools.pairwise(columns)
    ]


def shares(
    shape: tuple[int, int], grid: tuple[int, int], windows: Sequence[Window]
) -> npt.NDArray[np.float64]:
    """Share of each cell's kernel in the middle of each window, (windows, cells); they sum to 1.

    Linear between the middles of neighbouring cells; beyond the outermost ones it stays as it is.
    """
    along = []
    for axis, count in enumerate(grid):
        middles = np.array([0.5 * (window[axis].start + window[axis].stop) for window in windows])
        at = np.clip(middles / shape[axis] * count - 0.5, 0, count - 1)
        along.append(np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(count))))
    down, across = along
    return np.asarray((down[:, :, None] * across[:, None, :]).reshape(len(windows), -1))


def centred_finely(kernel: Floats) -> npt.NDArray[np.float32]:
    """Kernel with its centre of mass in its middle, to a hundredth of a pixel; sums to 1.

    Where each kernel lay within half a pixel of its middle, the image would be bent where they change.
    """
    from scipy.ndimage import shift  # type: ignore[import-untyped]

    moved = np.asarray(kernel, dtype=np.float64)
    places = [np.arange(n) - n // 2 for n in kernel.shape]
    for _ in range(5):
        off = [float(moved.sum(1 - axis) @ place) / moved.sum() for axis, place in enumerate(places)]
        if max(map(abs, off)) < 0.01:
            break
        moved = np.maximum(shift(moved, [-part for part in off], order=1), 0.0)
    return np.asarray(moved / moved.sum(), dtype=np.float32)


def filled(kernels: Sequence[Floats | None], grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Kernels of all cells, (rows * columns, Kh, Kw): one that is not known is the mean of the nearest known.

    At least one has to be known.
    """
    places = np.array([(row, column) for row in range(grid[0]) for column in range(grid[1])])
    known = [cell for cell, kernel in enumerate(kernels) if kernel is not None]
    whole = []
    for place in places:
        away = np.hypot(*(places[known] - place).T)
        nearest = [kernels[cell] for cell, far in zip(known, away, strict=True) if far <= away.min() + 1e-9]
        whole.append(np.mean([kernel for kernel in nearest if kernel is not None], axis=0))
    return np.asarray(whole, dtype=np.float32)
