"""The step of the fit in ONNX Runtime against the same step in torch, on the processor.

Prints how long the graph takes to be made, how far single steps from the same state are apart, how far both
are after some steps in a row, and seconds a step of each.

    python benchmarks/onnx_step.py --shape 40 48 --kernel-size 7 --steps 50
    python benchmarks/onnx_step.py --shape 24 32 --kernel-size 5 --steps 50 --sensitivity

With ``--sensitivity`` torch is compared with itself from a start that differs by half a unit in the last
place, and the graph, run in float64 by the evaluator of the package onnx, with torch in float64.

Needs the extra ``onnx``. What came out of it: docs/explanation/onnx-step.md.
"""

from __future__ import annotations

import argparse
import copy
import time

import numpy as np
import torch
from onnx.reference import ReferenceEvaluator

from napari_vdip import heap
from napari_vdip.core.compile import Runner, runner
from napari_vdip.core.program import Plan, Program
from napari_vdip.onnxfit.graph import model_of
from napari_vdip.onnxfit.providers import place_of
from napari_vdip.onnxfit.runner import OnnxRunner, session_of
from napari_vdip.onnxfit.trace import CHANGED, NEW, trace
from napari_vdip.options import Options
from napari_vdip.plan import Setting, plan_of

COMPARED = ("image_first", "kernel_first", "mean", "std", "kernel")
PROFILE = 3


def plan_for(shape: tuple[int, int], kernel_size: int, steps: int) -> Plan:
    """Plan of the preset fast with the steps of the fit alone."""
    setting = Setting(
        Options(preset="fast", kernel_size=kernel_size, precision="float32"),
        torch.device("cpu"),
        "off",
        (kernel_size, kernel_size),
        "given",
        None,
    )
    return plan_of(setting, 1, *shape)._replace(prefit=0, profile=steps, polish=0)


def begin(program: Program) -> None:
    """Start a program on a smooth random image."""
    image = torch.from_numpy(np.random.default_rng(0).random(tuple(program.y.shape), dtype=np.float32))
    smooth = torch.nn.functional.avg_pool2d(image[None], 5, 1, 2)[0]
    kernel = torch.full_like(program.kernel, 1.0 / program.kernel.numel())
    program.start(smooth, torch.ones_like(smooth), torch.tensor(1e-4), kernel, torch.tensor(3))


def apart(first: torch.Tensor, second: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((first.double() - second.double()).abs().max() / second.double().abs().max())


def told(first: Program, second: Program) -> str:
    """Largest difference of a pixel (range 1), and sum of the differences of the kernel (of 2)."""
    image = float((first.mean.double() - second.mean.double()).abs().max())
    kernel = float((first.kernel.double() - second.kernel.double()).abs().sum())
    return f"image {image:.1e}, kernel {kernel:.1e}"


def seconds_a_step(loops: list[Runner], steps: int) -> list[float]:
    """Median time of a step of each, of five pieces in turns; the first steps are not counted."""
    for loop in loops:
        begin(loop.program)
        loop.run(2)
    piece, times = max(1, (steps - 2) // 5), np.zeros((5, len(loops)))
    for number in range(5):
        for place, loop in enumerate(loops):
            begun = time.perf_counter()
            loop.run(piece)
            times[number, place] = (time.perf_counter() - begun) / piece
    return list(np.median(times, 0))


def single_steps(plan: Plan, there: OnnxRunner, steps: int) -> None:
    """Compare single steps, each from where torch is: nothing can pile up. Both are held against float64."""
    here = Program(plan)
    begin(here)
    begin(there.program)
    worst = {(name, way): 0.0 for name in COMPARED for way in ("onnx", "torch", "between")}
    for _ in range(steps):
        exact = copy.deepcopy(here).double()
        exact.run(1)
        there.program.load_state_dict(here.state_dict())
        there.program.done = here.done
        there.run(1)
        here.run(1)
        for name in COMPARED:
            onnx, torchs, true = (getattr(each, name) for each in (there.program, here, exact))
            for way, found in (
                ("onnx", apart(onnx, true)),
                ("torch", apart(torchs, true)),
                ("between", apart(onnx, torchs)),
            ):
                worst[name, way] = max(worst[name, way], found)
    print(
        f"{steps} single steps, each from torch's state; largest differences, relative to the largest value:"
    )
    for name in COMPARED:
        print(
            f"{name:13s} ONNX Runtime from float64 {worst[name, 'onnx']:.1e}, torch from float64 "
            f"{worst[name, 'torch']:.1e}, one from the other {worst[name, 'between']:.1e}"
        )


def sensitivity(plan: Plan, steps: int) -> None:
    """Tell how far torch is from itself, and the graph from torch in float64."""
    for dtype in (torch.float32, torch.float64):
        start = Program(plan)
        begin(start)
        start.to(dtype)
        plain, moved = copy.deepcopy(start), copy.deepcopy(start)
        signs = torch.from_numpy(np.random.default_rng(1).choice([-1.0, 1.0], start.image_theta.numel()))
        moved.image_theta.mul_((1 + 0.5 * torch.finfo(torch.float32).eps * signs).to(dtype))
        plain.run(steps)
        moved.run(steps)
        print(f"torch in {dtype}, half a unit in float32's last place: {told(moved, plain)}", flush=True)
    model = model_of(trace(plan, PROFILE, torch.float64))
    names = [item.name for item in model.graph.input]
    evaluator = ReferenceEvaluator(model)
    held = {name: tensor.numpy().copy() for name, tensor in start.named_buffers()}
    for _ in range(steps):
        new = evaluator.run([NEW + name for name in CHANGED], {name: held[name] for name in names})
        held.update(zip(CHANGED, new, strict=True))
    for name in CHANGED:
        getattr(start, name).copy_(torch.as_tensor(held[name]))
    print(f"the graph from torch, float64: {told(start, plain)}")


def main() -> None:
    """Make the graph, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=2, default=(40, 48))
    parser.add_argument("--kernel-size", type=int, default=7)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument(
        "--sensitivity", action="store_true", help="torch against itself, the graph in float64"
    )
    given = parser.parse_args()
    plan = plan_for(tuple(given.shape), given.kernel_size, given.steps)
    if given.sensitivity:
        sensitivity(plan, given.steps)
        return
    place = place_of("onnx:cpu", "onnx")
    assert place is not None
    with heap.kept():
        begun = time.perf_counter()
        session_of(plan._replace(prefit=1), 0, place, torch.get_num_threads())
        first = time.perf_counter() - begun
        begun = time.perf_counter()
        session_of(plan, PROFILE, place, torch.get_num_threads())
        print(
            f"sessions ready in {first:.1f} s (pre-fit, first) and {time.perf_counter() - begun:.1f} s (fit)"
        )
        there = OnnxRunner(plan, place)
        onnx, torchs = seconds_a_step([there, runner(plan, torch.device("cpu"), "off")], given.steps)
        print(
            f"ONNX Runtime {onnx:.4f} s a step, torch {torchs:.4f} s: {onnx / torchs:.2f} times", flush=True
        )
        single_steps(plan, there, given.steps)
        begin(there.program)
        there.run(given.steps)
        here = Program(plan)
        begin(here)
        here.run(given.steps)
        print(f"after {given.steps} steps in a row: {told(there.program, here)}")
        print(f"objective {float(there.program.log[-1, 0]):.3f}, in torch {float(here.log[-1, 0]):.3f}")


if __name__ == "__main__":
    main()
