"""Kernel modes of stacks against each other: time, and quality where the truth is known.

Usage::

    python benchmarks/stack_modes.py simulated --slices 40 --side 96
    python benchmarks/stack_modes.py simulated --drift 0.3 --family free
    python benchmarks/stack_modes.py FOLDER/dapi_*.tif --side 96

Simulated: micrographs as in fields.py, one scene a slice, 1,000 photons at the peak, behind one Gaussian of
2.1 px; with ``--drift`` its width goes up and down by so many px over the stack. Files: a stack, or one file
a slice, of which the middle is cut out; no truth, so what is told is how far the images of a mode are from
those of ``each``, in units of the standard deviation that ``each`` tells.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import fields
import numpy as np

from napari_vdip import deblur, files
from napari_vdip.metrics import closeness, kernel_similarity

MODES = ("each", "shared", "warm")


def simulated(slices: int, side: int, drift: float, seed: int) -> tuple[np.ndarray, ...]:
    """Draw a stack; counts, truth, and the kernel of each slice."""
    drawn = []
    for z in range(slices):
        kernel = fields.gaussian(2.1 + drift * np.sin(2 * np.pi * z / slices), 13)
        y, truth = fields.micrograph(1000 * seed + z, kernel, 1_000)
        drawn.append((y[:side, :side], truth[:side, :side], kernel))
    return tuple(np.stack(part) for part in zip(*drawn, strict=True))


def cut_out(paths: list[Path], slices: int, side: int) -> np.ndarray:
    """Cut the middle out of files."""
    read = [files.read(path).data for path in paths]
    stack = read[0] if len(read) == 1 else np.stack(read)
    stack = stack.reshape(-1, *stack.shape[-2:])[:slices]
    top, left = ((n - side) // 2 for n in stack.shape[1:])
    return stack[:, top : top + side, left : left + side]


def main() -> None:
    """Run each mode once and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stack", nargs="+", help="'simulated', or files")
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--drift", type=float, default=0.0, help="px of standard deviation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", help="default: what the kind of image says")
    parser.add_argument("--kind", default="fluorescence")
    parser.add_argument("--kernel-size", type=int, default=17)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument(
        "--keep", type=Path, help="folder for the results; modes found there are not run again"
    )
    asked = parser.parse_args()
    truth = kernels = None
    if asked.stack == ["simulated"]:
        stack, truth, kernels = simulated(asked.slices, asked.side, asked.drift, asked.seed)
        before = [
            closeness(y.astype(float), x, float(np.ptp(x))).psnr for y, x in zip(stack, truth, strict=True)
        ]
        print(f"{len(stack)} slices of {asked.side} px, blurred: {np.mean(before):.2f} dB", flush=True)
    else:
        stack = cut_out([Path(name) for name in asked.stack], asked.slices, asked.side)
        print(f"{len(stack)} slices of {asked.side} px", flush=True)
    settings = {"kernel_size": asked.kernel_size, "kind": asked.kind, "preset": asked.preset, "threads": 1}
    settings |= {"kernel_family": asked.family, "iterations": asked.iterations}
    told = "mean PSNR | against each | worst slice against each | kernel" if truth is not None else "distance"
    print(f"| kernel mode | time | share of each | {told} | fitted |")
    print("| --- | --- | --- | --- |" + (" --- |" * (5 if truth is not None else 2)))
    first: tuple[float, np.ndarray, np.ndarray] | None = None
    for mode in asked.modes:
        seconds, image, std, kernel, fitted = run(stack, mode, settings, asked.keep)
        share = "" if first is None else f"{seconds / first[0]:.3f}"
        if truth is None or kernels is None:
            away = 0.0 if first is None else np.median(np.abs(image - first[1]) / first[2])
            print(f"| `{mode}` | {seconds:.0f} s | {share} | {away:.2f} std | {fitted} |", flush=True)
            first = first or (seconds, image, std)
            continue
        after = np.array(
            [closeness(x.astype(float), t, float(np.ptp(t))).psnr for x, t in zip(image, truth, strict=True)]
        )
        alike = np.mean([kernel_similarity(k, t) for k, t in zip(kernel, kernels, strict=True)])
        gain = after - (after if first is None else first[1])
        print(
            f"| `{mode}` | {seconds:.0f} s | {share} | {after.mean():.2f} dB | {gain.mean():+.2f} dB | "
            f"{gain.min():+.2f} dB | {alike:.3f} | {fitted} |",
            flush=True,
        )
        first = first or (seconds, after, std)


def run(
    stack: np.ndarray, mode: str, settings: dict[str, Any], keep: Path | None
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, int]:
    """Deblur in a mode; seconds, image, standard deviation, kernels and the number of slices fitted."""
    path = None if keep is None else keep / f"{mode}.npz"
    if path is not None and path.exists():
        with np.load(path) as kept:
            return float(kept["seconds"]), kept["image"], kept["std"], kept["kernel"], int(kept["fitted"])
    begun = time.process_time()
    found = deblur(stack, kernel_mode=mode, **settings)
    seconds = time.process_time() - begun
    fitted = len(found.report["kernel_from"])
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {"image": found.image, "std": found.uncertainty, "kernel": found.kernel}
        np.savez(path, seconds=seconds, fitted=fitted, **arrays)
    return seconds, found.image, found.uncertainty, found.kernel, fitted


if __name__ == "__main__":
    main()
