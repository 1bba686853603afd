"""Many small fits in one process, and whether its memory stays flat.

    python benchmarks/soak_fits.py --fits 200

Every fit has other random numbers; sizes, colours, a mask, a kernel family, a known kernel and the ways
to drive the loop take turns, so that no cache can hide. Prints resident memory and threads after
warming up, half-way and at the end; exit status 1 if memory grew by more than `GROWTH` a fit in the
second half, or if threads did.
The viewer's share is looked at by soak.py.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
import time
from typing import Any

import numpy as np
import psutil

from napari_vdip import VdipError, deblur

WARM_UP = 8  # fits after which caches and allocators have what they need: once through `TURNS`
GROWTH = 0.05  # MiB a fit
SHAPES = ((40, 48), (48, 40), (33, 57))
TURNS: tuple[dict[str, Any], ...] = (
    {},
    {"compile": "script"},
    {"rgb": True},
    {"kernel": np.full((5, 5), 0.04)},
    {"noise": "poisson"},
    {"kernel_family": "gaussian"},
    {"method": "dip"},
    {"mask": True},
)


def fit(number: int) -> None:
    """Deblur one image; every ninth time it is one that is refused."""
    random = np.random.default_rng(number)
    options = dict(TURNS[number % len(TURNS)])
    shape = SHAPES[number % len(SHAPES)]
    image = random.random((*shape, 3) if options.get("rgb") else shape, dtype=np.float32)
    if options.pop("mask", False):
        options["mask"] = random.random(shape) < 0.1
    if "kernel" not in options:
        options["kernel_size"] = 5
    common = {"preset": "fast", "iterations": 4, "threads": 1, "seed": number, "compile": "off"}
    if number % 9 == 8:
        try:
            deblur(image[:2], **common)
        except VdipError:
            return
        raise AssertionError("an image of two rows was taken")
    result = deblur(image, **{**common, **options})
    assert np.isfinite(result.image).all()


def measure() -> tuple[float, int]:
    """Resident memory in MiB and number of threads, the garbage collected, free heap given back."""
    for _ in range(3):
        gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", bool)(0)
    process = psutil.Process()
    return process.memory_info().rss / 2**20, process.num_threads()


def main() -> int:
    """Fit, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=200)
    count = parser.parse_args().fits
    begun, seen = time.perf_counter(), {}
    for number in range(WARM_UP + count + 1):
        after = number - WARM_UP
        if after in (0, count // 2, count):
            seen[after] = measure()
            print(f"after {after} fits: {seen[after][0]:.1f} MiB, {seen[after][1]} threads", flush=True)
        if after < count:
            fit(number)
    half, end = seen[count // 2], seen[count]
    grown = (end[0] - half[0]) / (count - count // 2)
    print(f"{grown:+.3f} MiB a fit in the second half; {time.perf_counter() - begun:.0f} s")
    return int(grown > GROWTH or end[1] > half[1])


if __name__ == "__main__":
    sys.exit(main())
