"""Time, memory and quality on a GPU: first fit of a process and later ones, with a profile if asked for.

python benchmarks/gpu.py DATA/levin_dev/blurred/im1_kernel1_img.png --kernel-size 17 --presets fast balanced
python benchmarks/gpu.py --size 1024 --kernel-size 31 --presets balanced
"""

from __future__ import annotations

import argparse
import cProfile
import io
import pstats
import statistics
import time

import numpy as np
import torch

from napari_vdip import deblur
from napari_vdip.files import read
from napari_vdip.samples import load


def picture(given: argparse.Namespace) -> np.ndarray:
    """Image of the file, else the sample photograph, mirrored on to the size asked for."""
    if given.image is not None:
        return read(given.image).data
    tile = load("photograph").blurred
    more = [(0, max(0, given.size - side)) for side in tile.shape]
    return np.pad(tile, more, mode="symmetric")[: given.size, : given.size]


def main() -> None:
    """Print a row of a table for each preset."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", nargs="?")
    parser.add_argument("--size", type=int, default=256, help="of the sample, where no image is given")
    parser.add_argument("--kernel-size", type=int, default=17)
    parser.add_argument("--presets", nargs="+", default=["fast", "balanced", "best"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--profile", action="store_true", help="where the time of one more fit goes")
    given = parser.parse_args()
    image = picture(given)
    name = torch.cuda.get_device_name(given.device)
    print(f"{name}, torch {torch.__version__}, {' x '.join(map(str, image.shape))} px")
    print("| preset | steps | seconds, first | later, median | peak GB |\n| --- | --- | --- | --- | --- |")
    for preset in given.presets:
        seconds = []
        torch.cuda.reset_peak_memory_stats(given.device)
        for _ in range(given.repeats):
            started = time.perf_counter()
            result = deblur(image, kernel_size=given.kernel_size, preset=preset, device=given.device)
            seconds.append(time.perf_counter() - started)
        peak = torch.cuda.max_memory_reserved(given.device) / 1e9
        later = f"{statistics.median(seconds[1:]):.1f}" if len(seconds) > 1 else ""
        print(
            f"| {preset} | {result.report['steps']} | {seconds[0]:.1f} | {later} | {peak:.2f} |", flush=True
        )
        if given.profile:
            with cProfile.Profile() as profile:
                deblur(image, kernel_size=given.kernel_size, preset=preset, device=given.device)
            text = io.StringIO()
            pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(45)
            print(text.getvalue())


if __name__ == "__main__":
    main()
