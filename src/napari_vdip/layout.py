"""Which axes of an image hold what, and in words. Standard library only."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from napari_vdip.errors import InvalidInput, InvalidOption


@dataclass(frozen=True)
class Layout:
    """Which axes of an image hold what.

    Attributes
    ----------
    shape : tuple of int
        Shape of the image.
    leading : tuple of int
        Axes whose every position is a slice of its own.
    spatial : tuple of int
        The axes of height and width.
    """

    shape: tuple[int, ...]
    leading: tuple[int, ...]
    spatial: tuple[int, int]

    @property
    def slices(self) -> list[tuple[int | slice, ...]]:
        """Index of each slice into the image, in C order of the leading axes."""
        positions = itertools.product(*(range(self.shape[axis]) for axis in self.leading))
        return [
            tuple(
                dict(zip(self.leading, at, strict=True)).get(a, slice(None)) for a in range(len(self.shape))
            )
            for at in positions
        ]

    @property
    def leading_shape(self) -> tuple[int, ...]:
        """Lengths of the leading axes."""
        return tuple(self.shape[axis] for axis in self.leading)

    @property
    def spatial_shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.shape[self.spatial[0]], self.shape[self.spatial[1]]


def layout_of(shape: tuple[int, ...], rgb: bool, channel_axis: int | None) -> Layout:
    """Say which axes are slices and which are height and width.

    Raises
    ------
    InvalidInput
        If there are too few axes, an empty one, or no colours where `rgb` says so.
    InvalidOption
        If `channel_axis` is no axis of the image.
    """
    least = 2 + rgb + (channel_axis is not None)
    if len(shape) < least or 0 in shape:
        raise InvalidInput(
            f"the image has shape {shape}; expected at least {least} axes, none of them empty, "
            "ending in height and width" + (" and colours" if rgb else "")
        )
    if rgb and shape[-1] not in (3, 4):
        raise InvalidInput(
            f"rgb=True, but the last axis of shape {shape} has length {shape[-1]}; expected 3 or 4. "
            "For a stack of grey images use rgb=False"
        )
    axes = list(range(len(shape) - rgb))
    if channel_axis is not None:
        if not -len(shape) <= channel_axis < len(shape):
            raise InvalidOption(f"channel_axis={channel_axis} is no axis of an image of shape {shape}")
        axes.remove(channel_axis % len(shape))
    spatial = (axes[-2], axes[-1])
    leading = tuple(axis for axis in range(len(shape) - rgb) if axis not in spatial)
    return Layout(shape, leading, spatial)


def describe(
    shape: tuple[int, ...],
    rgb: bool = False,
    channel_axis: int | None = None,
    labels: tuple[str, ...] | None = None,
) -> str:
    """Say in words what an image of this shape is taken for.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    rgb, channel_axis
        As in `Options`.
    labels : tuple of str, optional
        Names of the axes, without that of colours; those that are no words are left out.

    Returns
    -------
    str
        For example ``12 slices of 512 x 512 px in 2 channels: 24 images, each on its own.``

    Raises
    ------
    VdipError
        As `layout_of`.
    """
    layout = layout_of(shape, rgb, channel_axis)
    channel = None if channel_axis is None else channel_axis % len(shape)
    size = "{} x {} px".format(*layout.spatial_shape) + (" in colour" if rgb else "")
    share = "; its colours share one kernel" if rgb else ""
    axes = [axis for axis in layout.leading if axis != channel]
    slices = math.prod(shape[axis] for axis in axes)
    named = [f"{shape[axis]} {labels[axis]}" for axis in axes if labels and labels[axis].isidentifier()]
    split = f" ({' x '.join(named)})" if len(axes) > 1 and len(named) == len(axes) else ""
    if not axes and channel is None:
        return f"One image of {size}{share}."
    if channel is None:
        return f"{_count(slices, 'slice')}{split} of {size}, {_alone(slices)}{share}."
    channels = _count(shape[channel], "channel")
    if not axes:
        return f"{channels} of {size}, {_alone(shape[channel])}."
    total = slices * shape[channel]
    images = f"{_count(total, 'image')}, {_alone(total)}"
    return f"{_count(slices, 'slice')}{split} of {size} in {channels}: {images}."


def with_mode(words: str, kernel_mode: str) -> str:
    """Say in the words of `describe` where the slices have their kernels from, if not from themselves."""
    kernels = {"shared": "with one kernel for all slices", "warm": "with a kernel that follows its drift"}
    return words.replace("each on its own", kernels.get(kernel_mode, "each on its own"))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _alone(number: int) -> str:
    return "on its own" if number == 1 else "each on its own"
