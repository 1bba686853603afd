"""A real pair of exposures: deblurring that out of focus should bring it nearer to the one in focus.

Usage::

    python benchmarks/defocus.py OUT_OF_FOCUS.tif IN_FOCUS.tif

The correlation with the exposure in focus is taken after the best shift, on the part that both have, in a
crop around the brightest place.
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


def correlation(image: np.ndarray, sharp: np.ndarray) -> float:
    """Correlate with the exposure in focus after the best shift."""
    moved = phase_cross_correlation(sharp, image, upsample_factor=20)[0]
    image = shift(image, moved, order=3, mode="nearest")
    inner = (slice(MARGIN, -MARGIN),) * 2
    return float(np.corrcoef(image[inner].ravel(), sharp[inner].ravel())[0, 1])


def main() -> None:
    """Print both correlations for each family of kernels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blurred", type=Path)
    parser.add_argument("sharp", type=Path)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--families", nargs="+", default=["gaussian", "pupil"])
    arguments = parser.parse_args()
    blurred, sharp = plane(arguments.blurred), plane(arguments.sharp)
    half = arguments.side // 2
    smooth = gaussian_filter(blurred, 8)[half:-half, half:-half]
    row, column = np.unravel_index(int(smooth.argmax()), smooth.shape)
    part = (slice(row, row + arguments.side), slice(column, column + arguments.side))
    print(f"out of focus: {correlation(blurred[part], sharp[part]):.4f}", flush=True)
    for family in arguments.families:
        result = deblur(
            blurred[part].astype(np.float32),
            kind="fluorescence",
            kernel_family=family,
            kernel_size=17,
            preset="fast",
            threads=1,
        )
        told = {name: round(number["value"], 2) for name, number in result.report["kernel_numbers"].items()}
        found = correlation(result.image.astype(float), sharp[part])
        print(f"deblurred, {family}: {found:.4f} {told}", flush=True)


if __name__ == "__main__":
    main()
