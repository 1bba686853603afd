"""Climbs to kernels of great evidence: each part against its definition."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from scenes import random, stroke
from scipy.optimize import minimize_scalar

from napari_vdip.core import climbs
from napari_vdip.core.prior import expected_squares, penalty
from napari_vdip.core.refine import Blur
from napari_vdip.core.spread import Spread


def test_kernel_and_glass_together_blur_as_one_after_the_other() -> None:
    kernels, glass = random(2, 1, 5, 4), climbs.gaussian(0.7, 3, torch.zeros([]))
    image = random(1, 30, 33)
    both = Blur(climbs.through(kernels, glass), torch.ones(1, 20, 24)).forward(image)
    seen = F.conv2d(image[:, None], glass[None, None])[:, 0]
    for kernel, found in zip(kernels[:, 0], both, strict=True):
        torch.testing.assert_close(found, Blur(kernel, torch.ones(1, 20, 24)).forward(seen))
    assert float(glass.sum()) == pytest.approx(1.0)


def test_the_adjoint_is_one() -> None:
    kernel, glass = random(1, 1, 5, 4), climbs.gaussian(0.7, 3, torch.zeros([]))
    other = random(1, 1, 11, 10, seed=1)
    there = (climbs.through(kernel, glass) * other).sum()
    torch.testing.assert_close(there, (kernel * climbs.through_adjoint(other, glass)).sum())


def test_the_spectrum_of_the_variances_adds_up_to_them() -> None:
    ratio = 10.0 ** (2.0 * random(1, 20, 24) - 3.0)
    spread = Spread(stroke(), ratio, torch.zeros([]), 1)
    torch.testing.assert_close(spread.spectrum().mean(), spread.pixel().sum(), rtol=1e-4, atol=0.0)


def test_the_scale_is_the_one_of_least_energy() -> None:
    image, var = 5.0 * random(1, 40, 44), 0.01 * random(1, 40, 44, seed=1)

    def energy(logarithm: float) -> float:
        scale = torch.tensor(math.exp(logarithm))
        total = sum(
            penalty(square, scale, climbs.steep()).sum() for square in expected_squares(image, var, 1)
        )
        return float(total) + image.numel() * logarithm

    scale = torch.tensor(1.0)
    for _ in range(20):
        scale = climbs.rescaled(image, var, scale)
    best = minimize_scalar(energy, bounds=(-5, 5), method="bounded")
    assert float(scale.log()) == pytest.approx(best.x, abs=0.01)


def test_specks_are_noise_and_weak_arms_are_not() -> None:
    kernel = stroke()
    kernel[3:5, 4:6] += 0.02 * kernel.max()  # beside the stroke
    speckled = kernel.clone()
    speckled[7, 1] = speckled[0, 9] = 0.15 * kernel.max()
    cleaned = climbs.without_specks(speckled)
    torch.testing.assert_close(cleaned, kernel / kernel.sum())


def test_a_faint_way_between_two_parts_stays_and_a_dead_end_goes() -> None:
    kernel = torch.zeros(15, 15)
    kernel[2:4, 2:5] = 1.0
    kernel[10:12, 9:13] = 0.5
    kernel[range(4, 10), range(4, 10)] = 0.15  # where the camera was fast
    speckled = kernel.clone()
    speckled[4:8, 2] = 0.15  # leads nowhere
    speckled[13, 2] = 0.15
    cleaned = climbs.without_specks(speckled)
    # Beside a part its light keeps what is next to it.
    far = torch.ones(15, 15, dtype=torch.bool)
    far[1:6, 1:7] = False
    torch.testing.assert_close((cleaned > 0.0)[far], (kernel > 0.0)[far])
    assert float(cleaned[6:8, 2].sum()) == 0.0
    broken = speckled.clone()
    broken[6:8, 6:8] = 0.0
    apart = climbs.without_specks(broken)
    assert float(apart[11, 11]) > 0.0  # a part that nothing leads to is a part of the kernel all the same
    assert float(apart[8:9, 8].sum()) == 0.0


def test_steps_go_around_a_wall() -> None:
    start, open_ = torch.zeros(3, 5), torch.ones(3, 5)
    start[0, 0] = 1.0
    open_[0:2, 2] = 0.0
    open_[:, 4] = 0.0
    found = climbs.steps_from(start, open_)
    assert found[0].tolist() == [0.0, 1.0, math.inf, 4.0, math.inf]
