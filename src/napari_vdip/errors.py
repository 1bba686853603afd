"""What can go wrong, as a user sees it. Standard library only.

Every error says what was expected, what came, and what to do. None of them is a
``RuntimeError``: napari's generator workers swallow those without a word.
"""

from __future__ import annotations


class VdipError(Exception):
    """Base of all errors that this package raises on purpose.

    Attributes
    ----------
    exit_status : int
        What the command line exits with.
    """

    exit_status: int = 2


class InvalidInput(VdipError, ValueError):
    """An image, mask, kernel or file cannot be used as it is."""


class InvalidOption(VdipError, ValueError):
    """An option is unknown or its value is out of bounds."""


class DeviceUnavailable(VdipError):
    """The device asked for does not exist or is not usable by the installed torch."""


class OutOfMemory(VdipError):
    """The frame does not fit into the memory of the device."""

    exit_status = 3


class Diverged(VdipError):
    """The fit produced no finite result."""


class StorageFailed(VdipError):
    """A disk is full, read-only or gone; what was finished before stays."""
