"""Colours of the plots: those of napari's theme, and one that stands out on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari.utils.theme import get_theme


@dataclass(frozen=True)
class Colours:
    """Colours by what they are for, as ``#rrggbb``.

    Attributes
    ----------
    paper, ink, faint : str
        Background, text and axes, and lines that stay behind.
    curve, mark : str
        What is measured, and what is pointed out.
    """

    paper: str
    ink: str
    faint: str
    curve: str
    mark: str

    @classmethod
    def of_theme(cls, theme: str) -> Colours:
        """Colours that go with a theme of napari, by its name."""
        known = get_theme(theme)
        dark = sum(known.background.as_rgb_tuple()[:3]) < 3 * 128  # napari before 0.7 has no name for it
        return cls(
            paper=_hex(known.background),
            ink=_hex(known.text),
            faint=_hex(known.highlight),
            curve="#6fb7ff" if dark else "#1f5fbf",
            mark="#ffb000" if dark else "#b35900",
        )


def _hex(colour: Any) -> str:
    """Colour of a theme as ``#rrggbb``; napari's own way to write one has changed over its versions."""
    red, green, blue = colour.as_rgb_tuple()[:3]
    return f"#{red:02x}{green:02x}{blue:02x}"
