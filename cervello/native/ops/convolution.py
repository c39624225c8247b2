"""Conv, MaxPool and AveragePool of one or two spatial dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cervello.errors import GraphError
from cervello.native.dims import written
from cervello.native.graph import Node
from cervello.native.lowering import Lowering
from cervello.native.ops.elementwise import activation
from cervello.native.ops.linear import PANEL, packed, padded_bias, segments_for
from cervello.native.ops.windows import Window, window
from cervello.native.planned import NotPlanned, lowers
from cervello.native.tensors import Address, Tensor, Weight

F32 = np.dtype(np.float32)
PIXELS = 24  # as the kernel's
FILTERS = 8
FEW_PIXELS = 8  # outputs so small that lanes over pixels would stay empty
Array = np.ndarray[Any, Any]
Act = tuple[str, list[Any]] | None


def _planar(tensor: Tensor) -> tuple[Any, ...]:
    """Strides by batch, channel, row, column; a one-dimensional image is one row."""
    if len(tensor.shape) == 3:
        n, c, w = tensor.strides
        return n, c, 0, w
    if len(tensor.shape) == 4:
        return tensor.strides
    raise NotPlanned(f"{len(tensor.shape) - 2} spatial dimensions")


def _two(sizes: tuple[int, ...], fill: int) -> tuple[int, int]:
    return (fill, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _geometry(lowering: Lowering, node: Node, kernel: tuple[int, ...] | None = None) -> Window:
    found = window(node, lowering.value(node.inputs[0]), kernel)
    if len(found.sizes) > 2:
        raise NotPlanned(f"{len(found.sizes)} spatial dimensions")
    return found


def _words(found: Window) -> list[int]:
    words: list[int] = [*_two(found.kernel, 1), *_two(found.strides, 1), *_two(found.dilations, 1), *_two(found.pads, 0)]
    return words


@lowers("Conv")
def _conv(lowering: Lowering, node: Node) -> None:
    source = lowering.tensor(node.inputs[0])
    w = lowering.constant(node.inputs[1])
    b = lowering.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if source.dtype != F32 or w is None or (len(node.inputs) > 2 and node.inputs[2] and b is None):
        raise NotPlanned("weights that are not constant float32")
    found = _geometry(lowering, node, tuple(w.shape[2:]))
    groups = node.attributes.get("group", 1)
    channels = w.shape[1]
    if (source.shape[1] != channels * groups or w.shape[0] % groups or tuple(found.kernel) != w.shape[2:]
            or (b is not None and b.shape != w.shape[:1])):
        raise GraphError(f"node {node}: expected weights and bias that fit {written(source.shape)} in {groups} groups, got {w.shape} and "
                         f"{None if b is None else b.shape}")
    name = node.outputs[0]
    reader = lowering.only_reader(name)
    act = activation(lowering, reader) if reader is not None and reader.inputs[0] == name else None
    if act is not None and reader is not None:
        lowering.absorb(reader)
        name = reader.outputs[0]
    target = lowering.output(name, contiguous=False)
    emit = _emit_pixels if math.prod(found.outputs) < FEW_PIXELS else _emit_planes
    emit(lowering, source, target, w.astype(F32), np.zeros(w.shape[0], F32) if b is None else b.astype(F32), groups, found, act)


def _emit_planes(lowering: Lowering, source: Tensor, target: Tensor, w: Array, bias: Array, groups: int, found: Window, act: Act) -> None:
    """Lanes over pixels."""
    filters, channels = w.shape[0] // groups, w.shape[1]
    k = int(np.prod(w.shape[1:]))
    (kh, kw), (sh, sw), (dh, dw) = _two(found.kernel, 1), _two(found.strides, 1), _two(found.dilations, 1)
    (height, width), (out_height, out_width), (ph, pw) = _two(found.sizes, 1), _two(found.outputs, 1), _two(found.pads, 0)
    xn, xc, xh, xw = _planar(source)
    yn, yc, yh, yw = _planar(target)
    inside = (out_height - 1) * sh + (kh - 1) * dh < height and (out_width - 1) * sw + (kw - 1) * dw < width
    in_place = (sh, sw, ph, pw, xw) == (1, 1, 0, 0, 4) and inside and xh % 4 == 0
    phases = sorted({(i * dh % sh, j * dw % sw) for i in range(kh) for j in range(kw)})
    rows, columns = out_height + (kh - 1) * dh // sh, out_width + (kw - 1) * dw // sw
    if in_place:
        row_bytes = xh if height > 1 else width * 4
        plane_bytes, columns = xc, row_bytes // 4
    else:
        row_bytes, plane_bytes = columns * 4, rows * columns * 4 * len(phases)
    offsets = [c * plane_bytes + phases.index((i * dh % sh, j * dw % sw)) * (0 if in_place else rows * columns * 4)
               + i * dh // sh * row_bytes + j * dw // sw * 4 for c in range(channels) for i in range(kh) for j in range(kw)]
    blocks = -(-filters // FILTERS)
    packed_w, packed_b = np.zeros((groups, blocks * FILTERS, k), F32), np.zeros((groups, blocks * FILTERS), F32)
    packed_w[:, :filters], packed_b[:, :filters] = w.reshape(groups, filters, k), bias.reshape(groups, filters)
    packed_w = packed_w.reshape(groups * blocks, FILTERS, k).transpose(0, 2, 1)
    direct = yw == 4 and (out_height == 1 or (columns == out_width and yh == columns * 4))
    pixels = (out_height - 1) * columns + out_width
    results = lowering.scratch((FILTERS * -(-pixels // 16) * 16,), F32)
    planes = results if in_place else lowering.scratch((channels * len(phases) * rows * columns,), F32)
    block, parameters = act or (None, [])
    lowering.emit("convolution:conv", (source,), (target,), [
        Weight(np.ascontiguousarray(packed_w), "filters"), Weight(packed_b), Weight(np.array(offsets, np.int64)),
        Weight(np.array(phases, np.int64)), len(phases), source.shape[0], groups, channels, filters, k, height, width,
        out_height, out_width, rows, columns, sh, sw, ph, pw, xn, xc, xh, xw, yn, yc, yh, yw, int(in_place), int(direct),
        Address(block) if block else 0, *parameters], scratch=(planes, results))


def _emit_pixels(lowering: Lowering, source: Tensor, target: Tensor, w: Array, bias: Array, groups: int, found: Window, act: Act) -> None:
    """Lanes over filters."""
    filters, channels = w.shape[0] // groups, w.shape[1]
    k = int(np.prod(w.shape[1:]))
    panels = [packed(w[g * filters:(g + 1) * filters].reshape(filters, k).T).reshape(-1) for g in range(groups)]
    biases = [padded_bias(bias[g * filters:(g + 1) * filters], filters) for g in range(groups)]
    columns, results = lowering.scratch((PIXELS * k,), F32), lowering.scratch((PIXELS * filters,), F32)
    block, parameters = act or (None, [])
    lowering.emit("convolution:conv_pixels", (source,), (target,), [
        Weight(np.concatenate(panels).reshape(-1, k, PANEL), "filters"), Weight(np.concatenate(biases)),
        source.shape[0], groups, channels, filters, *_two(found.sizes, 1), *_two(found.outputs, 1), *_words(found), *_planar(source),
        *_planar(target), segments_for(k, filters), Address(block) if block else 0, *parameters], scratch=(columns, results))


@lowers("MaxPool", "AveragePool")
def _pool(lowering: Lowering, node: Node) -> None:
    source = lowering.tensor(node.inputs[0])
    if source.dtype != F32:
        raise NotPlanned(f"no kernel for {source.dtype}")
    found = _geometry(lowering, node)
    if node.op == "AveragePool" and node.attributes.get("count_include_pad", 0) and node.attributes.get("ceil_mode", 0):
        raise NotPlanned("counted padding together with ceil_mode")
    target = lowering.output(node.outputs[0], contiguous=False)
    row = lowering.scratch((_two(found.sizes, 1)[1],), F32)
    words = [*source.shape[:2], *_two(found.sizes, 1), *_two(found.outputs, 1), *_words(found), *_planar(source), *_planar(target)]
    if node.op == "AveragePool":
        words.append(node.attributes.get("count_include_pad", 0))
    lowering.emit(f"pooling:{'max' if node.op == 'MaxPool' else 'average'}_pool", (source,), (target,), words, scratch=(row,))
