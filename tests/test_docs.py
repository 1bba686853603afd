"""The pages under docs/how-to are true: their blocks run as they stand, and their links lead somewhere.

The page about napari's console is run in it, by tests/_napari/test_console.py.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from astropy.io import fits

from napari_vdip import cli, family, options
from napari_vdip.files import stem_of
from napari_vdip.flags import parse

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FOUND = [
    pytest.param(language, block, id=f"{page.stem}-{number}-{language}")
    for page in sorted((DOCS / "how-to").glob("*.md"))
    if page.stem != "console"
    for number, (language, block) in enumerate(
        re.findall(r"```(\w+)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    )
]

# "sh" and "py" are shown for machines that are not here, such as a cluster.
BLOCKS = [param for param in FOUND if param.values[0] not in ("sh", "py")]
ELSEWHERE = [param for param in FOUND if param.values[0] in ("sh", "py")]


@pytest.fixture
def folder(tmp_path, small_fit):
    """Folder with the files that the pages name; the preset `fast` has few steps instead of its own."""
    random = np.random.default_rng(0)
    for name in ("cells.tif", "more_cells.tif"):
        tifffile.imwrite(tmp_path / name, random.integers(100, 4000, (40, 48), dtype=np.uint16))
    tifffile.imwrite(tmp_path / "stack.tif", random.integers(0, 255, (2, 40, 48), dtype=np.uint8))
    tifffile.imwrite(tmp_path / "psf.tif", np.ones((5, 7), np.float32))
    sky = fits.ImageHDU(random.normal(10, 3, (40, 48)).astype(">f4"), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), sky]).writeto(tmp_path / "stars.fits")
    for part, name, shape in (
        ("blurred", "cells_motion1", (48, 56)),
        ("sharp", "cells", (48, 56)),
        ("kernels", "motion1", (5, 5)),
    ):
        (tmp_path / "photos" / part).mkdir(parents=True)
        picture = random.integers(1, 255, shape, dtype=np.uint8)
        iio.imwrite(tmp_path / "photos" / part / f"{name}.png", picture)
    few = {"profile_steps": 2, "climb_steps": 0, "last_climb_steps": 0, "polish_steps": 2}
    quick = dataclasses.replace(options.PRESETS["fast"], **few)
    with pytest.MonkeyPatch.context() as patch:  # taken back before `small_fit` is
        patch.setitem(options.PRESETS, "fast", quick)
        # A kernel of a family is looked for on a small part, under one prior: pages do not say how well.
        patch.setattr(family, "SIDE", 16)
        patch.setattr(family, "_SCALES", family._SCALES[:1])
        patch.chdir(tmp_path)
        yield tmp_path


# The page on saved models tells those who have torch alone what to call; torch says so since 2.9.
@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("language", "block"), BLOCKS)
def test_a_block_runs(language, block, folder, capsys):
    if language == "python":
        names: dict[str, object] = {}
        exec(compile(block, "docs", "exec"), names)
        image = getattr(names.get("result"), "image", names.get("image"))
        assert np.isfinite(np.asarray(image)).all()
        return
    assert language == "bash"
    for line in block.splitlines():
        command, *words = shlex.split(line)
        assert command == "napari-vdip"
        if words[0] == "benchmark":  # its fits have processes, and so presets, of their own
            words += ["--iterations", "2", "--threads", "1", "--compile", "off"]
        assert cli.main(words) == 0, capsys.readouterr().err
        written = folder / words[words.index("--output") + 1]
        names = {path.name for path in written.iterdir()}
        if words[0] == "benchmark":
            assert names == {"results.csv", "references.csv", "summary.md", "quality_time.png", "gain.png"}
        else:
            stem = stem_of(words[1].replace("*", ""))
            ending = ".ome.zarr" if "ome-zarr" in words else ".tif"
            assert f"{stem}_deblurred{ending}" in names
            assert (f"{stem}_deblurred.fits" in names) == words[1].startswith("stars.fits")


@pytest.mark.parametrize(("language", "block"), ELSEWHERE)
def test_a_block_for_other_machines_is_well_formed(language, block):
    """Blocks that need a cluster: Python compiles, and every option that is named exists."""
    if language == "py":
        compile(block, "docs", "exec")
        return
    for line in block.splitlines():
        command, *words = shlex.split(line)
        if command == "napari-vdip":
            assert parse(cli._parser(), words).run


def test_the_page_writes_the_files_it_names(folder):
    first = next(param.values[1] for param in BLOCKS if param.id == "script-0-python")
    exec(compile(first, "docs", "exec"), {})
    shapes = {path.stem: tifffile.imread(path).shape for path in (folder / "results").iterdir()}
    assert shapes == {
        "cells_deblurred": (40, 48),
        "cells_uncertainty": (40, 48),
        "cells_kernel": (17, 17),
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
