"""Kill a job at random moments, resume it each time, and compare with a job that was left alone.

Usage::

    python benchmarks/kills.py --kills 10
    python benchmarks/kills.py --kills 10 --kernel-mode warm

Deblurs a small made-up stack with the command of this package. Prints the moments and what was done by
then; exit status 1 if a byte of image, kernel or uncertainty differs.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

COMMAND = [sys.executable, "-m", "napari_vdip.cli", "deblur", "stack.tif", "--kernel-size", "5"]
OPTIONS = [
    "--preset",
    "fast",
    "--iterations",
    "5",
    "--threads",
    "1",
    "--compile",
    "off",
    "--resume",
    "--quiet",
]
RESULTS = ("stack_deblurred.tif", "stack_kernel.tif", "stack_uncertainty.tif")


def main() -> int:
    """Run once alone, then once with kills, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--kernel-mode", default="each")
    parser.add_argument("--seed", type=int, default=None, help="of the moments; from the clock if not given")
    arguments = parser.parse_args()
    OPTIONS.extend(["--kernel-mode", arguments.kernel_mode])
    seed = time.time_ns() % 2**31 if arguments.seed is None else arguments.seed
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        blocks = np.random.default_rng(0).integers(0, 200, (arguments.slices, 10, 12))
        stack = blocks.repeat(4, 1).repeat(4, 2).astype(np.uint8)
        tifffile.imwrite(folder / "stack.tif", stack, photometric="minisblack")
        started = time.monotonic()
        subprocess.run([*COMMAND, *OPTIONS, "-o", "alone"], cwd=folder, check=True, stderr=subprocess.DEVNULL)
        alone = time.monotonic() - started
        print(f"left alone: {alone:.1f} s for {arguments.slices} slices; moments from seed {seed}")
        for number in range(arguments.kills):
            kill(folder, number, chance.randrange(2), chance.uniform(0, alone / arguments.slices))
        subprocess.run(
            [*COMMAND, *OPTIONS, "-o", "killed"], cwd=folder, check=True, stderr=subprocess.DEVNULL
        )
        same = {
            name: (folder / "alone" / name).read_bytes() == (folder / "killed" / name).read_bytes()
            for name in RESULTS
        }
    print(
        *(f"{name}: {'the same bytes' if equal else 'DIFFERENT'}" for name, equal in same.items()), sep="\n"
    )
    return int(not all(same.values()))


def kill(folder: Path, number: int, more: int, later: float) -> None:
    """Start or resume the job, and kill it some time after it has done so many slices more."""
    job = folder / "killed" / "stack_job"
    before = len(list(job.glob("unit_*.npz")))
    process = subprocess.Popen([*COMMAND, *OPTIONS, "-o", "killed"], cwd=folder, stderr=subprocess.DEVNULL)
    while len(list(job.glob("unit_*.npz"))) < before + more and process.poll() is None:
        time.sleep(0.01)
    time.sleep(later)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    done = "all" if ended else len(list(job.glob("unit_*.npz")))
    print(f"kill {number + 1}: {later:.2f} s after slice {before + more}, {done} slices done", flush=True)


if __name__ == "__main__":
    sys.exit(main())
