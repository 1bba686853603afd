"""Blind deconvolution of images with uncertainty: Variational Deep Image Prior.

Importing this package loads neither torch nor Qt nor napari; each public name is
imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_vdip.api import deblur
    from napari_vdip.errors import VdipError
    from napari_vdip.options import Options
    from napari_vdip.result import Result

__version__ = "0.0.1"
__all__ = ["Options", "Result", "VdipError", "deblur"]

_HOME = {"Options": "options", "Result": "result", "VdipError": "errors", "deblur": "api"}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
