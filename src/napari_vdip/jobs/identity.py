"""What a result follows from: the input's content, the options, the arrays among them."""

from __future__ import annotations

import hashlib
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip import files
from napari_vdip.errors import InvalidInput
from napari_vdip.layout import layout_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from napari_vdip.options import Options

ARRAYS = ("kernel", "mask")
_PIXELS = "pixels"  # what the checksum of an image is of that is in no file of its own
_SHOWN = 12  # characters of a checksum that people are shown


def identity(path: Path, options: Options) -> dict[str, Any]:
    """Tell what a result follows from, JSON-ready.

    Parameters
    ----------
    path : Path
        The input: a file, with or without the name of an extension, or a folder as Zarr makes them.
    options : Options
        With arrays, not with the names of their files.

    Returns
    -------
    dict
        ``input`` (size in bytes, SHA-256 of the content), ``options`` (all but the arrays),
        ``arrays`` (SHA-256 of each that is given).
    """
    path = files.split(path)[0]
    size = sum(file.stat().st_size for file in _files(path))
    return {"input": {"bytes": size, "sha256": checksum(path)}} | identity_of_options(options)


def identity_of_pixels(data: Any, options: Options) -> dict[str, Any]:
    """Tell what a result follows from, as `identity`, of an image that is in no file of its own.

    Parameters
    ----------
    data : array
        Numpy, or anything that is sliced like it: read one slice at a time.
    options : Options
    """
    layout = layout_of(tuple(data.shape), options.rgb, options.channel_axis)
    parts = (np.ascontiguousarray(np.asarray(data[index])).tobytes() for index in layout.slices)
    dtype = np.dtype(data.dtype)
    told = identity_of_options(options)
    head = f"{dtype.str}{layout.shape}{layout.leading}".encode()
    size = math.prod(layout.shape) * dtype.itemsize
    return {"input": {"bytes": size, "sha256": _joined(itertools.chain([head], parts)), "of": _PIXELS}} | told


def identity_of_options(options: Options) -> dict[str, Any]:
    """Tell of an identity what does not depend on the input."""
    arrays = {name: getattr(options, name) for name in ARRAYS}
    return {
        "options": plain(options.as_dict()),
        "arrays": {name: _digest(value) for name, value in arrays.items() if value is not None},
    }


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options without the arrays, as JSON gives them back."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if name not in ARRAYS
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in words how two identities differ; empty where they do not."""
    told = []
    old, new = before["options"], now["options"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            told.append(f"{name} was {old.get(name)!r}, is now {new.get(name)!r}")
    old, new = before["arrays"], now["arrays"]
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            shown = [
                f"array {side[name][:_SHOWN]}..." if name in side else "not given" for side in (old, new)
            ]
            told.append(f"{name} was {shown[0]}, is now {shown[1]}")
    old, new = before["input"], now["input"]
    if old.get("of") != new.get("of"):
        places = ["in napari" if side.get("of") == _PIXELS else "in the shell" for side in (old, new)]
        told.append(f"it was begun {places[0]}, and can be gone on with there, not {places[1]}")
    elif old["sha256"] != new["sha256"]:
        sizes = (
            "" if old["bytes"] == new["bytes"] else f" ({old['bytes']:,} bytes then, {new['bytes']:,} now)"
        )
        told.append(f"the input has another content{sizes}")
    return told


def refuse_differences(where: Path, before: Mapping[str, Any], now: Mapping[str, Any], remedy: str) -> None:
    """Raise InvalidInput if two identities differ.

    Raises
    ------
    InvalidInput
        With the differences, and the remedy.
    """
    if told := differences(before, now):
        raise InvalidInput(f"{where} was made with other settings: {'; '.join(told)}; {remedy}")


def checksum(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of its files with their names."""
    if path.is_dir():
        parts = (f"{file.relative_to(path).as_posix()}\0{checksum(file)}\n".encode() for file in _files(path))
        return _joined(parts)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """Every file of a folder in the order of their names; the file itself if it is none."""
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
    else:
        yield path


def _digest(array: Any) -> str:
    array = np.ascontiguousarray(array)
    return _joined([f"{array.dtype.str}{array.shape}".encode(), array.tobytes()])


def _joined(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
