"""Deblur the images of Levin et al. 2009 and write a Markdown table of PSNR, SSIM, kernel and time.

    python benchmarks/levin.py FOLDER --scenes im1 --preset balanced --output levin.md

FOLDER holds ``blurred/im1_kernel1_img.png``, ``sharp/im1.png`` and ``kernels/kernel1.png``. A row is
appended as soon as it is measured; a run that was broken off goes on with the rows that are missing.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
from imageio.v3 import imread
from scipy.ndimage import shift

from napari_vdip import deblur
from napari_vdip.metrics import closeness, kernel_similarity

# Sizes that the literature uses for kernel 1 to 8.
SIZES = (17, 15, 13, 27, 11, 19, 21, 21)
HEAD = (
    "| image | seed | kernel size | steps | blurred dB | PSNR dB | SSIM | kernel similarity "
    "| within 1 std | within 1.645 std | seconds |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


def grey(path: Path) -> np.ndarray:
    """Read a picture as (H, W), 0 to 255."""
    picture = imread(path).astype(float)
    return picture if picture.ndim == 2 else picture[..., :3].mean(-1)


def row(folder: Path, scene: str, number: int, seed: int, size: int | str, **options: object) -> str:
    """Measure one image."""
    blurred = grey(folder / "blurred" / f"{scene}_kernel{number}_img.png").astype(np.uint8)
    sharp = grey(folder / "sharp" / f"{scene}.png")
    truth = grey(folder / "kernels" / f"kernel{number}.png")
    result = deblur(blurred, kernel_size=size, seed=seed, **options)
    before, after = closeness(blurred.astype(float), sharp, 255.0), closeness(result.image, sharp, 255.0)
    # The files' kernels are oriented for correlation or for convolution, so both are tried.
    alike = max(kernel_similarity(result.kernel, k) for k in (truth, truth[::-1, ::-1]))
    moved = shift(result.image, after.shift, order=3, mode="nearest")[15:-15, 15:-15]
    std = shift(result.uncertainty, after.shift, order=1, mode="nearest")[15:-15, 15:-15]
    off = np.abs(moved - sharp[15:-15, 15:-15])
    height, width = result.kernel.shape
    return (
        f"| {scene} kernel {number} | {seed} | {height} x {width} | {result.report['steps']} "
        f"| {before.psnr:.2f} | {after.psnr:.2f} | {after.ssim:.3f} | {alike:.2f} "
        f"| {np.mean(off < std):.2f} | {np.mean(off < 1.645 * std):.2f} "
        f"| {result.report['seconds']:.0f} |\n"
    )


def main() -> None:
    """Measure what is missing in the table and print the means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", nargs="+", default=["im1", "im2"])
    parser.add_argument("--kernels", nargs="+", type=int, default=list(range(1, 9)))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--auto", action="store_true", help="let the kernel size be estimated")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    if not given.output.exists():
        given.output.write_text(HEAD)
    for seed in given.seeds:
        for scene in given.scenes:
            for number in given.kernels:
                if f"| {scene} kernel {number} | {seed} |" in given.output.read_text():
                    continue
                size = "auto" if given.auto else SIZES[number - 1]
                line = row(
                    given.folder,
                    scene,
                    number,
                    seed,
                    size,
                    preset=given.preset,
                    iterations=given.iterations,
                    threads=given.threads,
                )
                print(line, end="", flush=True)
                with given.output.open("a") as table:
                    table.write(line)
    cells = [line.split("|") for line in given.output.read_text().splitlines()[2:]]
    for name, column in (
        ("PSNR dB", 6),
        ("SSIM", 7),
        ("within 1 std", 9),
        ("within 1.645 std", 10),
        ("seconds", 11),
    ):
        print(f"mean {name}: {statistics.mean(float(cell[column]) for cell in cells):.3f}")


if __name__ == "__main__":
    main()
