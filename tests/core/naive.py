"""The method written from its formulas, one loop or window at a time, to hold the core against.

Slow and plain on purpose: direct sums, full matrices, 2-D windows, convolutions with their biases.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

# Each operator by its differences in order of application, with its weight in the data term.
OPERATORS = {
    "": 1 / 2,
    "v": 1 / 2,
    "h": 1 / 2,
    "vv": 1 / 8,
    "vh": 1 / 8,
    "hv": 1 / 8,
    "hh": 1 / 8,
}


def convolve(x, k):
    """Convolve (c, h, w) with (Kh, Kw), valid part, a sum for each output."""
    c, h, w = x.shape
    tall, wide = k.shape
    out = x.new_zeros(c, h - tall + 1, w - wide + 1)
    for i, j in itertools.product(range(out.shape[1]), range(out.shape[2])):
        for a, b in itertools.product(range(tall), range(wide)):
            out[:, i, j] += k[a, b] * x[:, i + tall - 1 - a, j + wide - 1 - b]
    return out


def difference(x, operator):
    """Forward differences of (..., h, w), one letter after the other."""
    for letter in operator:
        x = x[..., 1:, :] - x[..., :-1, :] if letter == "v" else x[..., :, 1:] - x[..., :, :-1]
    return x


def data_term(x, k, y):
    """Weighted squares of all differences of the residual; first order in both published ways."""
    residual = convolve(x, k) - y
    total = 0.5 * (residual**2).sum()
    for first in ("v", "h"):
        total = total + 0.25 * (difference(residual, first) ** 2).sum()
        of_gradient = convolve(difference(x, first), k) - difference(y, first)
        total = total + 0.25 * (of_gradient**2).sum()
    for second in ("vv", "vh", "hv", "hh"):
        total = total + 0.125 * (difference(residual, second) ** 2).sum()
    return -total / x.numel()


def spread(k, height, width, operators):
    """Energy of each canvas pixel's image under w_D D k *, summed over D: one pixel at a time."""
    rows, columns = height + k.shape[0] - 1, width + k.shape[1] - 1
    out = k.new_zeros(rows, columns)
    for i, j in itertools.product(range(rows), range(columns)):
        point = k.new_zeros(1, rows, columns)
        point[0, i, j] = 1
        image = convolve(point, k)
        out[i, j] = sum(w * (difference(image, d) ** 2).sum() for d, w in operators.items())
    return out


def pairs(mean, std):
    """Yield g for each neighbouring pair of pixels."""
    c, h, w = mean.shape
    for n, i, j in itertools.product(range(c), range(h), range(w)):
        for a, b in ((i + 1, j), (i, j + 1)):
            if a < h and b < w:
                yield (mean[n, i, j] - mean[n, a, b]) ** 2 + std[n, i, j] ** 2 + std[n, a, b] ** 2


def sparse_prior(mean, std, weights=None):
    """Reweighted log-gradient prior; `weights` (one a pair) are held, or taken from the pairs."""
    g = torch.stack(list(pairs(mean, std)))
    if weights is None:
        weights = 1 / (g.detach() + 1e-6)
    c, h, w = mean.shape
    return -(g * weights).sum() / 4 / ((h - 1) * (w - 1) * c)


def window_minimum(image, window):
    """Minimum over all channels in each 2-D window."""
    _, h, w = image.shape
    rows = [
        torch.stack([image[:, i : i + window, j : j + window].min() for j in range(w - window + 1)])
        for i in range(h - window + 1)
    ]
    return torch.stack(rows)


def extreme_prior(mean, std, draws, window, held=None):
    """Dark and bright window minima of one sample of x^2 and (1 - x)^2, over held values of themselves."""
    dark = mean**2 + std**2 + torch.sqrt(4 * mean**2 * std**2 + 2 * std**4) * draws[0]
    bright = (1 - mean) ** 2 + std**2
    bright = bright + torch.sqrt(4 * (1 - mean) ** 2 * std**2 + 2 * std**4) * draws[1]
    lowest = [window_minimum(sample, window) for sample in (dark, bright)]
    held = held or [m.detach() for m in lowest]
    _, h, w = mean.shape
    windows = (h - window + 1) * (w - window + 1)
    return sum(-(m / d).sum() / 4 / windows for m, d in zip(lowest, held, strict=True)), held


def ssim(image, target):
    """Structural similarity with an 11 x 11 Gaussian window (sigma 1.5) and zero padding."""
    u = torch.arange(-5, 6, dtype=image.dtype)
    window = torch.exp(-(u[:, None] ** 2 + u**2) / (2 * 1.5**2))
    window = window / window.sum()
    c1, c2 = 0.01**2, 0.03**2
    values = []
    for a, b in zip(F.pad(image, [5] * 4), F.pad(target, [5] * 4), strict=True):
        for i, j in itertools.product(range(image.shape[1]), range(image.shape[2])):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * p * p).sum() - mp**2, (window * q * q).sum() - mq**2
            cov = (window * p * q).sum() - mp * mq
            top = (2 * mp * mq + c1) * (2 * cov + c2)
            values.append(top / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return torch.stack(values).mean()


class NonLocal(nn.Module):
    """Non-local block with its full matrix of all positions by all pooled positions."""

    def __init__(self, channels):
        super().__init__()
        inner = channels // 2
        self.theta, self.phi, self.g = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv2d(inner, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        theta = self.theta(x).flatten(2)[0]  # (inner, h w)
        phi = nn.MaxPool2d(2)(self.phi(x)).flatten(2)[0]  # (inner, N)
        g = nn.MaxPool2d(2)(self.g(x)).flatten(2)[0]  # (inner, N)
        matrix = theta.T @ phi / phi.shape[1]  # (h w, N)
        y = (matrix @ g.T).T.reshape(1, -1, *x.shape[2:])
        return x + self.norm(self.out(y))


def conv(inputs, outputs, size, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, padding_mode="reflect")


def conv_norm(inputs, outputs, size, stride=1):
    return nn.Sequential(conv(inputs, outputs, size, stride), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))


class Level(nn.Module):
    """One scale: skip branch, deeper branch with all that lies below it, joined."""

    def __init__(self, inputs, channels, skip, below, non_local, outer=0):
        super().__init__()
        skip, deep, out = (outer // 2, outer // 2, outer) if outer else (skip, channels, channels)
        self.reduce = conv(channels, deep, 1) if outer else nn.Identity()
        self.skip = conv_norm(inputs, skip, 1)
        self.halve = conv_norm(inputs, channels, 3, 2)
        self.non_local = NonLocal(channels) if non_local else nn.Identity()
        self.deeper = conv_norm(channels, channels, 3)
        self.below = below
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.join_norm = nn.BatchNorm2d(skip + deep)
        self.join = conv_norm(skip + deep, out, 3)
        self.mix = conv_norm(out, out, 1)

    def forward(self, x):
        skip = self.skip(x)
        deep = self.upsample(self.reduce(self.below(self.deeper(self.non_local(self.halve(x))))))
        h, w = min(skip.shape[2], deep.shape[2]), min(skip.shape[3], deep.shape[3])
        both = torch.cat([centre(skip, h, w), centre(deep, h, w)], 1)
        return self.mix(self.join(self.join_norm(both)))


def centre(x, h, w):
    top, left = (x.shape[2] - h) // 2, (x.shape[3] - w) // 2
    return x[:, :, top : top + h, left : left + w]


class ImageGenerator(nn.Module):
    """The published encoder-decoder, with a bias in every convolution; `outer`: channels at full size."""

    def __init__(self, inputs, channels, skip, levels, nonlocal_from, outputs, outer=0):
        super().__init__()
        net = nn.Identity()
        for i in range(levels, 0, -1):
            non_local = 0 < nonlocal_from <= i
            ends = (inputs, outer) if i == 1 else (channels, 0)
            net = Level(ends[0], channels, skip, net, non_local, ends[1])
        self.net = net
        self.last = conv(outer or channels, 2 * outputs, 1)

    def forward(self, noise):
        return torch.sigmoid(self.last(self.net(noise[None])))[0].chunk(2)


def kernel_generator(inputs, hidden, height, width):
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU6(),
        nn.Linear(hidden, height * width),
        nn.Softmax(dim=0),
        nn.Unflatten(0, (height, width)),
    )


def centre_of_mass(k):
    """Row and column of a kernel's centre of mass, from the middle, in px."""
    rows = sum(i * k[i].sum() for i in range(k.shape[0])) - (k.shape[0] - 1) / 2
    columns = sum(j * k[:, j].sum() for j in range(k.shape[1])) - (k.shape[1] - 1) / 2
    return rows, columns


def adam(theta, gradients, rates, beta1=0.9, beta2=0.999, eps=1e-8):
    """Take steps of Adam as in Kingma and Ba, algorithm 1."""
    m = v = torch.zeros_like(theta)
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        theta = theta - rate * (m / (1 - beta1**t)) / (torch.sqrt(v / (1 - beta2**t)) + eps)
    return theta


def published_decay(step, steps):
    """Halved at 2000, 3000 and 4000 of 5000 steps."""
    return 0.5 ** sum(math.floor(step * 5000 / steps + 1e-9) >= at for at in (2000, 3000, 4000))
