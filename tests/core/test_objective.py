"""Each term of the objective in float64 against its formula, its laws, and its gradient."""

from __future__ import annotations

import math

import naive
import pytest
import torch
from torch.autograd import gradcheck

from napari_vdip.core import objective
from napari_vdip.core.blur import blur_direct
from napari_vdip.core.random import normal

CHANNELS = pytest.mark.parametrize("channels", [1, 3])


def random(*shape, seed=0):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kernel_like(*shape, seed=0):
    k = random(*shape, seed=seed)
    return k / k.sum()


@CHANNELS
def test_data_term(channels):
    x, k, y = random(channels, 10, 12), kernel_like(3, 5, seed=1), random(channels, 8, 8, seed=2)
    got = objective.data_term(blur_direct(x, k) - y, x.numel())
    torch.testing.assert_close(got, naive.data_term(x, k, y))


def test_data_term_of_one_bright_pixel():
    """1/2 for the pixel; 2 edges each way; 6 and 4 for the pure and mixed second differences."""
    residual = torch.zeros(1, 7, 7, dtype=torch.float64)
    residual[0, 3, 3] = 1
    expected = 1 / 2 + (2 + 2) / 2 + (6 + 4 + 4 + 6) / 8
    assert objective.data_term(residual, 81).item() == pytest.approx(-expected / 81)


@pytest.mark.parametrize("shape", [(3, 3), (1, 1), (4, 3), (5, 2)])
@pytest.mark.parametrize("size", [(6, 7), (3, 4)])
def test_data_spread_is_the_energy_of_each_pixel(shape, size):
    k = kernel_like(*shape)
    all_orders = naive.spread(k, *size, naive.OPERATORS)
    torch.testing.assert_close(objective.data_spread(k, *size, 2), all_orders)
    torch.testing.assert_close(objective.data_spread(k, *size, 0), naive.spread(k, *size, {"": 0.5}))


@CHANNELS
def test_closed_form_is_the_mean_of_many_samples(channels):
    mean, std = random(channels, 9, 10), 0.5 * random(channels, 9, 10, seed=1)
    k, y = kernel_like(3, 3, seed=2), random(channels, 7, 8, seed=3)
    spread = objective.data_spread(k, 7, 8, 2)
    residual = blur_direct(mean, k) - y
    closed = objective.data_term(residual, mean.numel()) - (std**2 * spread).sum() / mean.numel()
    draws = torch.randn(4000, *mean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    sampled = torch.stack(
        [objective.data_term(blur_direct(mean + std * d, k) - y, mean.numel()) for d in draws]
    )
    error = sampled.std() / math.sqrt(len(sampled))
    assert abs(sampled.mean() - closed) < 4 * error
    assert error < 0.02 * abs(closed)


@CHANNELS
def test_entropy(channels):
    std = random(channels, 5, 6) + 0.01
    assert objective.entropy(std).item() == pytest.approx(
        sum(math.log(s) for s in std.flatten().tolist()) / std.numel()
    )


def test_entropy_of_no_uncertainty_is_finite():
    std = torch.zeros(1, 3, 3, dtype=torch.float64, requires_grad=True)
    value = objective.entropy(std)
    (grad,) = torch.autograd.grad(value, std)
    assert torch.isfinite(value)
    assert torch.isfinite(grad).all()


@CHANNELS
def test_sparse_prior(channels):
    mean, std = random(channels, 5, 6), random(channels, 5, 6, seed=1)
    torch.testing.assert_close(objective.sparse_prior(mean, std), naive.sparse_prior(mean, std))


@CHANNELS
def test_sparse_prior_gradient_holds_the_weights(channels):
    mean = random(channels, 4, 5).requires_grad_(True)
    std = random(channels, 4, 5, seed=1).requires_grad_(True)
    weights = 1 / (torch.stack(list(naive.pairs(mean, std))).detach() + 1e-6)
    expected = torch.autograd.grad(naive.sparse_prior(mean, std, weights), (mean, std))
    got = torch.autograd.grad(objective.sparse_prior(mean, std), (mean, std))
    torch.testing.assert_close(got, expected)
    assert gradcheck(lambda m, s: naive.sparse_prior(m, s, weights), (mean, std))


def test_sparse_prior_prefers_flat_images():
    """A step along its gradient brings neighbours together."""
    mean = torch.tensor([[[0.2, 0.8], [0.2, 0.8]]], dtype=torch.float64, requires_grad=True)
    std = torch.full((1, 2, 2), 1e-3, dtype=torch.float64)
    (grad,) = torch.autograd.grad(objective.sparse_prior(mean, std), mean)
    assert (grad[0, :, 0] > 0).all()
    assert (grad[0, :, 1] < 0).all()


@CHANNELS
@pytest.mark.parametrize("window", [1, 2, 5])
def test_window_minimum(channels, window):
    image = random(channels, 8, 9) - 0.5
    assert torch.equal(objective.window_minimum(image, window), naive.window_minimum(image, window))


def test_window_larger_than_the_image_takes_all_of_it():
    image = random(2, 5, 20)
    whole = objective.window_minimum(image, 35)
    assert whole.shape == (1, 1)
    assert whole.item() == image.min()


@CHANNELS
def test_extreme_prior_and_its_gradient(channels):
    """The value is -1/4 each by construction; the gradient is what acts."""
    mean = random(channels, 7, 8).requires_grad_(True)
    std = (0.2 * random(channels, 7, 8, seed=1)).requires_grad_(True)
    seed, stream = torch.tensor(5), torch.tensor(9)
    draws = normal(2 * mean.numel(), seed, stream).double().view(2, *mean.shape)
    expected, held = naive.extreme_prior(mean, std, draws, 3)
    got = objective.extreme_prior(mean, std, seed, stream, 3)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(
        torch.autograd.grad(got, (mean, std)), torch.autograd.grad(expected, (mean, std))
    )
    assert gradcheck(lambda m, s: naive.extreme_prior(m, s, draws, 3, held)[0], (mean, std))


def test_moments_of_the_squares():
    """The variance of (1 - x)^2 has its cross term: 4 (1 - m)^2 s^2 + 2 s^4."""
    m, s = 0.3, 0.2
    x = m + s * torch.randn(10**6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for u, sample in ((m, x**2), (1 - m, (1 - x) ** 2)):
        assert sample.mean().item() == pytest.approx(u**2 + s**2, rel=0.01)
        assert sample.var().item() == pytest.approx(4 * u**2 * s**2 + 2 * s**4, rel=0.01)


@pytest.mark.parametrize("window", [3, 35])
def test_extreme_prior_is_finite_at_the_ends_of_the_range(window):
    mean = torch.zeros(1, 40, 41, dtype=torch.float64)
    mean[:, 20:] = 1.0
    mean.requires_grad_(True)
    std = torch.zeros(1, 40, 41, dtype=torch.float64, requires_grad=True)
    value = objective.extreme_prior(mean, std, torch.tensor(0), torch.tensor(0), window)
    for part in (value, *torch.autograd.grad(value, (mean, std))):
        assert torch.isfinite(part).all()


def test_kernel_term():
    k = kernel_like(3, 5)
    assert objective.kernel_term(k).item() == pytest.approx(-10 * sum(v**2 for v in k.flatten().tolist()) / 2)


def test_kernel_term_prefers_a_flat_kernel():
    flat = torch.full((3, 3), 1 / 9, dtype=torch.float64)
    delta = torch.zeros(3, 3, dtype=torch.float64)
    delta[1, 1] = 1
    assert objective.kernel_term(flat) > objective.kernel_term(delta)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (4, 4)])
def test_centre_distance(shape):
    k = kernel_like(*shape)
    rows, columns = naive.centre_of_mass(k)
    torch.testing.assert_close(objective.centre_distance(k), rows**2 + columns**2)
    assert objective.centre_distance(k + k.flip([0, 1])).item() == pytest.approx(0, abs=1e-25)


@CHANNELS
def test_ssim(channels):
    image, target = random(channels, 13, 14), random(channels, 13, 14, seed=1)
    target = 0.6 * image + 0.4 * target
    got = objective.ssim(image, target, *objective.local_moments(target))
    torch.testing.assert_close(got, naive.ssim(image, target))


def test_ssim_of_an_image_with_itself_is_one():
    image = random(3, 15, 16)
    assert objective.ssim(image, image, *objective.local_moments(image)).item() == pytest.approx(1)


TERMS = {
    "data term": (lambda r: objective.data_term(r, 40), [(1, 5, 6)]),
    "data spread, order 0": (lambda k: (objective.data_spread(k, 4, 5, 0) ** 2).sum(), [(3, 2)]),
    "data spread, order 2": (lambda k: (objective.data_spread(k, 4, 5, 2) ** 2).sum(), [(3, 2)]),
    "entropy": (lambda s: objective.entropy(s + 0.1), [(2, 3, 4)]),
    "window minimum": (lambda x: objective.window_minimum(x, 3), [(2, 6, 7)]),
    "kernel term": (objective.kernel_term, [(3, 5)]),
    "centre distance": (objective.centre_distance, [(3, 5)]),
    "ssim": (lambda x, y: objective.ssim(x, y, *objective.local_moments(y)), [(2, 6, 7), (2, 6, 7)]),
}


@pytest.mark.parametrize("name", TERMS)
def test_gradcheck(name):
    """The two priors hold parts of themselves, and are checked with those parts held, above."""
    term, shapes = TERMS[name]
    inputs = tuple(random(*shape, seed=i).requires_grad_(True) for i, shape in enumerate(shapes))
    assert gradcheck(term, inputs)
