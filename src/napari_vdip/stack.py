"""Many slices: the plan over the leading axes, their seeds, and the assembly of the results."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_vdip import abreast, arrays, compression, estimate, grid, modes, optics, pace
from napari_vdip.errors import Diverged, InvalidInput, InvalidOption
from napari_vdip.layout import Layout, layout_of
from napari_vdip.placement import placed
from napari_vdip.plan import Setting, check_polished, polish_steps
from napari_vdip.result import History, Progress, Result
from napari_vdip.tiles import solve_frame_or_tiles

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from napari_vdip.options import Options
    from napari_vdip.result import Fitted


def slice_seed(seed: int, index: int) -> int:
    """Seed of a slice: a function of these two alone, whatever the order of the work."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=4).digest(), "little")


def fit(
    image: Any,
    options: Options,
    number: int = 0,
    *,
    kernels: Sequence[npt.NDArray[np.floating]] = (),
    follow: bool = False,
) -> Generator[Progress, None, Result]:
    """Deblur an image or, slice by slice, a stack.

    Parameters
    ----------
    image : array, (..., H, W), or (..., H, W, 3|4) with ``options.rgb``
        Numpy, or anything that is sliced like it (dask, zarr): read one slice at a time.
    options : Options
    number : int
        Of a single image that is a slice of a stack: which one; its seed follows from it.
    kernels : sequence of ndarray, (Kh, Kw)
        Of a single image: kernels of other slices, whose mean it takes; none: it is fitted on its own.
    follow : bool
        Whether that kernel is moved towards what the image says.

    Yields
    ------
    Progress
        About every 0.5 s. Its result covers the whole stack; slices not begun are NaN. The
        arrays of a stack's result go on being filled; those of a single image do not change.

    Returns
    -------
    Result

    Raises
    ------
    VdipError
        Before the first step where options or shapes are wrong. A slice of a stack that cannot
        be deblurred (constant, all NaN) is passed through with a warning instead.
    """
    image = image if hasattr(image, "shape") and hasattr(image, "dtype") else np.asarray(image)
    layout = layout_of(tuple(image.shape), options.rgb, options.channel_axis)
    arrays.check_dtype(np.dtype(image.dtype))
    masks = masks_of(options.mask, layout, options.rgb)
    setting = setting_of(image, layout, masks, options)
    if not layout.leading:
        plane = np.asarray(image)
        if kernels:
            setting = replace(setting, near=modes.mean_kernel(kernels), follow=follow)
        return (yield from solve_frame_or_tiles(plane, masks, setting, slice_seed(options.seed, number)))
    return (yield from _fit_slices(image, layout, masks, setting))


def _fit_slices(
    image: Any, layout: Layout, masks: npt.NDArray[np.bool_] | None, setting: Setting
) -> Generator[Progress, None, Result]:
    """Solve slice after slice, or several at once, into one result."""
    total, started = len(layout.slices), time.perf_counter()
    sheet = Result(
        image=np.full(layout.shape, np.nan, dtype=np.float32),
        uncertainty=np.full(layout.shape, np.nan, dtype=np.float32),
        kernel=np.full((*layout.leading_shape, *setting.kernel_size), np.nan, dtype=np.float32),
        history=History.joined([]),
        report={},
    )
    visits = visits_of(image, layout, masks, setting.options)
    costs = [cost_of(visit, setting.options) for visit in visits]
    parts: dict[int, _Part] = {}
    kernels: dict[int, npt.NDArray[np.float32]] = {}

    def fitted(turn: int) -> Generator[Progress, None, Result]:
        visit, index = visits[turn], layout.slices[visits[turn].number]
        mask = mask_of(masks, layout, index)
        seed = slice_seed(setting.options.seed, visit.number)
        plane, own = np.asarray(image[index]), _own_setting(visit, setting, kernels)
        try:
            part = yield from solve_frame_or_tiles(plane, mask, own, seed)
        except (InvalidInput, Diverged) as error:
            part = untouched(plane, setting.kernel_size, str(error))
        if part.report["steps"] > 0 and (visit.follow or not visit.sources):
            kernels[visit.number] = part.kernel
        elif visit.follow and own.near is not None:  # the next one goes on from before this one
            kernels[visit.number] = own.near
        return part

    turns = [
        abreast.Turn(turn, partial(fitted, turn), bool(visit.sources)) for turn, visit in enumerate(visits)
    ]
    for turn, told in abreast.run(turns, abreast.width(setting.options, layout.spatial_shape)):
        number, index = visits[turn].number, layout.slices[visits[turn].number]
        left = time.perf_counter()
        elapsed = left - started
        if isinstance(told, Progress):
            part, seconds, share = told.result, told.seconds, told.step / told.steps
        else:
            part, seconds, share = told, 0.0, 1.0
        _place(sheet, index, np.unravel_index(number, layout.leading_shape), part)
        parts.setdefault(turn, _Part(number, elapsed - seconds)).take(part, share)
        if isinstance(told, Progress):
            step, steps, share = _overall(costs, {turn: part.share for turn, part in parts.items()})
            yield replace(
                told,
                step=step,
                steps=steps,
                slice_index=number,
                slices=total,
                seconds=elapsed,
                seconds_left=elapsed / share - elapsed,
                result=_assembled(sheet, parts, visits),
            )
            started += time.perf_counter() - left  # the fit may have been left meanwhile
    if all(part.report["steps"] == 0 for part in parts.values()):
        raise InvalidInput(f"no slice can be deblurred; the first one: {parts[0].report['stop_reason']}")
    return _assembled(sheet, parts, visits)


class _Part:
    """What is kept of a slice's turn, beyond the pixels: they are in the stack's arrays."""

    def __init__(self, number: int, begun: float) -> None:
        self.number, self.begun, self.share = number, begun, 0.0
        self.history = History.joined([])
        self.report: dict[str, Any] = {}
        self.fitted: Fitted | None = None

    def take(self, result: Result, share: float) -> None:
        """Take in how far it is: which share of the steps is done."""
        self.history, self.report, self.fitted, self.share = (
            result.history,
            result.report,
            result.fitted,
            share,
        )


def visits_of(
    image: Any, layout: Layout, masks: npt.NDArray[np.bool_] | None, options: Options
) -> list[modes.Visit]:
    """Order of the slices, by the kernel mode; it is the same whenever it is asked for."""
    count = len(layout.slices)
    if options.kernel_mode == "each" or holds_kernel(options):
        return [modes.Visit(number) for number in range(count)]
    scores = [-1.0] * count
    visits: list[modes.Visit] = []
    for group in modes.groups(layout, options.channel_axis):
        for number in modes.looked_at(group):
            scores[number] = modes.telling(*_grey(image, layout, masks, layout.slices[number], options.rgb))
        if options.kernel_mode == "shared":
            visits += modes.shared(group, scores)
        else:
            visits += modes.warm(group, scores, layout.leading_shape)
    return visits


def holds_kernel(options: Options) -> bool:
    """Whether the user holds the kernel: nothing is to be estimated."""
    return options.kernel is not None and options.kernel_fixed


def _own_setting(
    visit: modes.Visit, setting: Setting, kernels: dict[int, npt.NDArray[np.float32]]
) -> Setting:
    """Make the setting of one turn: with the kernel from elsewhere if there is one."""
    if holds_kernel(setting.options) and setting.options.kernel_mode != "each":
        return replace(setting, near=setting.kernel)
    found = [kernels[number] for number in visit.sources if number in kernels]
    return replace(setting, near=modes.mean_kernel(found), follow=visit.follow) if found else setting


def cost_of(visit: modes.Visit, options: Options) -> tuple[int, float]:
    """Count the steps of a turn, and tell their time in steps of a fit."""
    if visit.sources or (holds_kernel(options) and options.kernel_mode != "each"):
        draws = pace.draws_of(options) if visit.follow and options.family_used != "free" else 0
        steps, time_ = polish_steps(options), polish_steps(options) * pace.POLISH_COST
    else:
        draws = pace.draws_of(options)
        steps, time_ = pace.steps_of(options), float(pace.steps_of(options))
    return steps + draws, time_ + draws * pace.DRAW_COST


def _overall(costs: list[tuple[int, float]], shares: Mapping[int, float]) -> tuple[int, int, float]:
    """Tell the steps done and planned over all turns, and the share of the time that is over.

    Parameters
    ----------
    costs : list of (int, float)
        Of each turn, see `cost_of`.
    shares : mapping of int to float
        How much of each turn is done; nothing of those that are not in it.
    """
    step = sum(int(share * costs[turn][0] + 1e-6) for turn, share in shares.items())
    over = sum(share * costs[turn][1] for turn, share in shares.items())
    return max(step, 1), sum(cost[0] for cost in costs), over / sum(cost[1] for cost in costs)


def _place(sheet: Result, index: tuple[int | slice, ...], at: tuple[Any, ...], part: Result) -> None:
    """Write a slice's result into the stack's."""
    sheet.image[index] = part.image
    sheet.uncertainty[index] = part.uncertainty
    sheet.kernel[at] = part.kernel


def untouched(plane: npt.NDArray[Any], kernel_size: tuple[int, int], reason: str) -> Result:
    """Make the result of a slice that cannot be deblurred: the slice itself, its uncertainty unknown."""
    image = plane.astype(np.float32)
    kernel = np.zeros(kernel_size, dtype=np.float32)
    kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = 1.0
    report = {"steps": 0, "seconds": 0.0, "stop_reason": reason, "findings": []}
    report["warnings"] = [f"left as it was: {reason}"]
    return Result(image, np.full_like(image, np.nan), kernel, History.joined([]), report)


def _assembled(sheet: Result, turns: Mapping[int, _Part], visits: list[modes.Visit]) -> Result:
    """Stack's result from the turns so far."""
    parts = [(turn, turns[turn]) for turn in sorted(turns) if turns[turn].report]
    latest = {part.number: part.report for _, part in parts}
    final = {visit.number: turn for turn, visit in enumerate(visits)}
    done = sum(not part.report.get("partial", False) and final[part.number] == turn for turn, part in parts)
    total = len(final)
    report = joined_report(dict(sorted(latest.items())), total) | {
        "steps": sum(part.report["steps"] for _, part in parts),
        "partial": done < total,
        "seconds": round(sum(part.report["seconds"] for _, part in parts), 3),
        "stop_reason": "finished" if done == total else f"stopped with {done} of {total} slices done",
        "kernel_from": sorted({visit.number for visit in visits if not visit.sources}),
    }
    history = History.joined([(part.begun, part.history) for _, part in parts])
    # Kept of a single slice only, see `setting_of`.
    return replace(sheet, history=history, report=report, fitted=parts[0][1].fitted)


def joined_report(reports: Mapping[int, dict[str, Any]], total: int) -> dict[str, Any]:
    """Make the report of a stack of `total` slices from those of some of them, by number."""
    told = list(reports.values())
    base = next((report for report in told if report["steps"] > 0), told[0])
    done = sum(report["stop_reason"] == "finished" or report["steps"] == 0 for report in told)
    return base | {
        "steps": sum(report["steps"] for report in told),
        "partial": done < total,
        "seconds": round(sum(report["seconds"] for report in told), 3),
        "stop_reason": "finished" if done == total else f"stopped with {done} of {total} slices done",
        "warnings": [
            f"slice {number}: {text}" for number, report in reports.items() for text in report["warnings"]
        ],
        "findings": [
            finding | {"slice": number}
            for number, report in reports.items()
            for finding in report["findings"]
        ],
        "slices": [
            {"slice": number}
            | {name: report[name] for name in ("steps", "seconds", "stop_reason", "warnings")}
            for number, report in reports.items()
        ],
    }


def masks_of(mask: Any, layout: Layout, rgb: bool) -> npt.NDArray[np.bool_] | None:
    """Mask as booleans, of the spatial shape or of the image's without colours.

    Raises
    ------
    InvalidInput
        If it is of another shape or no mask at all.
    """
    if mask is None:
        return None
    mask = np.asarray(mask)
    whole = layout.shape[:-1] if rgb else layout.shape
    if mask.shape not in (layout.spatial_shape, whole):
        raise InvalidInput(
            f"the mask has shape {mask.shape}; expected {layout.spatial_shape}"
            + (f" or {whole}" if whole != layout.spatial_shape else "")
        )
    if mask.dtype.kind not in "bui":
        raise InvalidInput(
            f"the mask has data type {mask.dtype}; expected booleans, True where a pixel takes no part"
        )
    marked: npt.NDArray[np.bool_] = np.not_equal(mask, 0)
    return marked


def mask_of(
    masks: npt.NDArray[np.bool_] | None, layout: Layout, index: tuple[int | slice, ...]
) -> npt.NDArray[np.bool_] | None:
    """Mask of one slice."""
    if masks is None or masks.shape == layout.spatial_shape:
        return masks
    part: npt.NDArray[np.bool_] = masks[index[: masks.ndim]]
    return part


def setting_of(image: Any, layout: Layout, masks: npt.NDArray[np.bool_] | None, options: Options) -> Setting:
    """Choose what holds for all slices; the kernel size from the middle slice where it is "auto"."""
    grid.check(options, stacked=bool(layout.leading))
    device, way, place = placed(options)
    if layout.leading and options.kernel_mode != "each":
        check_polished(options, f"kernel_mode={options.kernel_mode!r}")
    kernel = None if options.kernel is None else known_kernel(options.kernel)
    if kernel is not None:
        size, reason = kernel.shape, "the size of the known kernel"
        if options.kernel_size not in ("auto", size, size[0] if size[0] == size[1] else size):
            raise InvalidOption(
                f"kernel_size={options.kernel_size!r}, but the known kernel has shape {size}; "
                "leave kernel_size at 'auto'"
            )
    elif options.kernel_size == "auto":
        index = layout.slices[len(layout.slices) // 2]
        rounding = compression.rounding(np.asarray(image[index]), options.rgb)
        estimated = estimate.kernel_size(*_grey(image, layout, masks, index, options.rgb), rounding)
        size, reason = estimated.size, estimated.reason
    else:
        given = options.kernel_size
        size = given if isinstance(given, tuple) else (given, given)
        reason = "given"
    height, width = layout.spatial_shape
    if size[0] > height or size[1] > width:
        raise InvalidInput(
            f"the image is {height} x {width} px, smaller than the kernel of {size[0]} x {size[1]} px; "
            "use a larger image or a smaller kernel_size"
        )
    if min(height + size[0], width + size[1]) < 9:
        raise InvalidInput(f"the image is {height} x {width} px; expected at least 8 px either way")
    optics.of_options(options, (size[0], size[1]))  # what is wrong with it is told before the first step
    # The networks of many slices would fill the memory.
    single = len(layout.slices) == 1
    kernel_size = (size[0], size[1])
    return Setting(options, device, way, kernel_size, reason, kernel, keep_network=single, place=place)


def _grey(
    image: Any, layout: Layout, masks: npt.NDArray[np.bool_] | None, index: tuple[int | slice, ...], rgb: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """One slice as a grey image, and which of its pixels take part."""
    return modes.grey(np.asarray(image[index]), mask_of(masks, layout, index), rgb)


def known_kernel(kernel: Any) -> npt.NDArray[np.float32]:
    """Check a kernel and scale it to the sum 1.

    Raises
    ------
    InvalidInput
        If it is not 2-D with odd sides, or has negative, NaN or no positive values.
    """
    kernel = np.asarray(kernel)
    if kernel.ndim != 2 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0 or min(kernel.shape) < 3:
        raise InvalidInput(
            f"the kernel has shape {kernel.shape}; expected two axes of odd length, 3 or more; "
            "crop or pad it so that its centre is a pixel"
        )
    arrays.check_dtype(kernel.dtype)
    kernel = kernel.astype(np.float64)
    if not np.isfinite(kernel).all() or kernel.min() < 0.0 or kernel.sum() <= 0.0:
        raise InvalidInput(
            f"the kernel has values from {kernel.min():g} to {kernel.max():g}; expected finite ones, none "
            "negative, some positive; subtract its background and clip it at 0"
        )
    unit: npt.NDArray[np.float32] = (kernel / kernel.sum()).astype(np.float32)
    return unit
