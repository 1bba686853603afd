"""The forward model y = k * x as a 'valid' convolution, direct and by FFT.

Shapes: canvas x (c, H + Kh - 1, W + Kw - 1), kernel k (Kh, Kw), blurred y (c, H, W).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fast_length(length: int) -> int:
    """Smallest number not below `length` whose prime factors are 2, 3 and 5: quick in every FFT."""
    rest = 0
    while rest != 1:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest = rest // prime
        length += 1
    return length - 1


def blur_direct(canvas: Tensor, kernel: Tensor) -> Tensor:
    """Convolve each channel with the kernel, valid part: (c, H+Kh-1, W+Kw-1) -> (c, H, W)."""
    weight = kernel.flip([0, 1])[None, None]  # (1, 1, Kh, Kw); conv2d correlates
    return F.conv2d(canvas[:, None], weight)[:, 0]  # (c, 1, ...) -> (c, H, W)


def blur_fft(canvas: Tensor, kernel: Tensor) -> Tensor:
    """As `blur_direct`, by a circular convolution whose wrapped part is cut away."""
    rows, columns = canvas.size(1), canvas.size(2)
    size: list[int] = [fast_length(rows), fast_length(columns)]
    axes = [-2, -1]  # all arguments are written out: TorchScript asks for them
    canvas_spectrum = torch.fft.rfft2(canvas, s=size, dim=axes, norm=None)
    kernel_spectrum = torch.fft.rfft2(kernel, s=size, dim=axes, norm=None)
    full: Tensor = torch.fft.irfft2(canvas_spectrum * kernel_spectrum, s=size, dim=axes, norm=None)
    return full[:, kernel.size(0) - 1 : rows, kernel.size(1) - 1 : columns]


def blur(canvas: Tensor, kernel: Tensor, by_fft: bool) -> Tensor:
    """Blur by the way that was chosen for this size."""
    if by_fft:
        return blur_fft(canvas, kernel)
    return blur_direct(canvas, kernel)


def crop(canvas: Tensor, kernel_height: int, kernel_width: int) -> Tensor:
    """Centre of the canvas, the part that the blurred image shows."""
    top, left = kernel_height // 2, kernel_width // 2
    rows, columns = canvas.size(1) - kernel_height + 1, canvas.size(2) - kernel_width + 1
    return canvas[:, top : top + rows, left : left + columns]
