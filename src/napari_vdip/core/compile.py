"""The only place that scripts, saves, loads or exports programs; the loop's eager twin; CUDA graphs.

A `Runner` drives one `Program` in one of three ways, all of which execute the same modules:
eagerly, as one TorchScript program, or as a captured CUDA graph of the same step.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import nn

from napari_vdip.core.program import Plan, Program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

Way = Literal["script", "off"]

_EXPORTED = ("start", "run", "stage", "prepare", "step")
_filters = threading.Lock()
_capturing = threading.Lock()


class Runner(Protocol):
    """Something that does steps of a program."""

    program: Program

    def run(self, n: int) -> None:
        """Do n steps, or as many as the schedule still has."""


def scripting_available() -> bool:
    """Whether this Python and torch can compile TorchScript (Python 3.14 cannot)."""
    return sys.version_info < (3, 14) and hasattr(torch.jit, "script")


def runner(plan: Plan, device: torch.device, way: Way) -> Runner:
    """Build a program on a device and choose how it is driven.

    Parameters
    ----------
    plan : Plan
        What the program is built from.
    device : torch.device
        Where it runs.
    way : {"script", "off"}
        On CUDA the step is captured in a CUDA graph, which leaves nothing of Python in the
        loop either way; elsewhere "script" compiles it and "off" runs it eagerly.
    """
    program = Program(plan).to(device)
    if device.type == "cuda":
        return GraphRunner(program)
    return ScriptRunner(program) if way == "script" else EagerRunner(program)


class EagerRunner:
    """The program as Python runs it."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def run(self, n: int) -> None:
        """Do n steps."""
        self.program.run(n)


class ScriptRunner:
    """The program as TorchScript: holds no Python lock while it runs."""

    def __init__(self, program: Program) -> None:
        self.program = script(program)

    def run(self, n: int) -> None:
        """Do n steps; unoptimised, which is as fast here and bit for bit what eager does."""
        with _plain_execution():
            self.program.run(n)


class GraphRunner:
    """The program with its step captured in a CUDA graph, one graph a stage.

    The step reads and writes tensors of the state only and takes rates, clock and random
    numbers from the device, so replaying is all there is to do. Before a capture the step
    runs a few times on a side stream, as CUDA graphs ask for; those are true steps. The graphs
    work in the same memory, as only one of them runs at a time.
    """

    warm_up = 3

    def __init__(self, program: Program) -> None:
        self.program = program
        self.stream = torch.cuda.Stream(program.y.device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._warm: dict[int, int] = {}

    def run(self, n: int) -> None:
        """Do n steps; returns when they are done."""
        _side_by_side([self], n)

    def step(self) -> None:
        """Hand a step to the device, on this runner's stream."""
        stage = self.program.stage()
        with torch.cuda.stream(self.stream):
            self.program.prepare()
            if self._warm.get(stage, 0) < self.warm_up:
                self._warm[stage] = self._warm.get(stage, 0) + 1
                self.program.step(stage)
            else:
                if stage not in self._graphs:
                    self._graphs[stage] = self._captured(stage)
                self._graphs[stage].replay()
        self.program.done += 1

    def _captured(self, stage: int) -> torch.cuda.CUDAGraph:
        """Record a step without doing it. Another fit's thread may go on meanwhile, but not record too."""
        graph = torch.cuda.CUDAGraph()
        with (
            _capturing,
            torch.cuda.graph(graph, self._pool, self.stream, capture_error_mode="thread_local"),
        ):
            self.program.step(stage)
        return graph


def run_together(loops: Sequence[Runner], n: int) -> None:
    """Do n steps of each of several fits of one plan, at the same step all of them.

    On a GPU side by side, as one fit of a small image leaves most of it idle; elsewhere in turn.
    """
    graphs = [loop for loop in loops if isinstance(loop, GraphRunner)]
    if graphs:
        _side_by_side(graphs, n)
    else:
        for loop in loops:
            loop.run(n)


def _side_by_side(loops: Sequence[GraphRunner], n: int) -> None:
    """Do n steps of each, each on a stream of its own; returns when they are done."""
    program = loops[0].program
    with torch.cuda.device(program.y.device):
        here = torch.cuda.current_stream()
        for loop in loops:
            loop.stream.wait_stream(here)
        for _ in range(min(n, program.steps - program.done)):
            for loop in loops:
                loop.step()
        for loop in loops:
            here.wait_stream(loop.stream)
            loop.stream.synchronize()


def script(program: Program) -> Any:
    """Compile a program to TorchScript; `start`, `run`, `stage`, `prepare` and `step` can be called on it."""
    with _deprecation_expected():
        for name in _EXPORTED:
            torch.jit.export(getattr(Program, name))
        return torch.jit.script(program)


def save(scripted: Any, path: str) -> None:
    """Write a scripted program, state included, as one file."""
    with _deprecation_expected():
        torch.jit.save(scripted, path)


def archive(module: nn.Module, methods: Sequence[str], extra: Mapping[str, bytes]) -> bytes:
    """Write a module as a TorchScript archive.

    Parameters
    ----------
    module : Module
    methods : sequence of str
        What can be called on it beside `forward`.
    extra : mapping of str to bytes
        Files that are put into the archive, by their names.
    """
    with _deprecation_expected():
        for name in methods:
            torch.jit.export(getattr(type(module), name))
        scripted = torch.jit.script(module.eval())
        buffer = io.BytesIO()
        torch.jit.save(scripted, buffer, _extra_files=dict(extra))
    return buffer.getvalue()


def onnx_graph(module: nn.Module, outputs: Sequence[str]) -> Any:
    """Trace a module without inputs into an ONNX model (``onnx.ModelProto``).

    Raises
    ------
    ImportError
        If onnx or onnxscript is not installed.
    """
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns that torchvision, which is not needed, is absent
    try:
        with _filters, warnings.catch_warnings():
            # torch's exporter copies what torch itself calls deprecated.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            program = torch.onnx.export(
                module.eval(), (), dynamo=True, output_names=list(outputs), verbose=False
            )
    finally:
        log.setLevel(level)
    assert program is not None
    return program.model_proto


def load(path: str) -> Any:
    """Read what `save` wrote."""
    with _deprecation_expected():
        return torch.jit.load(path)  # type: ignore[no-untyped-call]


def _plain_execution() -> AbstractContextManager[None]:
    """Run scripted code without the profiling executor; the switch belongs to this thread."""
    context: AbstractContextManager[None] = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]
    return context


@contextmanager
def _deprecation_expected() -> Iterator[None]:
    """Ignore that torch announces the end of torch.jit: it is known, and dealt with by `Way`.

    Warning filters belong to the process, so only one thread at a time may change them.
    """
    with _filters, warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):  # until torch 2.13, and from 2.14 on
            warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", category)
        yield
