"""Trial: the step of the fit as one ONNX graph, run by ONNX Runtime, against the same steps in torch.

Gradient and Adam of the profile objective (``log(1 - SSIM)``, no prior, so no std) are traced and exported;
state goes in and comes out, so that any execution provider could fit without torch. Prints how far both are
apart after the steps, how long tracing and export took, and seconds a step of each.

    python benchmarks/onnx_step.py --shape 40 48 --kernel-size 7 --steps 50
    python benchmarks/onnx_step.py --shape 40 48 --kernel-size 7 --steps 50 --sensitivity

With ``--sensitivity`` nothing is exported: torch is compared with itself from a start that differs by half a
unit in the last place, and the traced graph with autograd, both in float64.

Needs the extra ``onnx``. What came out of it: docs/explanation/onnx-step.md.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
import warnings
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from napari_vdip.core.blur import blur
from napari_vdip.core.objective import centre_distance, ssim
from napari_vdip.core.program import Program
from napari_vdip.options import Options
from napari_vdip.solve import Setting, plan_of

aten = torch.ops.aten
STATE = ("image_theta", "image_first", "image_second", "kernel_theta", "kernel_first", "kernel_second")


def convolution_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    _bias: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    _output_padding: list[int],
    groups: int,
    mask: list[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Write the gradients of a convolution as convolutions, which ONNX has; it has no operator of its own."""
    if transposed or groups != 1 or list(dilation) != [1, 1]:
        raise NotImplementedError("the networks have no such convolution")
    inputs = weights = bias = None
    if mask[0]:
        reached = [(grad.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + weight.shape[2 + i] for i in (0, 1)]
        rest = [x.shape[2 + i] - reached[i] for i in (0, 1)]
        inputs = aten.convolution.default(grad, weight, None, stride, padding, [1, 1], True, rest, 1)
    if mask[1]:
        swapped = x.transpose(0, 1), grad.transpose(0, 1)
        full = aten.convolution.default(*swapped, None, [1, 1], padding, stride, False, [0, 0], 1)
        weights = full[:, :, : weight.shape[2], : weight.shape[3]].transpose(0, 1)
    if mask[2]:
        bias = grad.sum((0, 2, 3))
    return inputs, weights, bias


def upsample_backward(
    grad: Tensor, output: list[int], shape: list[int], _align: bool, *_scales: float | None
) -> Tensor:
    """Write the adjoint of bilinear interpolation as two matrix products."""
    return interpolation(output[0], shape[2]).t() @ grad @ interpolation(output[1], shape[3])


def interpolation(outputs: int, inputs: int) -> Tensor:
    """Matrix of linear interpolation between pixel centres, (outputs, inputs)."""
    at = ((torch.arange(outputs) + 0.5) * (inputs / outputs) - 0.5).clamp(0, inputs - 1)
    low = at.floor().long()
    share = at - low
    matrix = torch.zeros(outputs, inputs)
    matrix[torch.arange(outputs), low] += 1 - share
    matrix[torch.arange(outputs), (low + 1).clamp(max=inputs - 1)] += share
    return matrix


def started(shape: tuple[int, int], kernel_size: int, steps: int) -> Program:
    """Program of the preset fast at its first step after the pre-fit, with a random image."""
    setting = Setting(
        Options(preset="fast", method="dip", kernel_size=kernel_size),
        torch.device("cpu"),
        "off",
        (kernel_size, kernel_size),
        "given",
        None,
    )
    plan = plan_of(setting, 1, *shape)._replace(prefit=0, profile=steps, polish=0, by_fft=False)
    program = Program(plan)
    image = torch.from_numpy(np.random.default_rng(0).random((1, *shape), dtype=np.float32))
    smooth = torch.nn.functional.avg_pool2d(image[None], 5, 1, 2)[0]
    kernel = torch.full((kernel_size, kernel_size), 1.0 / kernel_size**2)
    program.start(smooth, torch.ones_like(smooth), torch.tensor(1e-4), kernel, torch.tensor(3))
    return program


def step_of(program: Program) -> Any:
    """Make the step a function of its state, of Adam's factors and of the data."""

    def loss(image: Tensor, kernel: Tensor, y: Tensor, y_mean: Tensor, y_var: Tensor) -> Tensor:
        mean, _ = program.image_generator(image, program.noise)
        psf = program.kernel_generator(kernel, program.kernel_noise, program.logits)
        gap = 1.0 - ssim(blur(mean, psf, False), y, y_mean, y_var)
        return gap.clamp_min(1e-7).log() + program.centre_weight * centre_distance(psf)

    def step(state: list[Tensor], factors: Tensor, data: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        grads, value = torch.func.grad_and_value(loss, argnums=(0, 1))(state[0], state[3], *data)
        new: list[Tensor] = []
        for start, grad, rate in ((0, grads[0], factors[0]), (3, grads[1], factors[1])):
            theta, first, second = state[start : start + 3]
            first = 0.9 * first + 0.1 * grad
            second = 0.999 * second + 0.001 * grad * grad
            move = rate * factors[2] * first / ((factors[3] * second).sqrt() + 1e-8)
            new += [theta - move, first, second]
        return new, value

    return step


def factors_of(program: Program, number: int) -> Tensor:
    """Rates of image and kernel as of a step, and Adam's corrections of its two moments."""
    fraction = number / program.steps
    decay = 0.5 * (1.0 + math.cos(math.pi * min(max((fraction - 0.3) / 0.7, 0.0), 1.0)))
    rates = [decay * rate for rate in program.rates]
    return torch.tensor([*rates, 1 / (1 - 0.9 ** (number + 1)), 1 / (1 - 0.999 ** (number + 1))])


INSTEAD = {
    aten.convolution_backward.default: convolution_backward,
    aten.upsample_bilinear2d_backward.default: upsample_backward,
}


def forced(
    program: Program, session: Any, names: list[str], state: list[Tensor], data: list[Tensor], steps: int
) -> None:
    """Compare single steps, each from where torch is: nothing can pile up."""
    step, apart, image = step_of(program), [0.0, 0.0], 0.0
    held = [each.numpy() for each in data]
    for number in range(steps):
        factors = factors_of(program, number)
        fed = [*(each.numpy() for each in state), factors.numpy(), *held]
        found = session.run(None, dict(zip(names, fed, strict=True)))
        state = [each.detach() for each in step(state, factors, data)[0]]
        for which, place in enumerate((1, 4)):
            wanted = state[place].numpy()
            apart[which] = max(
                apart[which], float(np.abs(found[place] - wanted).max() / np.abs(wanted).max())
            )
        with torch.no_grad():
            there, _ = program.image_generator(torch.from_numpy(found[0]), program.noise)
            here, _ = program.image_generator(state[0], program.noise)
        image = max(image, float((there - here).abs().max()))
    print(f"{steps} single steps, each from torch's state, are apart by at most:")
    print(f"first moments {apart[0]:.1e} and {apart[1]:.1e} of the largest, image {image:.1e}")


def course(program: Program, step: Any, steps: int) -> tuple[Tensor, Tensor]:
    """Image and kernel after some steps."""
    state = [getattr(program, name).clone() for name in STATE]
    for number in range(steps):
        factors = factors_of(program, number).to(state[0].dtype)
        state = [
            each.detach() for each in step(state, factors, [program.y, program.y_mean, program.y_var])[0]
        ]
    with torch.no_grad():
        mean, _ = program.image_generator(state[0], program.noise)
        return mean, program.kernel_generator(state[3], program.kernel_noise, program.logits)


def sensitivity(shape: tuple[int, int], kernel_size: int, steps: int) -> None:
    """Tell how far torch is from itself, and the traced graph from autograd in float64."""
    for dtype in (torch.float32, torch.float64):
        program = started(shape, kernel_size, steps).to(dtype)
        plain = course(program, step_of(program), steps)
        state = [getattr(program, name).clone() for name in STATE]
        arguments = (state, factors_of(program, 0).to(dtype), [program.y, program.y_mean, program.y_var])
        before, torch_default = program.image_theta.clone(), torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # of the constants in the decompositions
        traced = make_fx(step_of(program), decomposition_table=INSTEAD)(*arguments)
        told = [("the traced graph", course(program, traced, steps))]
        torch.set_default_dtype(torch_default)
        signs = torch.from_numpy(np.random.default_rng(1).choice([-1.0, 1.0], before.numel())).to(dtype)
        program.image_theta.copy_(before * (1 + 0.5 * torch.finfo(torch.float32).eps * signs))
        told.append(("half a unit in the last place of float32", course(program, step_of(program), steps)))
        for name, other in told:
            image = float((plain[0] - other[0]).abs().max())
            print(
                f"{dtype}, {name}: image {image:.1e}, kernel {float((plain[1] - other[1]).abs().sum()):.1e}",
                flush=True,
            )


def main() -> None:
    """Trace, export, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=2, default=(40, 48))
    parser.add_argument("--kernel-size", type=int, default=7)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--sensitivity", action="store_true", help="torch against itself; no export")
    given = parser.parse_args()
    if given.sensitivity:
        sensitivity(tuple(given.shape), given.kernel_size, given.steps)
        return
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)  # torch's exporter copies what torch calls deprecated
    warnings.filterwarnings("ignore", "Exporting a model while it is in training mode", UserWarning)
    program = started(tuple(given.shape), given.kernel_size, given.steps)
    state = [getattr(program, name).clone() for name in STATE]
    data = [program.y, program.y_mean, program.y_var]
    arguments = (state, factors_of(program, 0), data)

    begun = time.perf_counter()
    traced = make_fx(step_of(program), decomposition_table=INSTEAD)(*arguments)
    at = time.perf_counter()
    print(f"traced in {at - begun:.0f} s: {len(traced.graph.nodes)} nodes", flush=True)
    # With torch's default, optimize=True, the graph gives NaN from some step on.
    exported = torch.onnx.export(traced, arguments, dynamo=True, verbose=False, optimize=False)
    content = exported.model_proto.SerializeToString()
    print(f"exported in {time.perf_counter() - at:.0f} s: {len(content):,} bytes", flush=True)

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    held = [each.numpy() for each in data]
    once = session.run(
        None, dict(zip(names, [each.numpy() for each in (*state, arguments[1], *data)], strict=True))
    )
    torchs = step_of(program)(*arguments)[0]
    for place, name in ((1, "image"), (4, "kernel")):
        apart = np.abs(once[place] - torchs[place].detach().numpy()).max() / np.abs(once[place]).max()
        print(
            f"gradient of the {name}'s weights in the first step: {apart:.1e} apart, relative to its largest"
        )
    moving, value = [each.numpy() for each in state], np.float32(0)
    begun = time.perf_counter()
    for number in range(given.steps):
        fed = [*moving, factors_of(program, number).numpy(), *held]
        *moving, value = session.run(None, dict(zip(names, fed, strict=True)))
    there = (time.perf_counter() - begun) / given.steps

    begun = time.perf_counter()
    program.run(given.steps)
    here = (time.perf_counter() - begun) / given.steps
    forced(program, session, names, state, data, given.steps)
    with torch.no_grad():
        mean, _ = program.image_generator(torch.from_numpy(moving[0]), program.noise)
        same, _ = program.image_generator(program.image_theta, program.noise)
        psf = program.kernel_generator(torch.from_numpy(moving[3]), program.kernel_noise, program.logits)
        psf_here = program.kernel_generator(program.kernel_theta, program.kernel_noise, program.logits)
    print(
        f"after {given.steps} steps: objective {float(value):.6f}, in torch {float(program.log[-1, 0]):.6f}"
    )
    print(f"largest difference of the image (0 to 1): {float((mean - same).abs().max()):.1e}")
    print(f"sum of differences of the kernel (0 to 2): {float((psf - psf_here).abs().sum()):.1e}")
    print(f"seconds a step: {there:.4f} in ONNX Runtime, {here:.4f} in torch ({there / here:.2f} times)")


if __name__ == "__main__":
    main()
