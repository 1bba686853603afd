"""A real pair of exposures: deblurring that out of focus should bring it nearer to the one in focus.

Usage::

    python benchmarks/defocus.py OUT_OF_FOCUS.tif IN_FOCUS.tif

The correlation with the exposure in focus is taken after the best shift, on the part that both have, in a
crop around the brightest place or in the whole frame (``--side 0``). What the best filter of rings of
frequencies reaches, made from the exposure in focus itself, is told with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, shift
from skimage.registration import phase_cross_correlation

from napari_vdip import deblur, files

MARGIN = 12


def plane(path: Path) -> np.ndarray:
    """Read the first plane of a file."""
    data = np.asarray(files.read(path).data, dtype=np.float64)
    return data.reshape(-1, *data.shape[-2:])[0]


def brightest(image: np.ndarray, side: int) -> tuple[slice, slice]:
    """Square of this side around the brightest place, px."""
    half = side // 2
    smooth = gaussian_filter(image, 8)[half:-half, half:-half]
    row, column = np.unravel_index(int(smooth.argmax()), smooth.shape)
    return slice(row, row + side), slice(column, column + side)


def correlation(image: np.ndarray, sharp: np.ndarray) -> float:
    """Correlate with the exposure in focus after the best shift."""
    moved = phase_cross_correlation(sharp, image, upsample_factor=20)[0]
    image = shift(image, moved, order=3, mode="nearest")
    inner = (slice(MARGIN, -MARGIN),) * 2
    return float(np.corrcoef(image[inner].ravel(), sharp[inner].ravel())[0, 1])


def best_filter(image: np.ndarray, sharp: np.ndarray, width: float = 0.01) -> np.ndarray:
    """Filter by rings of frequencies, `width` cycles per px each, to the least squared difference."""
    moved = phase_cross_correlation(sharp, image, upsample_factor=20)[0]
    image = shift(image, moved, order=3, mode="nearest")
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    one = np.fft.fft2((image - image.mean()) * window)
    other = np.fft.fft2((sharp - sharp.mean()) * window)
    radius = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1]))
    ring = (radius / width).astype(int)
    shared = np.bincount(ring.ravel(), (one.conj() * other).real.ravel())
    gain = shared / np.bincount(ring.ravel(), np.square(np.abs(one)).ravel())
    return np.fft.ifft2(np.fft.fft2(image) * gain[ring]).real


def main() -> None:
    """Print both correlations for each family of kernels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blurred", type=Path)
    parser.add_argument("sharp", type=Path)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--kernel-size", default="17", help="px, or auto")
    parser.add_argument("--families", nargs="+", default=["gaussian", "pupil"])
    arguments = parser.parse_args()
    blurred, sharp = plane(arguments.blurred), plane(arguments.sharp)
    size = arguments.kernel_size if arguments.kernel_size == "auto" else int(arguments.kernel_size)
    part = (slice(None), slice(None)) if arguments.side == 0 else brightest(blurred, arguments.side)
    print(f"out of focus: {correlation(blurred[part], sharp[part]):.4f}", flush=True)
    filtered = best_filter(blurred[part], sharp[part])
    print(f"best filter of rings: {correlation(filtered, sharp[part]):.4f}", flush=True)
    for family in arguments.families:
        result = deblur(
            blurred[part].astype(np.float32),
            kind="fluorescence",
            kernel_family=family,
            kernel_size=size,
            preset="fast",
            threads=1,
        )
        told = {name: round(number["value"], 2) for name, number in result.report["kernel_numbers"].items()}
        found = correlation(result.image.astype(float), sharp[part])
        print(f"deblurred, {family}: {found:.4f} {told}", flush=True)


if __name__ == "__main__":
    main()
