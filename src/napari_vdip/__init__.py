"""Blind deconvolution of images with uncertainty: Variational Deep Image Prior.

Importing this package loads neither torch nor Qt nor napari; each public name is
imported when it is first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# torch's idle OpenMP threads spin for milliseconds unless told not to. On a machine that has other work,
# a viewer's for example, a fit then takes several times as long; where they never spin, waking them
# takes more time than their work (docs/explanation/research.md). Both are read when torch is loaded, hence
# here, the second by GNU's OpenMP alone; a value of the user's own stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from napari_vdip._napari.console import deblur_layer
    from napari_vdip.api import deblur
    from napari_vdip.errors import VdipError
    from napari_vdip.options import Options
    from napari_vdip.result import Result

__version__ = "0.1.0"
__all__ = ["Options", "Result", "VdipError", "deblur", "deblur_layer"]

_HOME = {
    "Options": "options",
    "Result": "result",
    "VdipError": "errors",
    "deblur": "api",
    "deblur_layer": "_napari.console",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
