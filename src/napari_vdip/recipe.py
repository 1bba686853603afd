"""A deblurring as text that repeats it: a Python call, a shell command. Standard library only."""

from __future__ import annotations

import dataclasses
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_vdip.options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Options that are arrays, and what reads them from a file.
_READERS = {"kernel": "read_kernel", "mask": "read_mask"}


@dataclass(frozen=True)
class Origin:
    """Where an array comes from, so that a text can get it again.

    Attributes
    ----------
    layer : str
        Name of the layer that holds it.
    path : str or None
        File that holds the same pixels and that this package can read.
    multiscale : bool
        Whether the layer holds several resolutions; the first one is taken.
    index : sequence of slice
        What is cut out of it; empty: nothing.
    """

    layer: str
    path: str | None = None
    multiscale: bool = False
    index: Sequence[slice] = ()

    @property
    def is_file(self) -> bool:
        """Whether a file holds exactly this array."""
        return self.path is not None and not self.cut

    @property
    def cut(self) -> str:
        """Subscript that takes the part, in Python; nothing where it is the whole."""
        told = [":" if part == slice(None) else f"{part.start}:{part.stop}" for part in self.index]
        while told and told[-1] == ":":
            told.pop()
        return f"[{', '.join(told)}]" if told else ""

    def as_python(self, reader: str) -> str:
        """Python expression; with `reader` from the file, else from the viewer."""
        if self.path is not None:
            return f"{reader}({self.path!r})" + (".data" if reader == "read" else "") + self.cut
        return f"viewer.layers[{self.layer!r}].data" + ("[0]" if self.multiscale else "") + self.cut

    def as_file(self) -> tuple[str, str]:
        """Name of the file for a command, and what has to be saved before; "" where it is there."""
        if self.path is not None and not self.cut:
            return self.path, ""
        name = re.sub(r"\W+", "_", self.layer).strip("_") or "image"
        if not self.cut and not self.multiscale:
            return f"{name}.tif", f"# first save the layer {self.layer!r} as {name}.tif"
        return f"{name}_part.tif", f"# first save {self.as_python('read')} as {name}_part.tif"


@dataclass(frozen=True)
class Recipe:
    """All that a result depends on.

    Attributes
    ----------
    options : Options
        As the fit gets them; the arrays among them are told by `arrays`.
    image : Origin
        Where the image comes from.
    arrays : mapping
        Origins of the options that are arrays (``kernel``, ``mask``), by name.
    """

    options: Options
    image: Origin
    arrays: Mapping[str, Origin] = field(default_factory=dict)

    def as_python(self) -> str:
        """Python code that makes the same ``result``."""
        readers = ["read"] if self.image.path is not None else []
        readers += [_READERS[name] for name, origin in self.arrays.items() if origin.path is not None]
        lines = ["from napari_vdip import deblur"]
        if readers:
            lines.append(f"from napari_vdip.files import {', '.join(sorted(readers))}")
        lines.append("")
        if any(origin.path is None for origin in (self.image, *self.arrays.values())):
            lines.append("# viewer.layers[...]: in napari's console; elsewhere, put your own array there")
        lines.append(f"image = {self.image.as_python('read')}")
        given = [f"    {name}={self._code(name, value)}," for name, value in self._given().items()]
        lines += ["result = deblur(", "    image,", *given, ")"]
        return "\n".join(lines) + "\n"

    def as_command(self) -> str:
        """Shell command that writes the same result; what has to be saved first stands above it."""
        image, note = self.image.as_file()
        words, notes = ["napari-vdip", "deblur", image], [note]
        for name, value in self._given().items():
            flag = f"--{name.replace('_', '-')}"
            if name in self.arrays:
                path, note = self.arrays[name].as_file()
                words += [flag, path]
                notes.append(note)
            elif isinstance(value, bool):
                words.append(flag if value else f"--no-{flag[2:]}")
            else:
                words += [flag, *map(str, value if isinstance(value, tuple) else (value,))]
        return "\n".join([*filter(None, notes), shlex.join([*words, "--output", "results"])]) + "\n"

    def _given(self) -> dict[str, Any]:
        """Options that are not the default, and the arrays."""
        chosen = self.options.chosen()
        return {
            item.name: getattr(self.options, item.name)
            for item in _FIELDS
            if item.name in self.arrays or (item.name in chosen and item.name not in _READERS)
        }

    def _code(self, name: str, value: Any) -> str:
        if name not in self.arrays:
            return repr(value)
        origin = self.arrays[name]
        code = origin.as_python(_READERS[name])
        return f"{code} != 0" if name == "mask" and origin.path is None else code


_FIELDS = dataclasses.fields(Options)
