"""The pages make a site without a warning: each link leads somewhere, each name has its docstring."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import get_args

import pytest

from napari_vdip import Options, diagnosis
from napari_vdip.options import Group, choices_of, type_of

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site, in a process of its own: Sphinx changes much of the process that it runs in."""
    pytest.importorskip("sphinx", reason='Sphinx is not installed; pip install "napari-vdip[docs]" runs this')
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(target / "work")]
    done = subprocess.run(
        [*command, str(DOCS), str(target / "html")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return target / "html"


def words(page):
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))))


def test_every_page_is_on_the_site(site):
    for page in DOCS.rglob("*.md"):
        if "_build" not in page.parts:
            assert (site / page.relative_to(DOCS).with_suffix(".html")).exists(), page


def test_the_reference_has_the_docstrings_and_every_option(site):
    python = words(site / "reference" / "python.html")
    for told in ("Undo an unknown blur.", "one standard deviation", "Deblur an image layer", "OutOfMemory"):
        assert told in python
    table = words(site / "reference" / "options.html")
    for name in Options.__dataclass_fields__:
        assert name in table
    assert "5,500 steps" in table
    assert "poisson" in table


def test_the_pictures_are_on_the_site(site):
    page = (site / "tutorial" / "first-image.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img[^>]*src="\.\./(_images/[^"]+)"', page)
    named = re.findall(
        r"!\[[^]]*\]\(\.\./images/([^)]+)\)", (DOCS / "tutorial" / "first-image.md").read_text("utf-8")
    )
    assert [picture.rsplit("/", 1)[1] for picture in pictures] == named
    assert len(named) >= 3
    assert all((site / picture).exists() for picture in pictures)


@pytest.mark.parametrize("group", get_args(Group))
def test_each_group_of_options_has_its_page(site, group):
    """With every option of the group in its table, what it may be, and none of another group."""
    page = (site / "reference" / "options" / f"{group}.html").read_text(encoding="utf-8")
    rows = re.findall(r"<tr.*?</tr>", page[: page.index("</table>")], flags=re.DOTALL)
    first = [re.findall(r'class="pre">(\w+)<', row)[0] for row in rows if "<td>" in row]
    options = dataclasses.fields(Options)
    assert first == [item.name for item in options if item.metadata["group"] == group]
    told = words(site / "reference" / "options" / f"{group}.html")
    for name in first:
        for choice in choices_of(type_of(name)):
            assert choice in told


def test_the_gallery_shows_what_the_script_makes(site):
    """Good runs and bad ones, each with its picture."""
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    script = ast.parse((DOCS / "make_gallery.py").read_text(encoding="utf-8"))
    (cases,) = (
        node.value
        for node in script.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "CASES"
    )
    names = [key.value for key in cases.keys]
    assert re.findall(r"\(images/gallery-([\w-]+)\.png\)", page) == names
    assert page.count("## What went wrong") >= 3
    shown = (site / "gallery.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img[^>]*src="_images/gallery-', shown)) == len(names)


def test_the_page_on_trust_knows_every_finding(site):
    told = words(site / "trust.html")
    source = ast.parse(Path(diagnosis.__file__).read_text(encoding="utf-8"))
    codes = {
        node.args[0].value
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding"
    }
    assert {"border", "misfit", "point"} < codes
    for code in codes:
        assert code in told
