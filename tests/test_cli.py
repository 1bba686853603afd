"""The command as a user meets it: exit status, one-line errors, files, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_vdip import cli, files, shell
from napari_vdip.errors import InvalidInput, OutOfMemory
from napari_vdip.result import History, Progress, Result

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "napari_vdip.cli"]
QUICK = ["--kernel-size", "5", "--preset", "fast", "--iterations", "3", "--threads", "1", "--compile", "off"]
QUICK += ["--kernel-draws", "0"]
ENDINGS = ["_deblurred.tif", "_kernel.tif", "_uncertainty.tif", "_report.json"]


def scene(*shape: int, dtype: str = "uint8") -> np.ndarray:
    blocks = np.random.default_rng(1).integers(0, 200, [-(-n // 4) for n in shape])
    for axis, n in enumerate(shape):
        blocks = blocks.repeat(4, axis).take(range(n), axis)
    return blocks.astype(dtype)


def command(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd, timeout=120
    )


def fake_fit(image: np.ndarray, options: object, number: int = 0, **_kernels: object):
    """Stand in for the solver where only what the shell does with its result matters."""
    history = History(*(np.zeros(1) for _ in range(5)))
    report = {"stop_reason": "stopped at step 1 of 2", "warnings": [], "findings": []}
    report |= {"steps": 1, "seconds": 1.0, "partial": True}
    result = Result(image.astype("f4"), image.astype("f4"), np.ones((5, 5), "f4"), history, report)
    yield Progress("fit", 1, 2, 0, 1, 1.0, 1.0, result)
    report |= {"stop_reason": "finished", "partial": False}
    report["warnings"] = ["the kernel is larger than its window"]
    return result


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> None:
    import napari_vdip.stack

    monkeypatch.setattr(napari_vdip.stack, "fit", fake_fit)


# Errors: one line, exit status 2, soon


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], ["deblur, render, demo, export, benchmark, info"]),
        (["deblr", "x.png"], ["'deblr'", "deblur"]),
        (["deblur"], ["INPUT"]),
        (["deblur", "x.png", "--kernl-size", "31"], ["--kernl-size", "did you mean --kernel-size"]),
        (["deblur", "x.png", "--kernl-size=31"], ["--kernl-size", "did you mean --kernel-size"]),
        (["export", "o.pt", "--shpe", "8", "8"], ["--shpe", "did you mean --shape"]),
        (["deblur", "x.png", "--preset", "fasst"], ["--preset", "'fasst'", "did you mean fast", "balanced"]),
        (["deblur", "x.png", "--method", "sparce"], ["did you mean sparse"]),
        (["deblur", "x.png", "--kernel-size", "4"], ["kernel_size=4", "odd"]),
        (["deblur", "x.png", "--kernel-size", "-3"], ["kernel_size=-3", "at least 3"]),
        (["deblur", "x.png", "--kernel-size", "abc"], ["'abc'", "auto"]),
        (["deblur", "x.png", "--seed", "abc"], ["--seed", "'abc'"]),
        (["deblur", "x.png", "--iterations", "0"], ["iterations=0"]),
        (["deblur", "x.png", "--rgb", "--channel-axis", "0"], ["rgb", "channel_axis"]),
        (["deblur", "absent.png"], ["absent.png", "does not exist"]),
        (["deblur", "x.png", "--kernel", "absent.tif"], ["absent.tif", "does not exist"]),
        (["demo", "--sample", "moon"], ["moon", "photograph, microscopy"]),
        (["export", "o.pt", "--shape", "32", "32"], ["--kernel-size", "number"]),
        (["export", "o.pt", "--shape", "32"], ["--shape"]),
        (["export", "o.pt", "--shape", "32", "32", "--format", "onnx"], ["onnx", "torchscript"]),
    ],
)
def test_bad_words_are_one_line_and_status_2(
    words: list[str],
    told: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("napari-vdip: error: ")
    assert said.err.count("\n") == 1
    for part in told:
        assert part in said.err


def test_an_error_of_the_real_process_is_one_line_and_soon(tmp_path: Path) -> None:
    (tmp_path / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for words in (["deblur", "--presett", "fast"], ["deblur", "half.png"]):
        started = time.monotonic()
        done = command(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1, done.stderr
        assert time.monotonic() - started < 5


def test_options_are_checked_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys; from napari_vdip.cli import main;"
        "assert main(['deblur', 'absent.png', '--preset', 'x']) == 2;"
        "assert main(['deblur', 'absent.png', '--kernel-size', '4']) == 2;"
        "assert not {'torch', 'numpy', 'tifffile', 'cv2', 'napari', 'tqdm'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_deblurred_is_told_by_the_real_process(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 48), 7, "uint8")).save(tmp_path / "flat.png")
    done = command("deblur", "flat.png", *QUICK, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("napari-vdip: error: ")


def test_results_of_equal_names_are_refused_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one").mkdir()
    first, second = tmp_path / "one" / "a.png", tmp_path / "a.tif"
    for path in (first, second):
        Image.fromarray(scene(40, 48)).save(path)
    assert cli.main(["deblur", str(first), str(second), "--output", str(tmp_path / "out")]) == 2
    assert "a_deblurred.tif" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_result_never_overwrites_an_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.tif", "a_deblurred.tif"):
        tifffile.imwrite(tmp_path / name, scene(40, 48))
    words = ["deblur", str(tmp_path / "a.tif"), str(tmp_path / "a_deblurred.tif"), "--output", str(tmp_path)]
    assert cli.main(words) == 2
    assert "overwrite an input" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(scene(40, 48)).save(tmp_path / "a.png")
    assert cli.main(["deblur", str(tmp_path / "a.png"), "--output", str(tmp_path / "a.png")]) == 2
    said = capsys.readouterr().err
    assert "--output" in said
    assert said.count("\n") == 1


@pytest.mark.usefixtures("faked")
def test_a_full_disk_is_one_line_and_the_fit_is_not_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **keywords: object) -> None:
        raise OSError(28, "No space left on device")

    Image.fromarray(scene(40, 48)).save(tmp_path / "a.png")
    words = ["deblur", str(tmp_path / "a.png"), "--output", str(tmp_path / "out")]
    with monkeypatch.context() as patched:
        patched.setattr(tifffile, "imwrite", full)
        assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "--resume" in said
    assert said.count("\n") == 1 + said.count("warning: ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_job"]

    def again(*arguments: object) -> None:
        raise AssertionError("it was fitted already")

    monkeypatch.setattr("napari_vdip.stack.fit", again)
    assert cli.main([*words, "--resume"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"a{ending}" for ending in ENDINGS}


def test_out_of_memory_is_status_3_and_the_worst_status_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari_vdip.stack

    def fit(image: np.ndarray, options: object):
        if image.max() == 1:
            raise OutOfMemory("the frame does not fit")
        if image.max() == 2:
            raise InvalidInput("nothing to see")
        return (yield from fake_fit(image, options))

    monkeypatch.setattr(napari_vdip.stack, "fit", fit)
    for name, level in (("memory", 1), ("input", 2), ("fine", 9)):
        Image.fromarray(np.full((40, 48), level, "uint8")).save(tmp_path / f"{name}.png")
    words = [str(tmp_path / f"{name}.png") for name in ("memory", "input", "fine")]
    assert cli.main(["deblur", *words, "--output", str(tmp_path / "out")]) == 3
    said = capsys.readouterr()
    assert "memory.png: the frame does not fit" in said.err
    assert "input.png: nothing to see" in said.err
    assert "warning: fine.png: the kernel is larger" in said.err
    assert (tmp_path / "out" / "fine_deblurred.tif").exists()
    assert cli.main(["deblur", words[0], "--output", str(tmp_path / "out")]) == 3


# What is written


def test_deblur_writes_four_files_for_each_input(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "cell.ome.tif",
        scene(40, 48, dtype="uint16"),
        ome=True,
        metadata={"axes": "YX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1},
    )
    Image.fromarray(scene(40, 48, 3)).save(tmp_path / "photo.png")
    done = command("deblur", *QUICK, "cell.ome.tif", "photo.png", "-o", "out/deep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out" / "deep"
    names = {f"{stem}{ending}" for stem in ("cell", "photo") for ending in ENDINGS}
    assert {path.name for path in out.iterdir()} == names
    assert len(done.stdout.splitlines()) == 8
    cell, photo = files.read(out / "cell_deblurred.tif"), files.read(out / "photo_deblurred.tif")
    assert (cell.kind, cell.axes, cell.pixel_size["X"]) == ("ome", "YX", (0.1, "µm"))
    assert (cell.data.dtype, cell.data.shape) == (np.float32, (40, 48))
    assert (photo.rgb, photo.data.shape) == (True, (40, 48, 3))
    assert files.read(out / "photo_uncertainty.tif").data.shape == (40, 48, 3)
    kernel = files.read(out / "photo_kernel.tif").data
    assert kernel.shape == (5, 5)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    report = json.loads((out / "cell_report.json").read_text(encoding="utf-8"))
    assert report["stop_reason"] == "finished"
    assert report["options"]["kernel_size"] == 5
    assert report["pixel_size"]["X"] == [0.1, "µm"]
    assert report["input"] == "cell.ome.tif"


@pytest.mark.usefixtures("faked")
@pytest.mark.parametrize(
    ("shape", "axes", "flags", "rgb", "channel_axis"),
    [
        ((40, 48, 3), "YXS", [], True, None),
        ((40, 48, 3), "YXS", ["--no-rgb"], False, -1),
        ((40, 48, 3), "YXS", ["--channel-axis", "2"], False, 2),
        ((2, 40, 48), "CYX", [], False, 0),
        ((2, 40, 48), "CYX", ["--channel-axis", "-3"], False, -3),
        ((5, 40, 48), "ZYX", [], False, None),
    ],
)
def test_the_file_decides_about_colours_and_channels_unless_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shape: tuple[int, ...],
    axes: str,
    flags: list[str],
    rgb: bool,
    channel_axis: int | None,
) -> None:
    colour = "rgb" if axes.endswith("S") else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", scene(*shape), photometric=colour, metadata={"axes": axes})
    assert cli.main(["deblur", str(tmp_path / "a.tif"), "-o", str(tmp_path), *flags]) == 0
    options = json.loads((tmp_path / "a_report.json").read_text())["options"]
    assert (options["rgb"], options["channel_axis"]) == (rgb, channel_axis)
    said = capsys.readouterr().err
    assert "warning: " in said
    assert "the kernel is larger" in said


@pytest.mark.parametrize(
    ("words", "size", "inputs"),
    [
        (["--kernel-size", "31", "a.png"], 31, ["a.png"]),
        (["--kernel-size", "31", "21", "a.png"], (31, 21), ["a.png"]),
        (["a.png", "b.png", "--kernel-size", "31", "21"], (31, 21), ["a.png", "b.png"]),
        (["--kernel-size=31x21", "a.png"], (31, 21), ["a.png"]),
        (["--kernel-size", "auto", "a.png"], "auto", ["a.png"]),
        (["--kernel-size", "31", "--", "21"], 31, ["21"]),
    ],
)
def test_kernel_size_takes_one_number_or_two(words: list[str], size: object, inputs: list[str]) -> None:
    from napari_vdip.flags import options_of, parse

    namespace = parse(cli._parser(), ["deblur", *words])
    assert options_of(namespace)[0].kernel_size == size
    assert [str(path) for path in namespace.inputs] == inputs


def test_every_option_has_a_flag_with_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    import dataclasses

    from napari_vdip.options import Options

    with pytest.raises(SystemExit) as left:
        cli.main(["deblur", "--help"])
    assert left.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    for item in dataclasses.fields(Options):
        assert f"--{item.name.replace('_', '-')}" in told
        assert item.metadata["help"].split(". ")[0][:30] in told


def test_a_known_kernel_and_a_mask_come_from_files(tmp_path: Path) -> None:
    Image.fromarray(scene(40, 48)).save(tmp_path / "a.png")
    kernel = np.zeros((7, 5), "f4")
    kernel[3, 1:4] = 2
    tifffile.imwrite(tmp_path / "psf.tif", kernel)
    mask = np.zeros((40, 48), bool)
    mask[:4] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ["--kernel", tmp_path / "psf.tif", "--mask", tmp_path / "mask.png", "--no-defects", *QUICK[2:]]
    done = command("deblur", tmp_path / "a.png", *words, "--quiet", "-o", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    np.testing.assert_allclose(files.read(tmp_path / "a_kernel.tif").data, kernel / 6, atol=1e-6)


def test_demo_writes_the_panel_and_tells_the_gain(tmp_path: Path) -> None:
    done = command("demo", "-o", tmp_path, *QUICK[2:], "--iterations", "2")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"photograph{ending}" for ending in ENDINGS),
        "photograph_panel.png",
    }
    assert "dB blurred" in done.stdout
    assert files.read(tmp_path / "photograph_kernel.tif").data.shape == (17, 17)
    panel = np.asarray(Image.open(tmp_path / "photograph_panel.png"))
    assert panel.shape[2] == 3
    assert panel.shape[1] > panel.shape[0] > 600
    assert panel.std() > 40


def test_export_writes_a_program(tmp_path: Path) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("torch has no TorchScript for Python 3.14; un-skip when it does")
    words = ["--shape", 16, 18, "--kernel-size", 3, "--preset", "fast"]
    done = command("export", "--format", "torchscript", tmp_path / "o.pt", *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.pt").stat().st_size > 1000


def test_info_and_version() -> None:
    import napari_vdip

    done = command("info")
    assert done.returncode == 0, done.stderr
    for part in (f"napari-vdip {napari_vdip.__version__}", "torch ", "numpy ", "cpu: ", "cores"):
        assert part in done.stdout
    if "cuda:0" not in done.stdout and sys.platform != "darwin":
        assert "CUDA: " in done.stdout
    assert command("--version").stdout == f"napari-vdip {napari_vdip.__version__}\n"


# Ctrl-C


@pytest.mark.timeout(180)  # of a read that gets nothing
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal, which Windows has not")
def test_ctrl_c_writes_what_was_reached(tmp_path: Path) -> None:
    Image.fromarray(scene(40, 48)).save(tmp_path / "a.png")
    words = ["deblur", "a.png", *QUICK[:4], "--iterations", "900000", "--threads", "1"]
    terminal, end = os.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=end, text=True
    )
    os.close(end)
    try:
        seen = ""
        while "left]" not in seen:  # the bar: steps are done
            seen += os.read(terminal, 4096).decode()
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, _ = process.communicate(timeout=60)
        seconds = time.monotonic() - started
        seen += os.read(terminal, 1 << 16).decode()
    finally:
        process.kill()
        os.close(terminal)
    assert process.returncode == 130, seen
    assert seconds < 10
    assert "Traceback" not in seen
    assert "stopped at step" in seen
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", *(f"a{ending}" for ending in ENDINGS)}
    assert len(out.splitlines()) == 4
    assert json.loads((tmp_path / "a_report.json").read_text())["stop_reason"].startswith("stopped at step")
    assert np.isfinite(files.read(tmp_path / "a_deblurred.tif").data).all()


@pytest.mark.usefixtures("faked")
def test_ctrl_c_leaves_the_remaining_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell.Meter, "show", lambda self, progress: signal.raise_signal(signal.SIGINT))
    for name in ("a", "b"):
        Image.fromarray(scene(40, 48)).save(tmp_path / f"{name}.png")
    words = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    before = signal.getsignal(signal.SIGINT)
    assert cli.main(["deblur", *words, "-o", str(tmp_path)]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert (tmp_path / "a_deblurred.tif").exists()
    assert not (tmp_path / "b_deblurred.tif").exists()
    assert "stopped at step 1 of 2" in capsys.readouterr().err


def test_a_second_ctrl_c_leaves_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), shell.Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked
        signal.raise_signal(signal.SIGINT)


# Progress


def test_without_a_terminal_a_line_comes_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 4.0, 11.0, 11.0, 12.0])
    monkeypatch.setattr(shell.time, "monotonic", lambda: next(clock))
    meter = shell.Meter("a.png", quiet=False)
    result = next(fake_fit(scene(8, 8), type("Fake", (), {"rgb": False, "channel_axis": None}))).result
    for step in (1, 2, 3):
        meter.show(Progress("fit", step, 10, 0, 1, 5.0, 65.0, result))
    assert capsys.readouterr().err == "a.png: fit, step 2 of 10 (20%), 1:05 left\n"


def test_on_a_terminal_a_bar_shows_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    meter = shell.Meter("a.png", quiet=False)
    result = next(fake_fit(scene(8, 8), type("Fake", (), {"rgb": False, "channel_axis": None}))).result
    meter.show(Progress("fit", 3, 10, 1, 4, 5.0, 3665.0, result))
    meter.close()
    said = capsys.readouterr().err
    assert "a.png (slice 2 of 4, fit):  30%" in said
    assert "1:01:05 left" in said
