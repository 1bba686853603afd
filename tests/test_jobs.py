"""Jobs: finished units survive whatever happens, and what comes out is what an undisturbed run gives."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_vdip import Options, cli, deblur, files
from napari_vdip.errors import InvalidInput, StorageFailed
from napari_vdip.jobs import identity, job, results, sequence
from napari_vdip.jobs.units import Units
from napari_vdip.result import History, Result
from napari_vdip.stack import fit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = Options(kernel_size=5, preset="fast", iterations=3, threads=1, compile="off", kernel_draws=1)

# What is tested here does not depend on how good a fit is.
pytestmark = pytest.mark.usefixtures("small_fits")


def some_result(number: int = 0, shape: tuple[int, ...] = (8, 9)) -> Result:
    random = np.random.default_rng(number)
    image, spread = random.random((2, *shape), dtype=np.float32)
    history = History(np.arange(3), *random.random((3, 3), dtype=np.float32), random.random(3))
    report = {"steps": 3, "seconds": 1.0, "stop_reason": "finished", "warnings": [], "findings": []}
    report |= {"options": {}, "partial": False}
    return Result(image, spread, np.full((5, 5), 0.04, np.float32), history, report)


@pytest.fixture
def stack_file(tmp_path: Path) -> Path:
    blocks = np.random.default_rng(1).integers(0, 200, (3, 10, 12)).repeat(4, 1).repeat(4, 2)
    tifffile.imwrite(tmp_path / "stack.tif", blocks.astype("u1"), photometric="minisblack")
    return tmp_path / "stack.tif"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Make a file system of 300 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here; root on Linux can")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def drained(at_work: job.Job) -> job.Job:
    for _ in sequence.run(at_work):
        pass
    return at_work


# A unit


def test_a_unit_comes_back_as_it_was(tmp_path: Path) -> None:
    units, made = Units(tmp_path, "key"), some_result()
    assert units.read(3) is None
    units.write(3, made)
    back = units.read(3)
    assert back is not None
    for name in ("image", "uncertainty", "kernel"):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name))
        np.testing.assert_array_equal(units.member(3, name), getattr(made, name))
    np.testing.assert_array_equal(back.history.seconds, made.history.seconds)
    assert back.report == made.report
    assert units.present() == [3]
    assert [path.name for path in tmp_path.iterdir()] == ["unit_000003.npz"]


def test_a_unit_can_be_rescued_with_numpy_alone(tmp_path: Path) -> None:
    Units(tmp_path, "key").write(0, some_result())
    with np.load(tmp_path / "unit_000000.npz") as archive:
        np.testing.assert_array_equal(archive["image"], some_result().image)


def test_a_unit_of_another_job_is_not_taken(tmp_path: Path) -> None:
    Units(tmp_path, "one").write(0, some_result())
    assert Units(tmp_path, "other").read(0) is None


@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.7, 0.98])
def test_one_wrong_bit_is_found(tmp_path: Path, part: float) -> None:
    units = Units(tmp_path, "key")
    units.write(0, some_result())
    content = bytearray(units.path(0).read_bytes())
    content[int(part * len(content))] ^= 4
    units.path(0).write_bytes(content)
    back = units.read(0)
    if back is not None:  # the bit was in the archive's own padding, which holds nothing
        np.testing.assert_array_equal(back.image, some_result().image)
        np.testing.assert_array_equal(back.uncertainty, some_result().uncertainty)


@pytest.mark.parametrize("content", [b"", b"PK", b"\0" * 4000, b"half"])
def test_what_is_no_unit_is_found(tmp_path: Path, content: bytes) -> None:
    units = Units(tmp_path, "key")
    units.write(0, some_result())
    whole = units.path(0).read_bytes()
    units.path(0).write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
    assert units.read(0) is None
    with pytest.raises(StorageFailed, match="--resume"):
        units.member(0, "image")


def test_a_unit_that_does_not_fit_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFailed, match=r"slice 4 could not be kept .* No space left .* --resume"):
        Units(tmp_path, "key").write(4, some_result())
    assert list(tmp_path.iterdir()) == []


# A job


def test_a_job_gives_what_the_function_gives(tmp_path: Path, stack_file: Path) -> None:
    image = files.read(stack_file, lazy=True)
    at_work = drained(job.prepare(tmp_path / "job", image, QUICK))
    paths, report = results.write(at_work, tmp_path, "stack")
    steps = fit(tifffile.imread(stack_file), QUICK)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            whole: Result = end.value
            break
    for path, array in zip(paths, (whole.image, whole.kernel, whole.uncertainty), strict=False):
        np.testing.assert_array_equal(files.read(path).data, array)
    told = json.loads(paths[-1].read_text())
    for name in (
        "options",
        "kernel_size",
        "kernel_size_reason",
        "steps",
        "stop_reason",
        "warnings",
        "partial",
    ):
        assert report[name] == whole.report[name], name
        assert told[name] == whole.report[name], name
    assert len(told["slices"]) == 3


@pytest.fixture
def many_file(tmp_path: Path) -> Path:
    """Make a stack of 20 slices, of which two are fitted for a shared kernel, and one cannot be deblurred."""
    blocks = np.random.default_rng(1).integers(0, 200, (20, 8, 8)).repeat(4, 1).repeat(4, 2)
    blocks[9] = 7
    tifffile.imwrite(tmp_path / "many.tif", blocks.astype("u1"), photometric="minisblack")
    return tmp_path / "many.tif"


@pytest.mark.parametrize("mode", ["shared", "warm"])
def test_slices_that_share_kernels_are_units_too_and_go_on_to_the_same_bytes(
    tmp_path: Path, many_file: Path, mode: str
) -> None:
    options = dataclasses.replace(QUICK, kernel_mode=mode, iterations=4)
    image = files.read(many_file, lazy=True)
    whole = deblur(tifffile.imread(many_file), options)
    folder, rounds = tmp_path / "job", 0
    done = -1
    while True:  # a session does five units, then it is cut short on the way
        at_work = job.prepare(folder, image, options, resume=True)
        assert len(at_work.done) > done
        done = len(at_work.done)
        steps = sequence.run(at_work)
        for step in steps:
            assert step.progress.step <= step.progress.steps
            assert step.progress.slices == 20
            if len(at_work.done) >= done + 5:
                break
        steps.close()
        rounds += 1
        if not at_work.missing:
            break
        at_work.lock.release()
    assert rounds >= 4
    assert len(at_work.done) == {"shared": 22, "warm": 20}[mode]
    paths, report = results.write(at_work, tmp_path, "many")
    for path, array in zip(paths, (whole.image, whole.kernel, whole.uncertainty), strict=False):
        np.testing.assert_array_equal(files.read(path).data, array)
    for name in ("steps", "stop_reason", "warnings", "partial", "kernel_from", "kernel_size_reason"):
        assert report[name] == whole.report[name], name
    assert [part["slice"] for part in report["slices"]] == list(range(20))


def test_a_unit_is_ready_when_its_kernels_are_there(tmp_path: Path, many_file: Path) -> None:
    options = dataclasses.replace(QUICK, kernel_mode="shared")
    at_work = job.prepare(tmp_path / "job", files.read(many_file, lazy=True), options)
    assert [at_work.ready(unit) for unit in range(22)] == [True, True] + [False] * 20
    at_work.done.update({0, 1})
    assert all(at_work.ready(unit) for unit in range(22))
    assert at_work.finished == []
    at_work.done.add(2)
    assert at_work.finished == [0]


def test_a_job_opened_from_its_folder_does_the_same(tmp_path: Path, stack_file: Path) -> None:
    kernel, mask = np.ones((5, 5)), np.zeros((40, 48), bool)
    mask[:3] = True
    options = Options(kernel=kernel, mask=mask, preset="fast", iterations=2, threads=1, compile="off")
    image = files.read(stack_file, lazy=True)
    here = job.prepare(tmp_path / "job", image, options)
    there = job.load(tmp_path / "job")
    for at_work in (here, there):
        steps = at_work.fit(1)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                at_work.units.write({id(here): 0, id(there): 1}[id(at_work)], end.value)
                break
    np.testing.assert_array_equal(here.units.member(0, "image"), here.units.member(1, "image"))


def test_a_damaged_unit_is_told_and_done_again(tmp_path: Path, stack_file: Path) -> None:
    image = files.read(stack_file, lazy=True)
    first = drained(job.prepare(tmp_path / "job", image, QUICK))
    before = first.units.member(1, "image")
    first.lock.release()
    content = bytearray(first.units.path(1).read_bytes())
    content[len(content) // 3] ^= 255
    first.units.path(1).write_bytes(content)
    again = job.prepare(tmp_path / "job", image, QUICK, resume=True)
    assert again.missing == [1]
    assert again.notes == ["slice 1 was damaged on the disk and is done again"]
    drained(again)
    np.testing.assert_array_equal(again.units.member(1, "image"), before)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"seed": 3}, "seed was 0, is now 3"),
        ({"preset": "balanced"}, "preset was 'fast', is now 'balanced'"),
        ({"kernel": np.ones((5, 5))}, "kernel was not given, is now array "),
        ({"mask": np.zeros((40, 48), bool)}, "mask was not given"),
        ({"threads": 2}, "threads was 1, is now 2"),
    ],
)
def test_other_settings_are_refused(
    tmp_path: Path, stack_file: Path, changed: dict[str, object], told: str
) -> None:
    image = files.read(stack_file, lazy=True)
    first = job.prepare(tmp_path / "job", image, QUICK)
    first.keep(0, some_result(0, (40, 48)))
    first.close()
    with pytest.raises(InvalidInput, match=told):
        job.prepare(tmp_path / "job", image, Options.from_keywords(QUICK, **changed), resume=True)
    assert job.prepare(tmp_path / "job", image, QUICK, resume=True).done == {0}


def test_another_input_is_refused_even_of_the_same_size(tmp_path: Path, stack_file: Path) -> None:
    image = files.read(stack_file, lazy=True)
    first = job.prepare(tmp_path / "job", image, QUICK)
    first.keep(0, some_result(0, (40, 48)))
    first.close()
    content = bytearray(stack_file.read_bytes())
    content[-1] ^= 1
    stack_file.write_bytes(content)
    with pytest.raises(InvalidInput, match="the input has another content; use the same settings"):
        job.prepare(tmp_path / "job", image, QUICK, resume=True)


def test_two_runs_do_not_work_on_one_job(tmp_path: Path, stack_file: Path) -> None:
    image = files.read(stack_file, lazy=True)
    first = job.prepare(tmp_path / "job", image, QUICK)
    with pytest.raises(InvalidInput, match="another run is at work"):
        job.prepare(tmp_path / "job", image, QUICK, resume=True)
    first.close()
    assert not (tmp_path / "job").exists()  # nothing was done in it


def test_finished_work_is_not_thrown_away_unasked(tmp_path: Path, stack_file: Path) -> None:
    image = files.read(stack_file, lazy=True)
    first = job.prepare(tmp_path / "job", image, QUICK)
    first.keep(0, some_result(0, (40, 48)))
    first.close()
    with pytest.raises(InvalidInput, match=r"holds 1 finished slice.*--resume"):
        job.prepare(tmp_path / "job", image, QUICK)
    assert job.prepare(tmp_path / "job", image, QUICK, resume=True).done == {0}


def test_a_job_of_another_version_is_told(
    tmp_path: Path, stack_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = files.read(stack_file, lazy=True)
    first = job.prepare(tmp_path / "job", image, QUICK)
    first.keep(0, some_result(0, (40, 48)))
    first.close()
    monkeypatch.setattr("napari_vdip.__version__", "99.0")
    (note,) = job.prepare(tmp_path / "job", image, QUICK, resume=True).notes
    assert "99.0" in note
    with pytest.raises(InvalidInput, match="install the same version"):
        job.load(tmp_path / "job")


def test_a_job_goes_on_where_its_gpu_is_lost(tmp_path: Path, stack_file: Path) -> None:
    image = files.read(stack_file, lazy=True)
    first = job.prepare(tmp_path / "job", image, QUICK)
    first.keep(0, some_result(0, (40, 48)))
    first.close()
    told = json.loads((tmp_path / "job" / "job.json").read_text())
    told["versions"]["device"] = "cuda"
    (tmp_path / "job" / "job.json").write_text(json.dumps(told))
    again = job.prepare(tmp_path / "job", image, QUICK, resume=True)
    assert again.done == {0}
    assert again.notes == [
        "the first run had device cuda, this one has cpu: the slices from now on may differ from those done "
        "in their last digits"
    ]


def test_folders_are_inputs_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "a.zarr" / "0").mkdir(parents=True)
    (tmp_path / "a.zarr" / "0" / "0.0").write_bytes(b"pixels")
    before = identity.identity(tmp_path / "a.zarr", QUICK)
    assert before["input"]["bytes"] == 6
    assert identity.differences(before, identity.identity(tmp_path / "a.zarr", QUICK)) == []
    (tmp_path / "a.zarr" / "0" / "0.0").rename(tmp_path / "a.zarr" / "0" / "0.1")
    assert identity.differences(before, identity.identity(tmp_path / "a.zarr", QUICK)) == [
        "the input has another content"
    ]


def test_a_full_disk_is_told_and_the_resumed_job_completes(full_disk: Path, tmp_path: Path) -> None:
    """On a real file system that is full after some slices."""
    shape = (10, 72, 96)
    blocks = np.random.default_rng(1).integers(0, 200, (10, 18, 24)).repeat(4, 1).repeat(4, 2)
    tifffile.imwrite(tmp_path / "stack.tif", blocks.astype("u1"), photometric="minisblack")
    image = files.read(tmp_path / "stack.tif", lazy=True)
    at_work = job.prepare(full_disk / "job", image, QUICK)
    with pytest.raises(StorageFailed, match="No space left on device"):
        for number in range(10):
            at_work.keep(number, some_result(number, shape[1:]))
    kept = set(at_work.done)
    at_work.close()
    assert 0 < len(kept) < 10
    assert not list((full_disk / "job").glob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=8m", str(full_disk)], check=True)
    again = job.prepare(full_disk / "job", image, QUICK, resume=True)
    assert again.done == kept
    for number in again.missing:
        again.keep(number, some_result(number, shape[1:]))
    paths, _ = results.write(again, full_disk, "stack")
    wanted = np.stack([some_result(number, shape[1:]).image for number in range(10)])
    np.testing.assert_array_equal(files.read(paths[0]).data, wanted)


def test_a_disk_that_is_full_when_the_results_are_written_loses_nothing(
    full_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fit's own file has room, the results beside it have not."""
    blocks = np.random.default_rng(1).integers(0, 200, (30, 40)).repeat(4, 0).repeat(4, 1)
    tifffile.imwrite(tmp_path / "a.tif", blocks.astype("u1"), photometric="minisblack")
    words = ["deblur", str(tmp_path / "a.tif"), "--output", str(full_disk), "--preset", "fast"]
    words += ["--kernel-size", "5", "--iterations", "1", "--threads", "1", "--compile", "off"]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "--resume" in said
    assert "Traceback" not in said
    assert not list(full_disk.rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=8m", str(full_disk)], check=True)
    assert cli.main([*words, "--resume"]) == 0
    assert np.isfinite(files.read(full_disk / "a_deblurred.tif").data).all()
    assert not (full_disk / "a_job").exists()


# What is written from it


def test_results_are_written_with_the_memory_of_a_slice(tmp_path: Path) -> None:
    shape = (30, 200, 200)
    tifffile.imwrite(tmp_path / "a.tif", np.ones(shape, "u1"), photometric="minisblack")
    at_work = job.prepare(tmp_path / "job", files.read(tmp_path / "a.tif", lazy=True), QUICK)
    for number in range(30):
        at_work.keep(number, some_result(number, shape[1:]))
    results.write(at_work, tmp_path, "warm")  # tifffile and its tables are loaded
    tracemalloc.start()
    try:
        results.write(at_work, tmp_path, "a")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 200 * 200 * 4
    wanted = np.stack([some_result(number, shape[1:]).uncertainty for number in range(30)])
    np.testing.assert_array_equal(files.read(tmp_path / "a_uncertainty.tif").data, wanted)


def test_channels_in_the_last_axis_find_their_places(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 9, 3), "u1"), photometric="rgb")
    options = Options.from_keywords(QUICK, channel_axis=-1)
    at_work = job.prepare(tmp_path / "job", files.read(tmp_path / "a.tif", lazy=True), options)
    for number in range(3):
        at_work.keep(number, some_result(number))
    paths, _ = results.write(at_work, tmp_path, "a")
    wanted = np.stack([some_result(number).image for number in range(3)], axis=-1)
    np.testing.assert_array_equal(tifffile.imread(paths[0]), wanted)


def test_slices_that_are_not_done_are_nan_and_told(tmp_path: Path, stack_file: Path) -> None:
    at_work = job.prepare(tmp_path / "job", files.read(stack_file, lazy=True), QUICK)
    at_work.keep(2, some_result(2, (40, 48)))
    stopped = some_result(0, (40, 48))
    stopped.report.update(stop_reason="stopped at step 1 of 3", warnings=["odd"])
    paths, report = results.write(at_work, tmp_path, "a", partial={0: stopped})
    image = files.read(paths[0]).data
    np.testing.assert_array_equal(image[0], stopped.image)
    np.testing.assert_array_equal(image[2], some_result(2, (40, 48)).image)
    assert np.isnan(image[1]).all()
    assert np.isnan(files.read(paths[1]).data[1]).all()
    assert report["partial"]
    assert report["stop_reason"] == "stopped with 1 of 3 slices done"
    assert report["warnings"] == ["slice 0: odd"]


def test_results_that_are_there_are_known_by_their_checksums(tmp_path: Path, stack_file: Path) -> None:
    at_work = job.prepare(tmp_path / "job", files.read(stack_file, lazy=True), QUICK)
    for number in range(3):
        at_work.keep(number, some_result(number, (40, 48)))
    paths, _ = results.write(at_work, tmp_path, "a")
    now = identity.identity(stack_file, QUICK)
    assert results.already_done(tmp_path, "a", now)
    assert not results.already_done(tmp_path, "b", now)
    other = identity.identity(stack_file, Options.from_keywords(QUICK, seed=1))
    with pytest.raises(InvalidInput, match=r"a_report\.json .*seed was 0, is now 1.*--output"):
        results.already_done(tmp_path, "a", other)
    content = bytearray(paths[2].read_bytes())
    content[-1] ^= 1
    paths[2].write_bytes(content)
    assert not results.already_done(tmp_path, "a", now)
