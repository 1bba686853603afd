"""Variances by frequencies, held to the dense inverse of the posterior's precision."""

from __future__ import annotations

import pytest
import torch

from napari_vdip.core.blur import blur_direct
from napari_vdip.core.prior import differences, smoothed
from napari_vdip.core.spread import Spread

SIDE, WEIGHT, GUESS = 21, 400.0, 8.0


@pytest.fixture(scope="module")
def kernel():
    taps = torch.tensor([[0.0, 1.0, 2.0], [1.0, 4.0, 1.0], [3.0, 1.0, 0.0]], dtype=torch.float64)
    return taps / taps.sum()


def dense_precision(kernel, gradient, order=1):
    """Precision of a posterior under a prior that is the same everywhere, (n, n)."""
    units = torch.eye(SIDE * SIDE, dtype=torch.float64).view(-1, SIDE, SIDE)
    blurred = blur_direct(units, kernel).flatten(1)
    ones = [gradient * torch.ones_like(part) for part in differences(units[:1], order)]
    if order == 2:
        ones[2] = 2.0 * ones[2]  # dvdh and dhdv
    prior = smoothed(units, ones).flatten(1)
    return WEIGHT * blurred @ blurred.T + prior + GUESS * torch.eye(SIDE * SIDE, dtype=torch.float64)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("gradient", [4.0, 40.0, 400.0])
def test_variances_are_those_of_the_dense_inverse_far_from_the_border(kernel, gradient, order):
    precision = dense_precision(kernel, gradient, order)
    cov = torch.linalg.inv(precision)
    middle = SIDE * SIDE // 2
    ratio = torch.full((1, 2, 2), gradient / WEIGHT, dtype=torch.float64)
    ratio[0, 0, 0] *= 30  # another place of the image: the table has to be read where it belongs
    spread = Spread(kernel, ratio, torch.tensor(GUESS / WEIGHT, dtype=torch.float64), order)
    assert spread.pixel()[0, 1, 1].item() / WEIGHT == pytest.approx(cov[middle, middle].item(), rel=0.03)
    # The table has the mean of all directions, the mixed one of which counts twice.
    columns = differences(cov.view(-1, SIDE, SIDE), order)
    at = SIDE // 2
    dense = [
        differences(part[:, at - order // 2, at - order // 2].view(1, SIDE, SIDE), order) for part in columns
    ]
    own = [part[i][0, at - order // 2, at - order // 2].item() for i, part in enumerate(dense)]
    mean = sum(own) / 2 if order == 1 else (own[0] + own[1] + 2 * own[2]) / 4
    assert spread.difference()[0, 1, 1].item() / WEIGHT == pytest.approx(mean, rel=0.03)
    assert spread.pixel()[0, 0, 0] < 0.7 * spread.pixel()[0, 1, 1]


def test_share_of_the_data_and_log_determinant(kernel):
    precision = dense_precision(kernel, 40.0)
    cov = torch.linalg.inv(precision)
    units = torch.eye(SIDE * SIDE, dtype=torch.float64).view(-1, SIDE, SIDE)
    blurred = blur_direct(units, kernel).flatten(1)
    middle = SIDE * SIDE // 2
    spread = Spread(
        kernel,
        torch.full((1, 1, 2), 40.0 / WEIGHT, dtype=torch.float64),
        torch.tensor(GUESS / WEIGHT, dtype=torch.float64),
        1,
    )
    share = (cov @ (WEIGHT * blurred @ blurred.T))[middle, middle].item()
    assert spread.data_share()[0, 0, 0].item() == pytest.approx(share, rel=0.03)
    # The dense determinant has borders, where the data see less: the mean over the image is near.
    mean = (torch.logdet(precision) / SIDE**2).item() - torch.tensor(WEIGHT).log().item()
    assert spread.log_precision()[0, 0, 0].item() == pytest.approx(mean, abs=0.15)


def test_several_images_at_once_are_each_of_them(kernel):
    kernels = torch.stack([kernel, kernel.flip(0) ** 2])[:, None]
    ratio = 10.0 ** (3.0 * torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(1)).double() - 2.0)
    guess = torch.tensor(GUESS / WEIGHT, dtype=torch.float64)
    both = Spread(kernels, ratio, guess, 1)
    for i in range(2):
        own = Spread(kernels[i, 0], ratio[i], guess, 1)
        for row in range(4):
            torch.testing.assert_close(both.read(row)[i], own.read(row))
        torch.testing.assert_close(both.spectrum()[i], own.spectrum())
