"""OME-Zarr out, slice by slice (extra ``zarr``): axes, pixel sizes and channels as the input has them.

An image is written into an array of NaN, one slice after the other, so that it can be looked at while
it grows; its attribute ``napari-vdip`` says that it is not complete until `ZarrImage.complete` is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip import zarrfile
from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_vdip.imagefile import ImageFile

    Array = npt.NDArray[Any]
    Index = tuple[int | slice, ...]

_VERSION = "0.5"
_CHUNK = 1024  # px: a plane up to this size is one file
_NAMES = {"T": "t", "C": "c", "S": "c", "Z": "z", "Y": "y", "X": "x"}
_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
_ORDER = "t?czyx"  # OME's: time, channel or whatever else, space; "?" stands for all other letters
_COLOURS = {"red": "FF0000", "green": "00FF00", "blue": "0000FF", "alpha": "FFFFFF"}
_NO_COLOUR = "FFFFFF"


def axis_names(letters: str) -> tuple[str, ...]:
    """Name axes as OME-Zarr does.

    Parameters
    ----------
    letters : str
        As `ImageFile.axes`. Pages of a TIFF that says nothing about them count as z.

    Raises
    ------
    InvalidInput
        If OME-Zarr has no place for them: it holds time, channel and three axes of space, each once, and one
        other axis in place of the channel.
    """
    unknown = [letter for letter in letters if letter not in _NAMES]
    names = [_NAMES.get(letter, letter.lower()) for letter in letters]
    if unknown and "Z" not in letters:
        names[letters.rindex(unknown.pop())] = "z"
    if len(set(names)) < len(names) or len(unknown) + ("c" in names) > 1 or len(names) > 5:
        raise InvalidInput(
            f"the axes {letters} do not fit into OME-Zarr, which holds t, c, z, y and x, each once; use "
            "--format tiff"
        )
    return tuple(names)


class ZarrImage:
    """An image on its way into an OME-Zarr folder.

    Parameters
    ----------
    path : Path
        The folder.
    shape : tuple of int
        Of the whole image, in the order of the input's axes.
    letters : str
        A letter for each axis.
    like : ImageFile
        The input: its pixel sizes, time steps and names of channels are written.
    name : str
        Of the image.

    Raises
    ------
    InvalidInput
        As `axis_names`.
    OSError
        If the disk is full or read-only.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], letters: str, like: ImageFile, name: str) -> None:
        names = axis_names(letters)
        places = [_ORDER.find(axis) if axis in _ORDER else _ORDER.index("?") for axis in names]
        self._order = sorted(range(len(names)), key=places.__getitem__)  # axis of the input of each of ours
        self._names = tuple(names[axis] for axis in self._order)
        self._path, self._like, self._name = path, like, name
        self._colours = letters.endswith("S")
        whole = tuple(shape[axis] for axis in self._order)
        chunks = tuple(
            min(n, _CHUNK) if axis in "yx" else 1 for n, axis in zip(whole, self._names, strict=True)
        )
        self._array = zarrfile.create(path, whole, chunks, self._names, self._attributes(None))

    def put(self, index: Index, plane: Array) -> None:
        """Write a slice, unless it is there as it is.

        Parameters
        ----------
        index : tuple
            A number or ``slice(None)`` for each axis of the input.
        plane : ndarray
            The axes that are slices, in the order of the input.
        """
        here = [axis for axis, part in enumerate(index) if isinstance(part, slice)]
        turned = plane.transpose([here.index(axis) for axis in self._order if axis in here])
        turned = np.ascontiguousarray(turned, dtype=np.float32)
        at = tuple(index[axis] for axis in self._order)
        if np.asarray(self._array[at]).tobytes() != turned.tobytes():
            self._array[at] = turned

    def complete(self) -> None:
        """Say that all is there, and between which values each channel is shown."""
        windows = []
        channels = self._array.shape[self._names.index("c")] if "c" in self._names else 1
        for channel in range(channels):
            at = tuple(
                slice(None) if axis in "yx" else channel if axis == "c" else n // 2
                for axis, n in zip(self._names, self._array.shape, strict=True)
            )
            plane = np.asarray(self._array[at])
            finite = plane[np.isfinite(plane)]
            windows.append(
                np.percentile(finite, (0, 0.5, 99.5, 100)) if finite.size else np.array([0, 0, 1, 1])
            )
        zarrfile.update(self._path, self._attributes(windows))

    def _attributes(self, windows: list[npt.NDArray[np.float64]] | None) -> dict[str, Any]:
        """Attributes of the group, while it grows (None) or when it is complete."""
        axes = [
            {"name": axis}
            | ({"type": _TYPES[axis]} if axis in _TYPES else {})
            | ({"unit": unit} if (unit := self._step(axis)[1]) else {})
            for axis in self._names
        ]
        scale = {"type": "scale", "scale": [self._step(axis)[0] for axis in self._names]}
        image = {
            "name": self._name,
            "axes": axes,
            "datasets": [{"path": zarrfile.ARRAY, "coordinateTransformations": [scale]}],
        }
        described: dict[str, Any] = {"version": _VERSION, "multiscales": [image]}
        if windows is not None:
            described["omero"] = {"channels": self._channels(windows)}
        return {"ome": described, "napari-vdip": {"complete": windows is not None}}

    def _step(self, axis: str) -> tuple[float, str]:
        """Length of a step along an axis, and its unit as OME-Zarr names it, "" for none."""
        known = self._like.metadata
        if axis == "t":
            step = known.get("TimeIncrement", known.get("finterval"))
            unit = known.get("TimeIncrementUnit", known.get("tunit", "s"))
            return (1.0, "") if step is None else (float(step), _word(unit))
        length, unit = self._like.pixel_size.get(axis.upper(), (1.0, ""))
        return length, _word(unit)

    def _channels(self, windows: list[npt.NDArray[np.float64]]) -> list[dict[str, Any]]:
        """Names and looks of the channels; one without a name where there are none."""
        names = self._like.metadata.get("Channel", {}).get("Name", [])
        if self._colours:
            names = list(_COLOURS)
        named = "c" in self._names and (self._colours or len(names) == len(windows))
        told = []
        for number, window in enumerate(windows):
            name = str(names[number]) if named else self._name
            least, start, end, most = (float(value) for value in window)
            told.append(
                {
                    "label": name,
                    "color": _COLOURS.get(name, _NO_COLOUR),
                    "active": name != "alpha",
                    "window": {"min": least, "max": most, "start": start, "end": end},
                }
            )
        return told


def _word(unit: str) -> str:
    """Name a unit in full, as OME-Zarr does: "µm" is "micrometer"; "" where it is none."""
    import pint

    registry = pint.get_application_registry()  # type: ignore[no-untyped-call]
    try:
        word = str(registry.Unit(unit)) if unit else ""
    except (pint.PintError, ValueError, AttributeError):
        return ""
    return {"micron": "micrometer", "pixel": "", "dimensionless": ""}.get(word, word)
