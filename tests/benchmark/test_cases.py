"""Which folders a benchmark understands, what it reads from them, and what it says of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.io
import tifffile
from folders import KERNELS, blurred_by, save, sharp_scene

from napari_vdip.benchmark import cases
from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path


def only(folder: Path) -> cases.Case:
    (case,) = cases.find(folder)
    return case


def test_the_layout_of_levin(photos):
    found = cases.find(photos)
    assert [case.name for case in found] == ["im1_kernel1", "im1_kernel2"]
    truth = cases.read(found[1])
    assert truth.blurred.dtype == np.uint8
    assert np.abs(truth.blurred - blurred_by(truth.sharp, KERNELS["kernel2"])).max() < 1.5
    assert truth.kernel == pytest.approx(KERNELS["kernel2"] / KERNELS["kernel2"].sum(), abs=2e-3)
    assert truth.full_scale == 255.0
    assert [cases.published_size(case, cases.read(case)) for case in found] == [17, 15]


def test_the_layout_of_lai_with_colour_truth(tmp_path):
    grey = sharp_scene()
    colour = np.stack([grey, 0.5 * grey, 0.25 * grey], axis=-1)
    save(tmp_path / "sharp" / "text_01.png", colour)
    save(tmp_path / "blurred_y" / "text_01_kernel_02.png", grey)
    save(tmp_path / "blurred_color" / "text_01_kernel_02.png", colour)
    spot = np.zeros((51, 51, 3))
    spot[20:30, 25] = 255.0
    save(tmp_path / "kernels" / "kernel_02.png", spot)
    case = only(tmp_path)
    assert case.name == "text_01_kernel_02"
    truth = cases.read(case)
    assert truth.sharp == pytest.approx((0.299 + 0.5 * 0.587 + 0.25 * 0.114) * grey, abs=1.1)
    assert truth.kernel.shape == (51, 51)
    assert cases.published_size(case, truth) == 51


def test_matlab_files_with_background(tmp_path):
    scene, psf = sharp_scene(), np.zeros((8, 6))
    psf[3:6, 2:5] = 1.0
    content = {"gn": scene + 4.0, "obj": scene.astype(np.uint8), "psf": psf, "bg": np.uint8([[4]])}
    scipy.io.savemat(tmp_path / "rice.mat", content)
    case = only(tmp_path)
    truth = cases.read(case)
    assert case.name == "rice"
    assert np.array_equal(truth.sharp, scene.astype(np.uint8) + 4.0)
    assert truth.full_scale == np.ptp(scene.astype(np.uint8))
    assert truth.kernel.shape == (9, 7)
    assert truth.kernel.sum() == pytest.approx(1.0)
    assert cases.published_size(case, truth) == 3


def test_own_images_of_16_bits_without_kernels(tmp_path):
    for name in ("blurred", "sharp"):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "cells.ome.tif", (50 * sharp_scene()).astype(np.uint16))
    case = only(tmp_path)
    truth = cases.read(case)
    assert (case.name, case.kernel, truth.kernel) == ("cells", None, None)
    assert truth.blurred.dtype == np.uint16
    assert truth.full_scale == np.ptp(truth.sharp)
    assert cases.published_size(case, truth) is None


def test_the_most_specific_names_go_together(tmp_path):
    for name in ("cell", "cell_2", "cell_2_psf"):
        save(tmp_path / "sharp" / f"{name}.png", sharp_scene())
    for name in ("psf", "psf_1", "1"):
        save(tmp_path / "kernels" / f"{name}.png", np.ones((5, 5)))
    for name in ("cell_psf_1", "cell_2", "cell_2_psf_1"):
        save(tmp_path / "blurred" / f"{name}.png", sharp_scene())
    found = {c.name: (c.sharp.stem, c.kernel and c.kernel.stem) for c in cases.find(tmp_path)}
    assert found == {
        "cell_2": ("cell_2", None),
        "cell_2_psf_1": ("cell_2_psf", "1"),
        "cell_psf_1": ("cell", "psf_1"),
    }


def test_wildcards_choose_cases(photos):
    assert [case.name for case in cases.find(photos, ["*kernel2", "im7*"])] == ["im1_kernel2"]
    with pytest.raises(InvalidInput, match=r"named im2_\*; there are im1_kernel1, im1_kernel2"):
        cases.find(photos, ["im2_*"])


def test_a_folder_of_another_kind_is_told_what_is_expected(tmp_path):
    with pytest.raises(InvalidInput, match=r"absent is not a folder; expected blurred/ .*sharp/ .*kernels/"):
        cases.find(tmp_path / "absent")
    with pytest.raises(InvalidInput, match=r"holds no images with a known truth; expected blurred/"):
        cases.find(tmp_path)
    save(tmp_path / "blurred" / "a.png", sharp_scene())
    with pytest.raises(InvalidInput, match=r"a\.png has no sharp image in .*sharp; expected"):
        cases.find(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda f: save(f / "sharp" / "im1.png", sharp_scene((48, 60))),
            "48 x 56 px, its truth .* 48 x 60 px",
        ),
        (lambda f: save(f / "sharp" / "im1.png", np.full((48, 56), 9.0)), None),
        (lambda f: (f / "sharp" / "im1.png").write_bytes(b"\x89PNG\r\n\x1a\n"), "damaged"),
        (lambda f: save(f / "kernels" / "kernel1.png", np.zeros((5, 5))), "no or negative values"),
    ],
)
def test_a_case_that_cannot_be_used_is_told(photos, change, told):
    change(photos)
    case = cases.find(photos)[0]
    if told is None:  # constant, but of 8 bits: a metric can be computed
        assert cases.read(case).full_scale == 255.0
        return
    with pytest.raises(InvalidInput, match=told):
        cases.read(case)


def test_small_images_stacks_and_odd_matlab_files_are_told(tmp_path):
    for name in ("blurred", "sharp"):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "stack.tif", np.ones((5, 50, 50), np.float32))
        tifffile.imwrite(tmp_path / name / "tiny.tif", np.ones((47, 90), np.float32))
        tifffile.imwrite(tmp_path / name / "flat.tif", np.ones((60, 90), np.float32))
    flat, stack, tiny = cases.find(tmp_path)
    with pytest.raises(InvalidInput, match=r"shape \(5, 50, 50\); expected one image, not a stack"):
        cases.read(stack)
    with pytest.raises(InvalidInput, match="47 x 90 px; expected at least 48 px"):
        cases.read(tiny)
    with pytest.raises(InvalidInput, match=r"flat\.tif is constant"):
        cases.read(flat)
    scipy.io.savemat(tmp_path / "odd.mat", {"gn": np.ones((50, 50)), "obj": np.ones((50, 50))})
    with pytest.raises(InvalidInput, match=r"odd\.mat cannot be used: 'psf' is missing; expected"):
        cases.read(only(tmp_path))
    scipy.io.savemat(tmp_path / "odd.mat", {name: np.ones((50, 50, 2)) for name in ("gn", "obj", "psf")})
    with pytest.raises(InvalidInput, match=r"gn in .*odd\.mat has shape \(50, 50, 2\); expected two axes"):
        cases.read(only(tmp_path))
    (tmp_path / "odd.mat").write_bytes(b"no MATLAB")
    with pytest.raises(InvalidInput, match=r"odd\.mat cannot be used"):
        cases.read(only(tmp_path))


def test_the_real_sets(data_folder):
    """Names and sizes of the published sets, where they are at hand."""
    levin = cases.find(data_folder / "levin_dev")
    assert len(levin) == 16
    assert [cases.published_size(c, cases.read(c)) for c in levin] == [17, 15, 13, 27, 11, 19, 21, 21] * 2
    lai = cases.find(data_folder / "lai_dev")
    assert {cases.published_size(case, cases.read(case)) for case in lai} == {31, 51, 55, 75}
    assert [case.name for case in cases.find(data_folder / "ddipp_poisson_sim")] == ["rice", "synth001"]
