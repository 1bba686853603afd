"""Sphinx: the pages under docs/ as a site. Build it with ``sphinx-build -W docs OUTPUT``."""

from __future__ import annotations

import dataclasses

import napari_vdip
from napari_vdip.options import KINDS, PRESETS, Options

project = "napari-vdip"
author = "The napari-vdip developers"
copyright = "The napari-vdip developers. BSD-3-Clause"
release = version = napari_vdip.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "napari-vdip"
html_theme_options = {
    "github_url": "https://github.com/napari-vdip/napari-vdip",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "use_edit_page_button": False,
}
html_show_sourcelink = False


def table(head: list[str], rows: list[list[str]]) -> str:
    """Write a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', ', ') for cell in line)} |" for line in lines)


myst_enable_extensions = ["substitution"]
myst_heading_anchors = 3  # links to the headings of a page, as GitHub makes them
myst_substitutions = {
    "options": table(
        ["option", "default", "unit", "what it does"],
        [
            [f"`{item.name}`", f"`{item.default!r}`", item.metadata["unit"], item.metadata["help"]]
            for item in dataclasses.fields(Options)
        ],
    ),
    "presets": table(
        ["preset", "method", "pre-fit steps", "steps after it", "channels of the network"],
        [
            [
                f"`{name}`",
                f"`{preset.method}`",
                f"{preset.prefit_steps[preset.method]:,}",
                f"{preset.iterations:,}",
                f"{preset.channels}",
            ]
            for name, preset in PRESETS.items()
        ],
    ),
    "kinds": table(
        ["kind", "noise", "method"],
        [
            [f"`{name}`", f"`{kind.noise}`", f"`{kind.method}`" if kind.method else "the preset's"]
            for name, kind in KINDS.items()
        ],
    ),
}

# The docstrings tell types with shapes and units; the signatures need not repeat them.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
