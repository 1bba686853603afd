"""The convex problems of the polish, held to dense float64 versions and to what defines their answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_vdip.core import prior, refine
from napari_vdip.core.blur import blur_direct
from napari_vdip.core.objective import dh, dv


def generator():
    return torch.Generator().manual_seed(3)


def random(*shape):
    return torch.rand(*shape, generator=generator(), dtype=torch.float64)


def kernel_of(rows, columns):
    kernel = random(rows, columns) ** 3
    return kernel / kernel.sum()


def matrix(operator, *shape):
    """Dense matrix of a linear operator on tensors of a shape."""
    count = int(np.prod(shape))
    columns = [operator(unit.view(shape)).flatten() for unit in torch.eye(count, dtype=torch.float64)]
    return torch.stack(columns, 1)


def test_blur_and_its_adjoint():
    kernel = kernel_of(5, 3)
    model = refine.Blur(kernel, torch.ones(1, 6, 7, dtype=torch.float64))
    forward = matrix(model.forward, 1, 10, 9)
    torch.testing.assert_close(forward, matrix(lambda x: blur_direct(x, kernel), 1, 10, 9))
    torch.testing.assert_close(matrix(model.adjoint, 1, 6, 7), forward.T)


@pytest.mark.parametrize("order", [1, 2])
def test_improve_image_solves_the_normal_equations(order):
    kernel = kernel_of(3, 5)
    y, precision, guess = random(2, 6, 7), 50 * random(2, 6, 7), random(2, 8, 11)
    precision[:, 2:4, 3:5] = 0
    weights = [random(*part.shape) for part in prior.differences(guess, order)]
    g = torch.tensor(0.3, dtype=torch.float64)
    found = refine.improve_image(torch.zeros_like(guess), y, precision, kernel, weights, guess, g, 400)
    forward = matrix(lambda x: blur_direct(x, kernel), 2, 8, 11)
    known = matrix(lambda x: prior.smoothed(x, weights) + g * x, 2, 8, 11)
    left = forward.T @ torch.diag(precision.flatten()) @ forward + known
    right = forward.T @ (precision * y).flatten() + g * guess.flatten()
    torch.testing.assert_close(found.flatten(), torch.linalg.solve(left, right), rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_several_problems_at_once_are_each_of_them(order):
    kernels = torch.stack([kernel_of(3, 5), kernel_of(3, 5).flip(0)])[:, None]
    y, precision, start = random(2, 6, 7), 50 * random(2, 2, 6, 7), random(2, 2, 8, 11)
    weights = [random(*part.shape) for part in prior.differences(start, order)]
    nothing = torch.zeros([], dtype=torch.float64)
    found = refine.improve_image(start, y, precision, kernels, weights, start, nothing, 7)
    nearest = refine.on_simplex(kernels - 0.05)
    for i in range(2):
        own = [part[i] for part in weights]
        one = refine.improve_image(start[i], y, precision[i], kernels[i, 0], own, start[i], nothing, 7)
        torch.testing.assert_close(found[i], one)
        torch.testing.assert_close(nearest[i, 0], refine.on_simplex(kernels[i, 0] - 0.05))


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_nearest_point_of_the_simplex(scale):
    values = scale * (random(4, 5) - 0.5)
    found = refine.on_simplex(values)
    assert found.min() >= 0
    assert found.sum().item() == pytest.approx(1)
    moved = values - found  # the same for all that stay, not more for those at 0: Karush-Kuhn-Tucker
    level = moved[found > 0]
    torch.testing.assert_close(level, level[0].expand_as(level))
    assert (moved[found == 0] <= level[0] + 1e-12).all()


def test_drop_weak_keeps_the_rest_in_proportion():
    kernel = torch.tensor([[0.02, 0.4], [0.58, 0.0]])
    torch.testing.assert_close(refine.drop_weak(kernel, 0.02), torch.tensor([[0.02, 0.4], [0.58, 0.0]]))
    kernel = torch.tensor([[0.01, 0.4], [0.59, 0.0]])
    torch.testing.assert_close(refine.drop_weak(kernel, 0.02), torch.tensor([[0.0, 0.4], [0.59, 0.0]]) / 0.99)


def test_kernel_fit_has_the_gradient_of_its_objective():
    x, y, weight = random(2, 12, 13), random(2, 8, 11), random(2, 8, 11)
    weight[:, 3, 4] = 0
    kernel = kernel_of(5, 3).requires_grad_(True)
    residual = blur_direct(x, kernel) - y
    v, h = weight[:, 1:] * weight[:, :-1], weight[:, :, 1:] * weight[:, :, :-1]
    energy = (v * dv(residual).square()).sum() + (h * dh(residual).square()).sum()
    loss = energy / (4 * y.numel()) + 1.5e-4 * kernel.square().sum()
    (expected,) = torch.autograd.grad(loss, kernel)
    fit = refine.KernelFit(x, y, weight, 5, 3, 3e-4)
    torch.testing.assert_close(fit.normal(kernel.detach()) - fit.right, expected)


def test_kernel_fit_finds_the_kernel_of_a_known_image():
    x, kernel = random(1, 40, 44), refine.drop_weak(kernel_of(7, 5), 0.02)
    y = blur_direct(x, kernel)
    flat = torch.full_like(kernel, 1 / kernel.numel())
    found = refine.KernelFit(x, y, torch.ones_like(y), 7, 5, 3e-4).improve(flat, 200)
    assert (found - kernel).abs().sum() < 0.02 < 0.3 < (flat - kernel).abs().sum()


def test_what_hardly_reaches_the_frame_goes_on_evenly():
    place = torch.arange(7) - 3
    kernel = torch.exp(-(place[:, None] ** 2 + place**2) / 2)[:, 1:]  # 7 x 6, centred
    kernel = kernel / kernel.sum()
    frame = torch.rand(1, 20, 21)
    canvas = torch.full((1, 26, 26), 100.0)
    canvas[:, 3:23, 3:24] = frame
    found = refine.within_sight(canvas, kernel)
    assert found.shape == canvas.shape
    torch.testing.assert_close(found[:, 3:23, 3:24], frame, rtol=0, atol=1e-5)
    corners = found[0, [0, 0, -1, -1], [0, -1, 0, -1]]
    torch.testing.assert_close(corners, frame[0, [0, 0, -1, -1], [0, -1, 0, -1]], rtol=0, atol=0.5)
    edge = frame[0, 0, 5:13]
    kept = [float(((found[0, row, 8:16] - edge) / (100.0 - edge)).mean()) for row in (2, 1, 0)]
    reaches = [float(kernel.sum(1)[first:].sum()) for first in (4, 5, 6)]  # 0.3, 0.06 and 0.004 of the light
    assert kept == pytest.approx([1.0, 10 * reaches[1], 10 * reaches[2]], abs=1e-3)


def test_pixels_of_very_different_weight_are_solved_in_few_steps():
    """Without the preconditioner a third of the light was missing here, and 5 % too much in a real frame."""
    place = torch.arange(5, dtype=torch.float64) - 2
    kernel = torch.exp(-0.5 * (place[:, None] ** 2 + place**2))
    kernel = kernel / kernel.sum()
    x = torch.ones(1, 44, 44, dtype=torch.float64)
    x[:, 20:24, 20:24] = 50.0  # a star, whose pixels are trusted a little, over a sky that is trusted much
    precision = torch.full((1, 40, 40), 1e4, dtype=torch.float64)
    precision[:, 16:24, 16:24] = 1.0
    y = refine.Blur(kernel, precision).forward(x)
    sparse = [torch.full_like(part, 1e-3) for part in prior.differences(x, 1)]
    weak = torch.full_like(x, 1e-6)
    found = refine.improve_image(torch.full_like(x, 1.5), y, precision, kernel, sparse, 0 * x, weak, 20)
    inner = (slice(None), slice(2, -2), slice(2, -2))
    assert float(found[inner].sum() / x[inner].sum()) == pytest.approx(1.0, abs=0.002)
