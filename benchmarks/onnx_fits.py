"""Whole fits in ONNX Runtime and in torch, on the processor: how near to the truth each comes.

    python benchmarks/onnx_fits.py

Needs the extra ``onnx``. What came out of it: docs/explanation/onnx-step.md.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.signal import convolve2d
from skimage import data

from napari_vdip import deblur
from napari_vdip.metrics import closeness, kernel_similarity


def main() -> None:
    """Blur a photograph, fit, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    sharp = data.camera()[100:228, 180:308].astype(np.float32) / 255
    kernel = np.zeros((9, 9), np.float32)
    for part in np.linspace(0, 1, 40):
        kernel[int(1 + 6 * part), int(2.5 + 4 * part * part)] += 1
    kernel /= kernel.sum()
    blurred = convolve2d(sharp, kernel, mode="valid")
    blurred += np.random.default_rng(0).normal(0, 0.005, blurred.shape)
    sharp = sharp[4:-4, 4:-4]
    for seed in range(given.seeds):
        for way in ("script", "onnx"):
            chosen = {"preset": "fast", "kernel_size": 9, "kernel_draws": 0, "threads": 1}
            result = deblur(blurred, **chosen, seed=seed, compile=way)
            close = closeness(result.image, sharp, 1.0, border=8)
            print(
                f"seed {seed}, {way}: PSNR {close.psnr:.2f} dB, SSIM {close.ssim:.4f}, kernel "
                f"{kernel_similarity(result.kernel, kernel):.3f}, {result.report['seconds']:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
