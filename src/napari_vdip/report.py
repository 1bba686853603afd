"""What was done, told in the report of a result: JSON-ready."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import napari_vdip
from napari_vdip.onnxfit import providers
from napari_vdip.options import PRESETS
from napari_vdip.placement import precision_of
from napari_vdip.plan import starts_of

if TYPE_CHECKING:
    from napari_vdip.arrays import Frame
    from napari_vdip.plan import Setting

# What the uncertainty covers besides the noise.
_OPINIONS = {
    "fitted": "",
    "polished": ", and the difference between the networks' image and the polished one",
    "near": ", and the difference between a smooth first image and the polished one",
}
SMALLER = (
    "one standard deviation of each pixel at the size at which the kernel is looked for, enlarged: under the "
    "model with the kernel held; the kernel's own uncertainty is not in it"
)


def report_of(
    frame: Frame,
    setting: Setting,
    seed: int,
    seconds: float,
    at: tuple[int, int],
    covered: str,
    draws: tuple[int, int] = (0, 0),
    before: int = 0,
) -> dict[str, Any]:
    """Tell what was done, JSON-ready.

    Parameters
    ----------
    frame : Frame
    setting : Setting
    seed : int
    seconds : float
    at, draws : (int, int)
        Step and other kernels reached, of how many.
    covered : str
        What the uncertainty covers.
    before : int
        Steps in smaller images, with which progress had begun.
    """
    options = setting.options
    preset = PRESETS[options.preset]
    (done, steps), (drawn, wanted) = at, draws
    stopped = ""
    if done < steps:
        stopped = f"stopped at step {before + done} of {before + steps + wanted}"
    elif drawn < wanted:
        stopped = f"stopped before {wanted} other kernels were tried"
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
        "uncertainty": covered,
        "kernel_draws": drawn,
        "steps": done,
        "partial": bool(stopped),
        "seconds": round(seconds, 3),
        "stop_reason": stopped or "finished",
        "left_out": frame.defects.as_dict(),
        "compression": None if frame.compressed is None else frame.compressed.as_dict(),
        "warnings": frame.sentences,
        "findings": [],
    }


def covers(polish: int, draws: int, setting: Setting) -> str:
    """Say what the uncertainty covers."""
    how = "near" if setting.near is not None else "polished" if polish > 0 else "fitted"
    told = f"one standard deviation of each pixel: under the model with the kernel held{_OPINIONS[how]}"
    if starts_of(polish, setting) > 1:
        told += ", less what the mean over several starts takes away"
    if draws == 0:
        return f"{told}; the kernel's own uncertainty is not in it"
    kinds = "directions of its numbers" if setting.kernel_moved else "refits to drawn data"
    return f"{told}; and the kernel's own, by {draws} {kinds}"


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
