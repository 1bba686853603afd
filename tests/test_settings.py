"""Settings files: what a report says is what a later run does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from napari_vdip import Options, settings
from napari_vdip.errors import InvalidInput, InvalidOption

if TYPE_CHECKING:
    from pathlib import Path


def written(path: Path, told: object) -> Path:
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    return path


def test_a_report_gives_its_options_back(tmp_path: Path) -> None:
    options = Options(kernel_size=(31, 21), preset="fast", seed=7)
    told = settings.load(
        written(tmp_path / "a_report.json", {"input": "a.tif", "options": options.as_dict()})
    )
    assert Options.from_keywords(**told.values).as_dict() == options.as_dict()
    assert told.given == {"kernel_size", "preset", "seed"}


def test_a_part_will_do(tmp_path: Path) -> None:
    told = settings.load(written(tmp_path / "run.json", {"preset": "fast", "kernel": "psf.tif"}))
    assert told.values == {"preset": "fast", "kernel": "psf.tif"}


@pytest.mark.parametrize(("given", "kept"), [([], set()), (["channel_axis"], {"channel_axis"})])
def test_what_the_image_decided_is_not_taken_for_a_choice(
    tmp_path: Path, given: list[str], kept: set[str]
) -> None:
    report = {"options": Options(channel_axis=0).as_dict(), "given": given}
    told = settings.load(written(tmp_path / "a_report.json", report))
    assert told.given == kept
    assert told.values.keys() & {"rgb", "channel_axis"} == kept


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        ("{", InvalidInput, "cannot be read as JSON"),
        ([1], InvalidInput, "holds list; expected a report"),
        ({"options": 3}, InvalidInput, "holds int"),
        ({"presett": "fast"}, InvalidOption, "did you mean 'preset'"),
        ({"preset": "fasst"}, InvalidOption, "preset='fasst'"),
        ({"options": {"kernel": "array of shape (5, 5)"}}, InvalidInput, "expected the name of its file"),
        ({"kernel": [[1]]}, InvalidInput, "expected the name of its file"),
    ],
)
def test_what_cannot_be_used_is_told(
    tmp_path: Path, content: object, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        settings.load(written(tmp_path / "run.json", content))


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"run\.json does not exist"):
        settings.load(tmp_path / "run.json")
