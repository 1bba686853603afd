"""What several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Read by torch when it is first imported. Several test runs may share a machine, and the images
# here are so small that more threads only get into each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real images with their kernels, kept outside the repository because of their licences."""
    folder = Path(os.environ.get("NAPARI_VDIP_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder}; NAPARI_VDIP_DATA can name another folder")
    return folder
