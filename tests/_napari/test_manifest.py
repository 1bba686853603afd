"""What napari reads of the plugin before it loads it."""

from __future__ import annotations

from pathlib import Path

import npe2
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def manifest():
    return npe2.PluginManifest.from_file(ROOT / "src" / "napari_vdip" / "napari.yaml")


def test_its_names_are_those_of_the_contract(manifest):
    assert manifest.name == "napari-vdip"
    assert [widget.display_name for widget in manifest.contributions.widgets] == [
        "Blind deconvolution (VDIP)"
    ]
    assert [widget.command for widget in manifest.contributions.widgets] == ["napari-vdip.deblur"]
    filters = manifest.contributions.menus["napari/layers/filter"]
    assert [item.command for item in filters] == ["napari-vdip.deblur"]
    assert {sample.key for sample in manifest.contributions.sample_data} == {"microscopy", "photograph"}


def test_all_it_names_can_be_imported(manifest):
    manifest.validate_imports()


def test_the_manifest_is_found_at_the_root_too():
    assert (ROOT / "napari.yaml").resolve() == ROOT / "src" / "napari_vdip" / "napari.yaml"


def test_models_and_fits_files_are_opened_by_this_plugin(manifest):
    patterns = {reader.command: set(reader.filename_patterns) for reader in manifest.contributions.readers}
    assert patterns["napari-vdip.read_model"] == {"*.pt", "*.onnx"}
    assert {"*.fits", "*.fit", "*.fts"} <= patterns["napari-vdip.read_fits"]
