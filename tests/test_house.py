"""The house rules that a machine can read: which module imports which."""

from __future__ import annotations

import ast
import graphlib
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import napari_vdip

SOURCE = Path(napari_vdip.__file__).parent

# Arrows point down only: a room imports rooms that stand before it.
ROOMS = (
    "errors",
    "options",
    "settings",
    "result",
    "psf",
    "diagnosis",
    "trust",
    "layout",
    "pace",
    "recipe",
    "writing",
    "core",
    "onnxfit",
    "modelfile",
    "fitted",
    "opencv",
    "estimate",
    "defects",
    "compression",
    "arrays",
    "coarse",
    "ladder",
    "heap",
    "optics",
    "stars",
    "family",
    "sharpness",
    "modes",
    "grid",
    "placement",
    "devices",
    "starts",
    "draws",
    "plan",
    "report",
    "smaller",
    "solve",
    "abreast",
    "tiles",
    "stack",
    "api",
    "metrics",
    "calibration",
    "imagefile",
    "pictures",
    "paged",
    "tiffs",
    "fitsfile",
    "zarrfile",
    "zarrout",
    "files",
    "kernelfile",
    "jobs",
    "export",
    "samples",
    "panel",
    "about",
    "flags",
    "jobflags",
    "messages",
    "shell",
    "render",
    "batch",
    "benchmark",
    "cli",
    "_napari",
)
# The form and the worker talk to the fit, not to its mathematics, and not to the shell.
NOT_FOR_NAPARI = {"core", "opencv", "cli"}
# All that these rooms may import from outside of the standard library.
ONLY = {
    "errors": set(),
    "options": set(),
    "settings": set(),
    "layout": set(),
    "pace": set(),
    "recipe": set(),
    "result": {"numpy"},
    "writing": set(),
    "core": {"torch"},
}
# Packages that only one room may import.
OWNER = {
    "napari": "_napari",
    "magicgui": "_napari",
    "qtpy": "_napari",
    "superqt": "_napari",
    "pyqtgraph": "_napari",
    "cv2": "opencv",
    "matplotlib": "benchmark",
    "distributed": "jobs",
    "astropy": "fitsfile",
    "zarr": "zarrfile",
}
# Qt is imported through qtpy, so that the user's binding is used.
NOWHERE = {"PyQt5", "PyQt6", "PySide2", "PySide6"}


class Import(NamedTuple):
    """One imported module, wherever in the file: at its top, in a function, under TYPE_CHECKING."""

    line: int
    module: str


def imports_of(source: str, module: str, *, is_package: bool = False) -> list[Import]:
    """List what a module imports, with relative names made absolute.

    `from package import name` counts as `package.name`, as it may be a module.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                up = parts[: len(parts) - node.level + is_package]
                base = ".".join([*up, *([base] if base else [])])
            found += [Import(node.lineno, f"{base}.{name.name}") for name in node.names]
    return found


def room_of(module: str) -> str:
    """Room of a module of this package; "" for the package itself and its version."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else ""
    if name.startswith("__"):
        return ""
    return napari_vdip._HOME.get(name, name).split(".")[0]


def faults_of(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """List what breaks the rules in one module, each with its line."""
    room = room_of(module)
    faults = []
    for line, target in imports_of(source, module, is_package=is_package):
        top, where = target.split(".")[0], f"{module}:{line} imports {target}"
        if top == "napari_vdip":
            other = room_of(target)
            if other in ("", room) or not room:
                continue
            if ROOMS.index(other) > ROOMS.index(room):
                faults.append(f"{where}: the arrow from {room} to {other} points up")
            elif room == "_napari" and other in NOT_FOR_NAPARI:
                faults.append(f"{where}: _napari does not use {other}")
        elif top in NOWHERE:
            faults.append(f"{where}: import qtpy instead")
        elif OWNER.get(top, room) != room:
            faults.append(f"{where}: only {OWNER[top]} may")
        elif room in ONLY and top not in ONLY[room] | set(sys.stdlib_module_names):
            faults.append(
                f"{where}: {room} may import {', '.join(ONLY[room]) or 'the standard library only'}"
            )
    for node in ast.walk(ast.parse(source)):
        if module != "napari_vdip.core.compile" and is_torch_jit(node):
            faults.append(f"{module}:{node.lineno} uses torch.jit: only napari_vdip.core.compile may")
        if (
            room
            and isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith(("import_module", "__import__"))
        ):
            faults.append(f"{module}:{node.lineno} imports by a computed name, which this test cannot read")
    return faults


def is_torch_jit(node: ast.AST) -> bool:
    """Whether a node names torch.jit: as an attribute or in an import."""
    if isinstance(node, ast.Attribute):
        return node.attr == "jit" and isinstance(node.value, ast.Name) and node.value.id == "torch"
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        return module.startswith("torch.jit") or (
            module == "torch" and any(n.name == "jit" for n in node.names)
        )
    return isinstance(node, ast.Import) and any(n.name.startswith("torch.jit") for n in node.names)


def modules() -> dict[str, Path]:
    """All modules of the package by their dotted names."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    path = MODULES[module]
    assert room_of(module) in ("", *ROOMS), f"{module} has no place in ROOMS yet: decide what it may import"
    faults = faults_of(path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py")
    assert not faults, "\n" + "\n".join(faults)


def test_no_module_imports_itself_round_a_corner():
    graph = {}
    for module, path in MODULES.items():
        if module == "napari_vdip":  # its public names are imported on first use
            continue
        found = imports_of(path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py")
        names = {part for item in found for part in (item.module, item.module.rpartition(".")[0])}
        graph[module] = (names & MODULES.keys()) - {"napari_vdip", module}
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the modules


def test_no_room_without_a_name():
    assert not [
        module for module in MODULES if module.rpartition(".")[2] in ("utils", "helpers", "misc", "common")
    ]


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("core.blur", "import numpy", "core may import torch"),
        ("core.blur", "def f():\n    from napari_vdip.solve import fit", "from core to solve points up"),
        ("core.blur", "from torch.jit import script", "uses torch.jit"),
        ("core.program", "import torch\ntorch.jit.script(f)", "uses torch.jit"),
        ("options", "import numpy as np", "standard library only"),
        ("arrays", "import cv2", "only opencv may"),
        ("arrays", "from . import cli", "from arrays to cli points up"),
        ("solve", "from napari_vdip import deblur", "from solve to api points up"),
        ("stack", "if TYPE_CHECKING:\n    from napari_vdip.api import deblur", "from stack to api points up"),
        ("cli", "from napari_vdip._napari import widget", "from cli to _napari points up"),
        ("cli", "from napari.layers import Image", "only _napari may"),
        ("_napari.widget", "from ..cli import main", "_napari does not use cli"),
        ("_napari.widget", "from PyQt6 import QtCore", "import qtpy instead"),
        ("api", "importlib.import_module(name)", "computed name"),
    ],
)
def test_the_rules_find_a_fault(module, source, fault):
    assert any(fault in found for found in faults_of(source, f"napari_vdip.{module}"))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "core.blur",
            "import math, torch\nfrom torch.nn import functional as F\nfrom .objective import ssim",
        ),
        ("core.compile", "import torch\ntorch.jit.script(f)"),
        ("solve", "from napari_vdip import __version__\nfrom napari_vdip.core import compile"),
        (
            "_napari.widget",
            "from napari_vdip import Options\nfrom napari_vdip.stack import fit\nimport napari",
        ),
        ("cli", "from napari_vdip import deblur"),
    ],
)
def test_the_rules_let_the_right_thing_pass(module, source):
    assert faults_of(source, f"napari_vdip.{module}") == []


def test_the_wall_clock_measures_nothing():
    """Time left, throttling and patience must not notice that somebody sets the clock."""
    for path in SOURCE.rglob("*.py"):
        assert "time.time(" not in path.read_text(encoding="utf-8"), path
