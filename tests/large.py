"""Large kernels to be found, and the way to have them looked for."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from napari_vdip import Options
from napari_vdip.plan import Setting


def motion(size, length):
    """Kernel of a hand that moves along a diagonal."""
    kernel = np.zeros((size, size), dtype=np.float32)
    steps = np.arange(length) - length // 2 + size // 2
    kernel[steps, steps[::-1]] = 1.0
    kernel = gaussian_filter(kernel, 0.8)
    return kernel / kernel.sum()


def leaves(shape, rng):
    """Paint discs of many sizes over one another: edges of all directions, as in a photograph."""
    rows, columns = np.indices(shape)
    image = np.full(shape, 0.5)
    for radius in np.sort(rng.pareto(1.5, 400) + 1)[::-1] * 4:
        row, column, grey = rng.uniform(0, (*shape, 1))
        image[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = grey
    return image


def hook(size):
    """Kernel of a hand that moves one way, slows down and moves another."""
    far = size // 2 - 3
    down = np.concatenate([np.linspace(-far, far, 8 * size), np.linspace(far, 0, 8 * size)])
    right = np.concatenate([np.linspace(far, -far, 8 * size), np.linspace(-far, -far // 3, 8 * size)])
    kernel = np.zeros((size, size), dtype=np.float32)
    np.add.at(kernel, (np.round(down + size // 2).astype(int), np.round(right + size // 2).astype(int)), 1.0)
    kernel = gaussian_filter(kernel, 0.8)
    return kernel / kernel.sum()


def settings_of(kernel_size, **keywords):
    options = Options(kernel_size=kernel_size, preset="fast", threads=1, kernel_draws=0, **keywords)
    return Setting(options, torch.device("cpu"), "off", (kernel_size,) * 2, "given", None)


def bow(width):
    """Bend a stroke of this share of its full width, in 21 px."""
    along = np.linspace(-1, 1, 400)
    rows, columns = (np.round(width * part).astype(int) for part in (8 * along, 5 * np.cos(2.5 * along)))
    line = np.zeros((21, 21))
    np.add.at(line, (rows + 10, columns + 9), 1.0)
    kernel = gaussian_filter(line, 0.6, mode="constant")
    return (kernel / kernel.sum()).astype(np.float32)


def discs():
    """Sharp discs, the same blurred by a large kernel, and the kernel."""
    kernel = motion(29, 23)
    rng = np.random.default_rng(4)
    sharp = leaves((132, 132), rng)
    image = fftconvolve(sharp, kernel, mode="valid") + rng.normal(0, 0.002, (104, 104))
    return sharp[14:-14, 14:-14], image, kernel


def ended(steps):
    """Go to the end of a generator; returns what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
