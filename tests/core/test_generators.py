"""The networks against plain ones with the same weights, and the laws of what they put out."""

from __future__ import annotations

import math

import naive
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from napari_vdip.core.generators import ImageGenerator, KernelGenerator, Layout, NonLocal, cut, draw

SIZES = [(32, 32), (37, 45), (33, 64), (16, 50)]


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def noise(*shape, seed=1):
    return 0.1 * torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def copy_conv(ours, weights, plain):
    """Give a plain convolution our weight; a bias that we leave out gets arbitrary values."""
    with torch.no_grad():
        plain.weight.copy_(weights[ours.weight])
        plain.bias.copy_(weights[ours.bias] if ours.bias >= 0 else normal(*plain.bias.shape, seed=7))


def copy_norm(ours, weights, plain):
    with torch.no_grad():
        plain.weight.copy_(weights[ours.gain])
        plain.bias.copy_(weights[ours.shift])


def copy_block(conv, norm, weights, plain):
    copy_conv(conv, weights, plain[0])
    copy_norm(norm, weights, plain[1])


def copy_non_local(ours, weights, plain):
    for name in ("theta", "phi", "g", "out"):
        copy_conv(getattr(ours, name), weights, getattr(plain, name))
    copy_norm(ours.norm, weights, plain.norm)


def plain_twin(ours, theta, *shape, outer=0):
    """Build the plain network from the method's table, with the weights of ours."""
    twin = naive.ImageGenerator(*shape, outer).double().train()
    weights = cut(theta, ours.sizes, ours.shapes)
    level = twin.net
    for down, up in zip(ours.downs, reversed(ours.ups), strict=True):
        copy_block(down.halve, down.halve_norm, weights, level.halve)
        copy_block(down.conv, down.conv_norm, weights, level.deeper)
        for block in down.non_local:
            copy_non_local(block, weights, level.non_local)
        for reduce in up.reduce:
            copy_conv(reduce, weights, level.reduce)
        copy_block(up.skip, up.skip_norm, weights, level.skip)
        copy_norm(up.join_norm, weights, level.join_norm)
        copy_block(up.conv, up.conv_norm, weights, level.join)
        copy_block(up.mix, up.mix_norm, weights, level.mix)
        level = level.below
    assert isinstance(level, nn.Identity)
    with torch.no_grad():
        twin.last.weight.copy_(torch.cat([weights[ours.mean.weight], weights[ours.std[0].weight]]))
        twin.last.bias.copy_(torch.cat([weights[ours.mean.bias], weights[ours.std[0].bias]]))
    return twin


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("outputs", "nonlocal_from", "outer"), [(1, 2, 0), (3, 0, 4), (1, 3, 0)])
def test_image_generator_equals_the_plain_one(size, outputs, nonlocal_from, outer):
    shape = (3, 6, 4, 3, nonlocal_from, outputs)  # inputs, channels, skip, levels, non-local from, c
    ours = ImageGenerator(*shape, with_std=True, outer_channels=outer)
    theta = normal(ours.count, scale=0.5)
    x = noise(3, *size)
    mean, std = ours(theta, x)
    plain_mean, plain_std = plain_twin(ours, theta, *shape, outer=outer)(x)
    assert mean.shape == (outputs, *size)
    torch.testing.assert_close(mean, plain_mean)
    torch.testing.assert_close(std, plain_std)


def test_image_generator_has_the_published_gradient():
    """Biases that a norm removes have no gradient, and leaving them out changes no other."""
    shape = (3, 4, 2, 2, 1, 1)
    ours = ImageGenerator(*shape, with_std=True)
    theta = normal(ours.count, scale=0.5).requires_grad_(True)
    x = noise(3, 12, 13)
    target = normal(1, 12, 13, seed=3)
    twin = plain_twin(ours, theta.detach(), *shape)
    mean, std = ours(theta, x)
    (grad,) = torch.autograd.grad((mean * target).sum() + (std * target**2).sum(), theta)
    plain_mean, plain_std = twin(x)
    ((plain_mean * target).sum() + (plain_std * target**2).sum()).backward()
    grads = cut(grad, ours.sizes, ours.shapes)
    first_down, first_up = ours.downs[0], ours.ups[-1]
    for ours_index, plain in (
        (first_down.halve.weight, twin.net.halve[0].weight),
        (first_down.non_local[0].theta.weight, twin.net.non_local.theta.weight),
        (ours.downs[1].conv.weight, twin.net.below.deeper[0].weight),
        (first_up.join_norm.gain, twin.net.join_norm.weight),
        (first_up.mix.weight, twin.net.mix[0].weight),
    ):
        torch.testing.assert_close(grads[ours_index], plain.grad)
    assert twin.net.halve[0].bias.grad.abs().max() < 1e-10


@pytest.mark.parametrize("size", [(6, 8), (7, 9)], ids=str)
def test_non_local_block_equals_the_full_matrix(size):
    layout = Layout()
    ours = NonLocal(layout, 6)
    theta = normal(sum(layout.sizes()))
    weights = cut(theta, layout.sizes(), layout.shapes)
    plain = naive.NonLocal(6).double().train()
    copy_non_local(ours, weights, plain)
    x = normal(1, 6, *size, seed=2)
    torch.testing.assert_close(ours(weights, x), plain(x))


def test_non_local_block_starts_as_the_identity():
    layout = Layout()
    block = NonLocal(layout, 4)
    theta = draw(layout.sizes(), layout.start, torch.tensor(0), torch.tensor(0)).double()
    x = normal(1, 4, 6, 7)
    torch.testing.assert_close(block(cut(theta, layout.sizes(), layout.shapes), x), x)


def test_published_size():
    """128 channels, skip 16, 5 scales, non-local from the third: every part is there, once."""
    ours = ImageGenerator(3, 128, 16, 5, 3, 1, with_std=True)
    plain = naive.ImageGenerator(3, 128, 16, 5, 3, 1)
    left_out = sum(
        conv.bias.numel()
        for name, conv in plain.named_modules()
        if isinstance(conv, nn.Conv2d) and name != "last" and not name.endswith(("theta", "phi", ".g"))
    )
    assert ours.count == sum(p.numel() for p in plain.parameters()) - left_out


def test_image_generator_gradcheck():
    ours = ImageGenerator(2, 2, 2, 2, 2, 1, with_std=True)
    theta = normal(ours.count, scale=0.7, seed=5).requires_grad_(True)
    x = noise(2, 9, 10)
    assert gradcheck(lambda t: torch.cat(ours(t, x)), (theta,), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("scale", [0.3, 5.0])
def test_output_lies_within_the_range(scale):
    ours = ImageGenerator(3, 4, 4, 2, 0, 3, with_std=True)
    for part in ours(normal(ours.count, scale=scale), noise(3, 16, 17)):
        assert (part >= 0).all()
        assert (part <= 1).all()
        assert part.std() > 0.01


def test_without_std_the_mean_is_the_same_and_the_std_is_zero():
    with_std = ImageGenerator(3, 4, 4, 2, 0, 1, with_std=True)
    without = ImageGenerator(3, 4, 4, 2, 0, 1, with_std=False)
    theta = draw(with_std.sizes, with_std.start, torch.tensor(0), torch.tensor(0))
    noise = torch.rand(3, 12, 14, generator=torch.Generator().manual_seed(0))
    mean, std = with_std(theta, noise)
    assert (std > 0).all()
    alone, none = without(theta[: without.count], noise)
    torch.testing.assert_close(alone, mean, rtol=0, atol=0)
    assert (none == 0).all()


def test_numbers_of_16_bits_give_nearly_the_same_image_and_gradient():
    """And do not stay in what others compute with: image and gradient are as long as before."""
    long = ImageGenerator(3, 16, 16, 3, 0, 1, with_std=False)
    short = ImageGenerator(3, 16, 16, 3, 0, 1, with_std=False, bfloat16=True)
    theta = draw(long.sizes, long.start, torch.tensor(0), torch.tensor(0)).requires_grad_()
    noise = 0.1 * torch.rand(3, 61, 64, generator=torch.Generator().manual_seed(0))
    image, _ = long(theta, noise)
    nearly, _ = short(theta, noise)
    assert nearly.dtype == torch.float32
    apart = (nearly - image).detach()
    assert 1e-5 < apart.square().mean().sqrt() < 0.1 * image.std()
    gradient, near = (torch.autograd.grad(x.square().mean(), theta)[0] for x in (image, nearly))
    assert near.dtype == torch.float32
    assert (near * gradient).sum() > 0.99 * near.norm() * gradient.norm()


@pytest.mark.parametrize(("height", "width"), [(3, 3), (5, 3), (1, 7)])
def test_kernel_generator_equals_the_plain_one(height, width):
    ours = KernelGenerator(20, 30, height, width)
    theta = normal(ours.count)
    plain = naive.kernel_generator(20, 30, height, width).double()
    with torch.no_grad():
        for target, source in zip(plain.parameters(), cut(theta, ours.sizes, ours.shapes), strict=True):
            target.copy_(source)
    x = noise(20)
    flat = torch.zeros(height, width, dtype=torch.float64)
    torch.testing.assert_close(ours(theta, x, flat), plain(x))


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_kernel_is_positive_and_sums_to_one(scale):
    ours = KernelGenerator(20, 30, 5, 7)
    kernel = ours(normal(ours.count, scale=scale), noise(20), normal(5, 7, seed=3, scale=scale))
    assert kernel.shape == (5, 7)
    assert (kernel >= 0).all()
    assert kernel.sum().item() == pytest.approx(1)


def test_kernel_generator_starts_from_the_given_kernel():
    """With weights at zero the kernel is the base, whose logits are its logarithm."""
    ours = KernelGenerator(20, 30, 3, 5)
    base = noise(3, 5)
    base = base / base.sum()
    kernel = ours(torch.zeros(ours.count, dtype=torch.float64), noise(20), base.log())
    torch.testing.assert_close(kernel, base)


def test_kernel_generator_gradcheck():
    ours = KernelGenerator(4, 5, 3, 3)
    base = normal(3, 3, seed=2)
    theta = normal(ours.count).requires_grad_(True)
    assert gradcheck(lambda t: ours(t, noise(4), base), (theta,))


def test_starting_weights_are_those_of_torch_layers():
    """Uniform within 1 / sqrt(fan in), norms at one and zero; a function of the seed."""
    ours = ImageGenerator(3, 16, 4, 2, 1, 1, with_std=True)
    theta = draw(ours.sizes, ours.start, torch.tensor(3), torch.tensor(2))
    weights = cut(theta, ours.sizes, ours.shapes)
    halve = ours.downs[0].halve
    bound = 1 / math.sqrt(3 * 9)
    assert 0.95 * bound < weights[halve.weight].abs().max() <= bound
    assert abs(weights[halve.weight].mean()) < 0.1 * bound
    assert (weights[ours.downs[0].halve_norm.gain] == 1).all()
    assert (weights[ours.downs[0].halve_norm.shift] == 0).all()
    assert (weights[ours.downs[0].non_local[0].norm.gain] == 0).all()
    assert torch.equal(theta, draw(ours.sizes, ours.start, torch.tensor(3), torch.tensor(2)))
    assert not torch.equal(theta, draw(ours.sizes, ours.start, torch.tensor(4), torch.tensor(2)))
