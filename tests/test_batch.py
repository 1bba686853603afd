"""``napari-vdip deblur`` on many files, killed, resumed, from a settings file: by what a user sees."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_vdip import batch, cli
from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "napari_vdip.cli", "deblur"]
QUICK = ["--kernel-size", "5", "--preset", "fast", "--iterations", "5", "--threads", "1", "--compile", "off"]
OUTPUTS = ["stack_deblurred.tif", "stack_kernel.tif", "stack_uncertainty.tif"]


def scene(*shape: int) -> np.ndarray:
    blocks = np.random.default_rng(1).integers(0, 200, (*shape[:-2], shape[-2] // 4, shape[-1] // 4))
    return blocks.repeat(4, -2).repeat(4, -1).astype("u1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a stack of six slices and two images, and go there."""
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.1}  # OME-TIFF: the format that has a name in each file
    tifffile.imwrite(tmp_path / "stack.tif", scene(6, 40, 48), ome=True, metadata=metadata)
    for name in ("one", "two"):
        tifffile.imwrite(tmp_path / f"{name}.tif", scene(40, 48))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def units(folder: Path) -> int:
    return len(list((folder / "stack_job").glob("unit_*.npz")))


def killed_at(folder: Path, done: int, later: float) -> int:
    """Run the command, kill it some time after so many slices are done; how many were done then."""
    words = [*COMMAND, "stack.tif", *QUICK, "-o", folder.name, "--resume"]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 100
        while units(folder) < done:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(later)
    finally:
        process.kill()
        process.wait()
    return units(folder)


def test_a_run_killed_at_random_moments_gives_the_bytes_of_one_left_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two kills; benchmarks/kills.py does ten."""
    assert cli.main(["deblur", "stack.tif", *QUICK, "-o", "alone"]) == 0
    chance = random.Random(time.time_ns())
    later = [round(chance.uniform(0, 0.5), 3) for _ in range(2)]
    print("moments:", later)  # to repeat a failure
    done = [killed_at(folder / "killed", least, wait) for least, wait in zip((1, 3), later, strict=True)]
    assert 1 <= done[0] <= done[1] < 6
    capsys.readouterr()
    assert cli.main(["deblur", "stack.tif", *QUICK, "-o", "killed", "--resume"]) == 0
    assert f"stack.tif: goes on, {done[1]} of 6 slices are done" in capsys.readouterr().err
    assert contents(folder / "killed") == contents(folder / "alone")
    reports = [json.loads((folder / name / "stack_report.json").read_text()) for name in ("killed", "alone")]
    for report in reports:
        del report["seconds"]
        for part in report["slices"]:
            del part["seconds"]
    assert reports[0] == reports[1]
    assert not (folder / "killed" / "stack_job").exists()


@pytest.mark.usefixtures("small_fit")
def test_what_is_done_is_not_done_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["deblur", "one.tif", "two.tif", *QUICK, "-o", "out", "--resume"]
    assert cli.main(words[:2] + words[3:]) == 0
    first = (folder / "out" / "one_report.json").read_bytes()
    capsys.readouterr()
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert (folder / "out" / "one_report.json").read_bytes() == first
    assert "one.tif: done before" in said.err
    assert said.err.endswith("2 files: 1 deblurred, 1 done before\n")
    assert len(said.out.splitlines()) == 4
    (folder / "out" / "one_kernel.tif").unlink()
    assert cli.main(words) == 0
    assert (folder / "out" / "one_kernel.tif").exists()


@pytest.mark.usefixtures("small_fit")
def test_other_settings_than_those_of_the_first_run_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deblur", "one.tif", *QUICK, "-o", "out"]) == 0
    capsys.readouterr()
    assert cli.main(["deblur", "one.tif", *QUICK, "--seed", "5", "-o", "out", "--resume"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "seed was 0, is now 5" in said


@pytest.mark.usefixtures("small_fit")
def test_a_settings_file_repeats_a_run(folder: Path) -> None:
    tifffile.imwrite(folder / "psf.tif", np.ones((5, 5), "f4"))
    assert cli.main(["deblur", "one.tif", *QUICK, "--kernel", "psf.tif", "--seed", "3", "-o", "out"]) == 0
    settings = ["--settings", "out/one_report.json"]
    assert cli.main(["deblur", "one.tif", *settings, "-o", "again"]) == 0
    for name in ("one_deblurred.tif", "one_kernel.tif"):
        assert (folder / "again" / name).read_bytes() == (folder / "out" / name).read_bytes()
    reports = [json.loads((folder / name / "one_report.json").read_text()) for name in ("out", "again")]
    assert reports[0]["options"] == reports[1]["options"]
    assert reports[0]["options"]["kernel"] == "psf.tif"
    assert cli.main(["deblur", "one.tif", *settings, "--seed", "4", "-o", "other"]) == 0  # a flag goes on top
    told = json.loads((folder / "other" / "one_report.json").read_text())["options"]
    assert (told["seed"], told["iterations"]) == (4, 5)


@pytest.mark.usefixtures("small_fit")
def test_a_failed_file_does_not_stop_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.tif").write_bytes(b"II*\0 and no more")
    tifffile.imwrite(folder / "flat.tif", np.zeros((2, 40, 48), "u1"), photometric="minisblack")
    assert cli.main(["deblur", "bad.tif", "flat.tif", "two.tif", *QUICK, "-o", "out"]) == 2
    said = capsys.readouterr().err
    assert "3 files: 1 deblurred, 2 failed" in said
    assert "  failed: bad.tif: " in said
    assert "  failed: flat.tif: no slice can be deblurred" in said
    assert (folder / "out" / "two_deblurred.tif").exists()
    assert {path.name for path in (folder / "out").iterdir() if path.is_dir()} == set()


# Patterns


def test_patterns_are_expanded_where_the_shell_does_not(folder: Path) -> None:
    (folder / "night" / "deep").mkdir(parents=True)
    for name in ("b.tif", "a.tif", "c.png", "deep/d.tif", "odd[1].tif"):
        (folder / "night" / name).touch()

    def names(*patterns: str) -> list[str]:
        paths = [folder / "night" / pattern for pattern in patterns]
        found = batch.expanded(paths, folder / "out")
        return [path.relative_to(folder / "night").as_posix() for path in found]

    assert names("*.tif") == ["a.tif", "b.tif", "odd[1].tif"]
    assert names("**/*.tif") == ["a.tif", "b.tif", "deep/d.tif", "odd[1].tif"]
    assert names("b.tif", "?.tif", "b.tif") == ["b.tif", "a.tif"]
    assert names("odd[1].tif") == ["odd[1].tif"]
    assert names("absent.tif") == ["absent.tif"]  # told when it is its turn, as any file that is not there
    with pytest.raises(InvalidInput, match=r"no file matches .*\*\.jpg"):
        names("*.jpg")


@pytest.mark.usefixtures("small_fit")
def test_a_pattern_does_not_take_results_for_inputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["deblur", "o*.tif", *QUICK]) == 0
    assert (folder / "one_deblurred.tif").exists()
    assert cli.main(["deblur", "o*.tif", *QUICK, "--resume"]) == 0
    assert "one.tif: done before" in capsys.readouterr().err
    assert not (folder / "one_deblurred_deblurred.tif").exists()


@pytest.mark.usefixtures("small_fit")
def test_no_match_is_one_line_and_status_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["deblur", "night/*.tif"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no file matches" in said
