"""Measure `napari_vdip.estimate.kernel_size` and print the table of docs/explanation/kernel-size.md.

Usage: ``python benchmarks/kernel_size.py [DATA] [--jpeg QUALITY] [--markdown]``. DATA is a folder with
``levin_dev``, ``lai_dev`` and ``ddipp_poisson_sim`` (the last read with scipy); without it only
the simulated cases run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import imageio.v3 as iio
import numpy as np
import skimage.data

from napari_vdip.compression import rounding
from napari_vdip.estimate import kernel_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

LEVIN_SIZES = (17, 15, 13, 27, 11, 19, 21, 21)
LAI_SIZES = (31, 51, 55, 75)


class Case(NamedTuple):
    """A blurred image, the extent of its kernel, and the size that the literature uses for it."""

    group: str
    name: str
    image: Floats
    extent: int
    used: int


def extent(kernel: Floats) -> int:
    """Length along the longer axis that holds 95 % of a kernel's mass, in px."""
    longest = 0
    for axis in (0, 1):
        mass = np.cumsum(kernel.clip(0).sum(axis)) / kernel.clip(0).sum()
        longest = max(longest, int(np.searchsorted(mass, 0.975) - np.searchsorted(mass, 0.025)) + 1)
    return longest


def gaussian(std: float) -> Floats:
    """Return a Gaussian kernel cut at four standard deviations."""
    along = np.arange(-int(np.ceil(4 * std)), int(np.ceil(4 * std)) + 1)
    kernel = np.exp(-(along[:, None] ** 2 + along**2) / (2 * std**2))
    return kernel / kernel.sum()


def disc(radius: float) -> Floats:
    """Return a defocus disc, its border antialiased (8 x 8 samples a px)."""
    n = 2 * int(np.ceil(radius)) + 3
    along = (np.arange(8 * n) + 0.5) / 8 - n / 2
    inside = (along[:, None] ** 2 + along**2 <= radius**2).astype(float)
    kernel = inside.reshape(n, 8, n, 8).sum((1, 3))
    return kernel / kernel.sum()


def line(length: int, degrees: float) -> Floats:
    """Return a straight motion blur, drawn with bilinear weights."""
    centre = length // 2 + 2
    kernel = np.zeros((2 * centre + 1, 2 * centre + 1))
    for t in np.linspace(-(length - 1) / 2, (length - 1) / 2, 40 * length):
        y, x = centre + t * np.sin(np.deg2rad(degrees)), centre + t * np.cos(np.deg2rad(degrees))
        i, j = int(y), int(x)
        kernel[i : i + 2, j : j + 2] += np.outer((1 - y + i, y - i), (1 - x + j, x - j))
    return kernel / kernel.sum()


def blur(image: Floats, kernel: Floats) -> Floats:
    """Convolve, 'valid'."""
    shape = [a + b - 1 for a, b in zip(image.shape, kernel.shape, strict=True)]
    whole = np.fft.irfft2(np.fft.rfft2(image, shape) * np.fft.rfft2(kernel, shape), shape)
    return whole[kernel.shape[0] - 1 : image.shape[0], kernel.shape[1] - 1 : image.shape[1]]


def grey(path: Path) -> Floats:
    """Read an image as the mean of its colours."""
    image = np.asarray(iio.imread(path), dtype=float)
    return image[..., :3].mean(-1) if image.ndim == 3 else image


def measured(data: Path) -> Iterator[Case]:
    """Yield the images of the data folder."""
    for kind, sizes, blurred, kernels in (
        ("Levin", LEVIN_SIZES, "levin_dev/blurred/im*_kernel*_img.png", "levin_dev/kernels/kernel{}.png"),
        ("Lai", LAI_SIZES, "lai_dev/blurred_y/*_kernel_0*.png", "lai_dev/kernels/kernel_0{}.png"),
    ):
        for path in sorted(data.glob(blurred)):
            number = int(path.stem.split("kernel")[1].strip("_").split("_")[0])
            kernel = grey(data / kernels.format(number))
            name = path.stem.removesuffix("_img").replace("_", " ")
            yield Case(kind, name, grey(path), extent(kernel), sizes[number - 1])
    for path in sorted((data / "ddipp_poisson_sim").glob("*.mat")):
        from scipy.io import loadmat

        content = loadmat(path)
        size = extent(content["psf"].astype(float))
        yield Case("Poisson (DDIPP)", path.stem, content["gn"].astype(float), size, size)


def photographs() -> Iterator[Case]:
    """Yield images that scikit-image ships, under discs, Gaussians and lines, with noise."""
    rng = np.random.default_rng(0)
    kernels = {f"Gaussian, std {s}": gaussian(s) for s in (0.7, 1.5, 3, 6)}
    kernels |= {f"disc, radius {r}": disc(r) for r in (2, 4, 8, 14)}
    kernels |= {f"line, {n} px, {a} deg": line(n, a) for n, a in ((9, 0), (15, 30), (25, 70), (45, 120))}
    for scene in ("camera", "astronaut", "coins", "grass", "page", "cell", "hubble_deep_field"):
        sharp = np.asarray(getattr(skimage.data, scene)(), dtype=float)
        sharp = sharp.mean(-1) if sharp.ndim == 3 else sharp
        for name, kernel in kernels.items():
            image = blur(sharp, kernel)
            image += rng.normal(0, 1.0 if scene == "cell" else 2.5, image.shape)
            yield Case(name.split(",")[0], f"{scene}, {name}", image, extent(kernel), extent(kernel))


def micrographs() -> Iterator[Case]:
    """Yield puncta and filaments with photon noise."""
    rng = np.random.default_rng(0)
    kernels = {f"Gaussian, std {s}": gaussian(s) for s in (1, 2, 4)} | {"disc, radius 5": disc(5)}
    for draw in (_puncta, _filaments):
        for photons in (30, 500):
            for name, kernel in kernels.items():
                image = blur(draw(rng), kernel).clip(0)
                image = rng.poisson(5 + photons * image / np.quantile(image, 0.999)).astype(float)
                label = f"{draw.__name__[1:]}, {photons} photons, {name}"
                yield Case("Simulated micrograph", label, image, extent(kernel), extent(kernel))


def _puncta(rng: np.random.Generator) -> Floats:
    scene = np.zeros((300, 300))
    np.add.at(scene, tuple(rng.integers(0, 300, (2, 400))), rng.exponential(1, 400))
    return scene


def _filaments(rng: np.random.Generator) -> Floats:
    scene = np.zeros((300, 300))
    for _ in range(40):
        place, bright = rng.uniform(0, 300, 2), rng.uniform(0.3, 1)
        angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.03, 400))
        path = place[:, None] + 0.5 * np.cumsum([np.sin(angles), np.cos(angles)], axis=1)
        i, j = path[:, ((path >= 0) & (path < 300)).all(0)].astype(int)
        scene[i, j] = bright
    return scene


def compressed(image: Floats, quality: int) -> Floats:
    """Return what JPEG leaves of an image of 8 bits; others are scaled to that."""
    low, high = (0.0, 255.0) if 0 <= image.min() and image.max() <= 255 else (image.min(), image.max())
    levels = np.rint(255 * (image - low) / (high - low)).astype(np.uint8)
    file = iio.imwrite("<bytes>", levels, extension=".jpg", quality=quality)
    return np.asarray(iio.imread(file, extension=".jpg"), dtype=float)


def verdict(case: Case, size: int) -> str:
    """Judge a size: it should hold the size in use, and not exceed 1.6 times it plus 4 px."""
    if size < case.used:
        return "too small"
    return "large" if size > max(1.6 * case.used + 4, 7) else "in band"


def main() -> int:
    """Run all cases, print a line for each and the counts of each group."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--jpeg", type=int, metavar="QUALITY", help="compress the images first")
    parser.add_argument("--markdown", action="store_true", help="print the tables of the documentation")
    arguments = parser.parse_args()
    counts: dict[str, dict[str, int]] = {}
    lines, slowest = [], 0.0
    cases = [measured(arguments.data)] if arguments.data else []
    for case in (case for source in (*cases, photographs(), micrographs()) for case in source):
        image = compressed(case.image, arguments.jpeg) if arguments.jpeg else case.image
        start = time.perf_counter()
        size = kernel_size(image, rounding=rounding(image)).size[0]
        slowest = max(slowest, time.perf_counter() - start)
        judged = verdict(case, size)
        tally = counts.setdefault(case.group, {"in band": 0, "large": 0, "too small": 0})
        tally[judged] += 1
        lines.append((case.name, case.extent, case.used, size, judged))
    if arguments.markdown:
        print("| group | in band | large | too small |\n| --- | --- | --- | --- |")
        for group, tally in counts.items():
            print(f"| {group} | {tally['in band']} | {tally['large']} | {tally['too small']} |")
        print("\n| image | 95 % extent | size in use | estimate | |\n| --- | --- | --- | --- | --- |")
        for row in lines:
            print("| " + " | ".join(map(str, row)) + " |")
    else:
        for row in lines:
            print("{:50s} extent {:3d} used {:3d} estimate {:3d} {}".format(*row))
        print(counts)
    print(f"slowest: {slowest:.2f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
