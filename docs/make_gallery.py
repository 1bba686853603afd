"""Make the pictures of the gallery: whole runs on shipped and simulated images, good and bad ones.

Usage::

    python docs/make_gallery.py

``--only photograph`` makes one picture, ``--quick`` takes a few steps to look at the layout. Writes
``docs/images/gallery-NAME.png``; the figures and the findings of a run stand in its picture, so that text and
picture cannot differ. The preset is ``fast``; minutes on one processor core. Needs the extra ``benchmark``.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from napari_vdip import Result, deblur, samples
from napari_vdip.metrics import closeness

matplotlib.use("agg")

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[Any, Any]

IMAGES = Path(__file__).parent / "images"
ROOT = Path(__file__).resolve().parent.parent
SIDE = 128  # px, of the parts that are shown


@dataclass(frozen=True)
class Case:
    """An image, how it is deblurred and what is known about it.

    Attributes
    ----------
    blurred : ndarray, (H, W) or (slices, H, W)
    sharp : ndarray, as `blurred`
        The true image.
    kernel : ndarray, (Kh, Kw), or None where there is not one
        The true kernel.
    options : dict
        Keywords of `deblur`.
    bright : float
        Percentile that is shown white.
    measured : bool
        Whether PSNR says something.
    """

    blurred: Array
    sharp: Array
    kernel: Array | None
    options: dict[str, Any]
    bright: float = 99.8
    measured: bool = True


def photograph() -> Case:
    """Take a part of the shaken photograph."""
    sample, part = samples.load("photograph"), np.s_[50 : 50 + SIDE, 70 : 70 + SIDE]
    return Case(sample.blurred[part], sample.sharp[part], sample.kernel, {"kernel_size": 17})


def cell() -> Case:
    """Take a part of the micrograph, the camera's offset subtracted."""
    sample, part = samples.load("microscopy"), np.s_[60 : 60 + SIDE, 60 : 60 + SIDE]
    counts = sample.blurred[part].astype(np.float32) - 100
    options = {"kernel_size": 13, "kind": "fluorescence"}
    return Case(counts, sample.sharp[part] - 100, sample.kernel, options)


def stars() -> Case:
    """Simulate isolated stars behind a Moffat profile, the field that benchmarks/fields.py measures."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from fields import SKY, star_field

    frame, positions, fluxes = star_field(1)
    points = np.full(frame.shape, SKY)
    points[tuple(np.rint(positions).astype(int).T)] += fluxes
    options = {"kernel_size": 21, "kind": "astronomy"}
    return Case(frame, points, None, options, bright=99.0, measured=False)


def stack() -> Case:
    """Simulate three slices of cells under one blur."""
    random, sample = np.random.default_rng(0), samples.load("microscopy")
    margin, slices, truths = sample.kernel.shape[0] // 2, [], []
    for top, left in ((20, 20), (70, 110), (130, 40)):
        part = (
            sample.sharp[top : top + 96 + 2 * margin, left : left + 96 + 2 * margin].astype(np.float64) - 100
        )
        slices.append(random.poisson(samples.convolve_valid(part, sample.kernel.astype(np.float64))))
        truths.append(part[margin:-margin, margin:-margin])
    options = {"kernel_size": 13, "kind": "fluorescence", "kernel_mode": "shared"}
    return Case(np.array(slices, np.float32), np.array(truths), sample.kernel, options)


def too_small() -> Case:
    """Give the photograph a window that its blur does not fit into."""
    case = photograph()
    return Case(case.blurred, case.sharp, case.kernel, {"kernel_size": 7})


def two_blurs() -> Case:
    """Shake the left half of the photograph in another direction than the right one."""
    sample = samples.load("photograph")
    kernel, margin = sample.kernel.astype(np.float64), sample.kernel.shape[0] // 2
    canvas = sample.sharp[40 : 40 + SIDE + 2 * margin, 60 : 60 + SIDE + 2 * margin].astype(np.float64)
    across = np.linspace(0, 1, SIDE)
    seen = samples.convolve_valid(canvas, kernel) * across + samples.convolve_valid(canvas, kernel.T) * (
        1 - across
    )
    noise = np.random.default_rng(0).normal(0, 1, seen.shape)
    truth = canvas[margin:-margin, margin:-margin]
    return Case((seen + noise).astype(np.float32), truth, None, {"kernel_size": 17})


def noise() -> Case:
    """Leave nothing in the image but noise."""
    random = np.random.default_rng(0)
    blurred = random.normal(100, 10, (SIDE, SIDE)).astype(np.float32)
    return Case(blurred, np.full_like(blurred, 100), None, {"kernel_size": 17})


def sharp() -> Case:
    """Take an image that is not blurred at all."""
    case = photograph()
    return Case(case.sharp.astype(np.uint8), case.sharp, None, {"kernel_size": 17})


CASES: dict[str, Callable[[], Case]] = {
    "photograph": photograph,
    "cell": cell,
    "stars": stars,
    "stack": stack,
    "too-small": too_small,
    "two-blurs": two_blurs,
    "noise": noise,
    "sharp": sharp,
}


def draw(case: Case, result: Result) -> Figure:
    """Draw blurred, deblurred, true image, kernels and uncertainty; one row for each slice."""
    count = len(case.blurred) if case.blurred.ndim == 3 else 1

    def plane(array: Array, row: int) -> Array:
        return (array[row] if array.ndim == 3 else array).astype(np.float64)

    figure = Figure(figsize=(13.5, 2.9 * count + 0.3), layout="constrained")
    axes = figure.subplots(count, 5, squeeze=False)
    for row, line in enumerate(axes):
        y, image, std = (plane(array, row) for array in (case.blurred, result.image, result.uncertainty))
        truth = plane(case.sharp, row)
        of = truth if case.measured and np.ptp(truth) > 0 else y
        low, high = np.percentile(of, (0.2, case.bright))
        for axis, data, name in zip(line, (y, image, truth), ("blurred", "deblurred", "true"), strict=False):
            # without content in the truth, or equal to it, there is no figure
            known = case.measured and np.ptp(truth) > 0 and not np.array_equal(data, truth)
            gain = f", {closeness(data, truth, float(np.ptp(truth))).psnr:.1f} dB" if known else ""
            axis.imshow(data, cmap="gray", vmin=low, vmax=high)
            axis.set_title(name + gain, fontsize=11)
            axis.set_axis_off()
        kernel = plane(result.kernel, row)
        show_kernels(line[3], kernel, case.kernel)
        top = float(np.percentile(std, 99.5))
        colours = line[4].imshow(std, cmap="inferno", vmin=0, vmax=top)
        line[4].set_title("uncertainty (1 std)", fontsize=11)
        line[4].set_axis_off()
        figure.colorbar(colours, ax=line[4], fraction=0.046)
    words = "Told: " + ("; ".join(result.report["warnings"]) or "nothing")
    figure.text(0.01, -0.01, "\n".join(textwrap.wrap(words, 165)), va="top", fontsize=10)
    return figure


def show_kernels(axis: Any, found: Array, true: Array | None) -> None:
    """Show the kernel that was found beside the true one, both with the same size of a pixel."""
    name = "kernel found"
    both = found / found.max()
    if true is not None:
        rows = max(len(found), len(true))
        gap = np.ones((rows, 1))
        both = np.hstack([centred(found / found.max(), rows), gap, centred(true / true.max(), rows)])
        name = "kernel found | true"
    axis.imshow(both, cmap="gray")
    axis.set_title(f"{name}, {found.shape[0]} x {found.shape[1]} px", fontsize=11)
    axis.set_axis_off()


def centred(kernel: Array, rows: int) -> Array:
    """Put a kernel in the middle of a square of this many rows."""
    square = np.zeros((rows, rows))
    top, left = ((rows - side) // 2 for side in kernel.shape)
    square[top : top + kernel.shape[0], left : left + kernel.shape[1]] = kernel
    return square


def main() -> None:
    """Deblur and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--quick", action="store_true", help="a few steps only, to look at the layout")
    parser.add_argument("--output", type=Path, default=IMAGES, help="folder of the pictures")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        case = CASES[name]()
        steps = {"iterations": 6} if arguments.quick else {}
        result = deblur(case.blurred, preset="fast", threads=1, **case.options, **steps)
        print(f"{name}: {result.report['warnings']}", flush=True)
        figure = draw(case, result)
        figure.savefig(arguments.output / f"gallery-{name}.png", dpi=80, bbox_inches="tight")


if __name__ == "__main__":
    main()
