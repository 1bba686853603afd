"""The device that a fit will run on, and how much memory it has free. torch is loaded when asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A device as it is now.

    Attributes
    ----------
    name : str
        Name that torch has for it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    title : str
        Name for people.
    free_bytes : int
        Memory that is free.
    """

    name: str
    title: str
    free_bytes: int


def find(name: str) -> Device:
    """Look a device up. Loads torch, which takes seconds the first time.

    Parameters
    ----------
    name : str
        As the option `device`.

    Raises
    ------
    DeviceUnavailable
        If the name is unknown, or there is no such device for the installed torch.
    """
    import psutil
    import torch

    from napari_vdip.solve import device_of

    device = device_of(name)
    if device.type == "cuda":
        return Device(str(device), torch.cuda.get_device_name(device), torch.cuda.mem_get_info(device)[0])
    # Apple's GPUs share the memory of the host.
    title = "processor" if device.type == "cpu" else "Apple GPU"
    return Device(str(device), title, psutil.virtual_memory().available)
