"""Sphinx: the pages under docs/ as a site. Build it with ``sphinx-build -W docs OUTPUT``."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import napari_vdip
from napari_vdip.options import KINDS, PRESETS, Group, Options, choices_of, type_of

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


def allowed(item: dataclasses.Field[Any]) -> str:
    """Write what an option may be: its choices, and the bounds of its numbers."""
    facts = [f"`{choice}`" for choice in choices_of(type_of(item.name))]
    low, high = item.metadata["low"], item.metadata["high"]
    if low is not None:
        number = "odd number" if item.metadata["odd"] else "number"
        facts.append(f"{number} from {low}" + (f" to {high:,}" if high is not None else ""))
    elif type_of(item.name) is bool:
        facts += ["`True`", "`False`"]
    return ", ".join(facts)


def option_table(group: str | None = None) -> str:
    """Write the options of a group, or all of them."""
    shown = [item for item in dataclasses.fields(Options) if group is None or item.metadata["group"] == group]
    rows = [
        [f"`{item.name}`", allowed(item), f"`{item.default!r}`", item.metadata["unit"], item.metadata["help"]]
        for item in shown
    ]
    return table(["option", "may be", "default", "unit", "what it does"], rows)


myst_enable_extensions = ["substitution"]
myst_heading_anchors = 3  # links to the headings of a page, as GitHub makes them
myst_substitutions = {
    "options": option_table(),
    **{f"options_{group}": option_table(group) for group in get_args(Group)},
    "presets": table(
        [
            "preset",
            "method",
            "starts",
            "pre-fit steps",
            "steps after it",
            "and of the search",
            "channels of the network",
        ],
        [
            [
                f"`{name}`",
                f"`{preset.method}`",
                f"{preset.starts}",
                f"{preset.prefit_steps[preset.method]:,}",
                f"{preset.iterations:,}",
                f"{preset.climb_steps + preset.last_climb_steps:,}",
                f"{preset.channels}",
            ]
            for name, preset in PRESETS.items()
        ],
    ),
    "kinds": table(
        ["kind", "noise", "method", "sparse in the polish"],
        [
            [
                f"`{name}`",
                f"`{kind.noise}`",
                f"`{kind.method}`" if kind.method else "the preset's",
                f"{ {1: 'gradients', 2: 'second differences'}[kind.sparse[0]] }, exponent {kind.sparse[2]}",
            ]
            for name, kind in KINDS.items()
        ],
    ),
}

# The docstrings tell types with shapes and units; the signatures need not repeat them.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
