"""One image: from options to a program, and a generator of progress that returns the result."""

from __future__ import annotations

import math
import platform
import time
import traceback
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import napari_vdip
from napari_vdip import arrays, coarse, devices, diagnosis, family, heap, ladder, optics, pace, sharpness
from napari_vdip.core.climbs import REACH, gaussian
from napari_vdip.core.compile import runner
from napari_vdip.core.prior import Sparse
from napari_vdip.core.program import Plan
from napari_vdip.core.smooth import smooth_image
from napari_vdip.draws import kernel_std
from napari_vdip.errors import Diverged, InvalidOption, OutOfMemory, VdipError
from napari_vdip.fitted import Network
from napari_vdip.onnxfit import providers
from napari_vdip.onnxfit.runner import OnnxRunner
from napari_vdip.options import KINDS, PRESETS, Options
from napari_vdip.placement import precision_of
from napari_vdip.result import History, Progress, Result
from napari_vdip.starts import Starts, seed_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    import numpy.typing as npt

    from napari_vdip.core.compile import Runner, Way

    FloatArray = npt.NDArray[np.float32]

STAGES = ("pre-fit", "bound", "SSIM", "fit", "polish", "polish", "kernel", "kernel")
# As often as a result is read out and shown: more often would only cost time.
_CHUNK_SECONDS = 0.5
# From this kernel size on the FFT is the faster way, most of all backwards (docs/benchmarks/levin.md).
_FFT_FROM = 5
_NO_FLOOR = 1e6  # in units where images lie in 0 to 1
# What an estimated kernel leaves unexplained, as a share of the contrast; see `Program.model_error`.
_ESTIMATED = 0.025
_SMOOTH_ERROR = 3.0  # of a smooth first image, see `Program.guess_error`
# What the uncertainty covers besides the noise, for the report.
_OPINIONS = {
    "fitted": "",
    "polished": ", and the difference between the networks' image and the polished one",
    "near": ", and the difference between a smooth first image and the polished one",
}
_SMALLER = (
    "one standard deviation of each pixel of a smaller image, enlarged: under the model with the kernel "
    "held; the kernel's own uncertainty is not in it"
)


@dataclass(frozen=True)
class Setting:
    """What is the same for every slice: chosen once, before anything is computed.

    Attributes
    ----------
    device : torch.device
        Where torch does its part; the processor where ONNX Runtime does the steps.
    kernel_size : tuple of int
        Height and width.
    kernel_size_reason : str
        Why this size.
    kernel : ndarray or None, (Kh, Kw)
        Known kernel, sums to 1.
    kernel_numbers : dict of Number
        What describes the kernel of a family, by name; empty where it is free or given.
    kernel_source : str
        What told it.
    kernel_moved : tuple of ndarray, (Kh, Kw) each
        Kernels of this family one standard deviation away, see `family.Found`.
    keep_network : bool
        Whether a result keeps its network, to be saved as a model.
    near : ndarray or None, (Kh, Kw)
        Kernel found elsewhere, by a fit of another slice or of a crop: no networks, only the polish.
    follow : bool
        Whether the polish moves `near` towards what this image says; off: it is held.
    kernel_only : bool
        Whether the image does not count: with a kernel of a family, no networks are fitted then.
    first : ndarray or None, (Kh, Kw)
        Kernel to start from that the image at half its size has told.
    contrast : float or None
        Contrast of the frame of which this image is a tile, as `contrast_of` tells it; None: its own.
    steepness : float or None
        With `near`: scale of the prior in units of the contrast; None: what `sharpness` tells of this image.
    place : Place or None
        Where ONNX Runtime does the steps; None: torch does them.
    """

    options: Options
    device: torch.device
    way: Way
    kernel_size: tuple[int, int]
    kernel_size_reason: str
    kernel: FloatArray | None
    kernel_numbers: Mapping[str, family.Number] = field(default_factory=dict)
    kernel_source: str = ""
    kernel_moved: tuple[FloatArray, ...] = ()
    keep_network: bool = False
    near: FloatArray | None = None
    follow: bool = False
    kernel_only: bool = False
    first: FloatArray | None = None
    contrast: float | None = None
    steepness: float | None = None
    place: providers.Place | None = None

    @property
    def device_name(self) -> str:
        """Name of the device that does the steps, see `device_named`."""
        return str(self.device) if self.place is None else self.place.name


def plan_of(setting: Setting, channels: int, height: int, width: int) -> Plan:
    """All constants of a program for an image of this size."""
    options = setting.options
    preset = PRESETS[options.preset]
    method = options.method_used
    kernel_height, kernel_width = setting.kernel_size
    prefit, total, polish = preset.schedule(options.iterations, method)
    share = total / preset.iterations
    bound, gap = round(share * preset.bound_steps), round(share * preset.ssim_steps)
    if preset.profile_steps == 0:
        gap = total - bound
    climb, last_climb = pace.climbs_of(options)
    shorter = min(height + kernel_height, width + kernel_width) - 1
    plan = Plan(
        image_channels=channels,
        height=height,
        width=width,
        kernel_height=kernel_height,
        kernel_width=kernel_width,
        by_fft=max(setting.kernel_size) >= _FFT_FROM,
        bfloat16=precision_of(options, setting.device_name) == "bfloat16",
        channels=preset.channels,
        skip_channels=preset.skip_channels,
        outer_channels=preset.outer_channels,
        # Reflection needs 2 px at the last scale, and so does the pooling of a non-local block.
        levels=max(1, min(preset.levels, math.floor(math.log2(shorter)) - 1)),
        nonlocal_from=preset.nonlocal_from,
        prior=method if method in ("sparse", "extreme") else "none",
        variational=method != "dip",
        bound_weight=1e-4 if method == "extreme" else 0.1,
        centre_weight=preset.centre_weight,
        ridge=preset.ridge,
        sparse=Sparse(*KINDS[options.kind].sparse),
        shares=KINDS[options.kind].shares_likeliest if climb > 0 else KINDS[options.kind].shares,
        hold_kernel=setting.kernel is not None and (options.kernel_fixed or options.family_used != "free"),
        image_rate=preset.image_rate,
        kernel_rate=preset.kernel_rate,
        cosine=preset.decay == "cosine",
        prefit=prefit,
        bound=bound,
        ssim=gap,
        profile=total - bound - gap - polish,
        polish=polish,
        climb=climb,
        last_climb=last_climb,
        glass=KINDS[options.kind].glass or 1.0,
    )
    if setting.near is None:
        return plan
    weight = KINDS[options.kind].weight_alone
    # The networks are never asked: the smallest ones take the least memory.
    return plan._replace(
        channels=1,
        skip_channels=1,
        outer_channels=0,
        levels=1,
        nonlocal_from=0,
        shares=KINDS[options.kind].shares,
        sparse=plan.sparse if weight is None else plan.sparse._replace(weight=weight),
        hold_kernel=not setting.follow,
        prefit=0,
        bound=0,
        ssim=0,
        profile=0,
        climb=0,
        last_climb=0,
        polish=polish_steps(options),
    )


def polish_steps(options: Options) -> int:
    """Count the steps of a polish with a kernel from elsewhere: as after a fit, but not shortened with it."""
    return min(PRESETS[options.preset].polish_steps, options.iterations or 1_000_000)


def check_polished(options: Options, asked: str) -> None:
    """Raise InvalidOption unless there is a polish."""
    if not options.polishes:
        raise InvalidOption(
            f"{asked} needs a method and a preset with a polish; preset={options.preset!r} with "
            f"method={options.method_used!r} has none; use preset='balanced' with method='sparse'"
        )


def contrast_of(frame: arrays.Frame) -> float:
    """Contrast of the pixels that take part, in units of `y`."""
    return float(frame.y[frame.weight > 0].std(dtype=np.float64))


def solve(
    plane: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None, setting: Setting, seed: int
) -> Generator[Progress, None, Result]:
    """Deblur one image.

    Parameters
    ----------
    plane : ndarray, (H, W), or (H, W, 3|4) with ``options.rgb``
    mask : ndarray of bool, (H, W), or None
        True: the pixel takes no part.
    setting : Setting
    seed : int
        Seed of this image's random numbers.

    Yields
    ------
    Progress
        After every chunk of steps, about every 0.5 s; a step that takes longer is a chunk. The
        generator may be left at any of them and go on later, in another thread too, without
        a difference in the result: the time in between does not count.

    Returns
    -------
    Result

    Raises
    ------
    VdipError
        Whatever goes wrong, torch's own errors included.
    """
    return (yield from solve_frame(frame_of(plane, mask, setting.options), setting, seed))


def frame_of(plane: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None, options: Options) -> arrays.Frame:
    """Prepare an image as the options say, see `arrays.frame`."""
    poisson, own_error = options.noise == "poisson", KINDS[options.kind].own_error
    return arrays.frame(plane, mask, options.rgb, poisson, options.defects, own_error)


def solve_frame(frame: arrays.Frame, setting: Setting, seed: int) -> Generator[Progress, None, Result]:
    """Deblur one image that is prepared already, as `solve` does."""
    with heap.kept(), _torch_errors(frame.y.shape):
        return (yield from _solved(frame, setting, seed))


def _solved(frame: arrays.Frame, setting: Setting, seed: int) -> Generator[Progress, None, Result]:
    """Do what `solve_frame` promises; what it worked with is gone when it ends."""
    threads = _worthwhile(setting.options.threads, frame)
    started, chunk = time.perf_counter(), 1
    with _threads(1):  # thousands of small questions, which more threads only make slower
        setting = with_steepness(_with_family(setting, frame), frame)
    before = yield from _from_small(frame, setting, seed)
    if before is not None:
        setting = replace(setting, first=before.result.kernel)
        started = time.perf_counter() - before.seconds
    done_before, times = (0, [(0, 0.0)]) if before is None else (before.step, [(0, before.seconds)])
    with _threads(threads):
        fits = _started(frame, setting, seed)
        draws = _draws(fits.program.polish, setting)
    while fits.done < fits.steps:
        stage = STAGES[fits.stage()] + fits.words()
        # The number of threads belongs to torch, not to this fit: it is set only while torch works.
        with _threads(threads):
            fits.run(chunk)
            seconds = time.perf_counter() - started
            a_step = (seconds - times[-1][1]) / (fits.done - times[-1][0])
            chunk = max(1, min(2 * chunk, int(_CHUNK_SECONDS / max(a_step, 1e-6))))
            times.append((fits.done, seconds))
            result = _read_out(fits, frame, setting, seed, times)
        left = time.perf_counter()
        progress = Progress(
            stage=stage,
            step=done_before + fits.done,
            steps=done_before + fits.steps + draws,
            slice_index=0,
            slices=1,
            seconds=seconds,
            seconds_left=(seconds - times[0][1]) / fits.done * (fits.steps - fits.done),
            result=result,
            held=fits.held,
        )
        yield progress
        started += time.perf_counter() - left
    if not np.isfinite(result.image).all():
        raise Diverged("the fit ended without finite values; try another seed, or preset='paper'")
    if draws:
        result = yield from _with_kernel_std(fits, frame, setting, seed, times, progress)
    return result


def _from_small(
    frame: arrays.Frame, setting: Setting, seed: int
) -> Generator[Progress, None, Progress | None]:
    """Look for the kernel in smaller images first, where it is unknown and large.

    Returns
    -------
    Progress or None
        The last one, with the kernel to go on from, and the time and steps of all that was done.
    """
    shape = (frame.y.shape[1], frame.y.shape[2])
    unknown = setting.kernel is None and setting.near is None and setting.options.polishes
    if not unknown or not pace.begins_small(setting.kernel_size, shape):
        return None
    if pace.climbs_first(setting.options):
        return (yield from _from_ladder(frame, setting, seed))
    return (yield from _from_half(frame, setting, seed))


def _from_ladder(frame: arrays.Frame, setting: Setting, seed: int) -> Generator[Progress, None, Progress]:
    """Look for a large kernel by many climbs, see `ladder`."""
    threads, shape = _worthwhile(setting.options.threads, frame), (frame.y.shape[1], frame.y.shape[2])
    own = steps_of(plan_of(setting, *frame.y.shape), setting)
    work = sum(rung.work for rung in pace.rungs(setting.kernel_size, shape))
    climbs = ladder.climb(frame, setting.kernel_size, setting.device, seed)
    course: list[tuple[float, float, float, float]] = []  # energy, misfit, kernel's change, time
    before = np.full(setting.kernel_size, 1.0 / math.prod(setting.kernel_size), dtype=np.float32)
    begun, shown, progress = time.perf_counter(), 0.0, None
    while True:
        with _threads(threads):
            try:
                seen = next(climbs)
            except StopIteration as end:
                assert progress is not None
                return replace(progress, result=replace(progress.result, kernel=end.value))
        seconds = time.perf_counter() - begun
        course.append((seen.energy, seen.misfit, float(np.abs(seen.kernel - before).sum()), seconds))
        before = seen.kernel
        if seconds - shown < _CHUNK_SECONDS and seen.done < seen.steps:
            continue
        columns = np.array(course).T
        history = History(
            steps=np.arange(seen.done),
            objective=columns[0].astype(np.float32),
            misfit=columns[1].astype(np.float32) * np.float32(frame.scale),
            kernel_change=columns[2].astype(np.float32),
            seconds=columns[3],
        )
        image, std = (
            np.stack([coarse.enlarged(plane, shape) for plane in planes]) for planes in (seen.image, seen.std)
        )
        progress = Progress(
            stage=f"kernel in a smaller image, {seen.rung + 1} of {seen.rungs}",
            step=seen.done,
            steps=seen.steps + own,
            slice_index=0,
            slices=1,
            seconds=seconds,
            seconds_left=seconds / seen.share * (1.0 - seen.share + own / work),
            result=Result(
                frame.image(image),
                frame.uncertainty(std),
                centred(seen.kernel)[0],
                history,
                _report(frame, setting, seed, seconds, (seen.done, seen.steps + own), _SMALLER),
            ),
        )
        left = time.perf_counter()
        yield progress
        begun += time.perf_counter() - left
        shown = seconds


def _from_half(frame: arrays.Frame, setting: Setting, seed: int) -> Generator[Progress, None, Progress]:
    """Fit the image at half its size first.

    Where that one begins from nothing, several starts are made, of which the one that explains the
    image best goes on: at this size they cost little, and a wrong kernel is not mended later.
    """
    shape = (frame.y.shape[1], frame.y.shape[2])
    smaller = replace(setting, kernel_size=pace.half_size(setting.kernel_size), keep_network=False)
    smaller = replace(smaller, options=replace(setting.options, preset="fast", kernel_draws=0))
    own = steps_of(plan_of(setting, *frame.y.shape), setting)
    half = coarse.half(frame)
    starts = pace.starts_of(smaller.kernel_size, (half.y.shape[1], half.y.shape[2]))
    best: Progress | None = None
    before, passed = 0, 0.0
    for number in range(starts):
        for progress in solve_frame(half, smaller, seed_of(seed, number)):
            done, seconds = before + progress.step, passed + progress.seconds
            ahead = starts * progress.steps - done
            shown = replace(
                progress,
                stage=f"half the size, {_which(number, starts)}{progress.stage}",
                step=done,
                steps=done + ahead + own,
                seconds=seconds,
                # A step of this one has four times the pixels.
                seconds_left=seconds / done * (ahead + 4 * own),
                result=coarse.doubled(progress.result, shape, setting.kernel_size, setting.options),
            )
            yield shown
        before, passed = done, seconds
        if best is None or shown.result.history.misfit[-1] < best.result.history.misfit[-1]:
            best = shown
    assert best is not None
    return replace(best, step=before, seconds=passed)


def _which(number: int, count: int) -> str:
    return f"start {number + 1} of {count}: " if count > 1 else ""


def _draws(polish: int, setting: Setting) -> int:
    """Count the other kernels to be tried at the end: of one found in this image, by a fit with a polish."""
    wanted = setting.options.kernel_draws
    if polish == 0:
        return 0
    if setting.kernel_moved:
        return min(wanted, len(setting.kernel_moved))
    return wanted if setting.kernel is None and setting.near is None else 0


def _with_kernel_std(
    fits: Starts,
    frame: arrays.Frame,
    setting: Setting,
    seed: int,
    times: list[tuple[int, float]],
    reached: Progress,
) -> Generator[Progress, None, Result]:
    """Add the kernel's own uncertainty to a result; each other kernel counts as a step."""
    threads = _worthwhile(setting.options.threads, frame)
    wanted = _draws(fits.program.polish, setting)
    draws = kernel_std(fits.program, setting.kernel_moved, wanted, seed)
    begun, done = time.perf_counter(), 0
    while done < wanted:
        with _threads(threads):
            try:
                done = next(draws)
            except StopIteration as end:
                done, fits.kernel_std, fits.draws = wanted, end.value, wanted
                times.append((fits.done, reached.seconds + time.perf_counter() - begun))
                reached = replace(reached, result=_read_out(fits, frame, setting, seed, times))
        over = time.perf_counter() - begun
        left = time.perf_counter()
        yield replace(
            reached,
            stage=f"other kernels, {done} of {wanted}",
            step=reached.step + done,
            seconds=reached.seconds + over,
            seconds_left=over / done * (wanted - done),
        )
        begun += time.perf_counter() - left
    return reached.result


def _with_family(setting: Setting, frame: arrays.Frame) -> Setting:
    """Find the kernel where it is one of a family: it is held, also where another one would be followed."""
    name = setting.options.family_used
    if name == "free" or (setting.near is not None and not setting.follow):
        return setting
    known = optics.of_options(setting.options, setting.kernel_size)
    sky = setting.options.kind == "astronomy"
    found = family.fit(frame, name, setting.kernel_size, known, sky, setting.near)
    if setting.near is not None or setting.kernel_only:
        setting = replace(setting, near=found.kernel, follow=False)
    else:
        setting = replace(setting, kernel=found.kernel)
    return replace(
        setting, kernel_numbers=found.numbers, kernel_source=found.source, kernel_moved=found.moved
    )


def with_steepness(setting: Setting, frame: arrays.Frame) -> Setting:
    """Find the scale of the prior where no network is fitted, and it is not known."""
    if setting.near is None or setting.steepness is not None:
        return setting
    contrast = contrast_of(frame) if setting.contrast is None else setting.contrast
    if KINDS[setting.options.kind].sparse[0] == 2:  # second differences go with the blurred image's contrast
        return replace(setting, contrast=contrast, steepness=1.0)
    scale = sharpness.steepness(frame, setting.near, contrast)
    return replace(setting, contrast=contrast, steepness=scale)


def _started(frame: arrays.Frame, setting: Setting, seed: int) -> Starts:
    """Program with its image, at step 0 of the first start."""
    plan = plan_of(setting, *frame.y.shape)
    count = _starts(plan.polish, setting)
    loops = [loop_of(plan, setting) for _ in range(_at_once(count, plan, setting))]
    height, width = setting.kernel_size
    kernel = setting.kernel if setting.near is None else setting.near
    if kernel is None:
        kernel = setting.first
    if kernel is None:
        kernel = np.full((height, width), 1.0 / (height * width), dtype=np.float32)
    data = (frame.y, frame.weight, np.float32(frame.noise_std**2), kernel)

    def begin(program: Any, seed: int) -> None:
        values = (torch.as_tensor(value, device=setting.device) for value in (*data, np.int64(seed)))
        program.start(*values)
        program.floor.fill_(-_NO_FLOOR if frame.floor is None else frame.floor)
        if setting.first is not None and plan.climb > 0:
            _after_ladder(program, frame, setting.first)
        if setting.near is not None:
            _without_networks(program, setting)

    return Starts(loops, begin, seed, count)


def _after_ladder(program: Any, frame: arrays.Frame, kernel: FloatArray) -> None:
    """Let the search go on as the ladder did, from its kernel too."""
    search = program.search
    search.telling.copy_(torch.from_numpy(ladder.telling(frame, (kernel.shape[0], kernel.shape[1]))))
    search.beginning.copy_(torch.from_numpy(kernel))
    search.scales.fill_(ladder.SCALE)
    search.glass.copy_(gaussian(ladder.GLASS, REACH, search.glass))


def _at_once(count: int, plan: Plan, setting: Setting) -> int:
    """Count the starts to be made at once: on a GPU, which one leaves idle, as many as it has memory for."""
    if setting.device.type != "cuda":
        return 1
    canvas = (plan.height + plan.kernel_height - 1) * (plan.width + plan.kernel_width - 1)
    return max(1, min(count, devices.room(str(setting.device), plan.channels, canvas)))


def loop_of(plan: Plan, setting: Setting) -> Runner:
    """Build a program where and how a setting says."""
    # A polish alone is over before a scripted program would be compiled; it is torch's anyway.
    if setting.near is not None:
        return runner(plan, setting.device, "off")
    if setting.place is not None:
        return OnnxRunner(plan, setting.place)
    return runner(plan, setting.device, setting.way)


def _starts(polish: int, setting: Setting) -> int:
    """How many fits a preset makes of one image."""
    return PRESETS[setting.options.preset].starts if polish > 0 and setting.near is None else 1


def steps_of(plan: Plan, setting: Setting) -> int:
    """Count the steps of all starts, and the other kernels at the end."""
    start = plan.prefit + plan.bound + plan.ssim + plan.profile + plan.climb + plan.last_climb + plan.polish
    return _starts(plan.polish, setting) * start + _draws(plan.polish, setting)


def _without_networks(program: Any, setting: Setting) -> None:
    """Put a first image where the networks' would be; a kernel that is held need not be a known one."""
    assert setting.contrast is not None
    assert setting.steepness is not None
    program.contrast.fill_(setting.contrast)
    if setting.kernel is None or not setting.options.kernel_fixed:
        program.model_error = _ESTIMATED
    noise = program.noise_var + (program.model_error * program.contrast).square()
    precision = program.weight.square() / noise
    with torch.no_grad():
        program.mean.copy_(smooth_image(program.y, precision, program.kernel, program.contrast))
    if program.sparse[0] == 2:
        program.guess_error = _SMOOTH_ERROR
    # The noise that the model leaves goes with the contrast, the gradients of the prior with the steepness.
    program.contrast.mul_(setting.steepness)
    program.model_error /= setting.steepness


def _read_out(
    fits: Starts, frame: arrays.Frame, setting: Setting, seed: int, times: list[tuple[int, float]]
) -> Result:
    """Read the result as of now: kernel centred by whole pixels, the image moved against it."""
    done = fits.done
    mean, std, kernel = fits.shown()
    kernel, down, right = centred(kernel)
    height, width = frame.y.shape[1:]
    top, left = kernel.shape[0] // 2 - down, kernel.shape[1] // 2 - right
    window = (slice(None), slice(top, top + height), slice(left, left + width))
    image = frame.image(mean[window])
    uncertainty = frame.uncertainty(std[window])
    if not fits.program.variational:
        uncertainty = np.full_like(image, np.nan)
    log = fits.log()
    history = History(
        steps=np.arange(done),
        objective=log[:, 0].copy(),
        misfit=log[:, 1] * np.float32(frame.scale),
        kernel_change=log[:, 2].copy(),
        seconds=np.interp(fits.turns(), [step for step, _ in times], [at for _, at in times]),
    )
    at = (done, fits.steps)
    report = _report(frame, setting, seed, times[-1][1], at, _covers(fits, setting), fits.draws)
    # A kernel on its way looks odd without being so, and one from elsewhere was judged there.
    if not report["partial"] and (setting.near is None or setting.kernel_only):
        course, told = history.part(fits.last_fit), setting.kernel_numbers
        # Each star shows the whole kernel; the evidence can be misled.
        judged = setting.kernel_source == family.EVIDENCE and "fwhm_long" in told
        axes = (told["fwhm_long"].value, told["fwhm_short"].value) if judged else None
        findings = diagnosis.examine(
            kernel, course, report["noise_std"], setting.options, (height, width), axes
        )
        report["warnings"] += [finding.sentence for finding in findings]
        report["findings"] = [finding.as_dict() for finding in findings]
    network = None
    if setting.keep_network:
        plan = plan_of(setting, *frame.y.shape)
        place = (frame.scale, frame.offset, frame.alpha is not None)
        network = Network.of(fits.program, plan, (top, left), *place)
    return Result(image, uncertainty, kernel, history, report, network)


def centred(kernel: FloatArray) -> tuple[FloatArray, int, int]:
    """Kernel with its centre of mass within half a pixel of its middle.

    Returns
    -------
    kernel : ndarray, (Kh, Kw)
        What leaves the window is dropped; sums to 1.
    down, right : int
        How far the centre of mass was off.
    """
    total = float(kernel.sum())
    if not np.isfinite(total) or total <= 0.0:
        return kernel.copy(), 0, 0
    rows, columns = (np.arange(n) - n // 2 for n in kernel.shape)
    down = round(float(kernel.sum(1) @ rows) / total)
    right = round(float(kernel.sum(0) @ columns) / total)
    padded = np.pad(kernel, [(abs(down),) * 2, (abs(right),) * 2])
    moved = padded[abs(down) + down :, abs(right) + right :][: kernel.shape[0], : kernel.shape[1]]
    return (moved / moved.sum()).astype(np.float32), down, right


def _report(
    frame: arrays.Frame,
    setting: Setting,
    seed: int,
    seconds: float,
    at: tuple[int, int],
    covers: str,
    draws: int = 0,
) -> dict[str, Any]:
    """Tell what was done, JSON-ready; `at`: step reached, of how many."""
    options = setting.options
    preset = PRESETS[options.preset]
    (done, steps), finished = at, at[0] >= at[1]
    return {
        "options": options.as_dict(),
        "seed": seed,
        "device": _device_name(setting),
        "precision": precision_of(options, setting.device_name),
        "compile": _compiled(setting),
        "versions": {
            "napari-vdip": napari_vdip.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            **({} if setting.place is None else {"onnxruntime": providers.runtime().__version__}),
        },
        "method": options.method_used,
        "noise": options.noise,
        "preset": asdict(preset),
        "kernel_size": list(setting.kernel_size),
        "kernel_size_reason": setting.kernel_size_reason,
        "kernel_family": options.family_used,
        "kernel_numbers": {name: asdict(number) for name, number in setting.kernel_numbers.items()},
        "kernel_source": setting.kernel_source,
        "noise_std": frame.noise_std * frame.scale,
        "uncertainty": covers,
        "kernel_draws": draws,
        "steps": done,
        "partial": not finished,
        "seconds": round(seconds, 3),
        "stop_reason": "finished" if finished else f"stopped at step {done} of {steps}",
        "left_out": frame.defects.as_dict(),
        "warnings": list(frame.defects.sentences),
        "findings": [],
    }


def _covers(fits: Starts, setting: Setting) -> str:
    """Say what the uncertainty covers."""
    how = "near" if setting.near is not None else "polished" if fits.program.polish > 0 else "fitted"
    told = f"one standard deviation of each pixel: under the model with the kernel held{_OPINIONS[how]}"
    if _starts(fits.program.polish, setting) > 1:
        told += ", less what the mean over several starts takes away"
    if fits.draws == 0:
        return f"{told}; the kernel's own uncertainty is not in it"
    kinds = "directions of its numbers" if setting.kernel_moved else "refits to drawn data"
    return f"{told}; and the kernel's own, by {fits.draws} {kinds}"


def _compiled(setting: Setting) -> str:
    """Say how the steps were run."""
    if setting.place is not None and setting.near is None:
        return f"onnx: {setting.place.provider}"
    return "cuda graph" if setting.device.type == "cuda" else setting.way


def _device_name(setting: Setting) -> str:
    device = setting.device
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if setting.place is not None and setting.place.name != "onnx:cpu":
        return f"{setting.place.name} ({setting.place.title})"
    name = device if setting.place is None else setting.place.name
    return f"{name} ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"


def _worthwhile(threads: int | None, frame: arrays.Frame) -> int:
    """Count the processor threads to be used of those asked for: fewer where the image is small."""
    return min(threads or torch.get_num_threads(), pace.worth(frame.y.shape[1] * frame.y.shape[2]))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use this many processor threads, and put its own number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _torch_errors(shape: tuple[int, ...]) -> Iterator[None]:
    """Turn torch's RuntimeErrors into ours: napari's workers swallow RuntimeErrors."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate" in text:
            traceback.clear_frames(error.__traceback__)  # else the error holds what did not fit
            raise OutOfMemory(
                f"an image of {shape[-2]} x {shape[-1]} px does not fit into memory; crop it, or use "
                "preset='fast' or another device"
            ) from error
        raise VdipError(f"torch failed during the fit: {text.strip().splitlines()[-1]}") from error
