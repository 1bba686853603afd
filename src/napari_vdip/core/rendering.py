"""A fit as a program that gives its result back: the network, its input, and what was added to it.

What comes out of a fit is more than what its network says: the polish solves convex problems on
top of it, several starts are averaged, and the standard deviation may have a closed form. None
of that is a function of the network alone, so the program adds the difference, pixel by pixel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from napari_vdip.core.generators import ImageGenerator


class Picture(NamedTuple):
    """What a rendering is built from.

    The first entries are the network's (see `ImageGenerator`), then come the canvas, the window of
    it that is the image, the kernel, and how the network's values become intensities.
    """

    outputs: int
    channels: int
    skip_channels: int
    outer_channels: int
    levels: int
    nonlocal_from: int
    with_std: bool
    canvas_height: int
    canvas_width: int
    top: int
    left: int
    height: int
    width: int
    kernel_height: int
    kernel_width: int
    alpha: bool
    scale: float
    offset: float


def generator_of(picture: Picture) -> ImageGenerator:
    """Build the network that a picture tells of."""
    p = picture
    sizes = (p.channels, p.skip_channels, p.levels, p.nonlocal_from, p.outputs, p.with_std)
    return ImageGenerator(3, *sizes, outer_channels=p.outer_channels)


class Rendering(nn.Module):
    """Image and standard deviation of a fit.

    All numbers lie in one flat vector: in a file it is one block of float32, which can be read
    without running or trusting anything else in the file.

    Attributes
    ----------
    values : Tensor, (sum of sizes,)
        One after the other: weights of the network (count,), its input (3, h, w), what is added to
        its mean and to its standard deviation (c, H, W) each, kernel (Kh, Kw), opacity (H, W)
        or nothing.
    """

    if TYPE_CHECKING:  # TorchScript takes class annotations for attributes
        values: Tensor

    def __init__(self, picture: Picture) -> None:
        super().__init__()
        p = picture
        self.generator = generator_of(p)
        image = [p.outputs, p.height, p.width]
        shapes = [
            [self.generator.count],
            [3, p.canvas_height, p.canvas_width],
            image,
            image,
            [p.kernel_height, p.kernel_width],
            [p.height if p.alpha else 0, p.width],
        ]
        sizes = [math.prod(shape) for shape in shapes]
        starts = [sum(sizes[:place]) for place in range(len(sizes))]
        # Without annotations, which TorchScript takes for those of empty lists.
        self.shapes = shapes
        self.sizes = sizes
        self.starts = starts
        self.top: int = p.top
        self.left: int = p.left
        self.height: int = p.height
        self.width: int = p.width
        self.colours: bool = p.outputs > 1
        self.alpha: bool = p.alpha
        self.scale: float = p.scale
        self.offset: float = p.offset
        self.register_buffer("values", torch.zeros(sum(self.sizes)))

    def part(self, place: int) -> Tensor:
        """One of the parts of `values`, by its place among them."""
        flat = self.values.narrow(0, self.starts[place], self.sizes[place])
        return flat.view(self.shapes[place])

    def kernel(self) -> Tensor:
        """Blur kernel, (Kh, Kw)."""
        return self.part(4)

    def generate(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation by the network alone, in (0, 1), cut to the image.

        Parameters
        ----------
        noise : Tensor, (3, h, w)
            Any input; the fitted one is ``part(1)``.

        Returns
        -------
        mean, std : Tensor, (c, H, W)
        """
        mean, std = self.generator(self.part(0), noise)
        bottom, right = self.top + self.height, self.left + self.width
        return mean[:, self.top : bottom, self.left : right], std[:, self.top : bottom, self.left : right]

    def forward(self) -> tuple[Tensor, Tensor]:
        """Image and standard deviation in the units of the input: (H, W), or (H, W, 3 or 4)."""
        mean, std = self.generate(self.part(1))
        image = (mean + self.part(2)) * self.scale + self.offset
        spread = (std + self.part(3)) * self.scale
        if not self.colours:
            return image[0], spread[0]
        image, spread = image.permute(1, 2, 0), spread.permute(1, 2, 0)
        if self.alpha:
            opacity = self.part(5)[:, :, None]
            image = torch.cat([image, opacity], 2)
            spread = torch.cat([spread, torch.zeros_like(opacity)], 2)
        return image, spread
