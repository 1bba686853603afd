"""``napari-vdip benchmark`` as a user meets it: files, tables, going on after a break, one-line errors."""

from __future__ import annotations

import csv
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from folders import write_folder
from PIL import Image

from napari_vdip import cli
from napari_vdip.benchmark import campaign, plots, processes
from napari_vdip.options import Options

if TYPE_CHECKING:
    from pathlib import Path

QUICK = ["--iterations", "5", "--threads", "1", "--kernel-size", "5", "--compile", "off"]


def rows_of(output: Path) -> list[dict[str, str]]:
    with (output / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def table_of(text: str, title: str) -> list[list[str]]:
    """Cells of a Markdown table under its title, without the rule under its head."""
    part = text.split(f"## {title}\n\n")[1].split("\n\n")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.strip().splitlines()]
    return [lines[0], *lines[2:]]


@pytest.fixture
def tasks(monkeypatch) -> list[str]:
    """List what each process that is started has to do."""
    told: list[str] = []
    true_run = processes.run

    def run(tasks, *rest):
        told.extend(task["do"] for task in tasks)
        yield from true_run(tasks, *rest)

    monkeypatch.setattr(processes, "run", run)
    return told


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """Folder of a finished benchmark: one preset, its twin, two images, one seed."""
    folder = tmp_path_factory.mktemp("benchmark")
    words = ["--presets", "fast", "--baseline", "dip", "--jobs", "2", "--paper-steps", "1", "--save-images"]
    status = cli.main(
        [
            "benchmark",
            str(write_folder(folder / "photos")),
            *words,
            *QUICK,
            "--output",
            str(folder / "out"),
            "-q",
        ]
    )
    assert status == 0
    return folder / "out"


def test_each_run_is_a_row_with_its_figures(done):
    rows = rows_of(done)
    assert sorted((row["case"], row["method"]) for row in rows) == [
        ("im1_kernel1", "dip"),
        ("im1_kernel1", "sparse"),
        ("im1_kernel2", "dip"),
        ("im1_kernel2", "sparse"),
    ]
    with (done / "references.csv").open(newline="") as file:
        known = {line["case"]: line for line in csv.DictReader(file)}
    for row in rows:
        assert (row["preset"], row["seed"], row["iterations"], row["kernel_px"]) == ("fast", "0", "5", "5x5")
        assert (row["steps"], row["threads"], row["error"]) == ("10", "1", "")
        value = {
            name: float(cell) for name, cell in row.items() if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell)
        }
        assert value["gain"] == pytest.approx(value["psnr"] - value["psnr_blurred"], abs=1e-3)
        reference = float(known[row["case"]]["psnr"])
        assert reference > value["psnr_blurred"] + 3.0
        assert value["error_ratio"] == pytest.approx(10 ** ((reference - value["psnr"]) / 10), rel=1e-3)
        assert value["share"] == pytest.approx(value["seconds"] / value["paper_seconds"], rel=1e-3)
        assert 0.0 < value["seconds_per_step"] < value["seconds"]
        assert 100.0 < value["peak_mb"] < 4000.0
        assert 0.0 < value["kernel_similarity"] <= 1.0
        calibration = [row[f"coverage_{level}"] for level in (50, 68, 90, 95)]
        calibration += [row[name] for name in ("ause", "ause_gradient", "rank_correlation", "ence")]
        if row["method"] == "dip":
            assert set(calibration) == {""}
        else:
            assert 0 <= float(calibration[0]) <= float(calibration[1]) <= float(calibration[3]) <= 1
            assert "" not in calibration


def test_the_summary_says_what_the_rows_say(done):
    text, rows = (done / "summary.md").read_text(), rows_of(done)
    head, blurred, known, *presets = table_of(text, "Quality and cost")
    assert (blurred[0], known[0]) == ("blurred", "known kernel, classical")
    assert [line[:2] for line in presets] == [["fast, sparse", "2"], ["fast, dip", "2"]]
    for line in presets:
        group = [row for row in rows if row["method"] == line[0].split(", ")[1]]
        told = dict(zip(head, line, strict=True))
        for title, name, digits in (
            ("PSNR dB", "psnr", 2),
            ("SSIM", "ssim", 3),
            ("gain dB", "gain", 2),
            ("error ratio", "error_ratio", 2),
            ("kernel similarity", "kernel_similarity", 3),
        ):
            mean = statistics.mean(float(row[name]) for row in group)
            assert float(told[title]) == pytest.approx(mean, abs=0.51 * 10**-digits), title
        failures = sum(float(row["gain"]) < 1.0 for row in group)
        assert told["failures (gain under 1 dB)"] == f"{failures} of 2"
        assert float(told["median s"]) == pytest.approx(
            statistics.median(float(row["seconds"]) for row in group), abs=0.06
        )
        share = statistics.median(float(row["share"]) for row in group)
        assert told["share of `paper`'s time"] == f"1/{1 / share:.0f}"
    images = table_of(text, "PSNR of each image in dB")
    assert images[0] == ["image", "kernel px", "blurred", "known kernel", "fast, sparse", "fast, dip"]
    for line in images[1:]:
        for method, cell in zip(("sparse", "dip"), line[4:], strict=True):
            (row,) = (row for row in rows if (row["case"], row["method"]) == (line[0], method))
            assert float(cell) == pytest.approx(float(row["psnr"]), abs=0.006)
    (uncertainty,) = table_of(text, "Uncertainty")[1:]
    assert uncertainty[0] == "fast, sparse"
    assert "error" not in text.split("## Quality")[1].replace("error ratio", "")


def test_the_summary_tells_command_and_machine_but_no_paths(done):
    text = (done / "summary.md").read_text()
    assert "napari-vdip benchmark photos --presets fast --baseline dip" in text
    assert "--iterations 5" in text
    assert "--output out" in text
    assert str(done.parent) not in text
    assert re.search(r"cores.*GiB of memory", text)
    assert re.search(r"napari-vdip \S+, Python \S+, torch \S+", text)
    assert re.search(r"4 of 2 images, \d{4}-\d\d-\d\d", text)


def test_plots_and_panels_are_drawn(done):
    panels = sorted((done / "images").glob("*.png"))
    assert [path.name for path in panels] == [
        "im1_kernel1_fast_dip_seed_0.png",
        "im1_kernel1_fast_sparse_seed_0.png",
        "im1_kernel2_fast_dip_seed_0.png",
        "im1_kernel2_fast_sparse_seed_0.png",
    ]
    for path in [done / "quality_time.png", done / "gain.png", *panels]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        assert min(picture.shape[:2]) > 400
        assert len(np.unique(picture[..., 0])) > 20, path
        assert picture.std() > 10.0, path


def test_what_is_done_is_not_done_again(done, tasks, capsys):
    before = (done / "results.csv").read_bytes()
    common = ["benchmark", str(done.parent / "photos"), *QUICK, "--paper-steps", "0", "-o", str(done)]
    assert cli.main([*common, "--presets", "fast", "--baseline", "dip"]) == 0
    assert tasks == []
    assert (done / "results.csv").read_bytes() == before
    assert "gain.png" in capsys.readouterr().out
    # Another seed of one image is one fit more; its reference is known.
    assert (
        cli.main([*common, "--presets", "fast", "--seeds", "0", "1", "--cases", "*1", "--threads", "2"]) == 0
    )
    assert tasks == ["fit"]
    assert len(rows_of(done)) == 5
    assert "seed 1: " in capsys.readouterr().err
    (done / "results.csv").write_bytes(before)  # for the other tests


def test_a_benchmark_that_was_broken_off_goes_on(photos, tmp_path, tasks):
    output = tmp_path / "out"
    output.mkdir()
    plan = campaign.Campaign(
        photos,
        ("fast",),
        seeds=(0,),
        kernel_size=5,
        paper_steps=0,
        options=Options(iterations=2, threads=1, compile="off"),
    )
    running = campaign.run(plan, output)
    first = next(update.row for update in running if update.row is not None)
    running.close()
    assert (first.case, first.seed) == ("im1_kernel1", 0)
    assert len(rows_of(output)) == 1
    with (output / "results.csv").open("a") as file:
        file.write("im1_kernel2,fast,spar")
    tasks.clear()
    updates = list(campaign.run(plan, output))
    assert tasks == ["fit"]
    assert updates[-1].done == updates[-1].total == 1
    assert sorted(row["case"] for row in rows_of(output)) == ["im1_kernel1", "im1_kernel2"]


@pytest.mark.skipif(
    sys.platform == "win32", reason="a signal like Ctrl-C cannot be sent to one process there"
)
def test_ctrl_c_keeps_what_is_done_and_ends_what_runs(photos, tmp_path):
    command = [sys.executable, "-m", "napari_vdip.cli", "benchmark", str(photos), "--presets", "fast", *QUICK]
    words = ["--paper-steps", "0", "--seeds", *map(str, range(50)), "-o", str(tmp_path / "out")]
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    results, started = tmp_path / "out" / "results.csv", time.monotonic()
    while not (results.exists() and len(rows_of(tmp_path / "out")) >= 1):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - started < 100
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("napari-vdip: interrupted; the runs that are done are kept\n")
    assert "Traceback" not in err
    assert 1 <= len(rows_of(tmp_path / "out")) < 50
    assert "summary.md" in out
    assert not any(child.is_running() for child in children)


def test_a_run_that_fails_is_told_and_tried_again(photos, tmp_path, capsys, tasks):
    words = ["benchmark", str(photos), "-o", str(tmp_path / "out"), "--presets", "fast", "--cases", "*1"]
    words += ["--paper-steps", "0", "--kernel-size", "99", "--iterations", "2"]
    for _ in range(2):
        assert cli.main(words) == 2
        told = capsys.readouterr().err
        assert told == (
            "napari-vdip: error: im1_kernel1 fast sparse seed 0: the image is 48 x 56 px, smaller than the "
            "kernel of 99 x 99 px; use a larger image or a smaller kernel_size\n"
        )
    assert tasks.count("fit") == 2
    text = (tmp_path / "out" / "summary.md").read_text()
    assert table_of(text, "Runs that ended in an error")[1][:4] == ["im1_kernel1", "fast", "sparse", "0"]
    assert "1 of 1" in text
    assert not (tmp_path / "out" / "gain.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], ["FOLDER"]),
        (["F"], ["--output"]),
        (["F", "-o", "out", "--presets", "fasst"], ["--presets", "did you mean fast", "balanced"]),
        (["F", "-o", "out", "--baseline", "dib"], ["--baseline", "did you mean dip"]),
        (["F", "-o", "out", "--seeds", "0", "x"], ["--seeds", "'x'", "whole number"]),
        (["F", "-o", "out", "--seeds", "-1"], ["seed=-1", "from 0"]),
        (["F", "-o", "out", "--kernel-size", "8"], ["kernel_size=8", "odd"]),
        (["F", "-o", "out", "--kernel-size", "published"], ["'published'", "literature or auto"]),
        (["F", "-o", "out", "--iterations", "0"], ["iterations=0"]),
        (["F", "-o", "out", "--jobs", "0"], ["jobs=0", "at least 1"]),
        (["F", "-o", "out", "--job", "2"], ["--job", "did you mean --jobs"]),
        (["F", "-o", "out", "--device", "cuda:77"], ["cuda:77", "not available"]),
        (["F", "-o", "out", "--cases", "im9*"], ["im9*", "im1_kernel1, im1_kernel2"]),
        (["absent", "-o", "out"], ["absent is not a folder", "blurred/", "sharp/", "kernels/"]),
        (["F", "-o", "F/sharp/im1.png"], ["--output"]),
    ],
)
def test_bad_words_are_one_line_and_status_2(photos, words, told, capsys, monkeypatch):
    monkeypatch.chdir(photos.parent)
    photos.rename("F")
    assert cli.main(["benchmark", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("napari-vdip: error: ")
    assert said.err.count("\n") == 1
    for part in told:
        assert part in said.err


def test_without_matplotlib_it_says_so_before_any_run(photos, tmp_path, capsys, monkeypatch, tasks):
    true_find = plots.importlib.util.find_spec
    absent = {"matplotlib"}
    monkeypatch.setattr(
        plots.importlib.util, "find_spec", lambda name: None if name in absent else true_find(name)
    )
    assert cli.main(["benchmark", str(photos), "-o", str(tmp_path / "out")]) == 2
    assert 'pip install "napari-vdip[benchmark]"' in capsys.readouterr().err
    assert tasks == []


def test_flags_are_checked_before_anything_heavy_is_imported():
    code = (
        "import sys; from napari_vdip.cli import main;"
        "assert main(['benchmark', 'absent', '-o', 'out', '--seeds', 'x']) == 2;"
        "assert main(['benchmark', 'absent', '-o', 'out', '--kernel-size', '4']) == 2;"
        "assert not {'torch', 'numpy', 'matplotlib', 'cv2', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_real_photograph(data_folder, tmp_path):
    """The whole way on an image of Levin et al., one step: figures of the blurred image as published."""
    words = ["--cases", "im1_kernel5", "--presets", "fast", "--iterations", "1", "--paper-steps", "0", "-q"]
    words += ["--compile", "off"]
    assert cli.main(["benchmark", str(data_folder / "levin_dev"), *words, "-o", str(tmp_path)]) == 0
    (row,) = rows_of(tmp_path)
    assert (row["kernel_px"], row["kernel_size"]) == ("11x11", "11")
    assert float(row["psnr_blurred"]) == pytest.approx(27.18, abs=0.01)


def test_what_people_use_today_stands_in_the_same_table(tmp_path: Path) -> None:
    photos, out = write_folder(tmp_path / "photos"), tmp_path / "out"
    common = ["benchmark", str(photos), "--cases", "im1_kernel2", *QUICK, "--output", str(out), "-q"]
    words = [*common, "--presets", "fast", "--baseline", "rl", "blind-rl", "wiener", "--save-images"]
    assert cli.main(words) == 0
    rows = {row["method"]: row for row in rows_of(out)}
    assert set(rows) == {"rl", "blind-rl", "wiener", "sparse"}
    for method in ("rl", "wiener"):
        assert float(rows[method]["gain"]) > 1.0
        assert float(rows[method]["kernel_similarity"]) == pytest.approx(1.0)
    assert float(rows["blind-rl"]["kernel_similarity"]) > 0.5
    assert {rows[method]["coverage_68"] for method in ("rl", "blind-rl", "wiener")} == {""}
    told = [line[0] for line in table_of((out / "summary.md").read_text(), "Quality and cost")]
    assert [name for name in told if name.startswith("classical")] == [
        "classical, blind-rl",
        "classical, rl",
        "classical, wiener",
    ]
    assert (out / "images" / "im1_kernel2_classical_blind-rl_seed_0.png").is_file()
    assert cli.main(words) == 0  # all is done: no row is added
    assert len(rows_of(out)) == 4


def test_a_baseline_that_needs_the_kernel_says_so(tmp_path: Path, capsys) -> None:
    photos = write_folder(tmp_path / "photos")
    for path in (photos / "kernels").iterdir():
        path.unlink()
    words = [
        "benchmark",
        str(photos),
        "--cases",
        "im1_kernel2",
        *QUICK,
        "--output",
        str(tmp_path / "out"),
        "-q",
    ]
    assert cli.main([*words, "--presets", "fast", "--baseline", "wiener"]) == 2
    assert "baseline wiener needs the known kernel; give kernels/, or use blind-rl" in capsys.readouterr().err
