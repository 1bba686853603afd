"""Blurred images with their truth in a folder: which there are, and reading them."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip import files
from napari_vdip.errors import InvalidInput
from napari_vdip.metrics import held_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

SMALLEST = 48  # px; a border of 15 px is left out on each side, and SSIM needs a window in the rest
EXPECTED = (
    "expected blurred/ (or blurred_y/) and sharp/ with images of matching names (blurred/im1_kernel1.png "
    "goes with sharp/im1.png or sharp/im1_kernel1.png) and, optionally, kernels/ (kernel1.png); or MATLAB "
    "files with gn, obj and psf"
)
# Sizes that published tables use, by the names that the files of these sets have.
_LEVIN_SIZES = dict(zip("12345678", (17, 15, 13, 27, 11, 19, 21, 21), strict=True))
_LEVIN = re.compile(r"im\d+_kernel([1-8])_img")
_LAI_SIZES = (31, 51, 55, 75)  # those of the kernel files, too
_LAI = re.compile(r"\w+_kernel_0[1-4]")
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, the Y channel of published tables


@dataclass(frozen=True)
class Case:
    """Where one blurred image and its truth are.

    Attributes
    ----------
    name : str
        What it is called in tables.
    blurred, sharp : Path
        Image files; the same MATLAB file for both.
    kernel : Path or None
        Known kernel, if there is one.
    """

    name: str
    blurred: Path
    sharp: Path
    kernel: Path | None


@dataclass(frozen=True, eq=False)
class Truth:
    """A case as it was read.

    Attributes
    ----------
    blurred : ndarray, (H, W)
        In the data type of the file.
    sharp : ndarray of float64, (H, W)
        In the units of `blurred`.
    kernel : ndarray of float64, (Kh, Kw), or None
        Odd sides, sums to 1; oriented as the file has it.
    full_scale : float
        Peak of PSNR and range of SSIM: 255 for 8-bit images, the range of `sharp` for others.
    """

    blurred: npt.NDArray[Any]
    sharp: Floats
    kernel: Floats | None
    full_scale: float


def find(folder: Path, patterns: Sequence[str] = ("*",)) -> list[Case]:
    """List the cases of a folder by name.

    Parameters
    ----------
    folder : Path
        Of one of the two kinds that `EXPECTED` tells.
    patterns : sequence of str
        Wildcards, one of which the name of a case has to match.

    Raises
    ------
    InvalidInput
        If it is no such folder, an image has no truth, or no name matches.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder; {EXPECTED}")
    found = _matlab(folder) or _pictures(folder)
    if not found:
        raise InvalidInput(f"{folder} holds no images with a known truth; {EXPECTED}")
    chosen = [case for case in found if any(fnmatch.fnmatch(case.name, p) for p in patterns)]
    if not chosen:
        names = ", ".join(case.name for case in found[:8]) + (", ..." if len(found) > 8 else "")
        raise InvalidInput(f"no case of {folder} is named {' or '.join(patterns)}; there are {names}")
    return chosen


def published_size(case: Case, truth: Truth) -> int | None:
    """Kernel size that published tables use, else what holds 99 % of the known kernel; None without one."""
    if levin := _LEVIN.fullmatch(case.blurred.stem):
        return _LEVIN_SIZES[levin[1]]
    if truth.kernel is None:
        return None
    if _LAI.fullmatch(case.name) and truth.kernel.shape[0] in _LAI_SIZES:
        return int(truth.kernel.shape[0])
    return held_size(truth.kernel)


def read(case: Case) -> Truth:
    """Read a case.

    Raises
    ------
    InvalidInput
        If a file cannot be read or is not one image, or the sizes do not agree.
    """
    kernel: Floats | None
    if case.blurred.suffix == ".mat":
        blurred, sharp, kernel = _read_matlab(case.blurred)
    else:
        blurred, sharp = _grey(case.blurred), _grey(case.sharp)
        kernel = None if case.kernel is None else files.read_kernel(case.kernel)
    if blurred.shape != sharp.shape:
        raise InvalidInput(
            f"{case.blurred} is {_size(blurred)} px, its truth {case.sharp} {_size(sharp)} px; "
            "expected equal sizes"
        )
    if min(blurred.shape) < SMALLEST:
        raise InvalidInput(
            f"{case.blurred} is {_size(blurred)} px; expected at least {SMALLEST} px either way"
        )
    full_scale = 255.0 if blurred.dtype == sharp.dtype == np.uint8 else float(np.ptp(sharp.astype(float)))
    if full_scale == 0.0:
        raise InvalidInput(f"{case.sharp} is constant; expected a sharp image")
    return Truth(
        blurred, sharp.astype(np.float64), None if kernel is None else _odd(kernel, case), full_scale
    )


def _pictures(folder: Path) -> list[Case]:
    """Cases of a folder with ``blurred``, ``sharp`` and perhaps ``kernels``."""
    sharp = _images(folder / "sharp")
    kernels = _images(folder / "kernels")
    blurred = _images(folder / "blurred") or _images(folder / "blurred_y")
    cases = []
    for stem, path in blurred.items():
        name = stem.removesuffix("_img")
        scene = _longest([s for s in sharp if stem == s or stem.startswith(f"{s}_")])
        if scene is None:
            raise InvalidInput(f"{path} has no sharp image in {folder / 'sharp'}; {EXPECTED}")
        rest = f"_{stem.removeprefix(scene).strip('_')}_"
        kernel = _longest([k for k in kernels if k == stem or f"_{k}_" in rest])
        cases.append(Case(name, path, sharp[scene], None if kernel is None else kernels[kernel]))
    return cases


def _longest(names: list[str]) -> str | None:
    """Choose the most specific of the names that fit."""
    return max(names, key=len, default=None)


def _images(folder: Path) -> dict[str, Path]:
    """Image files of a folder by their stems."""
    endings = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
    if not folder.is_dir():
        return {}
    return {files.stem_of(path): path for path in sorted(folder.iterdir()) if path.suffix.lower() in endings}


def _matlab(folder: Path) -> list[Case]:
    """Cases of a folder of MATLAB files, as DDIPP has them."""
    return [Case(path.stem, path, path, path) for path in sorted(folder.glob("*.mat"))]


def _read_matlab(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Floats]:
    """Blurred image, sharp one with the background that the blurred one has, and kernel."""
    from scipy.io import loadmat  # type: ignore[import-untyped]

    try:
        content = loadmat(path)
        blurred, sharp, kernel = (np.asarray(content[name]) for name in ("gn", "obj", "psf"))
    except Exception as error:  # on damaged bytes the reader raises anything, as others do
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InvalidInput(f"{path} cannot be used: {reason}; {EXPECTED}") from error
    for name, part in (("gn", blurred), ("obj", sharp), ("psf", kernel)):
        if part.ndim != 2:
            raise InvalidInput(f"{name} in {path} has shape {part.shape}; expected two axes")
    background = float(content["bg"].item()) if "bg" in content else 0.0
    return blurred, sharp if background == 0.0 else sharp + background, kernel.astype(np.float64)


def _grey(path: Path) -> npt.NDArray[Any]:
    """Read an image as (H, W); colours as their luma, in the data type of the file."""
    image = files.read(path)
    data = image.data
    if image.rgb:
        luma = data[..., :3] @ _LUMA
        data = luma if data.dtype.kind == "f" else np.rint(luma).astype(data.dtype)
    data = data.squeeze()
    if data.ndim != 2:
        raise InvalidInput(f"{path} has shape {image.data.shape}; expected one image, not a stack")
    return data


def _odd(kernel: Floats, case: Case) -> Floats:
    """Kernel with odd sides that sums to 1; an even side gets a line of zeros at its end."""
    if kernel.min() < 0.0 or not kernel.sum() > 0.0:
        raise InvalidInput(f"kernel {case.kernel} has no or negative values; expected a kernel (PSF)")
    kernel = np.pad(kernel, [(0, 1 - n % 2) for n in kernel.shape])
    unit: Floats = kernel / kernel.sum()
    return unit


def _size(image: npt.NDArray[Any]) -> str:
    return " x ".join(map(str, image.shape))
