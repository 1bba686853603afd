"""The step of a program as a graph of torch's operators: its tensors in, those that it changes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from napari_vdip.core.program import Plan, Program
from napari_vdip.onnxfit.rewrite import INSTEAD

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

# What a step of the fit changes.
CHANGED = (
    *("image_theta", "image_first", "image_second", "kernel_theta", "kernel_first", "kernel_second"),
    *("clock", "adam_clock", "mean", "var", "std", "kernel", "log"),
)
NEW = "new_"  # what the names of their new values begin with


class Traced(NamedTuple):
    """A step as a graph.

    Attributes
    ----------
    module : GraphModule
    inputs : tuple of str
        Names of the program's tensors, in the order of the graph's inputs; its outputs are `CHANGED`.
    """

    module: GraphModule
    inputs: tuple[str, ...]


def trace(plan: Plan, stage: int, dtype: torch.dtype = torch.float32) -> Traced:
    """Trace `Program.fit_step` with its gradient; nothing is computed.

    Parameters
    ----------
    plan : Plan
    stage : int
        0: pre-fit, 3: fit with the profile objective.
    dtype : torch.dtype
        Of all real numbers; float64 serves comparisons, providers have no convolution in it.
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # brings an algebra system with it: seconds

    # Complex numbers are not for every provider: the blur is a product of matrices, see `rewrite`.
    program = Program(plan._replace(by_fft=False, bfloat16=False)).to(dtype)
    tensors = dict(program.named_buffers(recurse=False))  # those of the search are not for the fit

    def step(*given: Tensor) -> list[Tensor]:
        for name, tensor in zip(tensors, given, strict=True):
            program._buffers[name] = tensor.clone()
        program.fit_step(stage)
        return [program.get_buffer(name) for name in CHANGED]

    module = make_fx(step, decomposition_table=INSTEAD, tracing_mode="fake")(*tensors.values())
    return Traced(module, tuple(tensors))
