"""Patches of few cosines, held to OpenCV's transform of one patch at a time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scenes import random

from napari_vdip.core.patches import cosines, simple


def noisy(height=48, width=56, std=0.05, channels=1):
    """Draw a roof of two slopes over a dark ground, and the same with noise."""
    y, x = torch.meshgrid(torch.arange(height * 1.0), torch.arange(width * 1.0), indexing="ij")
    roof = torch.where(y + 0.4 * x > 40.0, 0.8 - 0.005 * x, 0.1 + 0.003 * y).expand(channels, -1, -1)
    noise = torch.randn(channels, height, width, generator=torch.Generator().manual_seed(0))
    return roof, roof + std * noise


def error(image, truth):
    return (image - truth).square().mean().sqrt().item()


def one_by_one(image, var, side, large):
    """Do the same patch by patch in float64: transform, threshold, put back with its weight."""
    edge = side - 1
    wide = np.pad(image, edge, mode="edge")
    wide_var = np.pad(var, edge, mode="edge")
    sums, weights = np.zeros_like(wide), np.zeros_like(wide)
    for top in range(wide.shape[0] - edge):
        for left in range(wide.shape[1] - edge):
            at = np.s_[top : top + side, left : left + side]
            found = cv2.dct(wide[at])
            kept = np.abs(found) > large * np.sqrt(wide_var[at].mean())
            kept[0, 0] = True
            sums[at] += cv2.idct(found * kept) / kept.sum()
            weights[at] += 1 / kept.sum()
    return (sums / weights)[edge:-edge, edge:-edge]


def test_cosines_are_an_orthonormal_basis():
    waves = cosines(torch.zeros(1, dtype=torch.float64), 8)
    torch.testing.assert_close(waves @ waves.T, torch.eye(8, dtype=torch.float64))
    signal = random(8).double()
    np.testing.assert_allclose(waves @ signal, cv2.dct(signal.numpy()).ravel(), atol=1e-12)


@pytest.mark.parametrize("shape", [(13, 18), (16, 9), (5, 31)])
def test_is_what_every_patch_tells_on_its_own(shape):
    image = random(2, *shape).double()
    var = 0.02 * random(2, *shape, seed=1).double()
    found = simple(image, var, 4, 2.0)
    for channel in range(2):
        expected = one_by_one(image[channel].numpy(), var[channel].numpy(), 4, 2.0)
        np.testing.assert_allclose(found[channel], expected, atol=1e-12)


def test_noise_goes_and_edges_stay():
    truth, image = noisy()
    found = simple(image, torch.full_like(image, 0.05**2))
    assert error(found, truth) < 0.45 * error(image, truth)
    steps = [(part[0, 5:-5] - part[0, 4:-6]).abs().amax(0).mean() for part in (found, truth)]
    assert steps[0] > 0.75 * steps[1]  # a Gaussian of 1 px leaves .4


def test_an_image_that_is_trusted_stays_as_it_is():
    _, image = noisy()
    torch.testing.assert_close(simple(image, torch.full_like(image, 1e-12)), image, rtol=0, atol=1e-6)


def test_light_is_kept():
    _, image = noisy(std=0.2)
    found = simple(image, torch.full_like(image, 0.2**2))
    assert found.mean().item() == pytest.approx(image.mean().item(), rel=0.005)


def test_no_place_of_the_grid_is_another():
    _, image = noisy()
    var = torch.full_like(image, 0.05**2)
    moved = simple(image[:, 3:, 5:], var[:, 3:, 5:])
    torch.testing.assert_close(moved[:, 8:-8, 8:-8], simple(image, var)[:, 11:-8, 13:-8], rtol=0, atol=1e-6)


def test_each_pixel_has_its_own_noise():
    truth, image = noisy()
    var = torch.full_like(image, 1e-12)
    var[:, :, 28:] = 0.05**2
    found = simple(image, var)
    torch.testing.assert_close(found[:, :, :20], image[:, :, :20], rtol=0, atol=1e-5)
    assert error(found[:, :, 36:], truth[:, :, 36:]) < 0.5 * error(image[:, :, 36:], truth[:, :, 36:])


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (7, 7)])
def test_images_smaller_than_a_patch(shape):
    image = random(1, *shape)
    found = simple(image, torch.full_like(image, 0.01))
    assert found.shape == image.shape
    assert torch.isfinite(found).all()
