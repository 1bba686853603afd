"""Throughput of several workers against one with as many threads, on this machine.

Usage, on a machine that has nothing else to do::

    python benchmarks/workers.py 1x4 2x2 4x1 --size 255 --slices 8

``2x2`` is two workers of two threads each. Prints the seconds of each, start of the workers included, its
slices a minute, and the most memory that a worker had.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import tifffile

from napari_vdip.samples import load


def main() -> int:
    """Time each split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("splits", nargs="+", metavar="WORKERSxTHREADS")
    parser.add_argument("--size", type=int, default=255, help="side of a slice in px, at most 255")
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=50, help="steps of preset fast")
    arguments = parser.parse_args()
    image = load("photograph").blurred[: arguments.size, : arguments.size]
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tifffile.imwrite(folder / "stack.tif", np.stack([image] * arguments.slices), photometric="minisblack")
        for split in arguments.splits:
            workers, threads = split.split("x")
            seconds, memory = timed(folder, workers, threads, str(arguments.iterations))
            pace = 60 * arguments.slices / seconds
            print(
                f"{split}: {seconds:.1f} s, {pace:.2f} slices a minute, {memory:.0f} MiB a worker", flush=True
            )
    return 0


def timed(folder: Path, workers: str, threads: str, iterations: str) -> tuple[float, float]:
    """Run the command; its seconds, and the most MiB that one process of it had."""
    words = [sys.executable, "-m", "napari_vdip.cli", "deblur", "stack.tif", "--preset", "fast", "--quiet"]
    words += ["--kernel-size", "17", "--iterations", iterations, "-o", f"{workers}x{threads}"]
    started = time.monotonic()
    process = subprocess.Popen(
        [*words, "--workers", workers, "--threads", threads], cwd=folder, stderr=subprocess.DEVNULL
    )
    peak: list[float] = [0.0]
    watch = threading.Thread(target=_watched, args=(process.pid, peak))
    watch.start()
    status = process.wait()
    seconds = time.monotonic() - started
    watch.join()
    if status:
        raise SystemExit(f"napari-vdip ended with {status}")
    return seconds, peak[0]


def _watched(pid: int, peak: list[float]) -> None:
    """Note the most memory of a child, until the process ends."""
    while True:
        try:
            sizes = [child.memory_info().rss for child in psutil.Process(pid).children(recursive=True)]
        except psutil.Error:
            return
        peak[0] = max([peak[0], *(size / 2**20 for size in sizes)])
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
