"""A tiny folder in the layout of the published sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

if TYPE_CHECKING:
    from pathlib import Path

KERNELS = {"kernel1": np.diag([1.0, 2, 3, 2, 1]), "kernel2": np.outer([0, 1, 2, 1, 0], [0, 0, 1, 3, 2.0])}


def sharp_scene(shape: tuple[int, int] = (48, 56)) -> np.ndarray:
    blocks = zoom(np.random.default_rng(3).random([-(-n // 8) for n in shape]), 8, order=0)
    return 40.0 + 170.0 * gaussian_filter(blocks[: shape[0], : shape[1]], 0.5)


def blurred_by(sharp: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolved, borders replicated, with a little noise."""
    half = [n // 2 for n in kernel.shape]
    canvas = np.pad(sharp, [(n, n) for n in half], mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(canvas, kernel.shape)
    clean = np.einsum("yxhw,hw->yx", views, kernel[::-1, ::-1] / kernel.sum())
    return clean + np.random.default_rng(4).normal(0.0, 0.5, sharp.shape)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(image).clip(0, 255).astype(np.uint8)).save(path)


def write_folder(folder: Path, shape: tuple[int, int] = (48, 56)) -> Path:
    """Write two blurred images of one scene with their truth, as the set of Levin et al. has them."""
    sharp = sharp_scene(shape)
    save(folder / "sharp" / "im1.png", sharp)
    for name, kernel in KERNELS.items():
        save(folder / "kernels" / f"{name}.png", 255.0 * kernel / kernel.max())
        save(folder / "blurred" / f"im1_{name}_img.png", blurred_by(sharp, kernel))
    return folder


QUICK = [
    "--iterations",
    "5",
    "--threads",
    "1",
    "--kernel-size",
    "5",
    "--paper-steps",
    "0",
    "--compile",
    "off",
]
