"""Slices on workers of dask.distributed: the results of one process, also where a worker is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
import tifffile

from napari_vdip import cli
from napari_vdip.errors import InvalidOption, OutOfMemory, VdipError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("distributed", reason="the extra 'cluster' is not installed; pip install distributed")

COMMAND = [sys.executable, "-m", "napari_vdip.cli", "deblur"]
QUICK = ["--kernel-size", "5", "--preset", "fast", "--iterations", "10", "--threads", "1", "--compile", "off"]
QUICK += ["--kernel-draws", "0"]
OUTPUTS = ["stack_deblurred.tif", "stack_kernel.tif", "stack_uncertainty.tif"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a stack of six slices, and go there."""
    blocks = np.random.default_rng(1).integers(0, 200, (6, 10, 12)).repeat(4, 1).repeat(4, 2).astype("u1")
    tifffile.imwrite(tmp_path / "stack.tif", blocks, photometric="minisblack")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_two_workers(
    folder: Path, when_two_are_done: Callable[[subprocess.Popen[str]], None]
) -> tuple[int, str]:
    """Run the command; do something when two slices are done; exit status and what was said."""
    words = [*COMMAND, "stack.tif", *QUICK, "--workers", "2", "-o", "out"]
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        until = time.monotonic() + 120
        while len(list((folder / "out").glob("stack_job/unit_*.npz"))) < 2:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < until
            time.sleep(0.02)
        when_two_are_done(process)
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    return process.returncode, said


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_does_not_change_the_result(folder: Path) -> None:
    assert cli.main(["deblur", "stack.tif", *QUICK, "-o", "alone"]) == 0

    def kill_one(process: subprocess.Popen[str]) -> None:
        workers = psutil.Process(process.pid).children(recursive=True)
        max(workers, key=lambda worker: worker.cpu_times().user).kill()

    status, said = with_two_workers(folder, kill_one)
    assert status == 0, said
    assert "worker(s) lost; what they were at is done again" in said
    assert "Traceback" not in said
    for name in OUTPUTS:
        assert (folder / "out" / name).read_bytes() == (folder / "alone" / name).read_bytes()
    assert not (folder / "out" / "stack_job").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs process groups, which Windows has not")
def test_ctrl_c_keeps_what_the_workers_did_and_one_process_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(process: subprocess.Popen[str]) -> None:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the workers too

    status, said = with_two_workers(folder, interrupt)
    assert status == 130, said
    assert "Traceback" not in said
    assert "of 6 slices done; what was reached is written" in said
    assert "--resume" in said
    assert cli.main(["deblur", "stack.tif", *QUICK, "-o", "out", "--resume"]) == 0
    assert "goes on" in capsys.readouterr().err
    assert cli.main(["deblur", "stack.tif", *QUICK, "-o", "alone"]) == 0
    for name in OUTPUTS:
        assert (folder / "out" / name).read_bytes() == (folder / "alone" / name).read_bytes()


@pytest.mark.slow
def test_slices_that_wait_for_a_kernel_are_done_by_workers_too(folder: Path) -> None:
    tifffile.imwrite("stack.tif", tifffile.imread("stack.tif")[:4], photometric="minisblack")
    for mode in ("shared", "warm"):
        words = ["deblur", "stack.tif", *QUICK, "--kernel-mode", mode]
        assert cli.main([*words, "-o", "alone"]) == 0
        assert cli.main([*words, "-o", "out", "--workers", "2"]) == 0
        for name in OUTPUTS:
            assert (folder / "out" / name).read_bytes() == (folder / "alone" / name).read_bytes()


def test_a_scheduler_that_does_not_answer_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_vdip.jobs import cluster

    monkeypatch.setattr(cluster, "_ANSWER", "0.2s")
    assert cli.main(["deblur", "stack.tif", *QUICK, "--scheduler", "tcp://127.0.0.1:9"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no dask scheduler answers at tcp://127.0.0.1:9" in said


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_vdip.jobs import cluster

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InvalidOption, match=r"napari-vdip\[cluster\]"):
        cluster.Cluster(2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--workers", "0"], "at least 1"),
        (["--workers", "two"], "'two'"),
        (["--workers", "2", "--scheduler", "tcp://a:1"], "not allowed with"),
    ],
)
def test_bad_numbers_of_workers_are_told(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deblur", "stack.tif", *words]) == 2
    assert told in capsys.readouterr().err


def test_what_went_wrong_on_a_worker_is_told_in_our_words() -> None:
    from distributed.scheduler import KilledWorker

    from napari_vdip.jobs.cluster import _told

    error = _told(KilledWorker("a", None, 3), 4)
    assert isinstance(error, OutOfMemory)
    assert "slice 4" in str(error)
    assert "ZeroDivisionError: odd" in str(_told(ZeroDivisionError("odd"), 1))
    assert isinstance(_told(ZeroDivisionError("odd"), 1), VdipError)
    assert _told(None, 1) is None
