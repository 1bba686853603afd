"""The forward model: laws of a convolution, and FFT = direct = sums."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import convolve

from napari_vdip.core.blur import blur, blur_direct, blur_fft, crop, fast_length

WAYS = pytest.mark.parametrize("by_fft", [False, True], ids=["direct", "fft"])


def random(*shape, seed=0):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@WAYS
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 3), (1, 7), (4, 2), (7, 11)])
@pytest.mark.parametrize("channels", [1, 3])
def test_blur_is_the_sum_of_shifted_images(by_fft, kernel, channels):
    x, k = random(channels, 11, 13), random(*kernel, seed=1)
    torch.testing.assert_close(blur(x, k, by_fft), convolve(x, k))


def test_orientation_is_that_of_a_convolution():
    """A point becomes the kernel itself, not its mirror image."""
    k = random(3, 5)
    point = torch.zeros(1, 5, 9, dtype=torch.float64)
    point[0, 2, 4] = 1
    torch.testing.assert_close(blur_direct(point, k)[0], k)
    torch.testing.assert_close(blur_fft(point, k)[0], k)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 20), st.integers(0, 20), st.integers(0, 10**6))
def test_fft_equals_direct(tall, wide, more_rows, more_columns, seed):
    x, k = random(2, tall + more_rows, wide + more_columns, seed=seed), random(tall, wide, seed=seed + 1)
    torch.testing.assert_close(blur_fft(x, k), blur_direct(x, k), rtol=1e-9, atol=1e-11)


@WAYS
def test_delta_kernel_crops_only(by_fft):
    x = random(3, 12, 15)
    delta = torch.zeros(5, 7, dtype=torch.float64)
    delta[2, 3] = 1
    torch.testing.assert_close(blur(x, delta, by_fft), crop(x, 5, 7))
    assert torch.equal(crop(x, 5, 7), x[:, 2:-2, 3:-3])


@WAYS
def test_gradient_is_the_adjoint(by_fft):
    """<A x, r> = <x, A' r>, with A' the full correlation, which autograd has to deliver."""
    x, k, r = random(2, 9, 10).requires_grad_(True), random(3, 4, seed=1), random(2, 7, 7, seed=2)
    (back,) = torch.autograd.grad(blur(x, k, by_fft), x, r)
    torch.testing.assert_close((blur(x, k, by_fft) * r).sum(), (x * back).sum())
    padded = torch.nn.functional.pad(r, [3, 3, 2, 2])
    torch.testing.assert_close(back, convolve(padded, k.flip([0, 1])))


@WAYS
def test_gradcheck(by_fft):
    x, k = random(2, 6, 7).requires_grad_(True), random(3, 3, seed=1).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x, k: blur(x, k, by_fft), (x, k))


@WAYS
def test_blur_commutes_with_differences(by_fft):
    x, k = random(1, 10, 11), random(3, 4, seed=1)
    torch.testing.assert_close(
        blur(x[:, 1:] - x[:, :-1], k, by_fft), blur(x, k, by_fft)[:, 1:] - blur(x, k, by_fft)[:, :-1]
    )


def test_fast_length():
    lengths = sorted(2**a * 3**b * 5**c for a in range(9) for b in range(6) for c in range(4))
    for length in range(1, 260):
        assert fast_length(length) == next(n for n in lengths if n >= length)
