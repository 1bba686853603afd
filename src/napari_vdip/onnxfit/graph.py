"""A traced step as an ONNX model: each of torch's operators by one or two of ONNX.

All shapes are known, so views become reshapes to fixed shapes, and whatever follows from no input is
computed here and stored. The operators are those of ONNX 17, which all providers have had for years.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.fx import Node

from napari_vdip.errors import VdipError
from napari_vdip.onnxfit.trace import CHANGED, NEW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_vdip.onnxfit.trace import Traced

aten = torch.ops.aten

_OPSET, _IR = 17, 8
_KINDS = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.int64: TensorProto.INT64,
    torch.bool: TensorProto.BOOL,
}


def model_of(traced: Traced) -> Any:
    """Translate a step (``onnx.ModelProto``). Its outputs have the names of `CHANGED` after `NEW`.

    Raises
    ------
    VdipError
        If this torch traces to an operator that has no translation.
    """
    graph = _Graph()
    nodes = list(traced.module.graph.nodes)
    names = iter(traced.inputs)
    inputs, outputs = [], []
    for node in nodes:
        if node.op == "placeholder":
            name = next(names)
            graph.values[node] = name
            inputs.append(_info(name, node))
        elif node.op == "call_function":
            graph.translate(node)
        else:
            for name, result in zip(CHANGED, node.args[0], strict=True):
                graph.nodes.append(helper.make_node("Identity", [graph.name(result)], [NEW + name]))
                outputs.append(_info(NEW + name, result))
    used = _needed(graph.nodes, [NEW + name for name in CHANGED])
    stored = [tensor for name, tensor in graph.stored.items() if name in used[1]]
    inputs = [item for item in inputs if item.name in used[1]]
    made = helper.make_graph(used[0], "step", inputs, outputs, stored)
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR, producer_name="napari-vdip"
    )
    onnx.checker.check_model(model)
    return model


def _info(name: str, node: Node) -> Any:
    """Name, type and shape of an input or output."""
    value = node.meta["val"]
    return helper.make_tensor_value_info(name, _KINDS[value.dtype], list(value.shape))


def _needed(nodes: Sequence[Any], wanted: Sequence[str]) -> tuple[list[Any], set[str]]:
    """Nodes that the wanted outputs follow from, and all names that these nodes take."""
    known, kept = set(wanted), []
    for node in reversed(nodes):
        if known.intersection(node.output):
            kept.append(node)
            known.update(node.input)
    return kept[::-1], known


class _Graph:
    """Nodes so far, and what stands for each of the traced ones.

    Attributes
    ----------
    values : dict
        By traced node: the name of its value, a tensor that is the same in every step, or several of these.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.stored: dict[str, Any] = {}
        self.values: dict[Node, Any] = {}
        self._known: dict[tuple[Any, ...], str] = {}

    def translate(self, node: Node) -> None:
        """Add what a traced node does."""
        args: Any = torch.fx.node.map_arg(node.args, self._value)
        if node.target is operator.getitem:
            self.values[node] = args[0][args[1]]
            return
        target: Any = node.target
        if target in _WRITES:
            # Nothing else sees a program's tensor: to write to it is to give its name another value.
            assert isinstance(node.args[0], Node)
            self.values[node] = self.values[node.args[0]] = _WRITES[target](self, node, *args)
        elif target in _SHAPED:
            shape, dtype = node.meta["val"].shape, node.meta["val"].dtype
            self.values[node] = torch.full(shape, _SHAPED[target](args), dtype=dtype)
        elif not any(isinstance(arg, str) for arg in _flat(args)):
            self.values[node] = target(*args, **node.kwargs)
        elif target in _TRANSLATED:
            self.values[node] = _TRANSLATED[target](self, node, *args, **_options(node))
        else:
            raise VdipError(
                f"torch {torch.__version__} has an operator in the step of the fit that has no translation "
                f"to ONNX: {target}; use compile='auto'"
            )

    def _value(self, node: Node) -> Any:
        return self.values[node]

    def add(self, kind: str, inputs: Sequence[Any], **attributes: Any) -> str:
        """Add a node of one output; inputs are names or tensors. Returns the name of its value."""
        name = f"v{len(self.nodes)}"
        taken = [self.name(value) for value in inputs]
        self.nodes.append(helper.make_node(kind, taken, [name], **attributes))
        return name

    def name(self, value: Any) -> str:
        """Name of a value: of a traced node, or of a tensor, which is stored once."""
        if isinstance(value, Node):
            value = self.values[value]
        if isinstance(value, str):
            return value
        array = value.detach().contiguous().numpy()
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = name = f"c{len(self._known)}"
            self.stored[name] = numpy_helper.from_array(array, name)
        return self._known[key]

    def numbers(self, *values: int) -> str:
        """Store whole numbers, as shapes and axes are given."""
        return self.name(torch.tensor(values, dtype=torch.int64))

    def cast(self, value: Any, dtype: torch.dtype, old: torch.dtype | None) -> Any:
        """Give a value another type; of a Python number make a tensor."""
        if not isinstance(value, str):
            return torch.as_tensor(value, dtype=dtype)
        return value if dtype == old else self.add("Cast", [value], to=_KINDS[dtype])


def _flat(args: Any) -> list[Any]:
    """All values in nested lists."""
    if isinstance(args, tuple | list):
        return [part for arg in args for part in _flat(arg)]
    return [args]


def _options(node: Node) -> dict[str, Any]:
    """Keywords of a call that say what is computed, not where."""
    places = ("device", "layout", "pin_memory", "memory_format", "non_blocking")
    return {name: value for name, value in node.kwargs.items() if name not in places}


def _shape(node: Any) -> list[int]:
    return list(node.meta["val"].shape)


def _dtype(value: Any) -> torch.dtype | None:
    """Type of a traced node; None of a number."""
    return value.meta["val"].dtype if isinstance(value, Node) else None


# -- the translations: graph, traced node, and its arguments as they are here


def _same(graph: _Graph, node: Node, value: Any, *_: Any) -> Any:
    return value


def _reshape(graph: _Graph, node: Node, value: Any, *_: Any) -> Any:
    return graph.add("Reshape", [value, graph.numbers(*_shape(node))])


def _plain(kind: str) -> Callable[..., Any]:
    """Translate an operator of one value that ONNX has as it is."""

    def translated(graph: _Graph, node: Node, value: Any) -> Any:
        return graph.add(kind, [value])

    return translated


def _binary(kind: str, swapped: bool = False) -> Callable[..., Any]:
    """Translate arithmetic and comparisons: ONNX wants operands of one type."""

    def translated(graph: _Graph, node: Node, a: Any, b: Any) -> Any:
        first, second = node.args
        dtype = node.meta["val"].dtype
        if dtype == torch.bool:
            dtype = _dtype(first) or _dtype(second)
        pair = [graph.cast(a, dtype, _dtype(first)), graph.cast(b, dtype, _dtype(second))]
        return graph.add(kind, pair[::-1] if swapped else pair)

    return translated


def _times(graph: _Graph, node: Node, a: Any, b: Any) -> Any:
    kind = "And" if node.meta["val"].dtype == torch.bool else "Mul"
    return _binary(kind)(graph, node, a, b)


def _unequal(graph: _Graph, node: Node, a: Any, b: Any) -> Any:
    return graph.add("Not", [_binary("Equal")(graph, node, a, b)])


def _power(graph: _Graph, node: Node, base: Any, exponent: Any) -> Any:
    if exponent == 2:
        return graph.add("Mul", [base, base])
    return _binary("Pow")(graph, node, base, exponent)


def _reciprocal_root(graph: _Graph, node: Node, value: Any) -> Any:
    return graph.add("Reciprocal", [graph.add("Sqrt", [value])])


def _clip(graph: _Graph, node: Node, value: Any, low: Any = None, high: Any = None) -> Any:
    dtype = node.meta["val"].dtype
    for kind, bound in (("Max", low), ("Min", high)):
        if bound is not None:
            value = graph.add(kind, [value, torch.tensor(bound, dtype=dtype)])
    return value


def _clip_high(graph: _Graph, node: Node, value: Any, high: Any) -> Any:
    return _clip(graph, node, value, None, high)


def _where(graph: _Graph, node: Node, condition: Any, a: Any, b: Any) -> Any:
    dtype = node.meta["val"].dtype
    return graph.add("Where", [condition, graph.cast(a, dtype, dtype), graph.cast(b, dtype, dtype)])


def _cast(graph: _Graph, node: Node, value: Any, dtype: torch.dtype | None = None) -> Any:
    return value if dtype is None else graph.cast(value, dtype, _dtype(node.args[0]))


def _sum(graph: _Graph, node: Node, value: Any, axes: Sequence[int] = (), keepdim: bool = False) -> Any:
    axes = axes or range(len(_shape(node.args[0])))
    return graph.add("ReduceSum", [value, graph.numbers(*axes)], keepdims=int(keepdim))


def _mean(graph: _Graph, node: Node, value: Any, axes: Sequence[int] = (), keepdim: bool = False) -> Any:
    axes = axes or range(len(_shape(node.args[0])))
    return graph.add("ReduceMean", [value], axes=list(axes), keepdims=int(keepdim))


def _slice(
    graph: _Graph, node: Node, value: Any, axis: int = 0, begin: Any = None, end: Any = None, step: int = 1
) -> Any:
    size = _shape(node.args[0])[axis]
    begin, end = begin or 0, size if end is None else min(end, size)
    if (begin, end, step) == (0, size, 1):
        return value
    return graph.add("Slice", [value, *(graph.numbers(each) for each in (begin, end, axis, step))])


def _select(graph: _Graph, node: Node, value: Any, axis: int, index: int) -> Any:
    if _shape(node.args[0])[axis] == 1:
        return _reshape(graph, node, value)
    return graph.add("Gather", [value, torch.tensor(index)], axis=axis)


def _index_select(graph: _Graph, node: Node, value: Any, axis: int, index: Any) -> Any:
    return graph.add("Gather", [value, index], axis=axis)


def _flip(graph: _Graph, node: Node, value: Any, axes: Sequence[int]) -> Any:
    count = len(axes)
    ends = [-(2**31)] * count  # beyond the first place
    taken = (graph.numbers(*each) for each in ([-1] * count, ends, axes, [-1] * count))
    return graph.add("Slice", [value, *taken])


def _transpose(graph: _Graph, node: Node, value: Any, first: int = 0, second: int = 1) -> Any:
    order = list(range(len(_shape(node))))
    order[first], order[second] = order[second], order[first]
    return graph.add("Transpose", [value], perm=order)


def _permute(graph: _Graph, node: Node, value: Any, order: Sequence[int]) -> Any:
    return graph.add("Transpose", [value], perm=list(order))


def _expand(graph: _Graph, node: Node, value: Any, *_: Any) -> Any:
    return graph.add("Expand", [value, graph.numbers(*_shape(node))])


def _concat(graph: _Graph, node: Node, values: Sequence[Any], axis: int = 0) -> Any:
    return graph.add("Concat", values, axis=axis)


def _stack(graph: _Graph, node: Node, values: Sequence[Any], axis: int = 0) -> Any:
    shape = _shape(node)
    shape[axis] = 1
    parts = [graph.add("Reshape", [value, graph.numbers(*shape)]) for value in values]
    return graph.add("Concat", parts, axis=axis)


def _split(graph: _Graph, node: Node, value: Any, sizes: Sequence[int], axis: int = 0) -> Any:
    names = [f"v{len(graph.nodes)}_{number}" for number in range(len(sizes))]
    taken = [graph.name(value), graph.numbers(*sizes)]
    graph.nodes.append(helper.make_node("Split", taken, names, axis=axis))
    return names


def _pad(graph: _Graph, node: Node, value: Any, pads: Sequence[int], fill: float = 0.0) -> Any:
    before, after = [0] * len(_shape(node)), [0] * len(_shape(node))
    for number in range(len(pads) // 2):
        before[-1 - number], after[-1 - number] = pads[2 * number], pads[2 * number + 1]
    if min(pads) < 0:  # padding by less than nothing is a slice
        axes = range(len(before))
        ends = [size + cut for size, cut in zip(_shape(node.args[0]), after, strict=True)]
        begins = [-each for each in before]
        return graph.add("Slice", [value, *(graph.numbers(*each) for each in (begins, ends, axes))])
    return graph.add(
        "Pad",
        [value, graph.numbers(*before, *after), torch.tensor(float(fill), dtype=node.meta["val"].dtype)],
    )


def _reflect(graph: _Graph, node: Node, value: Any, pads: Sequence[int]) -> Any:
    left, right, top, bottom = pads
    return graph.add("Pad", [value, graph.numbers(0, 0, top, left, 0, 0, bottom, right)], mode="reflect")


def _product(graph: _Graph, node: Node, a: Any, b: Any) -> Any:
    """Translate a product of two matrices; transposed ones are taken as they lie."""
    operands, turned = [], []
    for part, value in zip(node.args, (a, b), strict=True):
        is_turned = isinstance(part, Node) and part.target is aten.t.default
        if is_turned:
            assert isinstance(part, Node)
            value = graph.values[part.args[0]]  # type: ignore[index]
        operands.append(value)
        turned.append(int(is_turned))
    return graph.add("Gemm", operands, transA=turned[0], transB=turned[1])


def _batched(graph: _Graph, node: Node, a: Any, b: Any) -> Any:
    return graph.add("MatMul", [a, b])


def _affine(graph: _Graph, node: Node, shift: Any, a: Any, b: Any) -> Any:
    return graph.add("Add", [graph.add("MatMul", [a, b]), shift])


def _convolution(
    graph: _Graph,
    node: Node,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    rest: Sequence[int],
    _groups: int,
) -> Any:
    inputs = [x, weight] if bias is None else [x, weight, bias]
    if transposed:
        return graph.add("ConvTranspose", inputs, strides=list(stride), output_padding=list(rest))
    return graph.add("Conv", inputs, strides=list(stride))


def _double(graph: _Graph, node: Node, value: Any, *_: Any) -> Any:
    nothing = torch.zeros(0)  # of a region
    scales = torch.tensor([1.0, 1.0, 2.0, 2.0])
    return graph.add(
        "Resize", [value, nothing, scales], mode="linear", coordinate_transformation_mode="half_pixel"
    )


def _leaky(graph: _Graph, node: Node, value: Any, slope: float = 0.01) -> Any:
    if node.meta["val"].dtype == torch.float64:  # the attribute has the digits of float32
        return graph.add("Max", [value, graph.add("Mul", [value, torch.tensor(slope, dtype=torch.float64)])])
    return graph.add("LeakyRelu", [value], alpha=float(slope))


def _softmax(graph: _Graph, node: Node, value: Any, axis: int, _half: bool) -> Any:
    return graph.add("Softmax", [value], axis=axis)


def _cumulated(graph: _Graph, node: Node, value: Any, axis: int) -> Any:
    return graph.add("CumSum", [value, torch.tensor(axis)])


def _written(graph: _Graph, node: Node, _old: Any, value: Any) -> Any:
    return value


def _row_written(graph: _Graph, node: Node, old: Any, _axis: int, index: Any, row: Any) -> Any:
    place = graph.add("Reshape", [index, graph.numbers(1, 1)])
    return graph.add("ScatterND", [old, place, row])


_TRANSLATED: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((aten.clone.default, aten.detach.default), _same),
    **dict.fromkeys(
        (aten.view.default, aten._unsafe_view.default, aten.unsqueeze.default, aten.squeeze.dim), _reshape
    ),
    **dict.fromkeys((aten.add.Tensor, aten.add.Scalar), _binary("Add")),
    **dict.fromkeys((aten.sub.Tensor, aten.sub.Scalar), _binary("Sub")),
    **dict.fromkeys((aten.mul.Tensor, aten.mul.Scalar), _times),
    **dict.fromkeys((aten.div.Tensor, aten.div.Scalar), _binary("Div")),
    aten.rsub.Scalar: _binary("Sub", swapped=True),
    aten.maximum.default: _binary("Max"),
    aten.gt.Scalar: _binary("Greater"),
    aten.ge.Scalar: _binary("GreaterOrEqual"),
    aten.lt.Scalar: _binary("Less"),
    aten.eq.Tensor: _binary("Equal"),
    aten.ne.Scalar: _unequal,
    aten.bitwise_and.Tensor: _binary("And"),
    aten.pow.Tensor_Scalar: _power,
    aten.pow.Scalar: _binary("Pow"),
    aten.neg.default: _plain("Neg"),
    aten.abs.default: _plain("Abs"),
    aten.sign.default: _plain("Sign"),
    aten.exp.default: _plain("Exp"),
    aten.log.default: _plain("Log"),
    aten.cos.default: _plain("Cos"),
    aten.floor.default: _plain("Floor"),
    aten.sqrt.default: _plain("Sqrt"),
    aten.reciprocal.default: _plain("Reciprocal"),
    aten.sigmoid.default: _plain("Sigmoid"),
    aten.rsqrt.default: _reciprocal_root,
    aten.clamp.default: _clip,
    aten.clamp_min.default: _clip,
    aten.clamp_max.default: _clip_high,
    aten.hardtanh.default: _clip,
    aten.where.self: _where,
    aten._to_copy.default: _cast,
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
    aten.mean.default: _mean,
    aten.mean.dim: _mean,
    aten.slice.Tensor: _slice,
    aten.select.int: _select,
    aten.index_select.default: _index_select,
    aten.flip.default: _flip,
    aten.t.default: _transpose,
    aten.transpose.int: _transpose,
    aten.permute.default: _permute,
    aten.expand.default: _expand,
    aten.cat.default: _concat,
    aten.stack.default: _stack,
    aten.split_with_sizes.default: _split,
    aten.constant_pad_nd.default: _pad,
    aten.reflection_pad2d.default: _reflect,
    aten.mm.default: _product,
    aten.bmm.default: _batched,
    aten.addmm.default: _affine,
    aten.convolution.default: _convolution,
    aten.upsample_bilinear2d.default: _double,
    aten.leaky_relu.default: _leaky,
    aten._softmax.default: _softmax,
    aten.cumsum.default: _cumulated,
}
# Operators that write to their first argument.
_WRITES: dict[Any, Callable[..., Any]] = {
    aten.copy_.default: _written,
    aten.add_.Tensor: _binary("Add"),
    aten.index_copy_.default: _row_written,
}
# Operators that take the shape of their first argument only: what they fill it with.
_SHAPED: dict[Any, Callable[[Any], Any]] = {
    aten.zeros_like.default: lambda args: 0,
    aten.ones_like.default: lambda args: 1,
    aten.full_like.default: lambda args: args[1],
    aten.empty.memory_format: lambda args: 0,
}
