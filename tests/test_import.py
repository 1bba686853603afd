"""Importing the package is cheap, and its public names are the contract."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

import pytest

import napari_vdip

HEAVY = {
    "torch",
    "napari",
    "magicgui",
    "qtpy",
    "superqt",
    "PyQt5",
    "PyQt6",
    "PySide2",
    "PySide6",
    "dask",
    "cv2",
    "numpy",
}


def packages_after(statement: str) -> set[str]:
    """Top-level packages that a fresh process has loaded after a statement."""
    code = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    loaded = packages_after("import napari_vdip")
    assert "napari_vdip" in loaded
    assert not loaded & HEAVY


def test_options_result_and_errors_load_no_torch():
    loaded = packages_after("from napari_vdip import Options, Result, VdipError; Options(kernel_size=31)")
    assert not loaded & HEAVY


def test_public_names():
    assert set(napari_vdip.__all__) == {"deblur", "deblur_layer", "Options", "Result", "VdipError"}
    assert {*napari_vdip.__all__, "__version__"} == set(dir(napari_vdip))
    for name in napari_vdip.__all__:
        assert getattr(napari_vdip, name).__name__ == name


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'napari_vdip' has no attribute 'deblurr'"):
        napari_vdip.deblurr  # noqa: B018 - the access is what is tested


def test_version_is_that_of_the_distribution():
    assert napari_vdip.__version__ == importlib.metadata.version("napari-vdip")


def test_idle_threads_of_torch_are_told_to_wait_quietly() -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    code = f"import os, napari_vdip; print(*[os.environ.get(name) for name in {names}])"
    for given, expected in (
        ({}, "PASSIVE 10000"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"GOMP_SPINCOUNT": "0"}, "PASSIVE 0"),
    ):
        env = {name: value for name, value in os.environ.items() if name not in names} | given
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected
