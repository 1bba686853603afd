"""A blur that varies over the field: its plan, its kernels, and what they gain."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from napari_vdip import Options, cli, deblur, family, grid, tiles
from napari_vdip.errors import InvalidOption, OutOfMemory
from napari_vdip.placement import device_of
from napari_vdip.plan import Setting
from napari_vdip.samples import load

FAST = {"preset": "fast", "iterations": 28, "threads": 1, "kernel_draws": 0}


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """Make a picture of 96 x 250 px, whose blur grows from 0.7 px on the left to 2.3 px on the right."""
    sharp = load("photograph").sharp[60:156, :250].astype(float)
    widths = np.linspace(0.7, 2.3, 250)
    steps = np.linspace(0.7, 2.3, 17)
    levels = np.stack([gaussian_filter(sharp, step, mode="reflect") for step in steps])
    at = np.interp(widths, steps, np.arange(17))
    low = np.minimum(at.astype(int), 15)
    columns = np.arange(250)
    blurred = (1 - at + low) * levels[low, :, columns].T + (at - low) * levels[low + 1, :, columns].T
    return sharp, blurred + np.random.default_rng(0).normal(0, 0.5, sharp.shape)


@pytest.fixture(scope="module", autouse=True)
def one_prior():
    """Look for the kernel of a family under one prior in place of two: in half the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "_SCALES", family._SCALES[:1])
        yield


@pytest.fixture(scope="module")
def found(scene):
    return deblur(scene[1], kernel_size=11, kernel_grid=(1, 3), kernel_family="gaussian", **FAST)


def width(kernel: np.ndarray) -> float:
    place = np.arange(kernel.shape[1]) - kernel.shape[1] // 2
    return float(np.sqrt(kernel.sum(0) @ place**2))


def test_kernels_follow_the_blur_and_gain(scene, found):
    sharp, blurred = scene
    assert found.kernel_grid.shape == (1, 3, 11, 11)
    np.testing.assert_allclose(found.kernel_grid.sum((2, 3)), 1.0, rtol=1e-4)
    widths = [width(kernel) for kernel in found.kernel_grid[0]]
    assert widths == pytest.approx([0.97, 1.5, 2.03], abs=0.4)  # the picture is not quite sharp itself
    assert widths[0] + 0.3 < widths[1] < widths[2] - 0.1
    single = deblur(blurred, kernel_size=11, tile=100, kernel_family="gaussian", **FAST)
    assert single.kernel_grid is None
    inside = (slice(6, -6), slice(6, -6))
    span = float(np.ptp(sharp))

    def psnr(image):
        return 10 * np.log10(span**2 / np.square(image[inside] - sharp[inside]).mean())

    assert psnr(found.image) > psnr(single.image) + 0.5
    assert psnr(found.image) > psnr(blurred) + 2


def test_the_result_has_one_kernel_and_the_plan_is_told(found):
    plan = found.report["tiles"]
    assert found.kernel.shape == (11, 11)
    assert any(np.array_equal(found.kernel, kernel) for kernel in found.kernel_grid[0])
    assert plan["grid"] == [1, 3]
    assert plan["crop"] in plan["cells"]
    assert "1 x 3 kernels, interpolated, each from" in plan["plan"]
    assert [(cell[1] + 1) // 84 for cell in plan["cells"]] == [0, 1, 2]
    assert len(plan["columns"]) >= 4  # tiles are so small that kernels change from one to the next
    assert found.report["stop_reason"] == "finished"
    json.dumps(found.report)


@pytest.mark.usefixtures("small_fit")
def test_progress_counts_all_fits(scene):
    from napari_vdip.stack import fit

    options = Options.from_keywords(kernel_size=5, kernel_grid=(1, 2), preset="fast", iterations=4, threads=1)
    steps, stages = [], []
    for progress in fit(scene[1][:48, :96], options):
        steps.append(progress.step)
        stages.append(progress.stage)
        assert progress.result.report["partial"] == (progress.step < progress.steps)
    assert steps == sorted(set(steps))
    assert steps[-1] == progress.steps
    assert any(stage.endswith("kernel 2 of 2") for stage in stages)


@pytest.mark.parametrize("shape", [(300, 500), (101, 97)])
@pytest.mark.parametrize("cells", [(3, 3), (1, 4), (2, 1)])
def test_shares_sum_to_one_and_are_whole_in_the_middle_of_a_cell(shape, cells):
    windows = grid.cells(shape, cells, (5, 5))
    np.testing.assert_allclose(grid.shares(shape, cells, windows), np.eye(len(windows)), atol=0.03)
    random = np.random.default_rng(0)
    corners = [(slice(a, a + 7), slice(b, b + 9)) for a, b in random.integers(0, 88, (50, 2))]
    told = grid.shares(shape, cells, corners)
    np.testing.assert_allclose(told.sum(1), 1.0)
    assert told.min() >= 0
    assert ((told > 0).sum(1) <= 4).all()


def test_half_way_two_neighbours_count_alike():
    told = grid.shares((100, 200), (1, 2), [(slice(0, 100), slice(90, 110)), (slice(0, 100), slice(0, 10))])
    np.testing.assert_allclose(told, [[0.5, 0.5], [1.0, 0.0]])


def test_cells_cover_the_frame():
    seen = np.zeros((101, 97), int)
    for window in grid.cells((101, 97), (3, 2), (5, 5)):
        seen[window] += 1
    assert (seen == 1).all()


def test_kernels_are_centred_to_a_hundredth_of_a_pixel():
    y, x = np.mgrid[-7:8, -7:8]
    kernel = np.exp(-((y - 0.4) ** 2 + (x + 0.3) ** 2) / 4)
    moved = grid.centred_finely(kernel)
    assert moved.sum() == pytest.approx(1, abs=1e-5)
    assert (moved * y).sum() == pytest.approx(0, abs=0.011)
    assert (moved * x).sum() == pytest.approx(0, abs=0.011)


def test_a_cell_without_a_kernel_takes_its_neighbours():
    kernels = [np.full((3, 3), float(number)) for number in range(4)]
    whole = grid.filled([kernels[0], None, kernels[2], kernels[3]], (2, 2))
    np.testing.assert_allclose(whole[1], 1.5)  # of 0 on its left and 3 below
    np.testing.assert_allclose(whole[[0, 2, 3], 0, 0], [0, 2, 3])


def test_a_flat_part_of_the_frame_is_not_fitted():
    frame = np.random.default_rng(0).normal(100, 1, (96, 200))
    frame[:, 100:] += load("photograph").blurred[60:156, 100:200]
    setting = Setting(Options(kernel_grid=(1, 2)), device_of("cpu"), "off", (9, 9), "", None)
    plan = tiles.plan_for(frame, None, setting, free_bytes=2**33)
    assert plan.cells[0] is None
    assert plan.cells[1] == plan.crop
    assert "(none; row " in str(plan)


@pytest.mark.usefixtures("small_fit")
def test_out_of_memory_halves_one_crop_and_goes_on(scene, monkeypatch):
    true, asked = tiles.solve, []

    def small(part, mask, setting, seed):
        asked.append(part.shape)
        if len(asked) == 2:
            raise OutOfMemory("the crop does not fit")
        return true(part, mask, setting, seed)

    monkeypatch.setattr(tiles, "solve", small)
    result = deblur(
        scene[1][:, :160], kernel_size=5, kernel_grid=(1, 2), preset="fast", iterations=4, threads=1
    )
    assert [max(shape) for shape in asked] == [96, 96, 48]
    assert result.report["stop_reason"] == "finished"
    assert any("was halved" in text for text in result.report["warnings"])
    assert result.kernel_grid.shape == (1, 2, 5, 5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kernel_grid": 9}, r"leaves cells of 10 x 27 px; expected at least 15 x 15 px"),
        ({"kernel_grid": 2, "kernel": np.ones((5, 5))}, "kernel_grid=2 and kernel were both given"),
        ({"kernel_grid": (2, 2), "preset": "paper"}, r"kernel_grid=\(2, 2\) needs"),
        ({"kernel_grid": 0}, "kernel_grid=0 is out of bounds"),
    ],
)
def test_what_cannot_be_is_told_before_it_begins(scene, options, told):
    size = {} if "kernel" in options else {"kernel_size": 5}
    with pytest.raises(InvalidOption, match=told):
        deblur(scene[1], **{"preset": "fast", "iterations": 2, **size, **options})


def test_slices_that_share_a_kernel_have_no_grid(scene):
    with pytest.raises(InvalidOption, match="slices share one kernel"):
        deblur(scene[1][None].repeat(2, 0), kernel_grid=2, kernel_mode="shared", kernel_size=5, preset="fast")


@pytest.mark.usefixtures("small_fit")
def test_the_shell_writes_the_kernels_beside_the_others(tmp_path, scene):
    tifffile.imwrite(tmp_path / "frame.tif", scene[1][:48, :96].astype("f4"))
    words = ["deblur", str(tmp_path / "frame.tif"), "-q", "-o", str(tmp_path), "--preset", "fast"]
    words += ["--kernel-size", "5", "--iterations", "4", "--threads", "1", "--kernel-grid", "1", "2"]
    assert cli.main(words) == 0
    assert tifffile.imread(tmp_path / "frame_kernel_grid.tif").shape == (1, 2, 5, 5)
    assert tifffile.imread(tmp_path / "frame_kernel.tif").shape == (5, 5)
    report = json.loads((tmp_path / "frame_report.json").read_text())
    assert report["options"]["kernel_grid"] == [1, 2]
    assert "frame_kernel_grid.tif" in report["job"]["files"]
