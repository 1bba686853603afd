"""What several tests share."""

from __future__ import annotations

import dataclasses
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
# Read by torch when it is first imported. Several test runs may share a machine, and the images
# here are so small that more threads only get into each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put whole runs first: one of them as the last test leaves all processes but one with nothing to do."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real images with their kernels, kept outside the repository because of their licences."""
    folder = Path(os.environ.get("NAPARI_VDIP_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder}; NAPARI_VDIP_DATA can name another folder")
    return folder


@contextmanager
def _small() -> Iterator[None]:
    from napari_vdip.core.evidence import Evidence
    from napari_vdip.options import PRESETS

    question = Evidence.__call__
    with pytest.MonkeyPatch.context() as patch:
        for name, preset in list(PRESETS.items()):
            few = {"prefit_steps": dict.fromkeys(preset.prefit_steps, 2), "levels": 3}
            few |= {"climb_steps": 0, "last_climb_steps": 0}
            small = dataclasses.replace(preset, channels=8, skip_channels=4, outer_channels=4, **few)
            patch.setitem(PRESETS, name, small)
        patch.setattr(Evidence, "__call__", lambda self, kernel, rounds=1: question(self, kernel, 1))
        yield


@pytest.fixture
def small_fit() -> Iterator[None]:
    """Make any fit short, for what does not depend on how good it is: a tenth of the time.

    All presets have small networks, no search for the likeliest kernel and a pre-fit of two steps, which
    has 30 otherwise however few `iterations` a test asks for; the evidence of a family's kernel is
    computed in one round in place of ten.
    Processes that a test starts have the real ones: their results are others.
    """
    with _small():
        yield


@pytest.fixture(scope="module")
def small_fits() -> Iterator[None]:
    """`small_fit` for a whole module, the fixtures that its tests share included."""
    with _small():
        yield
