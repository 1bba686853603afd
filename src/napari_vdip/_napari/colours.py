"""Colours of the plots: those of napari's theme, and one that stands out on it."""

from __future__ import annotations

from dataclasses import dataclass

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
        dark = known.type == "dark"
        return cls(
            paper=known.background.as_hex(format="long"),
            ink=known.text.as_hex(format="long"),
            faint=known.highlight.as_hex(format="long"),
            curve="#6fb7ff" if dark else "#1f5fbf",
            mark="#ffb000" if dark else "#b35900",
        )
