"""The pages make a site without a warning: each link leads somewhere, each name has its docstring."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from napari_vdip import Options

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
