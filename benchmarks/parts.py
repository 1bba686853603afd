"""Time and memory of the parts of a deblurring: what estimates and tile plans are made from.

Usage::

    python benchmarks/parts.py --sides 128 256 512

For each side, in a process of its own: processor time of a step of the fit, of a step of the polish (a slice
or tile with a kernel from elsewhere) and of one question to the evidence (kernel families, scale of the
prior), on one thread; and the most resident memory, that of the loaded program (a frame of 64 px) taken off,
in bytes for a pixel. What is 0 is hidden by what loading took.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from napari_vdip import Options
from napari_vdip.samples import load


def frame(side: int) -> np.ndarray:
    """Repeat the photograph of the samples to a frame of this side."""
    image = load("photograph").blurred
    times = -(-side // min(image.shape))
    return np.tile(image, (times, times))[:side, :side].astype(np.float32)


def peak() -> int:
    """Most bytes that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(part: str, side: int, preset: str) -> tuple[float, float]:
    """Seconds for a step, and bytes for a pixel above what the loaded program has."""
    import torch

    from napari_vdip import family, solve, stack
    from napari_vdip.core.evidence import Evidence

    image = frame(side)
    options = Options(kernel_size=17, preset=preset, iterations=16, threads=1, tile=10**6)
    kernel = np.full((17, 17), 1 / 289, np.float32)
    small = stack.fit(frame(64), options, kernels=[kernel] if part == "polish" else [])
    for _ in small:
        pass
    before = peak()
    if part == "evidence":
        prepared = solve.frame_of(image, None, options)
        y, weight = (torch.from_numpy(values) for values in (prepared.y, prepared.weight))
        ask = Evidence(y, weight / prepared.noise_std**2, torch.tensor(family.MODEL_ERROR), (17, 17))
        begun = time.process_time()
        for _ in range(2):
            ask(torch.from_numpy(kernel))
        return (time.process_time() - begun) / 2, (peak() - before) / side**2
    times = []
    for progress in stack.fit(image, options, kernels=[kernel] if part == "polish" else []):
        times.append((progress.stage, progress.step, time.process_time()))
    own = [(step, at) for stage, step, at in times if stage == part]
    return (own[-1][1] - own[0][1]) / (own[-1][0] - own[0][0]), (peak() - before) / side**2


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--one", nargs=2, metavar=("PART", "SIDE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(*measure(asked.one[0], int(asked.one[1]), asked.preset))
        return
    print("| side | step of the fit | of the polish | question to the evidence | fit | polish |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for side in asked.sides:
        found = {}
        for part in ("fit", "polish", "evidence"):
            words = [sys.executable, __file__, "--preset", asked.preset, "--one", part, str(side)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            found[part] = [float(word) for word in done.stdout.split()]
        first = found["fit"][0]
        ratios = [f"{found[part][0] * 1e3:.0f} ms ({found[part][0] / first:.2f})" for part in found]
        sizes = [f"{found[part][1]:,.0f} B/px" for part in ("fit", "polish")]
        print(f"| {side} px | {' | '.join([*ratios, *sizes])} |", flush=True)


if __name__ == "__main__":
    main()
