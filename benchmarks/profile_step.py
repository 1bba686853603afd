"""Tell where the time of a step goes: operators by torch.profiler, put into groups.

python benchmarks/profile_step.py balanced --size 255 --kernel-size 17 --steps 5
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile

from napari_vdip import heap
from napari_vdip.about import environment
from napari_vdip.benchmark.steps import warm_stages
from napari_vdip.options import PRESETS, Options

if TYPE_CHECKING:
    from collections.abc import Sequence

# Names of operators by group; the first that fits counts. What fits none is the rest: elementwise
# arithmetic of the objective, copies, padding of gradients.
GROUPS = (
    ("convolution, backward", ("convolution_backward",)),
    ("convolution, forward", ("convolution", "conv2d", "thnn")),
    ("batch norm", ("batch_norm",)),
    ("activations", ("leaky_relu", "sigmoid", "softplus", "relu6", "hardtanh", "softmax")),
    ("resampling and borders", ("upsample", "reflection_pad", "interpolate", "pool", "pixel_shuffle")),
    ("FFT blur", ("fft", "complex", "conj", "view_as_real")),
    ("kernel generator", ("addmm", "aten::mm", "linear")),
)
SSIM, ADAM, REST = "SSIM filter", "Adam and weights", "elementwise, copies, the rest"
_WEIGHTS = 10_000  # flat tensors of at least that many values are the generators' weights


def group_of(name: str, shapes: Sequence[Any]) -> str:
    """Name the group of an operator, by its name and the shapes of its inputs."""
    sizes = [tuple(shape) for shape in shapes if isinstance(shape, list | tuple)]
    squares = [len(shape) > 1 and shape[-1] == shape[-2] > 1 for shape in sizes[:2]]
    if name.endswith(("::mm", "::bmm")) and any(squares):
        return SSIM  # products of the maps with a banded matrix
    for group, names in GROUPS:
        if any(part in name for part in names):
            return group
    if sizes and len(sizes[0]) == 1 and sizes[0][0] >= _WEIGHTS:
        return ADAM
    return REST


def main() -> None:
    """Print a table of the groups for each stage, then the slowest operators."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset", choices=list(PRESETS))
    parser.add_argument("--size", type=int, default=255)
    parser.add_argument("--kernel-size", type=int, default=17)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--top", type=int, default=12, help="operators to list (default: 12)")
    given = parser.parse_args()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    options = Options(preset=given.preset, device=given.device)
    sizes = (given.size, given.size), (given.kernel_size, given.kernel_size)
    print("\n".join(f"* {line}" for line in environment()))
    print(
        f"* {given.preset}, {given.size} px, kernel {given.kernel_size} px, {torch.get_num_threads()} threads"
    )
    with heap.kept():
        for stage in warm_stages(options, *sizes, given.steps):
            on_gpu = stage.loop.program.y.is_cuda
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
            with profile(activities=activities, record_shapes=True) as found:
                stage.loop.run(given.steps)
            tell(stage.name, found.key_averages(group_by_input_shape=True), on_gpu, given.steps, given.top)


def tell(stage: str, events: Any, on_gpu: bool, steps: int, top: int) -> None:
    """Print the tables of a stage; times are those that an operator spends itself."""
    spent = [
        ((e.self_device_time_total if on_gpu else e.self_cpu_time_total) / 1e3 / steps, e) for e in events
    ]
    spent = [(ms, event) for ms, event in spent if event.key.startswith("aten::") or on_gpu]
    total = sum(ms for ms, _ in spent)
    groups: dict[str, float] = {}
    for ms, event in spent:
        group = group_of(event.key, event.input_shapes)
        groups[group] = groups.get(group, 0.0) + ms
    print(f"\n## Stage {stage}: {total:.1f} ms a step\n\n| what | ms | share |\n| --- | --- | --- |")
    for group, ms in sorted(groups.items(), key=lambda item: -item[1]):
        print(f"| {group} | {ms:.1f} | {ms / total:.0%} |")
    print("\n| operator | inputs | ms |\n| --- | --- | --- |")
    for ms, event in sorted(spent, key=lambda item: -item[0])[:top]:
        shapes = ", ".join("x".join(map(str, s)) for s in event.input_shapes if s)
        print(f"| {event.key.removeprefix('aten::')} | {shapes} | {ms:.1f} |")


if __name__ == "__main__":
    main()
