"""How long a fit will take: steps, pixels, and the speed of the fits before. Standard library only.

A step costs about as much for each pixel, so a speed is told in seconds for a step and a pixel.
It depends on preset, device and number of threads; what a fit took is the next one's estimate.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_vdip.layout import Layout, layout_of
from napari_vdip.options import KINDS, PRESETS, Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_vdip.result import Result

    Size = tuple[int, int]

# Seconds for a step and a pixel on four idle processor cores (docs/benchmarks/levin.md, 255 px: 78 ms, less
# a third since the networks are narrow at full size, and 0.49 s a step). Nothing is measured for other
# devices: no guess for them.
_FIRST_GUESS = {"fast": 0.8e-6, "balanced": 0.8e-6, "best": 0.8e-6, "paper": 7.5e-6}
_GUESSED_CORES = 4
_PIXELS_A_THREAD = 64 * 64  # with fewer, threads wait for one another for longer than they work
# Time of a step of the polish, of three climbs to the likeliest kernel, of one, of another kernel tried at
# the end, and of a question to the evidence, in steps of a fit (docs/benchmarks/stacks.md, levin.md).
POLISH_COST = 0.4
CLIMBS_COST = 1.0
CLIMB_COST = 0.42
DRAW_COST = 5.0
_QUESTION = 2.4
# Questions of ten rounds: a kernel of a family on its own, and near its neighbour's, where three rounds do;
# and about the scale of the prior where no network is fitted. They are asked about so many pixels at most.
_FAMILY = {"free": 0, "gaussian": 26, "moffat": 35, "pupil": 40}
_ON_A_GRID = 76  # an instrument whose cutoff is known, without air that is not
_NEAR = {"free": 0, "gaussian": 11, "moffat": 15, "pupil": 15}
_SCALE = 4
_ASKED = 192 * 192
# How a frame is cut where nothing else is said: fitted whole up to so many pixels, else the kernel from a
# crop of this side, then tiles of this side, which share a part of their pixels.
WHOLE = 1024 * 1024
CROP = 512
TILE = 1024
_SHARED_PIXELS = 1.2
_LEAST_STEPS = 100  # a shorter fit is mostly start-up
LARGEST = 27  # px: the largest kernel that is looked for from nothing, see `coarse`
_LEAST_SIDE = 96  # px: a smaller image has too little left at half its size
_COARSE_STARTS = 3
# Where a large kernel is looked for by many climbs, see `ladder`: size in px at which they begin, how much
# larger each rung is at most, and the steps of each. Rungs have as many climbs as this work for each pixel
# allows, in steps of a fit, the first and the others up to half the size, between these numbers; above it
# they have few. After these parts of the first one's steps such a share goes on. A step of a climb there
# takes longer for each pixel than in the search at full size: small images have wide borders.
_BEGUN_AT = 15
_RUNG = 1.3
_FIRST_WORK, _RUNG_WORK = 150.0, 24.0
_RUNG_COST = 0.65
_LEAST_CLIMBS, _MOST_CLIMBS = 14, 144
_GO_ON = ((0.7, 1.0), (0.3, 1 / 3))
_LEAST_KEPT = 6
_ABOVE_HALF = ((0.75, 2), (1.0, 1))
_FIRST_RUNG_STEPS = 50
_RUNG_STEPS = 36
# Smaller kernels, from this size on: at one size, with few climbs.
_LEAST_KERNEL = 9
_USUAL = 17  # px: a kernel whose size is not known yet
_ONE_RUNG = 0.6
_FEW_CLIMBS = (14,) * 10 + (5,) * 10 + (3,) * 16


def half_size(kernel_size: Size) -> Size:
    """Odd size of a kernel in the image at half its size, with no less room than before."""
    height, width = (max(3, (size + 1) // 2 | 1) for size in kernel_size)
    return height, width


def begins_small(kernel_size: Size, shape: Size) -> bool:
    """Whether an unknown kernel of this size is looked for at half the size first."""
    return max(kernel_size) > LARGEST and min(shape) >= _LEAST_SIDE


def has_ladder(kernel_size: Size, shape: Size) -> bool:
    """Whether an unknown kernel of this size is looked for by climbs in smaller images."""
    return max(kernel_size) >= _LEAST_KERNEL and min(shape) >= _LEAST_SIDE


def starts_of(kernel_size: Size, shape: Size) -> int:
    """How many starts look for an unknown kernel at a reduced size: several from nothing."""
    return 1 if begins_small(kernel_size, shape) else _COARSE_STARTS


def work_of_halves(kernel_size: Size, shape: Size) -> float:
    """Work of the fits at half the size and less, in fits of the preset ``fast`` at full size."""
    if not begins_small(kernel_size, shape):
        return 0.0
    kernel_size, shape = half_size(kernel_size), (-(-shape[0] // 2), -(-shape[1] // 2))
    return 0.25 * (starts_of(kernel_size, shape) + work_of_halves(kernel_size, shape))


@dataclass(frozen=True)
class Rung:
    """A size at which kernels climb, see `ladder`.

    Attributes
    ----------
    factor : float
        Size in that of the whole.
    shape, kernel_size : (int, int)
    climbs : tuple of int
        How many go up in each step, at most.
    """

    factor: float
    shape: Size
    kernel_size: Size
    climbs: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Count the steps."""
        return len(self.climbs)

    @property
    def work(self) -> float:
        """Work for each pixel of the whole, in steps of a fit."""
        return self.work_of(self.steps)

    def work_of(self, steps: int) -> float:
        """Work of the first steps."""
        return sum(self.climbs[:steps]) * self.factor**2 * _RUNG_COST


def rungs(kernel_size: Size, shape: Size) -> list[Rung]:
    """Sizes at which a kernel is looked for, smallest first; for a large one the last is the whole."""
    if max(kernel_size) <= LARGEST:
        return [_rung(_ONE_RUNG, kernel_size, shape, _FEW_CLIMBS)]
    first = min(0.5, max(_BEGUN_AT / max(kernel_size), 0.5 * _LEAST_SIDE / min(shape)))
    ways = math.ceil(math.log(0.5 / first) / math.log(_RUNG) - 0.3)
    up_to_half = [0.5 * (2 * first) ** (way / ways) if ways else 0.5 for way in range(ways, -1, -1)]
    sizes = [*((factor, _kept(factor)) for factor in up_to_half), *_ABOVE_HALF]
    found = [_rung(factor, kernel_size, shape, (climbs,) * _RUNG_STEPS) for factor, climbs in sizes]
    thousand = replace(found[0], climbs=_fewer_and_fewer(1000))
    many = min(_MOST_CLIMBS, max(_LEAST_CLIMBS, round(1000 * _FIRST_WORK / thousand.work)))
    return [replace(found[0], climbs=_fewer_and_fewer(many)), *found[1:]]


def _rung(factor: float, kernel_size: Size, shape: Size, climbs: tuple[int, ...]) -> Rung:
    """Rung for an image and a kernel of these whole sizes."""
    height, width = (max(5, math.ceil(size * factor) | 1) for size in kernel_size)
    return Rung(factor, (round(shape[0] * factor), round(shape[1] * factor)), (height, width), climbs)


def _kept(factor: float) -> int:
    """How many climbs go up at this size, after the first rung."""
    return max(_LEAST_KEPT, round(_RUNG_WORK / (_RUNG_STEPS * factor**2 * _RUNG_COST)))


def _fewer_and_fewer(climbs: int) -> tuple[int, ...]:
    """How many of so many go up in each step of the first rung."""
    counts: list[int] = []
    for part, share in _GO_ON:
        counts += [max(_LEAST_KEPT, round(share * climbs))] * round(part * _FIRST_RUNG_STEPS)
    return tuple(counts)


def climbs_first(options: Options) -> bool:
    """Whether a kernel is looked for by climbs first, as it is where a fit's own kernel is searched."""
    return climbs_of(options) != (0, 0)


def steps_of(options: Options) -> int:
    """Count the steps for one image: of all starts, pre-fit, search and polish included."""
    preset = PRESETS[options.preset]
    prefit, total, polish = preset.schedule(options.iterations, options.method_used)
    return (prefit + total + sum(climbs_of(options))) * (preset.starts if polish > 0 else 1)


def climbs_of(options: Options) -> tuple[int, int]:
    """Count the steps of three climbs to the likeliest kernel, and of the last; a shorter run has none."""
    preset, kind = PRESETS[options.preset], KINDS[options.kind]
    held = options.kernel is not None and options.kernel_fixed
    if held or options.family_used != "free" or kind.glass is None or not options.polishes:
        return 0, 0
    climbs, climb = preset.climb_steps, preset.last_climb_steps
    short = options.iterations is not None and options.iterations < 3 * climbs + climb
    return (0, 0) if short else (climbs, climb)


def _weighed(options: Options) -> float:
    """Count the steps of `steps_of`, those of the climbs by what they cost."""
    climbs, climb = climbs_of(options)
    more = (CLIMBS_COST - 1) * climbs + (CLIMB_COST - 1) * climb
    return steps_of(options) + more * PRESETS[options.preset].starts


def draws_of(options: Options) -> int:
    """Count the other kernels that are tried at the end of a fit which finds its kernel."""
    return options.kernel_draws if options.polishes and options.kernel is None else 0


def worth(pixels: int) -> int:
    """Count the processor threads that a fit of so many pixels is worth."""
    return max(1, round(pixels / _PIXELS_A_THREAD))


def _used(threads: int | None, pixels: int) -> int | None:
    """Count the threads that are used of those asked for; None: all there are."""
    if threads is None and worth(pixels) >= (os.cpu_count() or 1):
        return None
    return min(threads or worth(pixels), worth(pixels))


def key_of(preset: str, device: str, threads: int | None) -> str:
    """Name under which a speed is kept.

    Parameters
    ----------
    preset : str
    device : str
        ``cpu``, ``cuda:0``, ``onnx:dml``, ...
    threads : int or None
        Counts on the CPU only.
    """
    return f"{preset} {device}" + (f" {threads}" if device in ("cpu", "onnx:cpu") and threads else "")


def estimate(
    shape: tuple[int, ...], options: Options, device: str, speeds: Mapping[str, float]
) -> float | None:
    """Seconds that a fit will take, or None where nothing is known about the device.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image, all its slices included.
    options : Options
    device : str
        The device that will be used: ``cpu``, ``cuda:0``, ...
    speeds : mapping
        Seconds for a step and a pixel by `key_of`, as `measured` gives them.

    Raises
    ------
    VdipError
        If the image cannot have this shape.
    """
    layout = layout_of(tuple(shape), options.rgb, options.channel_axis)
    threads = _used(options.threads, math.prod(layout.spatial_shape))
    speed = speeds.get(key_of(options.preset, device, threads))
    if speed is None and device == "cpu":
        guessed = min(threads or _GUESSED_CORES, _GUESSED_CORES)
        speed = _FIRST_GUESS[options.preset] * _GUESSED_CORES / guessed
    if speed is None:
        return None
    return _work(layout, options) * speed


def _work(layout: Layout, options: Options) -> float:
    """Add up steps times pixels over all slices; all else at what it costs in steps."""
    slices = math.prod(layout.leading_shape)
    if slices == 1 or options.kernel_mode == "each":
        return slices * _frame_work(layout.spatial_shape, options)
    groups = 1 if options.channel_axis is None else layout.shape[options.channel_axis]
    warm = options.kernel_mode == "warm"
    fits = groups * (1 if warm else fitted(slices // groups))
    near = slices - fits if warm or fits == groups else slices
    if options.kernel is not None and options.kernel_fixed:
        fits, near = 0, slices
    pixels = math.prod(layout.spatial_shape)
    return fits * _frame_work(layout.spatial_shape, options) + near * _near_work(pixels, options, warm)


def _frame_work(shape: Size, options: Options) -> float:
    """Work for an image of which nothing is known: fitted whole, or by crops and tiles."""
    pixels = math.prod(shape)
    kernels = _kernels(options)
    cut = pixels > WHOLE if options.tile is None else options.tile < max(shape)
    if not (cut or kernels > 1) or not options.polishes:
        return _fit_work(shape, options)
    side = CROP if options.tile is None or kernels > 1 else options.tile
    crop = (min(shape[0], side), min(shape[1], side))
    known = options.kernel is not None and options.kernel_fixed
    fits = 0.0 if known else kernels * _kernel_work(crop, options)
    return fits + _near_work(pixels, options, follow=False, share=_SHARED_PIXELS)


def _kernels(options: Options) -> int:
    """Count the kernels of a frame."""
    grid = options.kernel_grid or 1
    return grid[0] * grid[1] if isinstance(grid, tuple) else grid * grid


def _fit_work(shape: Size, options: Options) -> float:
    """Work for a fit, all that comes before it included: reduced sizes, the search for a family's kernel."""
    pixels, halves = math.prod(shape), 0.0
    if options.kernel is None:
        size = _USUAL if options.kernel_size == "auto" else options.kernel_size
        size = (size, size) if isinstance(size, int) else size
        halves = _steps_at_halves(size, shape, options.as_dict())
    questions = _questions(options.family_used, options.as_dict()) * _QUESTION * min(pixels, _ASKED)
    draws = draws_of(options) * DRAW_COST
    return (_weighed(options) + halves + draws) * pixels + questions


def _kernel_work(shape: Size, options: Options) -> float:
    """Work for the kernel of a crop whose image does not count: one of a family needs no networks."""
    if options.family_used == "free":
        return _fit_work(shape, options)
    pixels = math.prod(shape)
    asked = _questions(options.family_used, options.as_dict()) * _QUESTION * min(pixels, _ASKED)
    return asked + _near_work(pixels, options, follow=False)


def _questions(family: str, options: Mapping[str, Any]) -> int:
    """Count the questions to the evidence, in those of ten rounds, for a kernel of a family on its own."""
    still = options["numerical_aperture"] is not None or options["fried_parameter"] is not None
    return _ON_A_GRID if family == "pupil" and still else _FAMILY[family]


def _near_work(pixels: int, options: Options, follow: bool, share: float = 1.0) -> float:
    """Work for an image with a kernel from elsewhere; `share`: of the pixels of its tiles in its own."""
    scales = _SCALE if KINDS[options.kind].sparse[0] == 1 else 0
    questions = scales + (_NEAR[options.family_used] if follow else 0)
    polish = PRESETS[options.preset].polish_steps * POLISH_COST
    return share * polish * pixels + questions * _QUESTION * min(pixels, _ASKED)


def _steps_at_halves(kernel_size: Size, shape: Size, options: Mapping[str, Any]) -> float:
    """Work of looking for a kernel at reduced sizes, in steps at full size."""
    chosen = _chosen(options)
    if not chosen.polishes or chosen.family_used != "free":
        return 0.0
    if climbs_first(chosen):
        climbed = rungs(kernel_size, shape) if has_ladder(kernel_size, shape) else []
        return sum(rung.work for rung in climbed)
    return work_of_halves(kernel_size, shape) * _weighed(Options.from_keywords(chosen, preset="fast"))


def _chosen(options: Mapping[str, Any]) -> Options:
    """Options that decide on the steps of a fit, of those as a report has them."""
    names = ("preset", "method", "kind", "kernel_family", "iterations")
    return Options(**{name: options[name] for name in names})


def fitted(slices: int) -> int:
    """Count the slices of a stack whose own fits make a shared kernel: a tenth, from 1 to 3."""
    return min(3, max(1, slices // 10))


def in_words(seconds: float) -> str:
    """Say an estimate no more precisely than it is: ``40 s``, ``7 min``, ``2.5 h``."""
    if seconds < 55:
        return f"{max(5, round(seconds / 5) * 5)} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"


def measured(result: Result) -> dict[str, float]:
    """Speed of a fit that was made, by `key_of`; empty where it was too short to tell."""
    report: dict[str, Any] = result.report
    if report["steps"] < _LEAST_STEPS or report["seconds"] <= 0:
        return {}
    options = report["options"]
    if options["kernel_mode"] != "each" or "tiles" in report:  # steps of another cost are among them
        return {}
    layout = layout_of(result.image.shape, options["rgb"], options["channel_axis"])
    pixels = math.prod(layout.spatial_shape)
    key = key_of(options["preset"], report["device"].split()[0], _used(options["threads"], pixels))
    slices = len(report.get("slices", [0]))
    steps = report["steps"] + slices * report.get("kernel_draws", 0) * DRAW_COST
    if options["kernel"] is None:
        height, width = report["kernel_size"]
        halves = _steps_at_halves((height, width), layout.spatial_shape, options)
        steps += slices * halves
    if options["kernel"] is None or not options["kernel_fixed"]:
        chosen = _chosen(options)
        steps -= slices * (steps_of(chosen) - _weighed(chosen))
    questions = slices * _questions(report.get("kernel_family", "free"), options)
    return {key: report["seconds"] / (steps * pixels + questions * _QUESTION * min(pixels, _ASKED))}
