"""Whole runs on real images, from the shell."""

from __future__ import annotations

import json
import subprocess
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_vdip.metrics import closeness, kernel_similarity

PART = (slice(60, 220), slice(60, 220))


@pytest.mark.slow
def test_a_real_photograph_is_deblurred(data_folder, tmp_path):
    """Levin et al., the middle of scene 1, kernel 1: 24.9 dB blurred, about 33 after `fast`.

    The default preset takes four times as long, and has one dB more: docs/benchmarks/levin.md.
    """
    folder = data_folder / "levin_dev"
    blurred, sharp = (
        iio.imread(folder / name)[PART] for name in ("blurred/im1_kernel1_img.png", "sharp/im1.png")
    )
    iio.imwrite(tmp_path / "im1.png", blurred)
    command = [sys.executable, "-m", "napari_vdip.cli", "deblur", tmp_path / "im1.png", "--kernel-size", "17"]
    command += ["--preset", "fast"]
    subprocess.run([*command, "--output", tmp_path, "--quiet"], check=True, timeout=560)

    stem = tmp_path / "im1"
    image, std, kernel = (
        tifffile.imread(f"{stem}_{end}.tif") for end in ("deblurred", "uncertainty", "kernel")
    )
    sharp = sharp.astype(float)
    found = closeness(image, sharp, 255.0)
    assert closeness(blurred.astype(float), sharp, 255.0).psnr < 25.0
    assert found.psnr >= 32.0
    assert found.ssim >= 0.91

    truth = iio.imread(folder / "kernels" / "kernel1.png").astype(float)
    assert max(kernel_similarity(kernel, k) for k in (truth, truth[::-1, ::-1])) > 0.7
    # Roughly right: the exact coverage is a figure of the benchmark.
    error = np.abs(np.roll(image, tuple(round(s) for s in found.shift), (0, 1)) - sharp)[15:-15, 15:-15]
    assert 0.6 < np.mean(error < std[15:-15, 15:-15]) < 0.9
    report = json.loads(stem.with_name("im1_report.json").read_text())
    assert report["stop_reason"] == "finished"
    assert report["warnings"] == []
