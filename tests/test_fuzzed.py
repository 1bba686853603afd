"""What benchmarks/fuzz_readers.py (atheris) found, each made as small as it goes."""

from __future__ import annotations

import struct

import pytest

from napari_vdip import files, settings
from napari_vdip.errors import InvalidInput, VdipError

# A TIFF whose only tag has a type that does not exist: a page without axes.
NO_AXES = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 256, 2054, 1, 5, 0)


def test_a_page_without_axes_is_told_with_its_file(tmp_path):
    path = tmp_path / "odd.tif"
    path.write_bytes(NO_AXES)
    with pytest.raises(InvalidInput, match=r"odd\.tif: the image has the axes ''; expected Y and X"):
        files.read(path)


@pytest.mark.parametrize(
    "content",
    [
        '{"": {"preset": "fast"}}',
        '{"preset": "fasst"}',
        '{"options": {"rgb": true}, "given": 5}',
        '{"options": {"rgb": true}, "given": null}',
        "[" * 100_000,
        '{"options": null}',
        '{"kernel_size": 1e999}',
    ],
    ids=["empty name", "value", "number for a list", "nothing for a list", "depth", "null", "infinite"],
)
def test_settings_are_taken_or_told_with_their_file(content, tmp_path):
    path = tmp_path / "odd.json"
    path.write_text(content)
    try:
        settings.load(path)
    except VdipError as error:
        assert "odd.json" in str(error)
