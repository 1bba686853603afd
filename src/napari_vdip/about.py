"""What this installation is and what it can run on, for ``napari-vdip info`` and for bug reports."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import napari_vdip
from napari_vdip.errors import InvalidOption

_PACKAGES = ("torch", "numpy", "napari", "tifffile", "opencv-python", "scikit-image", "imagecodecs")
_CUDA_EXAMPLE = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu130"


def describe() -> list[str]:
    """Lines about versions, devices, cores, and how to get CUDA where it is missing."""
    import torch

    lines = [f"napari-vdip {napari_vdip.__version__}"]
    lines += [f"python {platform.python_version()} ({platform.system()} {platform.machine()})"]
    lines += [f"{name} {_version(name)}" for name in _PACKAGES]
    lines += ["", "devices", f"  cpu: {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        lines += [f"  cuda:{index}: {facts.name}, {facts.total_memory / 2**30:.1f} GiB"]
    apple = torch.backends.mps.is_available()
    lines += ["  mps: Apple GPU"] * apple + _onnx_devices()
    if not apple and not torch.cuda.is_available():
        lines += ["", *_how_to_get_cuda(torch.version.cuda)]
    return lines


def environment() -> list[str]:
    """Lines about versions and machine, as a table of measurements wants them."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", "numpy", "scikit-image"))
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory"
    return [
        f"{processor()}, {os.cpu_count()} cores{memory}, {platform.system()} {platform.machine()}",
        f"napari-vdip {napari_vdip.__version__}, Python {platform.python_version()}, {versions}",
    ]


def processor() -> str:
    """Name of the processor, as its maker calls it where the system tells."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def _onnx_devices() -> list[str]:
    """Lines about the providers of ONNX Runtime, where it is installed."""
    from napari_vdip.onnxfit.providers import places

    try:
        return [f"  {place.name}: {place.title}, in ONNX Runtime" for place in places()]
    except InvalidOption:
        return []


def _how_to_get_cuda(built_for: str | None) -> list[str]:
    """Say why torch sees no GPU and what brings CUDA."""
    if sys.platform == "darwin":
        return ["No GPU: this Mac has none that torch can use; the CPU does the work."]
    if built_for is not None:
        return [
            f"CUDA: torch is built for CUDA {built_for} but sees no GPU. With an NVIDIA GPU in this",
            "machine, install or update its driver (nvidia-smi should list the GPU).",
        ]
    plain = "on Linux plain 'pip install torch' brings CUDA along"
    return [
        "CUDA: this torch is built without it. With an NVIDIA GPU in this machine:",
        f"  {_CUDA_EXAMPLE}",
        f"({plain}; the exact command for your system is at https://pytorch.org/get-started)",
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed" + (" (reads compressed TIFF)" if name == "imagecodecs" else "")
