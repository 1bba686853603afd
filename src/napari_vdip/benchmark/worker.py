"""What runs in a process of its own: one fit, one classical deconvolution, or some timed steps.

The task comes as JSON on standard input; lines of JSON go out: how far the fit is, and at the end
its figures or its error. A process for each fit, so that its peak memory is that of this fit.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip.benchmark import cases
from napari_vdip.errors import OutOfMemory, VdipError
from napari_vdip.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_vdip.benchmark.cases import Case, Truth
    from napari_vdip.benchmark.classical import Classical
    from napari_vdip.result import Result


def main() -> None:
    """Do the task; the exit status is 0 even where it fails in a way that can be told."""
    task = json.loads(sys.stdin.readline())
    work = _WORK[task.pop("do")]
    try:
        say(done=work(**task))
    except VdipError as error:
        say(error=str(error), status=error.exit_status)
    except MemoryError:
        say(error="out of memory", status=OutOfMemory.exit_status)


def say(**what: Any) -> None:
    """Send a line to the parent."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def fit(case: dict[str, str | None], options: dict[str, Any], panel: str | None) -> dict[str, Any]:
    """Deblur a case and measure the result.

    Parameters
    ----------
    case : dict
        The paths of a `Case`.
    options : dict
        Keywords of `Options`.
    panel : str or None
        PNG file to draw the result to.
    """
    from napari_vdip.benchmark.figures import measure

    truth = cases.read(case_of(case))
    chosen = Options.from_keywords(**options)
    started = time.perf_counter()
    result = _drained(truth, chosen)
    seconds = time.perf_counter() - started
    peak = peak_memory(chosen.device)  # before anything is measured, which takes memory too
    quality = measure(truth, result.image, result.uncertainty, result.kernel)
    if panel is not None:
        _draw(truth, result, (quality.psnr_blurred, quality.psnr), Path(panel))
    return {
        "kernel_px": "x".join(map(str, result.kernel.shape)),
        "steps": result.report["steps"],
        "seconds": seconds,
        "seconds_per_step": float(result.history.seconds[-1]) / len(result.history.seconds),
        "peak_mb": peak / 1e6,
        "threads": _threads(chosen),
        "machine": _device_name(chosen.device),
        **dataclasses.asdict(quality),
    }


def classical(
    case: dict[str, str | None], method: Classical, kernel_size: int, panel: str | None
) -> dict[str, Any]:
    """Deconvolve a case as people do today, and measure the result as that of a fit."""
    from napari_vdip.benchmark.classical import deconvolve
    from napari_vdip.benchmark.figures import measure
    from napari_vdip.result import History, Result

    truth = cases.read(case_of(case))
    started = time.perf_counter()
    image, kernel, steps = deconvolve(method, truth, kernel_size)
    seconds = time.perf_counter() - started
    peak = peak_memory("cpu")
    unknown = np.full(image.shape, np.nan)
    quality = measure(truth, image, unknown, kernel)
    if panel is not None:
        none = np.zeros(0, dtype=np.float32)
        history = History(np.zeros(0, dtype=np.int64), none, none, none, np.zeros(0))
        sharp, std, psf = (values.astype(np.float32) for values in (image, unknown, kernel))
        _draw(truth, Result(sharp, std, psf, history, {}), (quality.psnr_blurred, quality.psnr), Path(panel))
    return {
        "kernel_px": "x".join(map(str, kernel.shape)),
        "steps": steps,
        "seconds": seconds,
        "seconds_per_step": seconds / steps,
        "peak_mb": peak / 1e6,
        "threads": 1,
        "machine": _device_name("cpu"),
        **dataclasses.asdict(quality),
    }


def reference(case: dict[str, str | None]) -> dict[str, Any]:
    """Deconvolve a case with its known kernel, in the orientation that explains the blurred image."""
    from napari_vdip.benchmark.reference import deconvolve, oriented
    from napari_vdip.estimate import noise_std
    from napari_vdip.metrics import allowance, closeness

    truth = cases.read(case_of(case))
    unit = truth.blurred.astype(np.float64) / truth.full_scale
    sharp = deconvolve(unit, oriented(truth), noise_std(unit))
    allowed = allowance(truth.kernel, truth.sharp.shape)
    found = closeness(sharp, truth.sharp / truth.full_scale, 1.0, *allowed)
    return {"psnr": found.psnr, "ssim": found.ssim}


def steps(options: dict[str, Any], shape: list[int], kernel_size: list[int], count: int) -> dict[str, Any]:
    """Time some steps of each stage of a preset."""
    from napari_vdip.benchmark.steps import time_stages

    chosen = Options.from_keywords(**options)
    stages = time_stages(chosen, (shape[0], shape[1]), (kernel_size[0], kernel_size[1]), count)
    return {
        "stages": [dataclasses.asdict(stage) for stage in stages],
        "seconds": sum(stage.steps * stage.seconds for stage in stages),
        "steps": sum(stage.steps for stage in stages),
        "peak_mb": peak_memory(chosen.device) / 1e6,
        "threads": _threads(chosen),
        "machine": _device_name(chosen.device),
    }


def case_of(paths: dict[str, str | None]) -> Case:
    """Make a case from its paths."""
    kernel = paths["kernel"]
    return cases.Case(
        str(paths["name"]),
        Path(str(paths["blurred"])),
        Path(str(paths["sharp"])),
        None if kernel is None else Path(kernel),
    )


def peak_memory(device: str) -> int:
    """Peak memory of this process in bytes: on the GPU where that does the work, else resident."""
    import torch

    from napari_vdip.placement import device_of

    chosen = device_of(device)
    if chosen.type == "cuda":
        return int(torch.cuda.max_memory_allocated(chosen))
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count what the parent had when it forked
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _drained(truth: Truth, options: Options) -> Result:
    """Fit, and tell about once a second how far it is."""
    from napari_vdip.stack import fit as fitting

    running, told = fitting(truth.blurred, options), time.monotonic()
    while True:
        try:
            progress = next(running)
        except StopIteration as end:
            result: Result = end.value
            return result
        if time.monotonic() - told > 1.0:
            told = time.monotonic()
            say(share=progress.step / progress.steps)


def _threads(options: Options) -> int:
    import torch

    return torch.get_num_threads() if options.threads is None else options.threads


def _device_name(device: str) -> str:
    import torch

    from napari_vdip.about import processor
    from napari_vdip.placement import device_of

    chosen = device_of(device)
    return torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else processor()


def _draw(truth: Truth, result: Result, psnr: tuple[float, float], path: Path) -> None:
    """Draw before, after, truth, kernels and uncertainty."""
    from napari_vdip.benchmark.reference import oriented
    from napari_vdip.files import atomic
    from napari_vdip.panel import draw

    if truth.kernel is not None:
        truth = dataclasses.replace(truth, kernel=oriented(truth))
    with atomic(path) as part:
        draw(truth, result, psnr).save(part, format="PNG")


_WORK: dict[str, Callable[..., dict[str, Any]]] = {
    "fit": fit,
    "classical": classical,
    "reference": reference,
    "steps": steps,
}

if __name__ == "__main__":
    main()
