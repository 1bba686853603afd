"""The kernel of greatest evidence: each part against its definition, and what the search finds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from scenes import random, stroke

from napari_vdip.core import climbs, search
from napari_vdip.core.refine import Blur
from napari_vdip.metrics import kernel_similarity

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Make bricks seen through the glass, as sharp as photographs are, and blur them by `stroke`."""
    bricks = random(1, 1, 23, 24).repeat_interleave(5, 2).repeat_interleave(5, 3)[0, :, 2:110, 3:119]
    sharp = F.conv2d(bricks[:, None], climbs.gaussian(0.7, 3, bricks)[None, None])[:, 0][:, :102, :108]
    noise = 0.003 * torch.randn(1, 94, 98, generator=torch.Generator().manual_seed(1))
    return sharp, Blur(stroke(), torch.ones(1, 94, 98)).forward(sharp) + noise


def climbed(
    y: torch.Tensor,
    fitted: torch.Tensor,
    climbing: int,
    last: int,
    watch: Callable[[int, search.KernelSearch], None] = lambda step, now: None,
) -> search.KernelSearch:
    """Do a whole search from a fit's kernel; `watch` sees it after each step."""
    image = F.pad(y, [5, 5, 4, 4], mode="replicate")
    found = search.KernelSearch([1, *image.shape[1:]], 9, 11, climbing, last, 0.7)
    weight, noise_var, contrast = torch.ones_like(y), torch.tensor(9e-6), y.std()
    for step in range(found.steps):
        found.prepare(step, image, fitted, y, weight, noise_var, contrast)
        found.step(y, weight, noise_var, contrast, 0, 3 if step < climbing else 1)
        watch(step, found)
    found.prepare(found.steps, image, fitted, y, weight, noise_var, contrast)
    return found


@pytest.mark.parametrize(("down", "right"), [(0.0, 0.0), (1.0, -2.0), (0.4, -1.3)])
def test_an_image_is_moved_to_where_its_kernel_is(scene, down: float, right: float) -> None:
    sharp, blurred = scene
    whole = (round(down), round(right))
    parts = torch.tensor(down - whole[0]), torch.tensor(right - whole[1])
    off = search.moved(sharp.roll(whole, (1, 2)), *parts)
    back = search.aligned(off, stroke(), blurred, torch.ones_like(blurred))
    inner = (slice(None), slice(6, -6), slice(6, -6))
    known = search.moved(off, -parts[0], -parts[1]).roll((-whole[0], -whole[1]), (1, 2))
    left, least = ((image - sharp)[inner].square().mean().sqrt() for image in (back, known))
    assert left < 1.2 * least + 0.004


def test_a_kernel_that_is_wrong_by_far_does_not_set_the_scale(scene) -> None:
    """Through a kernel far too wide the latent image seems to have much steeper edges than it has."""
    y = scene[1]
    flat = torch.full((9, 11), 1 / 99)
    scales = {}
    for name, fitted, largest in (("found", stroke(), 1.3), ("flat", flat, 1.3), ("unbounded", flat, 99.0)):
        found = search.KernelSearch([1, 102, 108], 9, 11, 16, 12, 0.7)
        found.steepest.fill_(largest)
        found.prepare(0, F.pad(y, [5, 5, 4, 4]), fitted, y, torch.ones_like(y), torch.tensor(9e-6), y.std())
        scales[name] = float(found.scale / y.std())
    assert scales["found"] < 1.3 == pytest.approx(scales["flat"])
    assert scales["unbounded"] > 1.5


@pytest.mark.parametrize("most", [1.3, 0.8])
def test_a_kernel_that_is_too_narrow_does_not_set_it_either(scene, most) -> None:
    """What is left of the blur has gentle edges; the least scale counts, if it is above the greatest, too."""
    y = scene[1]
    narrow = torch.zeros((9, 11))
    narrow[4, 5] = 1.0
    found = search.KernelSearch([1, 102, 108], 9, 11, 16, 12, 0.7)
    scales = []
    for least in (0.0, 1.1):
        found.gentlest.fill_(least)
        found.steepest.fill_(most)
        found.prepare(0, F.pad(y, [5, 5, 4, 4]), narrow, y, torch.ones_like(y), torch.tensor(9e-6), y.std())
        scales.append(float(found.scale / y.std()))
    assert scales[0] < 0.8
    assert scales[1] == pytest.approx(1.1)


def test_steps_go_down_in_energy(scene) -> None:
    y = scene[1]
    found = search.KernelSearch([1, 102, 108], 9, 11, 100, 80, 0.7)
    weight, noise_var, contrast = torch.ones_like(y), torch.tensor(9e-6), y.std()
    image, flat, energies = F.pad(y, [5, 5, 4, 4]), torch.full((9, 11), 1 / 99), []
    for step in range(10):
        found.prepare(step, image, flat, y, weight, noise_var, contrast)
        found.step(y, weight, noise_var, contrast, 0, 3)
        energies.append(float(found.energy[0]))
        torch.testing.assert_close(found.kernel.sum([1, 2, 3]), torch.ones(3), atol=1e-4, rtol=0.0)
        assert float(found.kernel.min()) >= 0.0
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] < energies[0] - 100.0


def test_the_kernel_is_found_though_the_fit_has_missed_it(scene) -> None:
    y = scene[1]
    missed = torch.zeros(9, 11)
    missed[2:6, 3] = 0.25
    assert kernel_similarity(missed.numpy(), stroke().numpy()) < 0.6
    found = climbed(y, missed, 24, 18)
    assert kernel_similarity(found.likeliest.numpy(), stroke().numpy()) > 0.9
    torch.testing.assert_close(found.generated, F.pad(y, [5, 5, 4, 4], mode="replicate"))


def test_the_likeliest_of_three_is_taken(scene) -> None:
    """A fit that found the kernel is not lost to climbs of so few steps that they end anywhere."""
    ends: list[torch.Tensor] = []
    found = climbed(scene[1], stroke(), 3, 1, lambda step, now: ends.append(now.kernel.clone()))
    kept, first, blurred, blob = (
        kernel_similarity(kernel.numpy(), stroke().numpy()) for kernel in (found.likeliest, *ends[2][:, 0])
    )
    assert first > 0.95 > max(blurred, blob)
    assert kept > 0.95


@pytest.mark.parametrize(
    ("energies", "taken"),
    [((0.0, -9.0, -9.1), 2), ((0.0, -9.1, -9.0), 1), ((0.0, -0.1, -0.2), 0), ((0.0, 5.0, 9.0), 0)],
    ids=["by a little", "the other by a little", "than the first by too little", "the first"],
)
def test_only_the_first_climb_has_to_be_clearly_beaten(scene, energies, taken, monkeypatch) -> None:
    """On the bridge of Lai et al. the likeliest end was left, as one before it was not clearly worse."""
    y = scene[1]
    found = search.KernelSearch([1, 102, 108], 9, 11, 10, 2, 0.7)
    found.fitted.copy_(stroke())
    ends = torch.stack([stroke(), stroke().flip(0), climbs.widened(stroke(), 1.0)])
    found.kernel.copy_(ends[:, None])
    told = torch.tensor(energies).view(3, 1, 1, 1) * found.clearly * found.latent[0].numel()
    monkeypatch.setattr(found, "settle", lambda *_: told)
    found.take(torch.ones_like(y)[None], y)
    torch.testing.assert_close(found.likeliest, ends[taken])


def test_the_radius_of_a_kernel_is_that_of_its_light() -> None:
    wide = climbs.gaussian(2.0, 9, torch.zeros([]))
    assert float(search.rms_radius(wide)) == pytest.approx(2.0 * math.sqrt(2.0), rel=0.01)
    assert float(search.rms_radius(F.pad(wide, [3, 0, 0, 5]))) == pytest.approx(
        float(search.rms_radius(wide)), rel=1e-4
    )


def test_where_no_blur_is_the_likeliest_the_kernel_of_the_fit_stays(scene) -> None:
    """Edges so dense that sparse ones explain nothing: here the image is noise."""
    y = 0.5 + 0.2 * torch.randn(1, 94, 98, generator=torch.Generator().manual_seed(2))
    ends: list[torch.Tensor] = []
    found = climbed(y, stroke(), 8, 4, lambda step, now: ends.append(now.kernel.clone()))
    assert float(search.rms_radius(ends[7][2, 0])) < 0.65 * float(search.rms_radius(stroke()))
    assert float(found.trusted) == 0.0
    torch.testing.assert_close(found.likeliest, climbs.without_specks(stroke()))
    assert float(climbed(scene[1], stroke(), 8, 4).trusted) == 1.0


def test_the_last_part_stays_on_what_is_left_of_the_likeliest(scene) -> None:
    between: dict[int, torch.Tensor] = {}
    found = climbed(
        scene[1], stroke(), 11, 8, lambda step, now: between.update({step: now.likeliest.clone()})
    )
    support = climbs.without_specks(between[18]) > 0.0
    assert torch.equal(found.support[0, 0] > 0.0, support)
    assert float(found.likeliest[~support].sum()) == 0.0
    assert float(found.likeliest.sum()) == pytest.approx(1.0, abs=1e-4)
    assert float((found.likeliest - between[18]).abs().sum()) > 0.01


def test_without_steps_it_takes_no_room() -> None:
    empty = search.KernelSearch([3, 500, 600], 9, 11, 0, 0, 0.7)
    assert sum(tensor.numel() for tensor in empty.buffers()) < 1000


def test_a_kernel_that_is_heavy_at_one_end_keeps_the_other(scene) -> None:
    found = search.KernelSearch([1, 102, 108], 9, 11, 16, 12, 0.7)
    found.latent.copy_(F.pad(scene[0], [3, 3, 3, 3], mode="replicate"))
    found.kernel.copy_(stroke())
    high = found.kernel[1, 0]
    high.zero_()
    high[0, 3], high[1:5, 3] = 0.6, 0.1
    high = high.clone()
    weight = torch.ones_like(scene[1])
    before = Blur(climbs.through(found.kernel, found.glass), weight).forward(found.latent)
    found.centre()
    torch.testing.assert_close(found.kernel[1, 0, 2:7, 5], high[0:5, 3])
    torch.testing.assert_close(found.kernel[0, 0], stroke())  # each climb on its own
    after = Blur(climbs.through(found.kernel, found.glass), weight).forward(found.latent)
    torch.testing.assert_close(after[..., 4:-4, 4:-4], before[..., 4:-4, 4:-4])


def test_it_goes_on_from_elsewhere_as_it_is_told(scene) -> None:
    """What a ladder leaves: where the last climb begins, how steep edges may be, and which data count."""
    y = scene[1]
    found = search.KernelSearch([1, 102, 108], 9, 11, 16, 12, 0.7)
    found.beginning.copy_(stroke())
    found.steepest.fill_(0.9)
    flat = torch.full((9, 11), 1 / 99)
    found.prepare(0, F.pad(y, [5, 5, 4, 4]), flat, y, torch.ones_like(y), torch.tensor(9e-6), y.std())
    torch.testing.assert_close(found.kernel[2, 0], stroke())
    torch.testing.assert_close(found.kernel[0, 0], flat)
    assert float(found.scale / y.std()) == pytest.approx(0.9)  # a flat kernel asks for more
    assert found.telling.shape == y.shape[1:]
    assert float(found.telling.min()) == float(found.telling.max()) == 1.0


def test_a_climb_that_need_not_move_far_believes_the_data_from_its_start_on(scene) -> None:
    y = scene[1]
    found = search.KernelSearch([1, 102, 108], 9, 11, 10, 2, 0.7)
    found.beginning.copy_(stroke())
    found.doubt.fill_(0.035)
    errors: list[list[float]] = []
    for step in range(10):
        image = F.pad(y, [5, 5, 4, 4])
        found.prepare(step, image, stroke(), y, torch.ones_like(y), torch.tensor(9e-6), y.std())
        errors.append(found.error.flatten().tolist())
    course = [0.2] * 3 + [0.1] + [0.05] * 2 + [0.025] * 4
    assert [row[0] for row in errors] == pytest.approx([0.025] * 10)
    assert [row[1] for row in errors] == pytest.approx(course)
    assert [row[2] for row in errors] == pytest.approx([min(0.035, error) for error in course])
