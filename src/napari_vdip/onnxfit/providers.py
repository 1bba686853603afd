"""Where ONNX Runtime can run a fit: what the options name, and what the installed package has."""

from __future__ import annotations

from typing import Any, NamedTuple

from napari_vdip.errors import DeviceUnavailable, InvalidOption

PREFIX = "onnx:"  # of the names of such devices
_EXTRA = 'pip install "napari-vdip[onnx]"'


class Known(NamedTuple):
    """A kind of provider.

    Attributes
    ----------
    providers : tuple of str
        ONNX Runtime's names for it, the preferred one first.
    package : str
        What brings it.
    title : str
        Name for people.
    memory : str
        ONNX Runtime's name for the memory in which the state stays between steps; "cpu": the host's.
    """

    providers: tuple[str, ...]
    package: str
    title: str
    memory: str = "cpu"


KNOWN = {
    "cpu": Known(("CPUExecutionProvider",), "onnxruntime", "processor"),
    "dml": Known(("DmlExecutionProvider",), "onnxruntime-directml (Windows)", "GPU by DirectML", "dml"),
    "cuda": Known(("CUDAExecutionProvider",), "onnxruntime-gpu", "GPU by CUDA", "cuda"),
    "openvino": Known(("OpenVINOExecutionProvider",), "onnxruntime-openvino", "device of OpenVINO"),
    "rocm": Known(
        ("ROCMExecutionProvider", "MIGraphXExecutionProvider"),
        "onnxruntime-rocm or onnxruntime-migraphx",
        "GPU by ROCm",
    ),
    "coreml": Known(("CoreMLExecutionProvider",), "onnxruntime for macOS", "device of CoreML"),
}
# What "auto" takes, the first that is there. The others need not mean a GPU, so they are to be named.
_AUTOMATIC = ("cuda", "dml", "rocm", "cpu")


class Place(NamedTuple):
    """A provider that the installed ONNX Runtime has.

    Attributes
    ----------
    name : str
        As the option `device` names it: ``onnx:dml``.
    provider : str
        ONNX Runtime's name.
    title : str
        Name for people.
    memory : str
        As of `Known`.
    """

    name: str
    provider: str
    title: str
    memory: str


def place_of(device: str, compile: str) -> Place | None:
    """Tell where ONNX Runtime is to run the steps; None: it is not asked for.

    Parameters
    ----------
    device, compile : str
        The options. A device ``onnx:...`` asks for it without ``compile="onnx"`` too.

    Raises
    ------
    InvalidOption
        If the two contradict each other, or the extra is not installed.
    DeviceUnavailable
        If the provider is unknown, or the installed ONNX Runtime lacks it.
    """
    named = device.startswith(PREFIX)
    if not named and compile != "onnx":
        return None
    if named and compile not in ("auto", "onnx"):
        raise InvalidOption(
            f"device={device!r} runs the fit in ONNX Runtime, compile={compile!r} in torch; leave compile at "
            "'auto', or use device='auto'"
        )
    if not named and device not in ("auto", "cpu"):
        raise InvalidOption(
            f"compile='onnx' runs the fit in ONNX Runtime, device={device!r} is one of torch; use "
            f"{_or([PREFIX + name for name in KNOWN])}, or compile='auto'"
        )
    found = {place.name: place for place in places()}
    if device == "auto":
        return next(found[PREFIX + each] for each in _AUTOMATIC if PREFIX + each in found)
    name = device.removeprefix(PREFIX)
    if name not in KNOWN:
        raise DeviceUnavailable(
            f"device={device!r} is unknown; expected {_or([PREFIX + name for name in KNOWN])}"
        )
    if PREFIX + name not in found:
        raise DeviceUnavailable(
            f"device={device!r} is not available: the installed onnxruntime has {_or(list(found), 'and')}; "
            f"{KNOWN[name].package} brings it, in place of the package that is installed"
        )
    return found[PREFIX + name]


def places() -> list[Place]:
    """List the providers that the installed ONNX Runtime has. Loads it.

    Raises
    ------
    InvalidOption
        If the extra is not installed.
    """
    available = runtime().get_available_providers()
    found = []
    for name, known in KNOWN.items():
        provider = next((each for each in known.providers if each in available), None)
        if provider is not None:
            found.append(Place(PREFIX + name, provider, known.title, known.memory))
    return found


def runtime() -> Any:
    """Import ONNX Runtime, and onnx, which graphs are made with.

    Raises
    ------
    InvalidOption
        If one of them is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise InvalidOption(f"{error}; compile='onnx' needs an extra: {_EXTRA}") from error
    return onnxruntime


def _or(names: list[str], word: str = "or") -> str:
    """Write a list as people do."""
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), names[-1])))
