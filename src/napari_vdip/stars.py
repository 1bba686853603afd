"""The kernel of a star field, read off its stars: each is its picture, at some place between pixels.

Where stars stand alone they tell the kernel far better than the evidence does, which knows nothing
of points: a star that lies between pixels is no sharp image of few pixels, and the core of a bright
one, a little saturated, outweighs all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from napari_vdip.arrays import Frame

    Floats = npt.NDArray[np.float64]
    Draw = Callable[[Floats, tuple[int, int], tuple[float, float]], Floats]

_CLEAR = 15.0  # standard deviations by which a star's peak stands out of the sky
_ALONE = 0.1  # of its peak: what else may stand in its cut-out
_MOST = 100  # that are looked at, the brightest first
_FEWEST = 3  # that agree; fewer are no field of stars
# By which the width of a star may differ from that of most: galaxies and saturated stars are wider, hits
# narrower.
_AGREE = 0.15
# Mean square misfit, robust, in standard deviations: stars of real frames have 0.7 to 2.6, knots of a nebula
# and a cluster's blends, which agree as well, 3.1 to 7.4.
_WORST = 3.0
_OWN_ERROR = 0.03  # of a star's light in a pixel: what a smooth profile does not tell of a real one
_CORE = (
    0.7  # of its peak that the round Gaussian fitted to a star has; less: it was fitted to what surrounds it
)
_SIDE = 15  # px of a cut-out, at most
_SKY = 31  # px; the sky is the median of so many


@dataclass(frozen=True)
class Profile:
    """What the stars have in common.

    Attributes
    ----------
    values : ndarray, (p,)
        Parameters of the kernel.
    cov : ndarray, (p, p)
        Their covariance.
    count : int
        Stars that were fitted.
    """

    values: Floats
    cov: Floats
    count: int


@dataclass(frozen=True)
class _Star:
    """Cut-out of a star: light over the sky and its standard deviation, (s, s); infinite: takes no part."""

    light: Floats
    std: Floats

    def std_of_all(self) -> Floats:
        """Noise and the model's own error together."""
        return np.hypot(self.std, _OWN_ERROR * np.maximum(self.light, 0.0))

    def residual(self, kernel: Floats) -> Floats:
        """Difference from a kernel, in standard deviations, at the best flux and sky: (s * s,)."""
        std = self.std_of_all().ravel()
        columns = np.stack([kernel.ravel(), np.ones(kernel.size)], 1) / std[:, None]
        seen = self.light.ravel() / std
        # Two numbers: their normal equations are as good as any other way, and quicker.
        found = np.linalg.solve(columns.T @ columns + 1e-9 * np.eye(2), columns.T @ seen)
        return np.asarray(columns @ found - seen, dtype=np.float64)


def fit(
    frame: Frame, draw: Draw, start: Callable[[float], Floats], size: tuple[int, int], most: int = 30
) -> Profile | None:
    """Fit one kernel to the stars that stand alone and are alike.

    Parameters
    ----------
    frame : Frame
    draw : callable
        Parameters, window and place (row and column from its middle, in px) to a kernel.
    start : callable
        Standard deviation of a Gaussian, in px, to the parameters of the round kernel nearest to it.
    size : (int, int)
        Height and width of the kernel's window.
    most : int
        Stars that are fitted, the brightest first.

    Returns
    -------
    Profile or None
        None where fewer than three stars agree, or one kernel does not explain them.
    """
    from scipy.optimize import least_squares  # type: ignore[import-untyped]

    side = min(*size, _SIDE)
    chosen = _alike(_alone(frame, side))[:most]
    if len(chosen) < _FEWEST:
        return None
    first = start(float(np.median([width for _, width, _ in chosen])))
    count = len(first)

    def residual(values: Floats) -> Floats:
        places = values[count:].reshape(-1, 2)
        return np.concatenate(
            [
                star.residual(draw(values[:count], (side, side), (row, column)))
                for (star, _, _), (row, column) in zip(chosen, places, strict=True)
            ]
        )

    begin = np.concatenate([first, *(place for _, _, place in chosen)])
    end = least_squares(residual, begin, loss="soft_l1", max_nfev=20)
    misfit = 2 * end.cost / (len(end.fun) - len(end.x))
    if misfit > _WORST:
        return None
    cov = max(1.0, misfit) * np.linalg.pinv(end.jac.T @ end.jac)[:count, :count]
    return Profile(end.x[:count], np.asarray(cov, dtype=np.float64), len(chosen))


def _alike(stars: list[_Star]) -> list[tuple[_Star, float, Floats]]:
    """Keep stars that are alike, each with the width and the place, (2,), of a round Gaussian.

    Of several groups the narrowest counts that is not small beside the largest: saturated stars and what
    diffraction throws around them are as good as equally wide, too.
    """
    from scipy.optimize import least_squares

    found = []
    for star in stars:
        line = np.arange(len(star.light), dtype=np.float64) - len(star.light) // 2

        def residual(values: Floats, star: _Star = star, line: Floats = line) -> Floats:
            down, across = (np.exp(-0.5 * ((line - at) / np.exp(values[0])) ** 2) for at in values[1:])
            return star.residual(np.outer(down, across))

        at = least_squares(residual, [0.0, 0.0, 0.0], max_nfev=30)
        error = star.std_of_all() * at.fun.reshape(star.light.shape)
        peak = np.unravel_index(int(star.light.argmax()), star.light.shape)
        if -error[peak] < (1 - _CORE) * star.light[peak]:
            found.append((star, at.x))
    if not found:
        return []
    widths = np.array([values[0] for _, values in found])
    near = np.abs(widths[:, None] - widths) < _AGREE
    crowd = near.sum(0)
    large = np.flatnonzero(crowd >= max(0.5 * crowd.max(), _FEWEST))
    if not len(large):
        return []
    narrow = widths[large].min()
    group = large[widths[large] < narrow + _AGREE]
    alike = near[group[crowd[group].argmax()]]
    return [
        (star, float(np.exp(values[0])), values[1:])
        for (star, values), same in zip(found, alike, strict=True)
        if same
    ]


def _alone(frame: Frame, side: int) -> list[_Star]:
    """Cut out the brightest stars that stand alone and are seen whole."""
    from scipy.ndimage import maximum_filter, median_filter  # type: ignore[import-untyped]

    grey, weight = frame.y.mean(0).astype(np.float64), frame.weight.min(0).astype(np.float64)
    light = grey - median_filter(grey, size=_SKY, mode="reflect")
    std = frame.noise_std / np.maximum(weight, 1e-9)
    half = side // 2
    peak = (light == maximum_filter(light, size=3)) & (light > 5 * std) & (weight > 0)
    rows, columns = np.nonzero(peak)
    heights = light[rows, columns]
    stars: list[_Star] = []
    for row, column, height in sorted(
        zip(rows, columns, heights, strict=True), key=lambda found: -float(found[2])
    ):
        inside = half <= row < light.shape[0] - half and half <= column < light.shape[1] - half
        if not inside or height < _CLEAR * std[row, column] or len(stars) == _MOST:
            continue
        part = (slice(row - half, row + half + 1), slice(column - half, column + half + 1))
        beside = np.hypot(rows - row, columns - column)
        crowd = heights[(beside > 2.5) & (beside < half + 2)]
        core = weight[row - 1 : row + 2, column - 1 : column + 2]
        if (crowd > _ALONE * height).any() or not (core > 0).all():
            continue
        stars.append(_Star(light[part], std[part]))
    return stars
