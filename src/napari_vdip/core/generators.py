"""The two networks: image generator (mean, standard deviation) and kernel generator.

All weights of a network lie in one flat vector, cut by one `split`: Adam is then a handful
of whole-vector operations, and state, export and restart handle two tensors instead of 150.
A layer knows the positions of its weights in that cut.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_vdip.core.random import uniform


class Layout:
    """Hands out places in the flat weight vector while a network is being built."""

    def __init__(self) -> None:
        self.shapes: list[list[int]] = []
        self.start: list[tuple[float, float]] = []  # centre and half width of the uniform start

    def add(self, shape: list[int], centre: float, half_width: float) -> int:
        """Take the next place; returns its position."""
        self.shapes.append(shape)
        self.start.append((centre, half_width))
        return len(self.shapes) - 1

    def sizes(self) -> list[int]:
        """Count of numbers at each place."""
        return [math.prod(shape) for shape in self.shapes]


class Conv(nn.Module):
    """Convolution with reflection padding, stride 1 or 2.

    A bias is left out where a batch norm follows: the norm removes it, so value and
    gradients of everything else are the same without it.
    """

    def __init__(
        self, layout: Layout, inputs: int, outputs: int, size: int, stride: int = 1, bias: bool = False
    ):
        super().__init__()
        bound = 1.0 / math.sqrt(inputs * size * size)
        self.weight: int = layout.add([outputs, inputs, size, size], 0.0, bound)
        self.bias: int = layout.add([outputs], 0.0, bound) if bias else -1
        self.pad: int = size // 2
        self.stride: int = stride

    def forward(self, weights: list[Tensor], x: Tensor) -> Tensor:
        """(1, inputs, h, w) -> (1, outputs, ceil(h / stride), ceil(w / stride))."""
        if self.pad > 0:
            x = F.pad(x, [self.pad, self.pad, self.pad, self.pad], mode="reflect")
        weight = weights[self.weight].to(x.dtype)
        if self.bias >= 0:
            bias = weights[self.bias].to(x.dtype)
            return F.conv2d(x, weight, bias, stride=[self.stride, self.stride])
        return F.conv2d(x, weight, None, stride=[self.stride, self.stride])


class Norm(nn.Module):
    """Batch norm with the statistics of the image at hand, then LeakyReLU 0.2 if asked for."""

    def __init__(self, layout: Layout, channels: int, activate: bool = True, gain: float = 1.0):
        super().__init__()
        self.gain: int = layout.add([channels], gain, 0.0)
        self.shift: int = layout.add([channels], 0.0, 0.0)
        self.activate: bool = activate

    def forward(self, weights: list[Tensor], x: Tensor) -> Tensor:
        """(1, channels, h, w) -> the same shape."""
        x = F.batch_norm(x, None, None, weights[self.gain], weights[self.shift], training=True, eps=1e-5)
        return F.leaky_relu(x, 0.2) if self.activate else x


class NonLocal(nn.Module):
    """Non-local block without softmax: ``x + BN(conv(theta (phi g^T) / N))``.

    The products are taken from the right, so the cost is linear in the pixels.
    """

    def __init__(self, layout: Layout, channels: int):
        super().__init__()
        inner = max(channels // 2, 1)
        self.theta = Conv(layout, channels, inner, 1, bias=True)
        self.phi = Conv(layout, channels, inner, 1, bias=True)
        self.g = Conv(layout, channels, inner, 1, bias=True)
        self.out = Conv(layout, inner, channels, 1)
        self.norm = Norm(layout, channels, activate=False, gain=0.0)

    def forward(self, weights: list[Tensor], x: Tensor) -> Tensor:
        """(1, channels, h, w) -> the same shape."""
        theta = self.theta(weights, x).flatten(2)  # (1, inner, h w)
        phi = F.max_pool2d(self.phi(weights, x), 2).flatten(2)  # (1, inner, N)
        g = F.max_pool2d(self.g(weights, x), 2).flatten(2)  # (1, inner, N)
        context = torch.matmul(g, phi.transpose(1, 2)) / phi.size(2)  # (1, inner, inner)
        y = torch.matmul(context, theta).view(theta.size(0), theta.size(1), x.size(2), x.size(3))
        change: Tensor = self.norm(weights, self.out(weights, y))
        return x + change


class Down(nn.Module):
    """Way into the next scale: strided convolution, non-local block if any, convolution."""

    def __init__(self, layout: Layout, inputs: int, channels: int, non_local: bool):
        super().__init__()
        self.halve = Conv(layout, inputs, channels, 3, stride=2)
        self.halve_norm = Norm(layout, channels)
        # A list of none or one: TorchScript unrolls it, so nothing is left where there is none.
        self.non_local = nn.ModuleList([NonLocal(layout, channels)] if non_local else [])
        self.conv = Conv(layout, channels, channels, 3)
        self.conv_norm = Norm(layout, channels)

    def forward(self, weights: list[Tensor], x: Tensor) -> Tensor:
        """(1, inputs, h, w) -> (1, channels, ceil(h / 2), ceil(w / 2))."""
        x = self.halve_norm(weights, self.halve(weights, x))
        for block in self.non_local:
            x = block(weights, x)
        deeper: Tensor = self.conv_norm(weights, self.conv(weights, x))
        return deeper


class Up(nn.Module):
    """Way back: the deeper branch doubled, joined with the skip branch and mixed.

    `doubled`: channels to which the deeper branch is reduced before it is doubled.
    """

    def __init__(self, layout: Layout, inputs: int, skip: int, deeper: int, doubled: int, channels: int):
        super().__init__()
        # A list of none or one, as in `Down`.
        self.reduce = nn.ModuleList([Conv(layout, deeper, doubled, 1)] if doubled < deeper else [])
        deeper = min(deeper, doubled)
        self.skip = Conv(layout, inputs, skip, 1)
        self.skip_norm = Norm(layout, skip)
        self.join_norm = Norm(layout, skip + deeper, activate=False)
        self.conv = Conv(layout, skip + deeper, channels, 3)
        self.conv_norm = Norm(layout, channels)
        self.mix = Conv(layout, channels, channels, 1)
        self.mix_norm = Norm(layout, channels)

    def forward(self, weights: list[Tensor], x: Tensor, deep: Tensor) -> Tensor:
        """X (1, inputs, h, w) and deep (1, deeper, ceil(h/2), ceil(w/2)) -> (1, channels, h, w)."""
        skip = self.skip_norm(weights, self.skip(weights, x))
        for reduce in self.reduce:
            deep = reduce(weights, deep)
        deep = F.interpolate(deep, scale_factor=[2.0, 2.0], mode="bilinear", align_corners=False)
        # Doubling a rounded-up half exceeds by at most one row and column, the last. As a negative
        # padding: the gradient of a slice loses the order of the channels in memory.
        rows, columns = x.size(2) - deep.size(2), x.size(3) - deep.size(3)
        deep = F.pad(deep, [0, columns, 0, rows])
        y = self.join_norm(weights, torch.cat([skip, deep], 1))
        y = self.conv_norm(weights, self.conv(weights, y))
        mixed: Tensor = self.mix_norm(weights, self.mix(weights, y))
        return mixed


class ImageGenerator(nn.Module):
    """Encoder-decoder with skips: fixed noise in, mean and standard deviation of each pixel out.

    Parameters
    ----------
    inputs, channels, skip : int
        Channels of the noise, of the main path and of the skip branches.
    levels, nonlocal_from : int
        Number of scales; first scale (from 1) with a non-local block, 0 for none.
    outputs : int
        Channels c of the image.
    with_std : bool
        Whether the network has the output of the standard deviation, as published.
    bfloat16 : bool
        Whether convolutions and norms work on numbers of 16 bits. Weights, their gradients, the norms'
        statistics and the last layer keep their precision.
    outer_channels : int
        Channels of the main path at full size, where most of the time goes; the skip branch and what comes
        from below have half as many there. 0: as at the other scales.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        skip: int,
        levels: int,
        nonlocal_from: int,
        outputs: int,
        with_std: bool,
        bfloat16: bool = False,
        outer_channels: int = 0,
    ):
        super().__init__()
        self.short: bool = bfloat16
        layout = Layout()
        ins = [inputs] + [channels] * (levels - 1)
        self.downs = nn.ModuleList(
            [Down(layout, ins[i], channels, 0 < nonlocal_from <= i + 1) for i in range(levels)]
        )
        # Deepest first: the order in which they run.
        ups = [Up(layout, ins[i], skip, channels, channels, channels) for i in reversed(range(1, levels))]
        outer = outer_channels or channels
        half = outer_channels // 2
        ups += [Up(layout, inputs, half or skip, channels, half or channels, outer)]
        self.ups = nn.ModuleList(ups)
        self.mean = Conv(layout, outer, outputs, 1, bias=True)
        # A list of none or one, as in `Down`.
        self.std = nn.ModuleList([Conv(layout, outer, outputs, 1, bias=True)] if with_std else [])
        self.shapes: list[list[int]] = layout.shapes
        self.sizes: list[int] = layout.sizes()
        self.start: list[tuple[float, float]] = layout.start
        self.count: int = sum(self.sizes)

    def forward(self, theta: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, in (0, 1); a deviation of 0 if the network has none.

        Parameters
        ----------
        theta : Tensor, (count,)
        noise : Tensor, (inputs, h, w)

        Returns
        -------
        mean, std : Tensor, (outputs, h, w)
        """
        weights = cut(theta, self.sizes, self.shapes)
        x = noise[None]
        if noise.device.type == "cpu":
            # Channels next to each other: a quarter less time for a step at 255 px.
            x = x.contiguous(memory_format=torch.channels_last)
        if self.short:
            x = x.to(torch.bfloat16)
        entries: list[Tensor] = []
        for down in self.downs:
            entries.append(x)
            x = down(weights, x)
        for up in self.ups:
            x = up(weights, entries.pop(), x)
        x = x.to(theta.dtype)
        mean = torch.sigmoid(self.mean(weights, x))[0]
        std = torch.zeros_like(mean)
        for head in self.std:
            std = torch.sigmoid(head(weights, x))[0]
        return mean, std


class KernelGenerator(nn.Module):
    """Two dense layers and a softmax: fixed noise in, a kernel that is positive and sums to 1 out."""

    def __init__(self, inputs: int, hidden: int, height: int, width: int):
        super().__init__()
        layout = Layout()
        for rows, columns in ((hidden, inputs), (height * width, hidden)):
            layout.add([rows, columns], 0.0, 1.0 / math.sqrt(columns))
            layout.add([rows], 0.0, 1.0 / math.sqrt(columns))
        self.height: int = height
        self.width: int = width
        self.shapes: list[list[int]] = layout.shapes
        self.sizes: list[int] = layout.sizes()
        self.start: list[tuple[float, float]] = layout.start
        self.count: int = sum(self.sizes)

    def forward(self, theta: Tensor, noise: Tensor, base: Tensor) -> Tensor:
        """Kernel (Kh, Kw) from noise (inputs,); `base` (Kh, Kw) is added to the logits."""
        w = cut(theta, self.sizes, self.shapes)
        hidden = F.relu6(F.linear(noise, w[0], w[1]))
        logits = F.linear(hidden, w[2], w[3]) + base.view(-1)
        return torch.softmax(logits, 0).view(self.height, self.width)


def cut(theta: Tensor, sizes: list[int], shapes: list[list[int]]) -> list[Tensor]:
    """Cut the flat vector into weights of the given shapes; one operation, also backwards."""
    weights: list[Tensor] = []
    for i, part in enumerate(theta.split_with_sizes(sizes)):
        weights.append(part.view(shapes[i]))
    return weights


def draw(sizes: list[int], start: list[tuple[float, float]], seed: Tensor, stream: Tensor) -> Tensor:
    """Draw starting weights: uniform about a centre for each place, (sum of sizes,)."""
    count = 0
    for size in sizes:
        count += size
    numbers = uniform(count, seed, stream) * 2.0 - 1.0
    parts: list[Tensor] = []
    for i, part in enumerate(numbers.split_with_sizes(sizes)):
        parts.append(part * start[i][1] + start[i][0])
    return torch.cat(parts)


def first_input(seed: Tensor, height: int, width: int) -> Tensor:
    """Draw the noise that goes into the image generator, (3, h, w)."""
    return 0.1 * uniform(3 * height * width, seed, torch.zeros_like(seed)).view(3, height, width)
