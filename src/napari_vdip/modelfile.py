"""Fitted models in files: TorchScript archives (.pt) and ONNX graphs (.onnx), out and in.

What is read is never run as a program of torch's or of Python's, and nothing is unpickled: from an
archive only the description (JSON) and the one block of float32 are taken, and this package's
own network gives the image; a graph is run by ONNX Runtime, which knows operators only.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_type_hints

import numpy as np
import torch

from napari_vdip.core import compile
from napari_vdip.core.rendering import Picture, Rendering
from napari_vdip.errors import InvalidInput, InvalidOption, VdipError
from napari_vdip.result import History, Result
from napari_vdip.writing import atomic

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
    PixelSizes = Mapping[str, tuple[float, str]]

FORMATS = (".pt", ".onnx")
_MARK = "napari-vdip model"
_VERSION = 2
_READ = (1, 2)  # versions that can be read
_NOTE = "napari_vdip.json"  # in an archive; of a graph, the key of its metadata
_METHODS = ("part", "kernel", "generate")
_OUTPUTS = ("image", "uncertainty")
_LARGEST_ONNX = 2**31 - 2**20  # bytes; protobuf ends at 2 GiB
_LARGEST_NOTE = 2**24  # bytes; a description has a few thousand
_MOST = {"outputs": 3, "levels": 16, "nonlocal_from": 16}
_EXTRA = 'pip install "napari-vdip[onnx]"'


@dataclass(frozen=True)
class Model:
    """A fitted model as it was read and rendered.

    Attributes
    ----------
    result : Result
        Image, uncertainty and kernel; the report is that of the fit; the history is empty.
    pixel_size : dict
        Length and unit of a pixel by axis ("Y", "X"), where it is known.
    rgb : bool
        The last axis holds colours.
    """

    result: Result
    pixel_size: dict[str, tuple[float, str]]
    rgb: bool


def check_target(path: str | os.PathLike[str]) -> Path:
    """Tell before a fit whether a model can be written to a file of this name.

    Raises
    ------
    InvalidOption
        If the extension is not .pt or .onnx, or what writes that format is not there.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InvalidOption(f"{path.name!r} is no name for a model; expected an extension .pt or .onnx")
    if path.suffix.lower() == ".onnx":
        _onnx()
    elif not compile.scripting_available():
        raise InvalidOption("this Python has no TorchScript, which writes .pt files; use a name with .onnx")
    return path


def write(
    path: str | os.PathLike[str],
    picture: Picture,
    parts: list[FloatArray],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    report: Mapping[str, Any],
    pixel_size: PixelSizes | None = None,
) -> None:
    """Write a model as .pt or .onnx, by the extension of the path.

    Parameters
    ----------
    path : path-like
        File to write; it appears whole or not at all.
    picture : Picture
    parts : list of ndarray
        The parts of `Rendering.values`.
    shapes : (tuple of int, tuple of int)
        Of the image and of the kernel, leading axes of length 1 included.
    report : mapping
        Of the fit, JSON-ready.
    pixel_size : mapping, optional
        As of `Model`.

    Raises
    ------
    InvalidOption
        As `check_target` does.
    InvalidInput
        If the model is too large for an ONNX file.
    OSError
        If the disk is full, read-only, or the folder is absent.
    """
    path = check_target(path)
    module = Rendering(picture)
    module.values.copy_(torch.cat([torch.from_numpy(np.ascontiguousarray(part)).flatten() for part in parts]))
    note = {
        "format": _MARK,
        "version": _VERSION,
        "picture": picture._asdict(),
        "shape": list(shapes[0]),
        "kernel_shape": list(shapes[1]),
        "pixel_size": {axis: list(size) for axis, size in (pixel_size or {}).items()},
        "report": dict(report),
    }
    told = json.dumps(note, ensure_ascii=False).encode()
    if path.suffix.lower() == ".pt":
        content = compile.archive(module, _METHODS, {_NOTE: told})
    else:
        content = _graph(module, note)
    with atomic(path) as part:
        part.write_bytes(content)


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model and render it.

    Parameters
    ----------
    path : path-like
        What `write` wrote; its content decides which format it is, not its extension.

    Raises
    ------
    InvalidInput
        If there is no such file, it is damaged, or it is of another program or a newer version.
    InvalidOption
        If it is an ONNX graph and onnx or ONNX Runtime is not installed.
    """
    path = Path(path)
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; expected a fitted model (.pt or .onnx)")
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}") from error
    if head.startswith(b"\x80"):
        raise InvalidInput(
            f"{path} is a Python pickle, which can run anything when it is read, and is not read; expected a "
            "fitted model that this program wrote"
        )
    try:
        return _model(*(_from_archive if head == b"PK\x03\x04" else _from_graph)(path))
    except (VdipError, MemoryError):
        raise
    except Exception as error:  # on damaged bytes decoders raise anything: KeyError, struct.error, ...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidInput(f"{path} is damaged or no fitted model of this program: {reason}") from error


def _model(image: FloatArray, spread: FloatArray, kernel: FloatArray, note: dict[str, Any]) -> Model:
    """Put together what was read."""
    none = np.zeros(0, np.float32)
    history = History(none.astype(np.int64), none, none, none, none.astype(np.float64))
    pixel_size = {str(axis): (float(size), str(unit)) for axis, (size, unit) in note["pixel_size"].items()}
    shape, report = tuple(note["shape"]), dict(note["report"])
    kernel = kernel.reshape(tuple(note["kernel_shape"]))
    result = Result(image.reshape(shape), spread.reshape(shape), kernel, history, report)
    return Model(result, pixel_size, note["picture"]["outputs"] > 1)


def in_words(model: Model) -> str:
    """Say by what a model was made."""
    report = model.result.report
    version = report.get("versions", {}).get("napari-vdip", "?")
    parts = [f"{report.get('options', {}).get('preset', '?')}, method {report.get('method', '?')}"]
    parts += [f"kernel {' x '.join(map(str, model.result.kernel.shape))} px"]
    parts += [f"{report.get('stop_reason', '?')}, by napari-vdip {version}"]
    return "; ".join(parts)


def _from_archive(path: Path) -> tuple[FloatArray, FloatArray, FloatArray, dict[str, Any]]:
    """Image, uncertainty, kernel and note of a TorchScript archive, whose program is not run."""
    with zipfile.ZipFile(path) as zipped:
        names = zipped.namelist()
        root = names[0].partition("/")[0]
        if f"{root}/extra/{_NOTE}" not in names:
            raise InvalidInput(
                f"{path} is a zip archive without {_NOTE}: another program's model; expected a file that "
                "`save_model` wrote"
            )
        note = _checked(_entry(zipped, f"{root}/extra/{_NOTE}", _LARGEST_NOTE), path)
        module = _module_of(note, path)
        if _entry(zipped, f"{root}/byteorder", 16) != b"little":
            raise InvalidInput(f"{path} was written on a machine of another byte order")
        block = np.frombuffer(_entry(zipped, f"{root}/data/0", 4 * module.values.numel()), dtype="<f4")
    # A copy: the block is read-only, and torch warns of that.
    module.values.copy_(torch.from_numpy(block.astype(np.float32)))
    with torch.no_grad():
        image, spread = module()
    return image.numpy(), spread.numpy(), module.kernel().numpy(), note


def _entry(zipped: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Read a file of an archive whole; zipfile compares its checksum."""
    told = zipped.getinfo(name)
    if told.file_size > most:
        raise InvalidInput(
            f"{zipped.filename} is damaged or made up: {name} has {told.file_size:,} bytes, expected at most "
            f"{most:,}"
        )
    return zipped.read(name)


def _module_of(note: dict[str, Any], path: Path) -> Rendering:
    """Network and numbers' places by a note.

    Raises
    ------
    InvalidInput
        If it tells sizes that cannot be: a number larger than the file would only eat memory.
    """
    given = {"outer_channels": 0} | note["picture"]  # version 1 knows no other
    most = path.stat().st_size
    for name, kind in get_type_hints(Picture).items():
        value = given[name]
        if kind is float:
            sound = isinstance(value, float | int) and math.isfinite(value)
        elif kind is bool:
            sound = isinstance(value, bool)
        else:
            least = 0 if name in ("outer_channels", "nonlocal_from", "top", "left") else 1
            sound = type(value) is int and least <= value <= (_MOST.get(name) or most)
        if not sound:
            raise InvalidInput(f"{path} is damaged or made up: its description says {name}={value!r}")
    picture = Picture(**given)
    inside = picture.top + picture.height <= picture.canvas_height
    inside = inside and picture.left + picture.width <= picture.canvas_width
    expected = picture.height * picture.width * (picture.outputs + picture.alpha)
    numbers = 3 * picture.canvas_height * picture.canvas_width + 2 * expected
    if not inside or math.prod(note["shape"]) != expected or numbers > most:
        raise InvalidInput(
            f"{path} is damaged or made up: the sizes in its description do not fit each other"
        )
    return Rendering(picture)


def _checked(told: bytes | str, path: Path) -> dict[str, Any]:
    """Note of a model, which says of what program and version it is."""
    note = json.loads(told)
    if not isinstance(note, dict) or note.get("format") != _MARK:
        raise InvalidInput(f"{path} is of another program; expected a file that `save_model` wrote")
    if note.get("version") not in _READ:
        raise InvalidInput(
            f"{path} has version {note.get('version')} of the format; this program reads version {_VERSION}: "
            "update napari-vdip"
        )
    return cast("dict[str, Any]", note)


def _onnx() -> tuple[Any, Any]:
    """Import onnx and ONNX Runtime.

    Raises
    ------
    InvalidOption
        If one of them, or what exports to them, is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InvalidOption(f"{error}; ONNX files need an extra: {_EXTRA}") from error
    return onnx, onnxruntime


def _graph(module: Rendering, note: dict[str, Any]) -> bytes:
    """ONNX model with the note and a checksum of its numbers in its metadata."""
    if 4 * module.values.numel() > _LARGEST_ONNX:
        raise InvalidInput(
            f"the model has {4 * module.values.numel() / 2**30:.1f} GiB, and ONNX files end at 2 GiB; "
            "save it as .pt"
        )
    onnx, _ = _onnx()
    model = compile.onnx_graph(module, _OUTPUTS)
    model.producer_name = "napari-vdip"
    kernel = onnx.numpy_helper.from_array(module.kernel().numpy(), "kernel")
    # Nothing in the graph uses the kernel: it is stored as the value of a third output.
    model.graph.initializer.append(kernel)
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("kernel", onnx.TensorProto.FLOAT, list(kernel.dims))
    )
    del model.metadata_props[:]
    told = {_NOTE: json.dumps(note, ensure_ascii=False), "sha256": _checksum(model)}
    onnx.helper.set_model_props(model, told)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _from_graph(path: Path) -> tuple[FloatArray, FloatArray, FloatArray, dict[str, Any]]:
    """Image, uncertainty, kernel and note of an ONNX graph, run by ONNX Runtime."""
    onnx, onnxruntime = _onnx()
    content = path.read_bytes()
    model = onnx.load_model_from_string(content)
    props = {item.key: item.value for item in model.metadata_props}
    if _NOTE not in props:
        raise InvalidInput(
            f"{path} is not a fitted model of this program: no ONNX graph with {_NOTE} in its metadata"
        )
    note = _checked(props[_NOTE], path)
    module = _module_of(note, path)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise InvalidInput(f"{path} points to other files; expected a model that is whole in itself")
    if props.get("sha256") != _checksum(model):
        raise InvalidInput(f"{path} is damaged: its numbers do not have the checksum that it tells")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # The graph runs once: optimising it would take longer, and keep its steps as constants.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    image, spread, kernel = session.run([*_OUTPUTS, "kernel"], {})
    if list(kernel.shape) != module.shapes[4]:
        raise InvalidInput(f"{path} is damaged: its kernel has shape {kernel.shape}")
    return image, spread, kernel, note


def _checksum(model: Any) -> str:
    """SHA-256 of the steps and the numbers of a graph."""
    found = hashlib.sha256()
    for node in model.graph.node:
        found.update(f"{node.op_type} {list(node.input)} {list(node.output)}\n".encode())
    for tensor in sorted(model.graph.initializer, key=lambda tensor: tensor.name):
        found.update(f"{tensor.name} {list(tensor.dims)} {tensor.data_type}\n".encode())
        found.update(tensor.raw_data)
    return found.hexdigest()
