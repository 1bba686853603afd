"""Kernels in files: a measured PSF in, an estimated one out, each with the size of its pixels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_vdip import files
from napari_vdip.imagefile import ImageFile
from napari_vdip.psf import PixelSize

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class KernelFile:
    """A kernel as it was read.

    Attributes
    ----------
    data : ndarray of float64, (h, w)
    pixel_size : PixelSize
        As the file tells it.
    """

    data: npt.NDArray[np.float64]
    pixel_size: PixelSize


def load(path: str | os.PathLike[str]) -> KernelFile:
    """Read a kernel and the size of its pixels.

    Raises
    ------
    InvalidInput
        If there is no such file, or it holds no 2-D image.
    """
    image = files.read(path)
    return KernelFile(files.as_kernel(image), pixel_size_of(image))


def pixel_size_of(image: ImageFile) -> PixelSize:
    """Size of the pixels of an image from a file; 1 pixel where the file does not tell it."""
    if not {"Y", "X"} <= image.pixel_size.keys():
        return PixelSize()
    (height, unit), (width, unit_across) = image.pixel_size["Y"], image.pixel_size["X"]
    return PixelSize(height, width, unit) if unit == unit_across else PixelSize()


def save(
    path: str | os.PathLike[str], kernel: npt.NDArray[Any], pixel_size: PixelSize, report: Mapping[str, Any]
) -> list[Path]:
    """Write a kernel as float32 TIFF, and the report of its fit beside it.

    Parameters
    ----------
    path : path-like
        Of the TIFF; the report gets the same stem and ``.json``.
    kernel : ndarray, (h, w), or (slices..., h, w)
    pixel_size : PixelSize
        Written where it is known, as ImageJ does, so that it comes back with `load`.
    report : mapping
        JSON-ready.

    Returns
    -------
    list of Path
        Both files.

    Raises
    ------
    OSError
        If the disk is full, read-only, or the folder is absent.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        path = path.with_name(f"{path.name}.tif")
    files.write(path, kernel, _like(kernel, pixel_size))
    beside = path.with_suffix(".json")
    with files.atomic(beside) as part:
        part.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [path, beside]


def _like(kernel: npt.NDArray[Any], pixel_size: PixelSize) -> ImageFile | None:
    """Make the record of a file with these pixels."""
    if not pixel_size.known:
        return None
    unit = pixel_size.unit.replace("µ", "u")  # texts are ASCII in TIFF
    return ImageFile(
        path=Path("kernel.tif"),
        kind="imagej",
        data=kernel,
        axes="TZC"[: kernel.ndim - 2] + "YX",
        resolution=(1 / abs(pixel_size.width), 1 / abs(pixel_size.height)),
        metadata={"unit": unit},
    )
