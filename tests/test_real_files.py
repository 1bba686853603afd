"""Every real micrograph and telescope frame at hand goes from file to files (a part of each, few steps)."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from napari_vdip import files, shell
from napari_vdip.options import Options

DATA = Path(os.environ.get("NAPARI_VDIP_DATA") or Path(__file__).parents[2] / "shared" / "data")
FILES = [
    path
    for name in ("fluo_real_nogt", "astro_real_nogt")
    for path in sorted((DATA / name).glob("*"))
    if path.suffix in (".tif", ".fits")
]


@pytest.mark.skipif(not FILES, reason="no development data: set NAPARI_VDIP_DATA")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_real_file_goes_through(tmp_path: Path, path: Path) -> None:
    image = files.read(path)
    assert image.data.dtype.isnative
    assert image.data.ndim - image.rgb == len(image.axes) - image.rgb >= 2
    # the brightest part, so that no frame is cut where it is empty; two slices of a stack
    plane = image.data[..., 0] if image.rgb else image.data
    row, column = np.unravel_index(np.nanargmax(plane), plane.shape)[-2:]
    top, left = (
        int(np.clip(at - 20, 0, n - 40)) for at, n in zip((row, column), plane.shape[-2:], strict=True)
    )
    cut = [slice(2)] * (plane.ndim - 2) + [slice(top, top + 40), slice(left, left + 40)]
    image = dataclasses.replace(image, data=image.data[tuple(cut)])
    options = Options(preset="fast", iterations=3, kernel_size=5, rgb=image.rgb, threads=1)
    with shell.Interrupt() as interrupt:
        result = shell.run(image.data, options, path.name, True, interrupt)
    assert result is not None
    written = shell.save(result, image, tmp_path, path.stem)
    assert (written[-1].suffix == ".fits") == (path.suffix == ".fits")
    back = files.read(written[0])
    assert back.data.shape == image.data.shape
    assert np.isfinite(back.data).all()
    if path.suffix == ".fits":
        again = files.read(written[-1])
        np.testing.assert_array_equal(again.data, back.data)
        assert again.pixel_size == image.pixel_size
