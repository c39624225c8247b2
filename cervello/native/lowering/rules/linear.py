"""Gemm and MatMul: packed weights with bias and activation fused, or two computed operands."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.graph.dims import Dim, product
from cervello.native.graph.dtypes import F32, Array
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Address, Tensor, Weight, dense_strides, reshaped
from cervello.native.kernels.sizes import PANEL
from cervello.native.lowering.loop_nests import collapse, fixed, leading_strides, padded
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.lowering.rules.elementwise import Activation, activation, emit_binary

MOST_GEMV_COLUMNS = 8  # products of up to so many columns have lanes along K, if K is long enough


def segments_for(k: int, width: int) -> int:
    """The number of partial sums of a product: a property of the step, independent of the number of rows (law 1).

    A narrow product has too few sums in flight to hide the latency of an addition; cutting K gives it more.
    """
    if k < 16:
        return 1
    most = 2 if k < 64 else 4
    return min(most, {1: 4, 2: 2}.get(-(-width // PANEL), 1))


def packed(w: Array) -> Array:
    """[K, width] as panels [ceil(width / 32), K, 32], padded with zeros."""
    k, width = w.shape
    panels = -(-width // PANEL)
    full = np.zeros((k, panels * PANEL), F32)
    full[:, :width] = w
    return np.ascontiguousarray(full.reshape(k, panels, PANEL).transpose(1, 0, 2))


def padded_bias(bias: Array | None, width: int) -> Array:
    full = np.zeros(-(-width // PANEL) * PANEL, F32)
    if bias is not None:
        full[:width] = bias
    return full


def emit_gemm(lowering: Lowering, source: Tensor, w: Array, bias: Array | None, target: Tensor,
              act: Activation | None, rows: Dim, residual: Tensor | None = None) -> None:
    """target[rows, width] = act(source[rows, K] @ w + bias [+ residual]); operands as matrices whose last axis is contiguous."""
    k, width = w.shape
    lda = source.strides[-2] if len(source.shape) > 1 else k * 4
    ldc = target.strides[-2] if len(target.shape) > 1 else width * 4
    block, parameters = act or (None, [])
    words: dict[str, Any] = {
        "bias": Weight(padded_bias(bias, width)), "rows": rows, "k": k, "width": width, "lda": lda, "ldc": ldc,
        "activation": Address(block) if block else 0, "parameters": parameters}
    if _uses_gemv(k, width):
        columns = np.zeros((-(-width // 4) * 4, -(-k // 32) * 32), F32)
        columns[:width, :k] = w.T
        lowering.emit("gemv:gemm", (source,), (target,), weights=Weight(columns, "columns"), ldw=columns.shape[1] * 4, **words)
        return
    words |= {"weights": Weight(w, "panels"), "segments": segments_for(k, width)}
    if residual is None:
        lowering.emit("gemm:gemm", (source,), (target,), **words)
    else:
        lowering.emit("gemm:gemm_residual", (source, residual), (target,), ldr=residual.strides[0], **words)


def _uses_gemv(k: int, width: int) -> bool:
    """Whether the product has lanes along K; that kernel adds no residual."""
    return width <= MOST_GEMV_COLUMNS and k >= (32 if width <= 4 else 64)


def _matrix(lowering: Lowering, tensor: Tensor) -> Tensor:
    """A tensor [..., K] as [rows, K] with K contiguous."""
    rows, k = product(tensor.shape[:-1]), fixed(tensor.shape[-1], "a product over the batch")
    if tensor.strides and (tensor.strides[-1] == 4 or tensor.shape[-1] == 1):
        view = reshaped(tensor, tensor.name, (rows, k))
        if view is not None and (view.strides[-1] == 4 or k == 1):
            return view
    return lowering.materialised(tensor).dense_view((rows, k), tensor.name)


def _target_matrix(lowering: Lowering, name: str, rows: Dim, width: Dim) -> Tensor:
    """The target of a product, as a matrix."""
    target = lowering.output(name, contiguous=False)
    view = reshaped(target, name, (rows, width))
    if view is None or (view.strides[-1] != 4 and width != 1):
        lowering.tensors[name] = target = lowering.scratch(lowering.shape(name), F32, name)
        return target.dense_view((rows, width), name)
    return view


def _row_constant(lowering: Lowering, name: str, width: int) -> Array | None:
    """A constant that broadcasts along rows, as [width]; None for any other value."""
    data = lowering.constant(name)
    if data is None or data.dtype != F32:
        return None
    if data.size == 1 or (data.size == width and data.shape[-1:] == (width,)):
        return np.broadcast_to(data.reshape(-1), (width,))
    return None


def _emit_fused(lowering: Lowering, source: Tensor, w: Array, bias: Array | None, name: str) -> None:
    """Emits the product `name` with fused consumers: an Add of a row, then an Add of a residual, then an activation."""
    rows, (k, width) = source.shape[0], w.shape
    residual, act = None, None
    while act is None and (reader := lowering.only_reader(name)) is not None:
        if reader.op == "Add" and not reader.domain and residual is None:
            other = next((i for i in reader.inputs if i != name), "")
            row = _row_constant(lowering, other, width) if bias is None else None
            if lowering.values[reader.outputs[0]].shape != lowering.values[name].shape:
                break
            if row is None:
                residual = None if _uses_gemv(k, width) else _residual(lowering, other, name, rows, width)
                if residual is None:
                    break
            else:
                bias = row
        else:
            act = activation(lowering, reader) if reader.inputs[0] == name else None
            if act is None:
                break
        lowering.mark_fused(reader)
        name = reader.outputs[0]
    emit_gemm(lowering, source, w, bias, _target_matrix(lowering, name, rows, width), act, rows, residual)


def _residual(lowering: Lowering, name: str, product_name: str, rows: Dim, width: int) -> Tensor | None:
    """A float32 value of a product's shape as a matrix, if it is computed before the product and viewable; else None."""
    tensor = lowering.tensors.get(name)
    if tensor is None or tensor.dtype != F32 or tensor.shape != lowering.values[product_name].shape:
        return None
    view = reshaped(tensor, name, (rows, width))
    return view if view is not None and (width == 1 or view.strides[-1] == 4) else None


@lowers("Gemm")
def _gemm(lowering: Lowering, node: Node) -> None:
    a, b, c = (node.input(i) for i in range(3))
    w = lowering.constant(b)
    if lowering.dtype(a) != F32:
        raise NoKernelError(f"no kernel for {lowering.dtype(a)}")
    if w is None:
        raise NoKernelError("weights that are not constant")
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    w = w.T if node.attributes.get("transB", 0) else w
    w = w if alpha == 1 else (w.astype(np.float64) * alpha).astype(F32)
    source = lowering.tensor(a)
    if node.attributes.get("transA", 0):
        source = source.transposed((1, 0))
    matrix = _matrix(lowering, source)
    bias = _row_constant(lowering, c, w.shape[1])
    if bias is not None and beta != 1:
        bias = (bias * np.float32(beta)).astype(F32)
    name = node.outputs[0]
    if c and bias is None and beta != 0:
        extra = lowering.tensor(c)
        if beta != 1:
            extra = extra if extra.shape else extra.viewed(c, (1,), (4,))
            scaled = lowering.scratch(extra.shape, F32)
            emit_binary(lowering, "binary:mul", (extra, lowering.stored(f"{name}/beta", np.array([beta], F32))), scaled)
            extra = scaled
        target = _target_matrix(lowering, name, matrix.shape[0], w.shape[1])
        emit_gemm(lowering, matrix, w, None, target, None, matrix.shape[0])
        whole = lowering.tensors[name]
        emit_binary(lowering, "binary:add", (whole, extra), whole)
        return
    _emit_fused(lowering, matrix, w, bias, name)


@lowers("MatMul")
def _matmul(lowering: Lowering, node: Node) -> None:
    a, b = node.inputs
    if lowering.dtype(a) != F32 or lowering.dtype(b) != F32:
        raise NoKernelError(f"no kernel for {lowering.dtype(a)}")
    w = lowering.constant(b)
    if w is not None and (w.ndim == 2 or w.ndim == 1):
        source = lowering.tensor(a)
        w = w.reshape(-1, 1) if w.ndim == 1 else w
        matrix = _matrix(lowering, source)
        _emit_fused(lowering, matrix, w, None, node.outputs[0])
        return
    _product(lowering, node)


def _product(lowering: Lowering, node: Node) -> None:
    """Two computed operands, batched: each right-hand matrix is packed, then multiplied."""
    left, right = (lowering.tensor(name) for name in node.inputs)
    name = node.outputs[0]
    if len(left.shape) == 1:
        left = left.viewed(left.name, (1, *left.shape), (0, *left.strides))
    if len(right.shape) == 1:
        right = right.viewed(right.name, (*right.shape, 1), (*right.strides, 0))
    (m, k), n = left.shape[-2:], right.shape[-1]
    m, k, n = (fixed(size, "a product over the batch") for size in (m, k, n))
    if left.strides[-1] != 4 and k != 1:
        left = lowering.contiguous(left)
    target = lowering.output(name)
    lead = target.shape[:len(target.shape) - (len(lowering.shape(node.inputs[0])) > 1) - (len(lowering.shape(node.inputs[1])) > 1)]
    target_strides = dense_strides((*lead, m, n), 4)[:-2]
    sizes, steps = collapse(lead, [leading_strides(left, lead), leading_strides(right, lead), target_strides])
    sizes, steps = padded(sizes, steps, 3)
    panel = lowering.scratch((-(-n // PANEL) * k * PANEL,), F32)
    zeros = Weight(padded_bias(None, n))
    lowering.emit("products:product", (left, right), (target,), (panel,), sizes=sizes, a_by=steps[0], b_by=steps[1], c_by=steps[2],
                  m=m, k=k, n=n, lda=left.strides[-2], ldb=right.strides[-2], column=right.strides[-1],
                  segments=segments_for(k, n), zeros=zeros)
