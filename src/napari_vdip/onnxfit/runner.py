"""The steps of the fit in ONNX Runtime; the polish in torch, on the processor."""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from napari_vdip.core.program import Program
from napari_vdip.errors import DeviceUnavailable, OutOfMemory, VdipError
from napari_vdip.onnxfit.providers import runtime
from napari_vdip.onnxfit.trace import CHANGED, NEW, trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_vdip.core.program import Plan
    from napari_vdip.onnxfit.providers import Place

_QUIET = 3  # errors only; what ONNX Runtime warns of is its own placing of nodes
_SESSIONS = 4  # that are kept: pre-fit and fit of a frame and of its half
_building = threading.Lock()


class OnnxRunner:
    """A program whose steps, but those of the polish, ONNX Runtime does; a `Runner`.

    The state goes to the provider when `run` begins and comes back when it ends: in between it
    lies in the provider's memory in two copies, of which each step reads one and writes the other.
    """

    def __init__(self, plan: Plan, place: Place) -> None:
        assert plan.bound == 0
        assert plan.ssim == 0
        self.program = Program(plan)
        self._plan, self._place = plan, place

    def run(self, n: int) -> None:
        """Do n steps, or as many as the schedule still has.

        Raises
        ------
        VdipError
            What ONNX Runtime fails with.
        """
        program = self.program
        end = min(program.done + n, program.steps)
        while program.done < end:
            program.prepare()
            stage = program.stage()
            if stage >= 4:
                program.step(stage)
                program.done += 1
                continue
            over = program.prefit if stage == 0 else program.fitted
            count = min(end, over) - program.done
            with _errors(self._place):
                session = session_of(self._plan, stage, self._place, torch.get_num_threads())
                self._fit(session, count, program.done + count == over)
            program.done += count

    def _fit(self, session: Any, count: int, last: bool) -> None:
        """Do steps of one stage; after its last one the session gives back the memory that it worked in."""
        ort = runtime()
        given = [item.name for item in session.get_inputs()]
        here = {name: self._sent(getattr(self.program, name)) for name in {*given, *CHANGED}}
        there = here | {name: self._sent(getattr(self.program, name)) for name in CHANGED}
        ways = []
        for old, new in ((here, there), (there, here)):
            way = session.io_binding()
            for name in given:
                way.bind_ortvalue_input(name, old[name])
            for name in CHANGED:
                way.bind_ortvalue_output(NEW + name, new[name])
            ways.append(way)
        options = ort.RunOptions()
        for number in range(count):
            if last and number == count - 1 and self._place.name == "onnx:cpu":
                options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            session.run_with_iobinding(ways[number % 2], options)
        reached = there if count % 2 else here
        for name in CHANGED:
            getattr(self.program, name).copy_(torch.as_tensor(reached[name].numpy()))

    def _sent(self, tensor: torch.Tensor) -> Any:
        """Copy a tensor into the provider's memory."""
        return runtime().OrtValue.ortvalue_from_numpy(tensor.numpy().copy(), self._place.memory, 0)


def session_of(plan: Plan, stage: int, place: Place, threads: int) -> Any:
    """Session for a step; the same one again for the same plan.

    Parameters
    ----------
    plan : Plan
    stage : int
        0: pre-fit, 3: fit.
    place : Place
    threads : int
        Processor threads of an operator.

    Raises
    ------
    DeviceUnavailable
        If the provider cannot be started.
    """
    with _building:  # one at a time: the second fit of a plan waits for the first one's session
        return _built(plan, stage, place, threads)


@functools.lru_cache(maxsize=_SESSIONS)
def _built(plan: Plan, stage: int, place: Place, threads: int) -> Any:
    """Trace, translate, and hand the graph to ONNX Runtime."""
    from napari_vdip.onnxfit.graph import model_of

    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    # Threads that wait by turning round would take the cores from torch, and from other fits.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.enable_mem_pattern = False  # a third less memory, no slower; DirectML asks for it
    wanted = [place.provider] + ["CPUExecutionProvider"] * (place.name != "onnx:cpu")
    session = ort.InferenceSession(
        model_of(trace(plan, stage)).SerializeToString(), options, providers=wanted
    )
    # Where a provider's libraries or its driver are missing, ONNX Runtime goes on without it.
    if session.get_providers()[0] != place.provider:
        raise DeviceUnavailable(
            f"device={place.name!r}: this onnxruntime has {place.provider}, but could not start it; look at "
            "its driver and libraries, or use device='auto' with compile='auto'"
        )
    return session


@contextmanager
def _errors(place: Place) -> Iterator[None]:
    """Turn what ONNX Runtime raises into ours."""
    try:
        yield
    except Exception as error:  # its own errors have no other base
        if "onnxruntime" not in type(error).__module__ and type(error) is not RuntimeError:
            raise
        text = " ".join(str(error).split())
        if "allocat" in text or "out of memory" in text.lower():
            raise OutOfMemory(
                f"the fit does not fit into the memory of {place.name}; crop the image, or use preset='fast' "
                "or another device"
            ) from error
        raise VdipError(f"ONNX Runtime failed during the fit on {place.name}: {text[:300]}") from error
