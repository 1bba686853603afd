"""Variances by frequencies, held to the dense inverse of the posterior's precision."""

from __future__ import annotations

import pytest
import torch

from napari_vdip.core.blur import blur_direct
from napari_vdip.core.objective import dh, dv
from napari_vdip.core.refine import dh_adjoint, dv_adjoint
from napari_vdip.core.spread import Spread

SIDE, WEIGHT, GUESS = 21, 400.0, 8.0


@pytest.fixture(scope="module")
def kernel():
    taps = torch.tensor([[0.0, 1.0, 2.0], [1.0, 4.0, 1.0], [3.0, 1.0, 0.0]], dtype=torch.float64)
    return taps / taps.sum()


def dense_precision(kernel, gradient):
    """Precision of a posterior under a prior that is the same everywhere, (n, n)."""
    units = torch.eye(SIDE * SIDE, dtype=torch.float64).view(-1, SIDE, SIDE)
    blurred = blur_direct(units, kernel).flatten(1)
    prior = gradient * (dv_adjoint(dv(units)) + dh_adjoint(dh(units))).flatten(1)
    return WEIGHT * blurred @ blurred.T + prior + GUESS * torch.eye(SIDE * SIDE, dtype=torch.float64)


@pytest.mark.parametrize("gradient", [4.0, 40.0, 400.0])
def test_variances_are_those_of_the_dense_inverse_far_from_the_border(kernel, gradient):
    precision = dense_precision(kernel, gradient)
    cov = torch.linalg.inv(precision)
    middle, right = SIDE * SIDE // 2, SIDE * SIDE // 2 + 1
    ratio = torch.full((1, 2, 2), gradient / WEIGHT, dtype=torch.float64)
    ratio[0, 0, 0] *= 30  # another place of the image: the table has to be read where it belongs
    spread = Spread(kernel, ratio, torch.tensor(GUESS / WEIGHT, dtype=torch.float64))
    assert spread.pixel()[0, 1, 1].item() / WEIGHT == pytest.approx(cov[middle, middle].item(), rel=0.03)
    slope = cov[middle, middle] + cov[right, right] - 2 * cov[middle, right]
    # The table has the mean of both directions.
    below = middle + SIDE
    steep = cov[middle, middle] + cov[below, below] - 2 * cov[middle, below]
    assert spread.gradient()[0, 1, 1].item() / WEIGHT == pytest.approx(0.5 * (slope + steep).item(), rel=0.03)
    assert spread.pixel()[0, 0, 0] < 0.5 * spread.pixel()[0, 1, 1]


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
    )
    share = (cov @ (WEIGHT * blurred @ blurred.T))[middle, middle].item()
    assert spread.data_share()[0, 0, 0].item() == pytest.approx(share, rel=0.03)
    # The dense determinant has borders, where the data see less: the mean over the image is near.
    mean = (torch.logdet(precision) / SIDE**2).item() - torch.tensor(WEIGHT).log().item()
    assert spread.log_precision()[0, 0, 0].item() == pytest.approx(mean, abs=0.15)
