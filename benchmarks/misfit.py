"""How far the best image is from the data: misfit and PSNR of the polish under other assumed noises.

    python benchmarks/misfit.py

A part of the bundled photograph, noise of a known standard deviation, the kernel known. The polish of a
fit with `fast` is done again from the networks' image for noises that are assumed to be smaller or
larger than the true one.
What came out of it: docs/explanation/checks.md.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch

from napari_vdip import Options, samples
from napari_vdip.core.compile import runner
from napari_vdip.core.refine import Blur
from napari_vdip.plan import Setting, plan_of
from napari_vdip.solve import frame_of

SIDE, BORDER = 128, 15


def main() -> None:
    """Fit, polish again and again, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--noise", type=float, default=2.0, help="standard deviation, in grey levels of 255")
    parser.add_argument("--iterations", type=int, default=112)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sample = samples.load("photograph")
    kernel, margin = sample.kernel.astype(float), sample.kernel.shape[0] // 2
    canvas = sample.sharp[40 : 40 + SIDE + 2 * margin, 60 : 60 + SIDE + 2 * margin].astype(float)
    noise = np.random.default_rng(0).normal(0, given.noise, (SIDE, SIDE))
    y = samples.convolve_valid(canvas, kernel) + noise

    options = Options(preset="fast", kernel=sample.kernel, iterations=given.iterations, threads=1)
    setting = Setting(options, torch.device("cpu"), "off", kernel.shape, "given", sample.kernel)
    frame = frame_of(y, None, options)
    program = runner(plan_of(setting, *frame.y.shape), setting.device, "off").program
    data = (frame.y, frame.weight, np.float32(frame.noise_std**2), sample.kernel, np.int64(0))
    program.start(*(torch.as_tensor(value) for value in data))
    program.run(program.steps - program.polish)
    generated, read = program.mean.clone(), frame.noise_std * frame.scale
    print(f"noise {given.noise:.2f}, read from the image {read:.2f}")
    print("| assumed noise / true | misfit / true noise | PSNR |")
    print("| --- | --- | --- |")
    for factor in (0.35, 0.7, 1.0, 1.5, 2.0, 3.0, 4.5):
        program.noise_var.fill_((factor * given.noise / frame.scale) ** 2)
        program.model_error = 0.0  # in the factor already
        program.mean.copy_(generated)
        program.generated.copy_(generated)
        program.slope_var.zero_()
        program.clock.fill_(program.steps - program.polish)
        with torch.no_grad():
            for _ in range(12):
                program.polish_step(4)
            residual = Blur(program.kernel, torch.ones_like(program.y)).forward(program.mean) - program.y
        misfit = float(residual.square().mean().sqrt()) * frame.scale / given.noise
        whole = program.mean[0].numpy() * frame.scale + frame.offset
        error = (whole - canvas)[margin:-margin, margin:-margin][BORDER:-BORDER, BORDER:-BORDER]
        psnr = 20 * math.log10(255 / float(np.sqrt(np.mean(error**2))))
        print(f"| {factor:.2f} | {misfit:.2f} | {psnr:.1f} dB |", flush=True)


if __name__ == "__main__":
    main()
