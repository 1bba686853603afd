"""Operators of the step that ONNX lacks, or that run slowly there, written in simpler ones. torch alone.

Gradients of convolution, batch norm, interpolation and padding have no operator in ONNX. `INSTEAD` is
what the tracing of the step puts in their place. Shapes: x (n, inputs, h, w), weight
(outputs, inputs, size, size), grad (n, outputs, h', w').
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

aten = torch.ops.aten


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> Any:
    """Write the blur as matrix products; leave the convolutions of the networks as they are."""
    if transposed or bias is not None or not _is_blur(weight):
        return NotImplemented
    return blurred(x[:, 0], weight[0, 0])[:, None]


def convolution_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    _bias: list[int] | None,
    stride: list[int],
    _padding: list[int],
    _dilation: list[int],
    _transposed: bool,
    _output_padding: list[int],
    _groups: int,
    wanted: list[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Write the gradients of a convolution without padding of its own."""
    inputs = weights = None
    if _is_blur(weight):
        if wanted[0]:
            inputs = spread(grad[:, 0], weight[0, 0])[:, None]
        if wanted[1]:
            weights = kernel_gradient(grad[:, 0], x[:, 0], weight.shape[2], weight.shape[3])[None, None]
    else:
        if wanted[0]:
            inputs = input_gradient(grad, x, weight, stride[0])
        if wanted[1]:
            weights = weight_gradient(grad, x, weight, stride[0])
    return inputs, weights, grad.sum((0, 2, 3)) if wanted[2] else None


def _is_blur(weight: Tensor) -> bool:
    """Whether a convolution is that of the model: of one channel, where the networks have several."""
    return weight.shape[0] == 1 and weight.shape[1] == 1


def input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Gradient of the input: a convolution with the weights turned round, or a transposed one."""
    size = weight.shape[2]
    if stride == 1:
        turned = weight.transpose(0, 1) if size == 1 else weight.flip([2, 3]).transpose(0, 1)
        return F.conv2d(grad if size == 1 else F.pad(grad, [size - 1] * 4), turned)
    rest = [x.shape[axis] - (grad.shape[axis] - 1) * stride - size for axis in (2, 3)]
    return F.conv_transpose2d(grad, weight, None, stride, 0, rest)


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Gradient of the weights: for each place in the kernel a product over all pixels.

    As one convolution its kernel would be as large as the image. Rows are laid end to end, with the
    gradient's as long as the input's, so that a shift by rows and columns is a shift along the line.
    """
    outputs, inputs, size, _ = weight.shape
    if size == 1:
        return torch.mm(grad.reshape(outputs, -1), x.reshape(inputs, -1).t())[:, :, None, None]
    tall, wide = (-(-x.shape[axis] // stride) for axis in (2, 3))
    parts = x
    if stride > 1:  # every second row and column: a picture for each place within a stride
        parts = F.pad(x, [0, wide * stride - x.shape[3], 0, tall * stride - x.shape[2]])
        parts = parts.view(inputs, tall, stride, wide, stride).permute(2, 4, 0, 1, 3)
    lines = parts.reshape(stride * stride, inputs, tall * wide)
    rows, columns = grad.shape[2:]
    length = (rows - 1) * wide + columns
    held = F.pad(grad, [0, wide - columns]).view(outputs, rows * wide)[:, :length]
    places = []
    for row in range(size):
        for column in range(size):
            line = lines[row % stride * stride + column % stride]
            begin = row // stride * wide + column // stride
            places.append(torch.mm(held, line[:, begin : begin + length].t()))
    return torch.stack(places, 2).view(outputs, inputs, size, size)


def blurred(canvas: Tensor, kernel: Tensor) -> Tensor:
    """Correlate a canvas (c, h, w) with a kernel, valid part, by two products of matrices.

    One product goes along the columns of the kernel for all its rows; a sum along its rows follows. The
    shifted copies that they need come from a reshape whose rows are longer than those it was made of.
    """
    rows, columns = kernel.shape
    width = canvas.shape[2]
    height = canvas.shape[1] - rows + 1
    across = kernel @ _shifted(canvas, columns)  # (c, rows, pixels + 1)
    flat = F.pad(across.reshape(canvas.shape[0], -1), [0, rows * width])
    sheared = flat.view(canvas.shape[0], rows, -1)[:, :, : height * width]
    image: Tensor = sheared.sum(1).view(-1, height, width)[:, :, : width - columns + 1]
    return image


def spread(grad: Tensor, kernel: Tensor) -> Tensor:
    """Gradient of the canvas: `blurred` the other way round."""
    rows, columns = kernel.shape
    wide = F.pad(grad, [columns - 1, columns - 1, rows - 1, rows - 1])
    return blurred(wide, kernel.flip([0, 1]))


def kernel_gradient(grad: Tensor, canvas: Tensor, rows: int, columns: int) -> Tensor:
    """Gradient of the kernel (rows, columns): one product over all pixels."""
    count, _, width = canvas.shape
    flat = F.pad(grad, [0, columns - 1]).reshape(count, 1, -1)  # rows of the canvas
    pixels = canvas.shape[1] * width + 1
    long = F.pad(flat, [0, pixels + width - flat.shape[2]])
    lines = long.expand(count, rows, pixels + width).reshape(count, -1)[:, : rows * pixels]
    return torch.bmm(lines.view(count, rows, pixels), _shifted(canvas, columns).transpose(1, 2)).sum(0)


def _shifted(canvas: Tensor, count: int) -> Tensor:
    """Pixels of a canvas in one line, moved by 0 to count - 1: (c, h, w) -> (c, count, h w + 1).

    What a line gets from beyond its end is another line's begin; no valid pixel takes it.
    """
    channels, pixels = canvas.shape[0], canvas.shape[1] * canvas.shape[2]
    lines = canvas.reshape(channels, 1, pixels).expand(channels, count, pixels).reshape(channels, -1)
    return F.pad(lines, [0, count]).view(channels, count, pixels + 1)


def batch_norm(
    x: Tensor,
    gain: Tensor,
    shift: Tensor,
    _mean: Tensor | None,
    _var: Tensor | None,
    _training: bool,
    _momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm with the statistics at hand; also its mean and reciprocal deviation, (inputs,)."""
    mean = x.mean((0, 2, 3))
    centred = x - _wide(mean)
    scale = (centred.square().mean((0, 2, 3)) + eps).rsqrt()
    return centred * _wide(scale * gain) + _wide(shift), mean, scale


def batch_norm_backward(
    grad: Tensor,
    x: Tensor,
    gain: Tensor,
    _running_mean: Tensor | None,
    _running_var: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    _training: bool,
    _eps: float,
    _wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of input, gain and shift of `batch_norm`."""
    pixels = x.shape[2] * x.shape[3]
    centred = x - _wide(mean)
    shift = grad.sum((0, 2, 3))
    slope = (grad * centred).sum((0, 2, 3)) * scale
    part = scale * gain
    moved = grad * _wide(part) - centred * _wide(part * scale * slope / pixels)
    return moved - _wide(part * shift / pixels), slope, shift


def _wide(values: Tensor) -> Tensor:
    """Give each channel its value: (inputs,) -> (1, inputs, 1, 1)."""
    return values.view(1, -1, 1, 1)


def upsample_backward(
    grad: Tensor, _output: list[int], _shape: list[int], _align: bool, *_scales: float | None
) -> Tensor:
    """Gradient of doubling by bilinear interpolation: three and one quarters of two neighbours, each axis."""
    for axis in (2, 3):
        pairs = grad.reshape(*grad.shape[:axis], grad.shape[axis] // 2, 2, *grad.shape[axis + 1 :])
        even, odd = pairs.select(axis + 1, 0), pairs.select(axis + 1, 1)
        last = even.shape[axis] - 1
        # The interpolation holds the border: its outer half pixels are the border's own.
        before = torch.cat([even.narrow(axis, 0, 1), odd.narrow(axis, 0, last)], axis)
        after = torch.cat([even.narrow(axis, 1, last), odd.narrow(axis, last, 1)], axis)
        grad = (even + odd) * 0.75 + (before + after) * 0.25
    return grad


def reflection_backward(grad: Tensor, x: Tensor, padding: list[int]) -> Tensor:
    """Gradient of padding by reflection: what lies outside is added to where it came from."""
    for axis, pad in ((2, padding[2]), (3, padding[0])):
        size = x.shape[axis]
        came: dict[int, list[int]] = {}
        for far in range(1, pad + 1):
            came.setdefault(far, []).append(pad - far)
            came.setdefault(size - 1 - far, []).append(pad + size - 1 + far)
        pieces, begin = [], 0
        for place in [*sorted(came), size]:
            if place > begin:
                pieces.append(grad.narrow(axis, pad + begin, place - begin))
            if place < size:
                line = grad.narrow(axis, pad + place, 1)
                for other in came[place]:
                    line = line + grad.narrow(axis, other, 1)
                pieces.append(line)
            begin = place + 1
        grad = torch.cat(pieces, axis)
    return grad


def leaky_backward(grad: Tensor, x: Tensor, slope: float, _of_result: bool) -> Tensor:
    """Gradient of the leaky rectifier, as a factor of 1 or the slope: choosing takes three times as long."""
    return grad * x.sign().clamp_min(slope)


def sigmoid_backward(grad: Tensor, result: Tensor) -> Tensor:
    """Gradient of the logistic function."""
    return grad * (result * (1.0 - result))


def softmax_backward(grad: Tensor, result: Tensor, axis: int, _dtype: torch.dtype) -> Tensor:
    """Gradient of softmax."""
    share = grad * result
    return share - result * share.sum(axis, keepdim=True)


def clipped_backward(grad: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    """Gradient of a value that is held within bounds."""
    return torch.where((x > low) & (x < high), grad, 0.0)


def slice_backward(grad: Tensor, shape: list[int], axis: int, begin: int, end: int, _step: int) -> Tensor:
    """Gradient of a slice without a step: zeros around."""
    pads = [0, 0] * (len(shape) - 1 - axis) + [begin, shape[axis] - min(end, shape[axis])]
    return F.pad(grad, pads)


def select_backward(grad: Tensor, shape: list[int], axis: int, index: int) -> Tensor:
    """Gradient of one index of an axis: zeros around."""
    return slice_backward(grad.unsqueeze(axis), shape, axis, index, index + 1, 1)


INSTEAD: dict[Any, Callable[..., Any]] = {
    aten.convolution.default: convolution,
    aten.convolution_backward.default: convolution_backward,
    aten.native_batch_norm.default: batch_norm,
    aten.native_batch_norm_backward.default: batch_norm_backward,
    aten.upsample_bilinear2d_backward.default: upsample_backward,
    aten.reflection_pad2d_backward.default: reflection_backward,
    aten.leaky_relu_backward.default: leaky_backward,
    aten.sigmoid_backward.default: sigmoid_backward,
    aten._softmax_backward_data.default: softmax_backward,
    aten.hardtanh_backward.default: clipped_backward,
    aten.slice_backward.default: slice_backward,
    aten.select_backward.default: select_backward,
}
