"""Simulated micrographs and star fields: quality, coverage, photometry and astrometry.

Usage::

    python benchmarks/fields.py micrographs --seeds 4 --preset fast
    python benchmarks/fields.py stars --seeds 1 2 --preset fast

Micrographs of 128 x 128 px (nuclei, filaments, puncta; offset 100, read noise 2) under three blurs and
with three numbers of photons at the peak: this program, its own `dip` and blind Richardson-Lucy.
Star fields of 23 isolated stars behind a Moffat profile over a sky of 200 photons.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from napari_vdip import deblur, samples
from napari_vdip.benchmark.classical import blind_richardson_lucy
from napari_vdip.metrics import closeness, kernel_similarity

SIDE, OFFSET, READ, MARGIN = 128, 100.0, 2.0, 15
SKY, FWHM, APERTURE = 200.0, 3.2, 9


def gaussian(std: float, size: int) -> np.ndarray:
    """Kernel of a Gaussian, sampled at the pixels."""
    place = np.arange(size) - size // 2
    kernel = np.exp(-(place[:, None] ** 2 + place**2) / (2 * std**2))
    return kernel / kernel.sum()


BLURS = {
    "Gaussian, std 1.1 px": (gaussian(1.1, 7), 11),
    "Gaussian, std 2.1 px": (gaussian(2.1, 13), 17),
    "lens out of focus": (samples.load("microscopy").kernel.astype(float), 15),
}


def micrograph(seed: int, kernel: np.ndarray, photons: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene and take a picture of it; counts (uint16) and the truth in their units."""
    rng = np.random.default_rng([seed, photons, len(kernel)])
    scene = np.random.default_rng(seed)
    wide, margin = 296, kernel.shape[0] // 2
    whole = samples._nuclei(scene, wide) + samples._filaments(scene, wide) + samples._puncta(scene, wide)
    top, left = scene.integers(0, wide - SIDE - 2 * margin, 2)
    part = whole[top : top + SIDE + 2 * margin, left : left + SIDE + 2 * margin]
    part = part * photons / samples.convolve_valid(part, kernel).max()
    light = samples.convolve_valid(part, kernel) + 0.02 * photons
    counts = rng.poisson(light) + rng.normal(OFFSET, READ, light.shape)
    truth = part[margin:-margin, margin:-margin] + 0.02 * photons + OFFSET
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16), truth


def micrographs(seeds: list[int], preset: str) -> None:
    """Print a row for each blur, number of photons and seed."""
    print(
        "| blur | photons | seed | blurred | blind RL | dip | PSNR | SSIM | similarity | within 1 | 1.645 |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    inner = (slice(MARGIN, -MARGIN),) * 2
    for name, (kernel, size) in BLURS.items():
        for photons in (100, 1_000, 10_000):
            for seed in seeds:
                y, truth = micrograph(seed, kernel, photons)
                full = float(np.ptp(truth))
                blind, _ = blind_richardson_lucy((y - float(y.min())) / full, size)
                own = {"kind": "fluorescence", "kernel_size": size, "preset": preset, "threads": 1}
                dip = deblur(y, method="dip", kernel_family="free", **own)
                found = deblur(y, **own)
                best = closeness(found.image.astype(float), truth, full)
                error = np.abs(found.image - truth)[inner]
                std = found.uncertainty[inner]
                row = [
                    closeness(y.astype(float), truth, full).psnr,
                    closeness(blind * full + float(y.min()), truth, full).psnr,
                    closeness(dip.image.astype(float), truth, full).psnr,
                    best.psnr,
                    best.ssim,
                    kernel_similarity(found.kernel, kernel),
                    float(np.mean(error < std)),
                    float(np.mean(error < 1.645 * std)),
                ]
                rows.append(row)
                told = " | ".join(f"{value:.2f}" for value in row)
                print(f"| {name} | {photons:,} | {seed} | {told} |", flush=True)
    print("| mean | | | " + " | ".join(f"{value:.2f}" for value in np.mean(rows, 0)) + " |")


def star_field(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw isolated stars; photons, positions (n, 2) and fluxes (n,)."""
    rng = np.random.default_rng(seed)
    places = [(16 + 24 * i, 16 + 24 * j) for i in range(5) for j in range(4 if i % 2 else 5)]
    positions = np.array(places) + rng.uniform(-4, 4, (len(places), 2))
    fluxes = 10 ** rng.uniform(3.3, 5, len(places))
    alpha = FWHM / 2 / np.sqrt(2 ** (1 / 3) - 1)
    fine = (np.arange(SIDE * 5) + 0.5) / 5 - 0.5
    light = np.zeros((SIDE, SIDE))
    for (row, column), flux in zip(positions, fluxes, strict=True):
        square = (fine[:, None] - row) ** 2 + (fine[None] - column) ** 2
        star = 2 / np.pi / alpha**2 * (1 + square / alpha**2) ** -3.0
        light += flux * star.reshape(SIDE, 5, SIDE, 5).mean((1, 3))
    photons = rng.poisson(light + SKY) + rng.normal(0, 5, light.shape)
    return photons.astype(np.float32), positions, fluxes


def measured(image: np.ndarray, row: float, column: float) -> tuple[float, float, float]:
    """Flux over the sky in an aperture, and its centroid."""
    rows, columns = np.indices(image.shape)
    inside = np.clip(APERTURE + 0.5 - np.hypot(rows - row, columns - column), 0, 1) * (image - SKY)
    flux = float(inside.sum())
    return flux, float((inside * rows).sum()) / flux, float((inside * columns).sum()) / flux


def stars(seeds: list[int], preset: str) -> None:
    """Print what deblurring does to fluxes and positions, in three classes of signal to noise."""
    changes: dict[str, list[tuple[float, float]]] = {"over 100": [], "40 to 100": [], "15 to 40": []}
    for seed in seeds:
        y, positions, fluxes = star_field(seed)
        found = deblur(y, kernel_size=21, kind="astronomy", preset=preset, threads=1)
        width = found.report["kernel_numbers"]["fwhm_long"]["value"]
        print(f"seed {seed}: total {found.image.sum() / y.sum():.4f}, FWHM found {width:.2f} of {FWHM} px")
        for (row, column), flux in zip(positions, fluxes, strict=True):
            noise = np.sqrt(flux + (SKY + 25) * np.pi * 5**2)
            before, after = measured(y, row, column), measured(found.image, row, column)
            moved = float(np.hypot(after[1] - before[1], after[2] - before[2]))
            ratio = flux / noise
            name = "over 100" if ratio > 100 else "40 to 100" if ratio > 40 else "15 to 40"
            changes[name].append((after[0] / before[0] - 1, moved))
    print("| signal to noise | stars | flux, median change | largest | position, median change in px |")
    print("| --- | --- | --- | --- | --- |")
    for name, pairs in changes.items():
        flux, moved = zip(*pairs, strict=True)
        most = max(flux, key=abs)
        print(
            f"| {name} | {len(pairs)} | {statistics.median(flux):+.2%} | {most:+.2%} | "
            f"{statistics.median(moved):.3f} |"
        )


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("micrographs", "stars"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--preset", default="fast")
    arguments = parser.parse_args()
    {"micrographs": micrographs, "stars": stars}[arguments.what](arguments.seeds, arguments.preset)


if __name__ == "__main__":
    main()
