"""The device that a fit will run on, and how much memory it has free. torch is loaded when asked."""

from __future__ import annotations

from dataclasses import dataclass

FREE_SHARE = 0.5  # of the free memory is used: the frame itself and other programs need some too
# Bytes a pixel at the peak of a fit, with room, for each channel of its networks (docs/benchmarks/stacks.md).
FIT_BYTES = 220


@dataclass(frozen=True)
class Device:
    """A device as it is now.

    Attributes
    ----------
    name : str
        As the option `device` names it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``onnx:dml``.
    title : str
        Name for people.
    free_bytes : int
        Memory that is free; the host's where ONNX Runtime does the steps, which does not tell its own.
    """

    name: str
    title: str
    free_bytes: int


def find(name: str, compile: str = "auto") -> Device:
    """Look a device up. Loads torch, which takes seconds the first time.

    Parameters
    ----------
    name, compile : str
        As the options `device` and `compile`.

    Raises
    ------
    DeviceUnavailable
        If the name is unknown, or there is no such device for the installed torch or ONNX Runtime.
    InvalidOption
        If the two contradict each other, or ONNX Runtime is asked for and not installed.
    """
    import psutil
    import torch

    from napari_vdip.onnxfit.providers import place_of
    from napari_vdip.placement import device_of

    place = place_of(name, compile)
    if place is not None:
        title = f"{place.title}, in ONNX Runtime"
        return Device(place.name, title, psutil.virtual_memory().available)
    device = device_of(name)
    if device.type == "cuda":
        return Device(str(device), torch.cuda.get_device_name(device), torch.cuda.mem_get_info(device)[0])
    # Apple's GPUs share the memory of the host.
    title = "processor" if device.type == "cpu" else "Apple GPU"
    return Device(str(device), title, psutil.virtual_memory().available)


def room(name: str, channels: int, pixels: int) -> int:
    """Count the fits of so many pixels that a device has memory for now.

    Parameters
    ----------
    name : str
        Of the device, see `find`.
    channels : int
        Of the image's network, see `Preset`.
    pixels : int
        Of the canvas.
    """
    return int(FREE_SHARE * find(name).free_bytes / (FIT_BYTES * channels * pixels))
