"""Where a fit runs, how its loop is compiled, how precise its numbers are, and by how many threads.

Options in the words of torch.
"""

from __future__ import annotations

import platform
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch

from napari_vdip import pace
from napari_vdip.core.compile import scripting_available
from napari_vdip.errors import DeviceUnavailable, InvalidOption
from napari_vdip.onnxfit import providers
from napari_vdip.options import PRESETS, Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_vdip.arrays import Frame
    from napari_vdip.core.compile import Way


def placed(options: Options) -> tuple[torch.device, Way, providers.Place | None]:
    """Choose torch's device, how the loop is compiled, and where ONNX Runtime does the steps, if it does.

    Raises
    ------
    DeviceUnavailable
        If there is no such device.
    InvalidOption
        If device and compile contradict each other, or what is asked for cannot be had.
    """
    place = providers.place_of(options.device, options.compile)
    if place is None:
        return device_of(options.device), way_of(options.compile), None
    preset = PRESETS[options.preset]
    if preset.bound_steps or preset.ssim_steps:
        raise InvalidOption(
            f"preset={options.preset!r} draws a sample of the image in each step, which no ONNX graph does; "
            "use preset='fast', 'balanced' or 'best', or compile='auto' with a device of torch"
        )
    if options.precision == "bfloat16":
        raise InvalidOption(
            "precision='bfloat16' is for torch; ONNX Runtime does the steps in float32: use precision='auto'"
        )
    return torch.device("cpu"), "off", place


def device_named(options: Options) -> str:
    """Name of the device that does the steps: ``cpu``, ``cuda:0``, ``onnx:dml``. Raises as `placed` does."""
    place = providers.place_of(options.device, options.compile)
    return str(device_of(options.device)) if place is None else place.name


def device_of(name: str) -> torch.device:
    """Device of torch by the name that the option has: the processor beside ONNX Runtime.

    Raises
    ------
    DeviceUnavailable
        If the name is unknown, or there is no such device for the installed torch.
    """
    if providers.place_of(name, "auto") is not None:
        return torch.device("cpu")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceUnavailable(
            f"device={name!r} is unknown; expected auto, cpu, cuda, cuda:1, mps or onnx:..."
        ) from None
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }.get(device.type, 0)
    if (device.index or 0) >= count:
        raise DeviceUnavailable(
            f"device={name!r} is not available: the installed torch {torch.__version__} finds {count} "
            f"{device.type} device(s); use device='auto', and see `napari-vdip info`"
        )
    return device


def way_of(name: str) -> Way:
    """How the loop is compiled, by the name that the option has.

    Raises
    ------
    InvalidOption
        If TorchScript is asked for where there is none.
    """
    if name == "script" and not scripting_available():
        raise InvalidOption(
            f"compile='script' needs TorchScript, which Python {platform.python_version()} does not have; "
            "use compile='auto'"
        )
    return "off" if name == "off" or not scripting_available() else "script"


def precision_of(options: Options, device: str) -> Literal["float32", "bfloat16"]:
    """Precision of the numbers inside the image's network on a device, as `device_named` names it."""
    if options.precision != "auto":
        return options.precision
    short = PRESETS[options.preset].bfloat16 and device == "cpu" and _faster_in_bfloat16()
    return "bfloat16" if short else "float32"


def _faster_in_bfloat16() -> bool:
    """Whether this processor is faster with numbers of 16 bits, for all that torch tells.

    Intel's, which have units for both kinds of them, gain by tiles only, and without these, as some virtual
    machines are, take longer (docs/explanation/research.md).
    """
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch has none
    return bool(able.get("amx_bf16") or (able.get("avx512_bf16") and not able.get("avx512_fp16")))


def threads_of(threads: int | None, frame: Frame) -> int:
    """Count the processor threads to be used of those asked for: fewer where the image is small."""
    return min(threads or torch.get_num_threads(), pace.worth(frame.y.shape[1] * frame.y.shape[2]))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use this many processor threads, and put its own number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
