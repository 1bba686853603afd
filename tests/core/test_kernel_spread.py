"""How a polished image changes with its kernel."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from napari_vdip.core.blur import blur_direct
from napari_vdip.core.kernel_spread import KernelSpread
from napari_vdip.core.prior import NATURAL


def gaussian(std, size=7):
    place = torch.arange(size) - size // 2
    kernel = torch.exp(-(place[:, None] ** 2 + place**2) / (2 * std**2))
    return kernel / kernel.sum()


@pytest.fixture
def program():
    """State at the end of a polish: a bright square, blurred by a Gaussian."""
    torch.manual_seed(0)
    sharp = torch.full((1, 38, 38), 0.2)
    sharp[0, 12:24, 12:24] = 0.7
    kernel = gaussian(1.2)
    y = blur_direct(sharp, kernel) + 0.01 * torch.randn(1, 32, 32)
    return SimpleNamespace(
        y=y,
        weight=torch.ones_like(y),
        noise_var=torch.tensor(1e-4),
        contrast=y.std(),
        model_error=0.01,
        ridge=3e-4,
        sparse=NATURAL,
        guess_error=0.6,
        floor=torch.tensor(-1e6),
        kernel=kernel,
        mean=sharp,
        generated=sharp,
        slope_var=torch.full_like(sharp, 1e-4),
    )


def test_the_same_kernel_changes_nothing(program):
    spread = KernelSpread(program)
    spread.add(program.kernel, 1.0)
    assert spread.total.abs().max() < 1e-12


def test_another_width_changes_edges_and_twice_as_far_about_twice_as_much(program):
    near, far = KernelSpread(program), KernelSpread(program)
    near.add(gaussian(1.22), 1.0)
    far.add(gaussian(1.24), 1.0)
    edge, ground = near.total[0, 14:22, 10:14].mean(), near.total[0, 28:34, 28:34].mean()
    assert edge > 20 * ground
    assert (far.total.sum() / near.total.sum()).sqrt() == pytest.approx(2, rel=0.3)


def test_shares_add_up(program):
    spread = KernelSpread(program)
    spread.add(gaussian(1.25), 0.5)
    once = spread.total.clone()
    spread.add(gaussian(1.25), 0.5)
    torch.testing.assert_close(spread.total, 2 * once)


def test_a_free_kernel_follows_drawn_data(program):
    spread = KernelSpread(program)
    still = spread.drawn(None)
    assert (still - program.kernel).abs().sum() < 0.2
    apart = []
    for seed in range(2):
        noise = torch.randn(program.y.shape, generator=torch.Generator().manual_seed(seed))
        kernel = spread.drawn(noise)
        assert kernel.min() >= 0
        assert kernel.sum() == pytest.approx(1, abs=1e-4)
        apart.append((kernel - still).abs().sum().item())
    assert min(apart) > 1e-3
