"""What the tests of the benchmark share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from folders import write_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos")
