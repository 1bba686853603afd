"""A frame too large for one fit: kernel from a telling crop, then overlapping tiles with that kernel.

The plan is made before anything is computed and says all there is to know about the cut. Tiles
are blended by windows that sum to 1 at every pixel; what lies within a kernel of a tile's inner
border has weight 0, because there the tile does not know its surroundings.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip import arrays, grid, modes
from napari_vdip.devices import FIT_BYTES, FREE_SHARE, find
from napari_vdip.errors import OutOfMemory
from napari_vdip.options import PRESETS
from napari_vdip.pace import CROP, TILE, WHOLE
from napari_vdip.plan import Setting, check_polished, polish_steps
from napari_vdip.result import History, Progress, Result
from napari_vdip.solve import contrast_of, frame_of, solve, solve_frame, with_steepness

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    Bools = npt.NDArray[np.bool_]
    Window = tuple[slice, slice]
    Crop = tuple[int, int, int, int]

_LEAST = 64
_TELLS = 0.1  # of the edges of the most telling part: one with fewer has no kernel of its own
# Findings about a kernel that is none.
_NO_KERNEL = {"flat", "scattered", "point"}
_POLISH_BYTES = 420  # a pixel at the peak of a polish, with room, for each colour (docs/benchmarks/stacks.md)


@dataclass(frozen=True)
class TilePlan:
    """How a frame is cut.

    Attributes
    ----------
    shape : (int, int)
        Height and width of the frame in px.
    crop : (int, int, int, int) or None
        Where the kernel is estimated: first row, first column, height, width. None: it is known.
    size : (int, int)
        Height and width of every tile.
    rows, columns : tuple of int
        First row, first column of the tiles: every pair is a tile.
    margin, ramp : int
        Pixels at a tile's inner border that are left out, and over which it fades in after them.
    reason : str
        Why this size.
    grid : (int, int) or None
        Rows and columns of kernels; None: one kernel.
    cells : tuple of crops
        With a grid: where each kernel is estimated, row after row; None: that part tells nothing, and takes
        its neighbours' kernels. `crop` is the most telling one.
    """

    shape: tuple[int, int]
    crop: tuple[int, int, int, int] | None
    size: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    margin: int
    ramp: int
    reason: str
    grid: tuple[int, int] | None = None
    cells: tuple[Crop | None, ...] = ()

    @property
    def windows(self) -> list[Window]:
        """Rows and columns of each tile, row after row."""
        height, width = self.size
        return [
            (slice(top, top + height), slice(left, left + width))
            for top in self.rows
            for left in self.columns
        ]

    def weights(self) -> list[npt.NDArray[np.float32]]:
        """Weight of each tile's pixels, (h, w) each; over all tiles they sum to 1 at every pixel."""
        down, across = (
            _fades(starts, side, whole, self.margin, self.ramp)
            for starts, side, whole in zip((self.rows, self.columns), self.size, self.shape, strict=True)
        )
        return [np.outer(a, b).astype(np.float32) for a in down for b in across]

    @property
    def crops(self) -> list[Crop]:
        """Where kernels are estimated, the most telling part first."""
        rest = [cell for cell in self.cells if cell is not None and cell != self.crop]
        return [] if self.crop is None else [self.crop, *rest]

    def shares(self) -> npt.NDArray[np.float64]:
        """Share of each cell's kernel in each tile's, (tiles, cells)."""
        assert self.grid is not None
        return grid.shares(self.shape, self.grid, self.windows)

    def with_crop(self, before: Crop, crop: Crop) -> TilePlan:
        """Put another crop in the place of one."""
        swapped = tuple(crop if cell == before else cell for cell in self.cells)
        return replace(self, crop=crop if self.crop == before else self.crop, cells=swapped)

    def __str__(self) -> str:
        source = "known kernel"
        if self.grid is not None:
            places = "; ".join(
                "none" if cell is None else f"row {cell[0]}, column {cell[1]}" for cell in self.cells
            )
            most = max(cell[2:] for cell in self.crops)
            source = (
                f"{self.grid[0]} x {self.grid[1]} kernels, interpolated, each from {most[0]} x {most[1]} px "
                f"at ({places})"
            )
        elif self.crop is not None:
            top, left, height, width = self.crop
            source = f"kernel from {height} x {width} px at row {top}, column {left}"
        return (
            f"{self.shape[0]} x {self.shape[1]} px: {source}; {len(self.rows)} x {len(self.columns)} tiles "
            f"of {self.size[0]} x {self.size[1]} px that share {2 * self.margin + self.ramp} px or more; "
            f"{self.reason}"
        )


def plan_for(
    plane: npt.NDArray[Any], mask: Bools | None, setting: Setting, free_bytes: int | None = None
) -> TilePlan | None:
    """Decide whether and how a frame is cut.

    Parameters
    ----------
    plane : ndarray, (H, W), or (H, W, 3|4) with ``options.rgb``
    mask : ndarray of bool, (H, W), or None
    setting : Setting
    free_bytes : int, optional
        Memory that may be had; what the device has free if not given.

    Returns
    -------
    TilePlan or None
        None: the frame is fitted whole.

    Raises
    ------
    InvalidOption
        If tiles are asked for and the method has no polish to make them with.
    """
    options = setting.options
    shape = (plane.shape[0], plane.shape[1])
    kernels = grid.grid_of(options)
    if kernels is not None:
        check_polished(options, f"kernel_grid={options.kernel_grid!r}")
    elif isinstance(options.tile, int) and options.tile >= max(shape):
        return None
    if isinstance(options.tile, int):
        check_polished(options, f"tile={options.tile}")
    free = find(str(setting.device)).free_bytes if free_bytes is None else free_bytes
    known = _known_kernel(setting) is not None
    fit_bytes = FIT_BYTES * PRESETS[options.preset].channels
    polish_bytes = _POLISH_BYTES * (3 if options.rgb else 1)
    fits = math.prod(shape) * (polish_bytes if setting.near is not None else fit_bytes) <= FREE_SHARE * free
    if (
        kernels is None
        and options.tile is None
        and (not options.polishes or (fits and math.prod(shape) <= WHOLE))
    ):
        return None
    most, most_crop = (
        math.isqrt(int(FREE_SHARE * free / each)) // 32 * 32 for each in (polish_bytes, fit_bytes)
    )
    if isinstance(options.tile, int):
        side, crop, reason = options.tile, options.tile, f"tile={options.tile} was asked for"
    else:
        side, crop = min(TILE, most), min(CROP, most_crop)
        reason = f"{free / 2**30:.1f} GiB of memory free"
    crop = max(crop, 3 * max(setting.kernel_size))
    if known:
        return cut(shape, setting.kernel_size, side, reason, None)
    told = modes.edges(*modes.grey(plane, mask, options.rgb))
    if kernels is None:
        part, _ = _crop(told, (slice(0, shape[0]), slice(0, shape[1])), crop)
        return cut(shape, setting.kernel_size, side, reason, part)
    windows = grid.cells(shape, kernels, setting.kernel_size)
    if options.tile is None:  # a kernel holds for a tile: with fewer pixels they follow the blur
        side = min(side, min(shape[0] // kernels[0], shape[1] // kernels[1]) // 2)
    found = [
        _crop(told, window, crop if options.tile is None else min(CROP, most_crop)) for window in windows
    ]
    part, most_told = max(found, key=lambda each: each[1])
    cells = tuple(place if score > _TELLS * most_told else None for place, score in found)
    plan = cut(shape, setting.kernel_size, side, reason, part)
    return replace(plan, grid=kernels, cells=cells)


def cut(
    shape: tuple[int, int],
    kernel_size: tuple[int, int],
    side: int,
    reason: str,
    crop: tuple[int, int, int, int] | None,
) -> TilePlan:
    """Cut a frame into tiles of about this side, all of the same size."""
    margin = max(kernel_size)
    ramp = max(16, margin)
    overlap = 2 * margin + ramp
    side = max(side, overlap + _LEAST)
    size = (min(side, shape[0]), min(side, shape[1]))
    rows, columns = (_starts(n, part, overlap) for n, part in zip(shape, size, strict=True))
    return TilePlan(shape, crop, size, rows, columns, margin, ramp, reason)


def solve_frame_or_tiles(
    plane: npt.NDArray[Any], mask: Bools | None, setting: Setting, seed: int
) -> Generator[Progress, None, Result]:
    """Deblur one image, whole or in tiles, as `plan_for` decides."""
    plan = plan_for(plane, mask, setting)
    if plan is None:
        return (yield from solve(plane, mask, setting, seed))
    return (yield from solve_tiled(plane, mask, setting, seed, plan))


def solve_tiled(
    plane: npt.NDArray[Any], mask: Bools | None, setting: Setting, seed: int, plan: TilePlan
) -> Generator[Progress, None, Result]:
    """Deblur a frame by its plan; as `solve.solve` otherwise.

    Where memory runs out, the crop or the tiles are halved and the work goes on.
    """
    frame = frame_of(plane, mask, setting.options)
    job = _Job(frame, setting, seed)
    kernel = _known_kernel(setting)
    if kernel is None:
        plan = yield from job.estimate_all(plane, mask, plan)
        kernel = job.settle_kernels(plan)
    setting = replace(setting, near=kernel, follow=False, contrast=contrast_of(frame))
    job.setting = with_steepness(setting, frame)
    while True:
        try:
            return (yield from job.deblur(plan))
        except OutOfMemory:
            smaller = cut(plan.shape, setting.kernel_size, max(plan.size) // 2, plan.reason, plan.crop)
            smaller = replace(smaller, grid=plan.grid, cells=plan.cells)
            if smaller.size == plan.size:
                raise
            job.warnings.append(
                f"memory ran out: the tiles of {plan.size[0]} x {plan.size[1]} px were halved"
            )
            plan = smaller


class _Job:
    """A frame on its way: the blurred frame, in which the finished tiles take their places.

    Attributes
    ----------
    setting : Setting
        Of the parts; the kernel is in it once it is known.
    warnings : list of str
        What a user should know, beyond the parts' own.
    """

    def __init__(self, frame: arrays.Frame, setting: Setting, seed: int) -> None:
        self.frame, self.setting, self.seed = frame, setting, seed
        self.warnings: list[str] = []
        self._parts: list[tuple[float, History]] = []
        self._report: dict[str, Any] = {}
        self._kernels: dict[Crop, Result] = {}
        self.cell_kernels: npt.NDArray[np.float32] | None = None
        self._fit_steps = 0
        self._started = time.perf_counter()
        self._image = frame.image(frame.y)
        self._uncertainty = np.full_like(self._image, np.nan)

    def estimate_all(
        self, plane: npt.NDArray[Any], mask: Bools | None, plan: TilePlan
    ) -> Generator[Progress, None, TilePlan]:
        """Fit every crop; where memory runs out it is halved, and the plan that comes back says so."""
        count = len(plan.crops)
        for number in range(count):
            while True:
                crop = plan.crops[number]
                try:
                    self._kernels[crop] = yield from self.estimate(plane, mask, plan, number)
                    break
                except OutOfMemory:
                    top, left, height, width = crop
                    if min(height, width) // 2 < 3 * max(self.setting.kernel_size):
                        raise
                    self.warnings.append(f"memory ran out: the crop of {height} x {width} px was halved")
                    half = (top + height // 4, left + width // 4, height // 2, width // 2)
                    plan = plan.with_crop(crop, half)
        return plan

    def settle_kernels(self, plan: TilePlan) -> npt.NDArray[np.float32]:
        """Take the kernels of the crops for the tiles; the one that is told best."""
        if plan.grid is None:
            return self._kernels[plan.crops[0]].kernel
        good = [
            crop
            for crop in plan.crops
            if not _NO_KERNEL & {found["code"] for found in self._kernels[crop].report["findings"]}
        ]
        for crop in plan.crops:
            if crop not in good and good:
                self.warnings.append(
                    f"no kernel was found at row {crop[0]}, column {crop[1]}: that part takes its neighbours'"
                )
        moved = {crop: grid.centred_finely(self._kernels[crop].kernel) for crop in good or plan.crops}
        self.cell_kernels = grid.filled([cell and moved.get(cell) for cell in plan.cells], plan.grid)
        best = next(iter(moved))
        self._report = self._kernels[best].report
        return moved[best]

    def estimate(
        self, plane: npt.NDArray[Any], mask: Bools | None, plan: TilePlan, number: int
    ) -> Generator[Progress, None, Result]:
        """Fit a crop, shown in its place."""
        top, left, height, width = plan.crops[number]
        window = (slice(top, top + height), slice(left, left + width))
        tiles_steps = len(plan.windows) * polish_steps(self.setting.options)
        begun = time.perf_counter() - self._started
        # Only its kernel counts: how sure that is would be told of the crop alone.
        options = replace(self.setting.options, kernel_draws=0)
        setting = replace(self.setting, options=options, kernel_only=True)
        fit = solve(plane[window], None if mask is None else mask[window], setting, self.seed)
        while True:
            try:
                progress = next(fit)
            except StopIteration as end:
                part: Result = end.value
                self._report = part.report
                self._fit_steps += progress.step
                self._parts.append((begun, part.history))
                return part
            crop = progress.result
            image, uncertainty = self._image.copy(), self._uncertainty.copy()
            image[window], uncertainty[window] = crop.image, crop.uncertainty
            report = crop.report | {
                "options": self.setting.options.as_dict(),
                "partial": True,
                "tiles": _told(plan),
                "stop_reason": f"stopped at the crop's step {progress.step} of {progress.steps}",
            }
            shown = Result(image, uncertainty, crop.kernel, crop.history, report)
            stage = progress.stage
            if plan.grid is not None:
                stage += f", kernel {number + 1} of {len(plan.crops)}"
            ahead = (len(plan.crops) - number) * progress.steps + tiles_steps
            yield from self._tell(stage, self._fit_steps + progress.step, self._fit_steps + ahead, shown)

    def deblur(self, plan: TilePlan) -> Generator[Progress, None, Result]:
        """Deblur tile after tile with the kernel."""
        base = self.frame.image(self.frame.y)
        image, sure = base.copy(), np.zeros_like(base)
        done = np.zeros(plan.shape, dtype=np.float32)
        steps, parts = polish_steps(self.setting.options), list(self._parts)
        total = self._fit_steps + len(plan.windows) * steps
        shown: Result | None = None
        settings = self._settings(plan)
        for number, (window, weight) in enumerate(zip(plan.windows, plan.weights(), strict=True)):
            tile = _cut_out(self.frame, window)
            begun = time.perf_counter() - self._started
            part = self._untouched(base[window])
            if tile.weight.any():
                fit = solve_frame(tile, settings[number], self.seed)
                while True:
                    try:
                        progress = next(fit)
                    except StopIteration as end:
                        part = end.value
                        break
                    if shown is not None and progress.step < progress.steps:
                        step = self._fit_steps + number * steps + progress.step
                        yield from self._tell("polish", step, total, shown)
                parts.append((begun, part.history))
                self._report = self._report or part.report
            spread = weight if base.ndim == 2 else weight[..., None]
            image[window] += spread * (part.image - base[window])
            sure[window] += spread * part.uncertainty
            done[window] += weight
            shown = self._assembled(plan, image, sure, done, parts, number + 1)
            yield from self._tell("polish", self._fit_steps + (number + 1) * steps, total, shown)
        assert shown is not None
        return shown

    def _settings(self, plan: TilePlan) -> list[Setting]:
        """Make the setting of each tile: with a kernel of its own where there is a grid of them."""
        if self.cell_kernels is None:
            return [self.setting] * len(plan.windows)
        mixed = np.tensordot(plan.shares(), self.cell_kernels, axes=1)
        return [replace(self.setting, near=kernel.astype(np.float32)) for kernel in mixed]

    def _untouched(self, base: npt.NDArray[np.float32]) -> Result:
        """Take a tile without a usable pixel as it is."""
        kernel = self.setting.near
        assert kernel is not None
        return Result(base, np.full_like(base, np.nan), kernel, History.joined([]), {})

    def _assembled(
        self,
        plan: TilePlan,
        image: npt.NDArray[np.float32],
        sure: npt.NDArray[np.float32],
        done: npt.NDArray[np.float32],
        parts: list[tuple[float, History]],
        tiles: int,
    ) -> Result:
        """Make the result as of now: blurred where no tile has been yet, its uncertainty unknown there."""
        count, kernel = len(plan.windows), self.setting.near
        assert kernel is not None
        complete = done > 1.0 - 1e-4
        uncertainty = np.where(complete if sure.ndim == 2 else complete[..., None], sure, np.float32(np.nan))
        report = self._report | {
            "options": self.setting.options.as_dict(),
            "seed": self.seed,
            "noise_std": self.frame.noise_std * self.frame.scale,
            "steps": self._fit_steps + tiles * polish_steps(self.setting.options),
            "seconds": round(time.perf_counter() - self._started, 3),
            "partial": tiles < count,
            "stop_reason": "finished" if tiles == count else f"stopped with {tiles} of {count} tiles done",
            "warnings": [*self._report.get("warnings", []), *self.warnings],
            "tiles": _told(plan),
        }
        kernels = None
        if self.cell_kernels is not None and plan.grid is not None:
            kernels = self.cell_kernels.reshape(*plan.grid, *kernel.shape)
        history = History.joined(parts)
        return Result(image.copy(), uncertainty, kernel, history, report, kernel_grid=kernels)

    def _tell(self, stage: str, step: int, steps: int, result: Result) -> Generator[Progress, None, None]:
        """Yield; the time in between does not count."""
        left = time.perf_counter()
        seconds = left - self._started
        yield Progress(
            stage=stage,
            step=step,
            steps=steps,
            slice_index=0,
            slices=1,
            seconds=seconds,
            seconds_left=seconds / step * (steps - step),
            result=result,
        )
        self._started += time.perf_counter() - left


def _known_kernel(setting: Setting) -> npt.NDArray[np.float32] | None:
    """Kernel that needs no crop: one found elsewhere, or one that is to be held."""
    if setting.near is not None:
        return setting.near
    return setting.kernel if setting.options.kernel_fixed else None


def _told(plan: TilePlan) -> dict[str, Any]:
    """Plan for the report, JSON-ready."""
    return {
        "plan": str(plan),
        "crop": None if plan.crop is None else list(plan.crop),
        "size": list(plan.size),
        "rows": list(plan.rows),
        "columns": list(plan.columns),
        "grid": None if plan.grid is None else list(plan.grid),
        "cells": [None if cell is None else list(cell) for cell in plan.cells],
    }


def _cut_out(frame: arrays.Frame, window: Window) -> arrays.Frame:
    """Tile of a frame, in the frame's scale and with its noise."""
    alpha = None if frame.alpha is None else frame.alpha[window]
    here = (slice(None), *window)
    y, weight = (np.ascontiguousarray(values[here]) for values in (frame.y, frame.weight))
    return replace(frame, y=y, weight=weight, alpha=alpha)


def _crop(told: npt.NDArray[np.float32], window: Window, side: int) -> tuple[Crop, float]:
    """Find the part of a window with most edges: first row, first column, height, width; and how many."""
    part = told[window]
    height, width = min(side, part.shape[0]), min(side, part.shape[1])
    sums = np.zeros((part.shape[0] + 1, part.shape[1] + 1))
    np.cumsum(np.cumsum(part, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    stride = max(1, side // 8)
    rows, columns = (
        np.unique(np.append(np.arange(0, n - length + 1, stride), n - length))
        for n, length in zip(part.shape, (height, width), strict=True)
    )
    low, high = np.ix_(rows, columns), np.ix_(rows + height, columns + width)
    held = sums[high] - sums[low[0], high[1]] - sums[high[0], low[1]] + sums[low]
    at = np.unravel_index(int(held.argmax()), held.shape)
    top, left = window[0].start + int(rows[at[0]]), window[1].start + int(columns[at[1]])
    return (top, left, height, width), float(held.max())


def _starts(whole: int, side: int, overlap: int) -> tuple[int, ...]:
    """First pixels of parts of one side that cover a length and share at least `overlap`."""
    count = 1 if side >= whole else math.ceil((whole - overlap) / (side - overlap))
    return tuple(round(at) for at in np.linspace(0, whole - side, count))


def _fades(
    starts: tuple[int, ...], side: int, whole: int, margin: int, ramp: int
) -> list[npt.NDArray[np.float64]]:
    """Windows along one axis, (side,) each: 0 within the margin, then rising; they sum to 1 everywhere."""
    at = np.arange(side) + 0.5
    total = np.zeros(whole)
    windows = []
    for start in starts:
        before = at if start > 0 else np.full(side, np.inf)
        behind = at[::-1] if start + side < whole else np.full(side, np.inf)
        inside = np.clip((np.minimum(before, behind) - margin) / ramp, 0.0, 1.0)
        window = np.sin(0.5 * np.pi * inside) ** 2
        windows.append(window)
        total[start : start + side] += window
    return [window / total[start : start + side] for start, window in zip(starts, windows, strict=True)]
