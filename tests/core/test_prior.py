"""The prior's differences, held to dense float64 versions."""

from __future__ import annotations

import pytest
import torch
from test_refine import matrix, random

from napari_vdip.core import prior
from napari_vdip.core.objective import dh, dv

ORDERS = pytest.mark.parametrize("order", [1, 2])


@pytest.mark.parametrize(("operator", "adjoint"), [(dv, prior.dv_adjoint), (dh, prior.dh_adjoint)])
def test_adjoint_of_a_difference_is_its_transpose(operator, adjoint):
    forward = matrix(operator, 1, 4, 5)
    shape = operator(torch.zeros(1, 4, 5)).shape
    torch.testing.assert_close(matrix(adjoint, *shape), forward.T)


def test_second_differences_are_those_of_a_parabola():
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    image = (3 * y * y + 2 * x * x + 5 * x * y)[None]
    straight, across, mixed = prior.differences(image, 2)
    assert (straight == 6).all()
    assert (across == 4).all()
    assert (mixed == 5).all()
    assert straight.shape == (1, 3, 6)
    assert mixed.shape == (1, 4, 5)


@ORDERS
def test_smoothed_is_the_weighted_square_of_the_differences(order):
    image = random(2, 6, 7)
    weights = [random(*part.shape) for part in prior.differences(image, order)]
    energy = sum(
        (w * d.square()).sum() for w, d in zip(weights, prior.differences(image, order), strict=True)
    )
    torch.testing.assert_close((image * prior.smoothed(image, weights)).sum(), energy)
    dense = matrix(lambda x: prior.smoothed(x, weights), 2, 6, 7)
    torch.testing.assert_close(dense, dense.T)


@ORDERS
def test_density_is_the_diagonal_of_the_prior_over_that_of_precision_one(order):
    image = random(1, 7, 8)
    weights = [random(*part.shape) for part in prior.differences(image, order)]
    ones = [torch.ones_like(part) for part in weights]
    if order == 2:
        weights[2], ones[2] = 2 * weights[2], 2 * ones[2]
    inner = matrix(lambda x: prior.smoothed(x, ones), 1, 7, 8).diagonal().view(1, 7, 8)[0, 3, 3]
    dense = matrix(lambda x: prior.smoothed(x, weights), 1, 7, 8).diagonal().view(1, 7, 8)
    torch.testing.assert_close(prior.density(weights), dense / inner)


@ORDERS
def test_expected_square_is_that_of_many_samples(order):
    torch.manual_seed(0)
    mean, var = torch.rand(1, 5, 6), torch.full((1, 5, 6), 0.04)
    for found, difference in zip(
        prior.expected_squares(mean, var, order), prior.differences(mean, order), strict=True
    ):
        samples = difference + 0.2 * torch.randn(20_000, *difference.shape)
        torch.testing.assert_close(found, samples.square().mean(0), rtol=0, atol=0.02)


@pytest.mark.parametrize("sparse", [prior.NATURAL, prior.Sparse(1, 3.0, 0.2)])
def test_precision_bounds_the_prior_from_above(sparse):
    """Reweighting descends because the quadratic touches the penalty at d and lies above it elsewhere."""
    contrast = torch.tensor(0.2, dtype=torch.float64)
    at, d = torch.tensor(0.1, dtype=torch.float64), torch.linspace(-1, 1, 401, dtype=torch.float64)
    weight = prior.precisions([at.square(), at.square()], contrast, sparse)[0]
    here, there = (prior.penalty(x.square(), contrast, sparse) for x in (at, d))
    assert (here + 0.5 * weight * (d.square() - at.square()) >= there - 1e-12).all()


def test_precision_knows_no_units():
    """Ten times the intensities: the same bound of the same penalty."""
    squares, contrast = [random(1, 3, 3), random(1, 3, 3)], torch.tensor(0.2, dtype=torch.float64)
    large = prior.precisions([100 * square for square in squares], 10 * contrast, prior.NATURAL)
    small = prior.precisions(squares, contrast, prior.NATURAL)
    for found, expected in zip(large, small, strict=True):
        torch.testing.assert_close(found, expected / 100)


def test_the_mixed_second_difference_counts_twice():
    contrast, square = torch.tensor(0.2), torch.rand(4, 4)
    first = prior.precisions([square, square], contrast, prior.NATURAL)
    second = prior.precisions([square, square, square], contrast, prior.NATURAL._replace(order=2))
    for found, times in zip(second, (1.0, 1.0, 2.0), strict=True):
        torch.testing.assert_close(found, times * first[0])
