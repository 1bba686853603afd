"""Photometry and astrometry of isolated simulated stars, before and after deblurring, and the photons' limit.

Usage::

    python benchmarks/photometry.py --seeds 31 32 33 --plot docs/images/photometry.png

Fields as in ``fields.py``. Each star is measured in the frame and in the deblurred image: its flux in a wide
and in a narrow aperture over the known sky, and its place by a Gaussian-weighted centroid. The limit is the
Cramer-Rao bound of flux and place for a star of known profile on this sky.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fields import FWHM, SKY, star_field

from napari_vdip import deblur, family

READ_VARIANCE = 25.0
WINDOW = 21
# Radii in px, wide and narrow; the light of the profile outside of them is added to what the frame gives.
APERTURES = (9.0, 4.0)
# Std of the window of a centroid in px, before and after. The deblurred star is as sharp as the pixels:
# a narrow window would follow them, not the star.
WINDOWS = (1.6, 2.5)


@dataclass(frozen=True)
class Star:
    """Errors of one star: flux relative to the truth, distance from it in px."""

    ratio: float  # flux over the least standard deviation that it can be measured with
    least: float  # px; the same for the place, both axes together
    flux: tuple[float, float]  # before, after, in the wide aperture
    narrow: tuple[float, float]  # in the narrow one
    place: tuple[float, float]


def profile(place: tuple[float, float]) -> np.ndarray:
    """Draw the true profile at a place from the middle of a window."""
    alpha = FWHM / 2 / np.sqrt(2 ** (1 / 3) - 1)
    values = np.array([2 * np.log(alpha), 0.0, 0.0, np.log(2.0)])
    return family.FAMILIES["moffat"].draw(values, (WINDOW, WINDOW), place)


def limits(flux: float, place: tuple[float, float]) -> tuple[float, float]:
    """Least standard deviation of a star's flux, and of its distance from the truth in px."""
    step = 0.01
    slopes = [profile(place)] + [
        flux * (profile(ahead) - profile(behind)) / (2 * step)
        for ahead, behind in (
            ((place[0] + step, place[1]), (place[0] - step, place[1])),
            ((place[0], place[1] + step), (place[0], place[1] - step)),
        )
    ]
    columns = np.stack([slope.ravel() for slope in slopes], 1)
    variance = flux * profile(place).ravel() + SKY + READ_VARIANCE
    cov = np.linalg.inv(columns.T @ (columns / variance[:, None]))
    return float(np.sqrt(cov[0, 0])), float(np.sqrt(cov[1, 1] + cov[2, 2]))


def flux_of(image: np.ndarray, row: float, column: float, radius: float = APERTURES[0]) -> float:
    """Flux in an aperture over the sky."""
    rows, columns = np.indices(image.shape)
    away = np.hypot(rows - row, columns - column)
    return float((np.clip(radius + 0.5 - away, 0, 1) * (image - SKY)).sum())


def place_of(image: np.ndarray, row: float, column: float, std: float) -> tuple[float, float]:
    """Centroid under a Gaussian window that follows it."""
    rows, columns = np.indices(image.shape)
    for _ in range(20):
        square = (rows - row) ** 2 + (columns - column) ** 2
        weight = np.exp(-0.5 * square / std**2) * (square < (4 * std) ** 2) * (image - SKY)
        # Twice the step: the window pulls towards where it is (Bertin, SExtractor's windowed centroid).
        row += 2 * float((weight * (rows - row)).sum() / weight.sum())
        column += 2 * float((weight * (columns - column)).sum() / weight.sum())
    return row, column


def measured(seed: int, preset: str) -> list[Star]:
    """Deblur one field and measure its stars."""
    y, positions, fluxes = star_field(seed)
    result = deblur(y, kernel_size=WINDOW, kind="astronomy", preset=preset, threads=1)
    told = result.report["kernel_numbers"]["fwhm_long"]
    print(
        f"seed {seed}: {result.report['kernel_source']}, FWHM {told['value']:.2f} of {FWHM}, total "
        f"{result.image.sum() / y.sum():.5f}",
        flush=True,
    )
    alone = SKY + np.pad(profile((0, 0)), WINDOW)
    stars = []
    for (row, column), flux in zip(positions, fluxes, strict=True):
        inside = (row - round(row), column - round(column))
        noise, least = limits(flux, inside)
        errors = []
        for radius in APERTURES:
            share = flux_of(alone, alone.shape[0] // 2, alone.shape[1] // 2, radius)
            before = flux_of(y, row, column, radius) / share
            errors.append((before / flux - 1, flux_of(result.image, row, column, radius) / flux - 1))
        places = [
            place_of(image, row, column, std) for image, std in zip((y, result.image), WINDOWS, strict=True)
        ]
        away = [float(np.hypot(at[0] - row, at[1] - column)) for at in places]
        stars.append(Star(flux / noise, least, *errors, (away[0], away[1])))
    return stars


def tell(stars: list[Star]) -> None:
    """Print a table by classes of signal to noise."""
    print(
        "| S/N | stars | flux before | after, median (rms) | narrow, before | after | limit "
        "| place before | after | limit |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for low, high in ((15, 40), (40, 100), (100, 1000)):
        part = [star for star in stars if low <= star.ratio < high]
        if not part:
            continue
        place = np.array([star.place for star in part])
        apart = np.sqrt((place**2).mean(0))
        limit = np.sqrt(np.mean([1 / star.ratio**2 for star in part]))
        least = np.sqrt(np.mean([star.least**2 for star in part]))
        cells = []
        for flux in (np.array([getattr(star, name) for star in part]) for name in ("flux", "narrow")):
            middle, rms = np.median(flux, 0), np.sqrt((flux**2).mean(0))
            cells += [f"{middle[n]:+.2%} ({rms[n]:.2%})" for n in (0, 1)]
        cells += [f"{limit:.2%}", f"{apart[0]:.3f}", f"{apart[1]:.3f}", f"{least:.3f}"]
        print(f"| {low} to {high} | {len(part)} | {' | '.join(cells)} |")


def draw(stars: list[Star], target: Path) -> None:
    """Plot errors of flux and place over the signal to noise, with their limits."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    ratio = np.array([star.ratio for star in stars])
    order = np.argsort(ratio)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for number, (name, mark, colour) in enumerate((("frame", "x", "0.55"), ("deblurred", "o", "C0"))):
        style = {"color": colour, "ms": 5, "mfc": "none", "label": name}
        left.plot(
            ratio,
            [100 * star.flux[number] for star in stars],
            mark,
            color=colour,
            ms=5,
            mfc="none",
            label=name,
        )
        right.plot(ratio, [star.place[number] for star in stars], mark, **style)
    band = 100 / ratio[order]
    left.fill_between(ratio[order], -band, band, color="C1", alpha=0.25, label="photon limit, 1 std")
    left.axhline(0, color="k", lw=0.6)
    left.set(xscale="log", ylim=(-12, 12), xlabel="signal to noise", ylabel="error of the flux (%)")
    right.plot(
        ratio[order], [stars[i].least for i in order], color="C1", lw=2, label="photon limit (Cramér-Rao)"
    )
    right.axhline(0.05, color="k", ls=":", lw=1, label="0.05 px")
    right.set(xscale="log", yscale="log", xlabel="signal to noise", ylabel="distance from the truth (px)")
    for axes in (left, right):
        axes.xaxis.set_major_locator(FixedLocator([20, 50, 100, 200]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.legend(frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=110)


def main() -> None:
    """Measure the fields that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[31])
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    stars = [star for seed in arguments.seeds for star in measured(seed, arguments.preset)]
    tell(stars)
    if arguments.plot is not None:
        draw(stars, arguments.plot)


if __name__ == "__main__":
    main()
