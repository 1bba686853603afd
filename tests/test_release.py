"""What a release is made from agrees with itself: recipe, workflows, extras, what is packed."""

from __future__ import annotations

import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import napari_vdip

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GITHUB = ROOT / ".github"
CONDA = {"opencv-python": "py-opencv", "torch": "pytorch"}  # where conda-forge has another name


def test_the_conda_recipe_asks_for_what_the_package_asks_for():
    text = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    run = text.split("  run:\n")[1].split("\n\n")[0]
    found = dict(re.findall(r"- ([\w.-]+) >=([\w.]+)$", run, flags=re.MULTILINE))
    expected = {}
    for dependency in PROJECT["dependencies"]:
        name, low = re.fullmatch(r"([\w.-]+)>=([\w.]+)", dependency).groups()
        expected[CONDA.get(name, name)] = low
    assert found == expected
    assert f'set version = "{napari_vdip.__version__}"' in text
    assert f'set python_min = "{PROJECT["requires-python"].removeprefix(">=")}"' in text


@pytest.mark.parametrize("path", sorted(GITHUB.rglob("*.yml")), ids=lambda path: path.stem)
def test_what_github_reads_is_yaml(path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_the_workflow_tests_every_system_python_and_binding_that_is_promised():
    jobs = yaml.safe_load((GITHUB / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first, last = re.search(r"Python 3\.(\d+) to 3\.(\d+)", readme).groups()
    assert matrix["python"] == [f"3.{minor}" for minor in range(int(first), int(last) + 1)]
    assert {"pyqt6", "pyside6"} == {*matrix["qt"], *(each["qt"] for each in matrix["include"])}


def test_only_the_job_that_publishes_may_speak_for_the_project():
    workflow = yaml.safe_load((GITHUB / "workflows" / "release.yml").read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    may = {name for name, job in workflow["jobs"].items() if "id-token" in job.get("permissions", {})}
    assert may == {"publish"}
    assert set(workflow["jobs"]["publish"]["needs"]) == {"tests", "build", "rehearse"}
    assert "secrets." not in (GITHUB / "workflows" / "release.yml").read_text(encoding="utf-8")


def test_the_rehearsals_that_the_release_runs_exist():
    known = set(re.findall(r"^  (\w+)\)", (ROOT / ".ci" / "rehearse").read_text(), flags=re.MULTILINE))
    release = (GITHUB / "workflows" / "release.yml").read_text(encoding="utf-8")
    asked = set(re.search(r"\.ci/rehearse (.*)", release).group(1).split())
    assert asked <= known
    refused = subprocess.run(
        [ROOT / ".ci" / "rehearse", "--help"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "known: base sdist all pyside6 oldest manager" in refused.stderr


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    for builder in (SdistBuilder, WheelBuilder):
        list(builder(str(ROOT)).build(directory=str(folder), versions=["standard"]))
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(sdist) as tar, zipfile.ZipFile(wheel) as zipped:
        return [name.partition("/")[2] for name in tar.getnames()], zipped.namelist()


def test_the_wheel_has_the_package_and_nothing_else(packed):
    _, wheel = packed
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"napari_vdip"}
    assert "napari_vdip/napari.yaml" in wheel
    assert "napari_vdip/py.typed" in wheel
    assert {Path(name).suffix for name in wheel if name.startswith("napari_vdip/")} <= {
        ".py",
        ".yaml",
        ".typed",
        ".npz",
        ".tif",
        ".png",
    }


def test_the_sdist_has_what_its_tests_need(packed):
    sdist, _ = packed
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "tests/test_release.py", "docs/conf.py"):
        assert name in sdist
    assert not [name for name in sdist if name.endswith((".pyc", ".log"))]


def test_the_extras_of_the_readme_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = {extra for group in re.findall(r"napari-vdip\[([\w,]+)\]", readme) for extra in group.split(",")}
    assert named <= set(PROJECT["optional-dependencies"])
