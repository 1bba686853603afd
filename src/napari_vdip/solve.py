"""One image: a generator of progress that returns the result."""

from __future__ import annotations

import math
import time
import traceback
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_vdip import arrays, devices, diagnosis, family, heap, ladder, optics, pace, sharpness
from napari_vdip.core.climbs import REACH, gaussian
from napari_vdip.core.compile import runner
from napari_vdip.core.smooth import smooth_image
from napari_vdip.draws import kernel_std
from napari_vdip.errors import Diverged, OutOfMemory, VdipError
from napari_vdip.fitted import Network
from napari_vdip.onnxfit.runner import OnnxRunner
from napari_vdip.options import KINDS, Options
from napari_vdip.placement import threads_of, torch_threads
from napari_vdip.plan import SHOWN_EVERY, draws_of, plan_of, starts_of
from napari_vdip.psf import centred
from napari_vdip.report import covers, report_of
from napari_vdip.result import History, Progress, Result
from napari_vdip.smaller import from_small
from napari_vdip.starts import Starts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import numpy.typing as npt

    from napari_vdip.core.compile import Runner
    from napari_vdip.core.program import Plan
    from napari_vdip.plan import Setting

    FloatArray = npt.NDArray[np.float32]

STAGES = ("pre-fit", "bound", "SSIM", "fit", "polish", "polish", "kernel", "kernel", "polish")
_NETWORKS = STAGES[:4]
# Share of the contrast that networks explain when their image is as sharp as that of the ladder before them.
_SHARP = 0.1
_TOLD_BEFORE = 20  # steps as which the speed of smaller images counts: the first ones are slow
_NO_FLOOR = 1e6  # in units where images lie in 0 to 1
# What an estimated kernel leaves unexplained, as a share of the contrast; see `Program.model_error`.
_ESTIMATED = 0.025
_SMOOTH_ERROR = 3.0  # of a smooth first image, see `Program.guess_error`


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
    threads = threads_of(setting.options.threads, frame)
    started, chunk = time.perf_counter(), 1
    with torch_threads(1):  # thousands of small questions, which more threads only make slower
        setting = with_steepness(_with_family(setting, frame), frame)
    before = yield from from_small(frame, setting, seed, solve_frame)
    if before is not None:
        setting = _gone_on_from(before.result.kernel, setting)
        started = time.perf_counter() - before.seconds
    done_before, times = (0, [(0, 0.0)]) if before is None else (before.step, [(0, before.seconds)])
    with torch_threads(threads):
        fits = _started(frame, setting, seed)
        draws = draws_of(fits.program.polish, setting)
    clock: list[tuple[float, float]] = []  # work done, and when
    behind, sharp = before is not None, _SHARP * contrast_of(frame) * frame.scale
    while fits.done < fits.steps:
        at, words = STAGES[fits.stage()], fits.words()
        # The number of threads belongs to torch, not to this fit: it is set only while torch works.
        with torch_threads(threads):
            fits.run(chunk)
            seconds = time.perf_counter() - started
            a_step = (seconds - times[-1][1]) / (fits.done - times[-1][0])
            chunk = max(1, min(2 * chunk, int(SHOWN_EVERY / max(a_step, 1e-6))))
            times.append((fits.done, seconds))
            result = _read_out(fits, frame, setting, seed, times, done_before)
        clock.append((fits.work()[0], seconds))
        left = time.perf_counter()
        # Networks begin with noise, and what came before them is sharp.
        behind = behind and at in _NETWORKS and result.history.misfit[-1] > sharp
        progress = Progress(
            stage=at + words,
            step=done_before + fits.done,
            steps=done_before + fits.steps + draws,
            slice_index=0,
            slices=1,
            seconds=seconds,
            seconds_left=_seconds_left(clock, fits.work()[1] + draws * pace.DRAW_COST, before),
            result=_with_image_of(before.result, result) if before and behind else result,
            held=fits.held,
        )
        yield progress
        started += time.perf_counter() - left
    if not np.isfinite(result.image).all():
        raise Diverged("the fit ended without finite values; try another seed, or preset='paper'")
    if draws:
        result = yield from _with_kernel_std(fits, frame, setting, seed, times, progress)
    return result


def _seconds_left(clock: list[tuple[float, float]], work: float, before: Progress | None) -> float:
    """Estimate the time still needed, in s; NaN where nothing tells it yet.

    The first steps take longer than others, as memory is asked for and much is done for the first time.

    Parameters
    ----------
    clock : list of (float, float)
        Work done so far, after each chunk, and seconds then.
    work : float
        All of it.
    before : Progress or None
        The last one in smaller images.
    """
    (first, begun), (done, seconds) = clock[0], clock[-1]
    steps, took = done - first, seconds - begun
    if before is not None:
        steps, took = steps + _TOLD_BEFORE, took + _TOLD_BEFORE * before.seconds_left / work
    return took / steps * (work - done) if steps > 0 else math.nan


def _with_kernel_std(
    fits: Starts,
    frame: arrays.Frame,
    setting: Setting,
    seed: int,
    times: list[tuple[int, float]],
    reached: Progress,
) -> Generator[Progress, None, Result]:
    """Add the kernel's own uncertainty to a result; each other kernel counts as a step."""
    threads = threads_of(setting.options.threads, frame)
    wanted = draws_of(fits.program.polish, setting)
    draws = kernel_std(fits.program, setting.kernel_moved, wanted, seed)
    begun, done = time.perf_counter(), 0
    while done < wanted:
        with torch_threads(threads):
            try:
                done = next(draws)
            except StopIteration as end:
                done, fits.kernel_std, fits.draws = wanted, end.value, wanted
                times.append((fits.done, reached.seconds + time.perf_counter() - begun))
                result = _read_out(fits, frame, setting, seed, times, reached.step - fits.done)
                reached = replace(reached, result=result)
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
    count = starts_of(plan.polish, setting)
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
        if setting.beginning is not None and plan.climb > 0:
            _after_ladder(program, frame, setting.beginning)
        if setting.near is not None:
            _without_networks(program, setting)

    return Starts(loops, begin, seed, count)


def _with_image_of(smaller: Result, result: Result) -> Result:
    """Show what smaller images have told, as far as a fit has come."""
    covered = {"uncertainty": smaller.report["uncertainty"]}
    return replace(smaller, history=result.history, report=result.report | covered)


def _gone_on_from(kernel: FloatArray, setting: Setting) -> Setting:
    """Take a kernel that smaller images have told: a fit starts from a large one."""
    large = max(setting.kernel_size) > pace.LARGEST
    return replace(setting, first=kernel if large else None, beginning=kernel)


def _after_ladder(program: Any, frame: arrays.Frame, kernel: FloatArray) -> None:
    """Let the search begin from the ladder's kernel too, and for a large one go on as the ladder did."""
    search, size = program.search, (kernel.shape[0], kernel.shape[1])
    search.beginning.copy_(torch.from_numpy(kernel))
    if max(size) <= pace.LARGEST:
        return
    search.telling.copy_(torch.from_numpy(ladder.telling(frame, size)))
    search.gentlest.fill_(ladder.gentlest(frame))
    search.steepest.fill_(ladder.STEEPEST)
    search.doubt.fill_(ladder.LARGE.further[-1][0])
    search.glass.copy_(gaussian(ladder.LARGE.glass, REACH, search.glass))


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
    fits: Starts,
    frame: arrays.Frame,
    setting: Setting,
    seed: int,
    times: list[tuple[int, float]],
    before: int,
) -> Result:
    """Read the result as of now: kernel centred by whole pixels, the image moved against it.

    `before` counts the steps in smaller images.
    """
    done = fits.done
    mean, std, kernel = fits.shown()
    middled = centred(kernel)
    kernel = middled.kernel
    height, width = frame.y.shape[1:]
    top, left = kernel.shape[0] // 2 - middled.down, kernel.shape[1] // 2 - middled.right
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
    at, covered = (done, fits.steps), covers(fits.program.polish, fits.draws, setting)
    drawn = (fits.draws, draws_of(fits.program.polish, setting))
    report = report_of(frame, setting, seed, times[-1][1], at, covered, drawn, before)
    # A kernel on its way looks odd without being so, and one from elsewhere was judged there.
    if done == fits.steps and (setting.near is None or setting.kernel_only):
        course, told = history.part(fits.last_fit), setting.kernel_numbers
        # Each star shows the whole kernel; the evidence can be misled.
        judged = setting.kernel_source == family.EVIDENCE and "fwhm_long" in told
        axes = (told["fwhm_long"].value, told["fwhm_short"].value) if judged else None
        findings = diagnosis.examine(
            kernel,
            course,
            report["noise_std"],
            setting.options,
            (height, width),
            axes,
            (middled.lost, middled.holding),
        )
        report["warnings"] += [finding.sentence for finding in findings]
        report["findings"] = [finding.as_dict() for finding in findings]
    network = None
    if setting.keep_network:
        plan = plan_of(setting, *frame.y.shape)
        place = (frame.scale, frame.offset, frame.alpha is not None)
        network = Network.of(fits.program, plan, (top, left), *place)
    return Result(image, uncertainty, kernel, history, report, network)


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
