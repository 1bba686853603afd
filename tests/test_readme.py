"""What the README says is true: its blocks run, its table is complete, CI calls its commands."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_vdip import deblur
from napari_vdip.options import Options

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_python_block_runs(capsys):
    """As it stands, but for the number of steps."""
    (block,) = blocks("python")
    quick = block.replace('preset="fast"', 'preset="fast", iterations=2, threads=1')
    assert quick != block
    names: dict[str, object] = {}
    exec(compile(quick, "README.md", "exec"), names)
    assert names["result"].image.shape == (256, 256)
    assert "finished" in capsys.readouterr().out


@pytest.mark.parametrize("line", [line for line in blocks("bash")[2].splitlines() if line])
def test_every_line_of_the_shell_block_runs(line, tmp_path):
    """As it stands, but for the number of steps, on an image of the name that it gives."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 48), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", noise)
    name, *rest = shlex.split(line)
    assert name == "napari-vdip"
    if rest[0] == "deblur":
        rest += ["--iterations", "2", "--threads", "1"]
    if rest[0] == "render":
        deblur(noise, kernel_size=5, preset="fast", iterations=2).save_model(tmp_path / rest[1])
    subprocess.run([sys.executable, "-m", "napari_vdip.cli", *rest], cwd=tmp_path, check=True, timeout=300)
    if rest[0] == "deblur":
        assert {path.name for path in (tmp_path / "results").iterdir()} == {
            "image_deblurred.tif",
            "image_kernel.tif",
            "image_uncertainty.tif",
            "image_report.json",
        }
        report = json.loads((tmp_path / "results" / "image_report.json").read_text())
        assert report["stop_reason"] == "finished"
        assert (tmp_path / "image.pt").exists() == ("--save-model" in rest)
    if rest[0] == "render":
        assert (tmp_path / "again" / "image_deblurred.tif").exists()
    if rest[0] == "export":
        assert (tmp_path / "loop.pt").stat().st_size > 1e5


def test_the_table_names_every_option_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", TEXT, flags=re.MULTILINE))
    shown = {field.name: str(field.default) for field in dataclasses.fields(Options)}
    assert {name: value.strip('"') for name, value in rows.items()} == shown


def test_the_set_up_commands_are_scripts_that_exist():
    demo, tests = blocks("bash")[:2]
    for command in (demo.split("&&")[-1].strip(), tests.strip()):
        assert (ROOT / command).stat().st_mode & 0o111, command
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()


def test_pictures_and_pages_exist():
    for path in re.findall(r"main/(docs/\S+?)\)", TEXT) + re.findall(r"\]\((docs/\S+?)\)", TEXT):
        assert (ROOT / path).exists(), path
