"""Extents of loops around blocks, of reductions and of copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from cervello.native.graph.tensors import PackedWeight, Weight
from cervello.native.kernels.parameters import LAYER_NORM
from cervello.native.kernels.schemas import COPY_LOOP
from cervello.native.kernels.sizes import SHORT_ROW, row_scratch
from cervello.native.memory.extents.blocks import Block
from cervello.native.memory.extents.declaration import expect, held_bytes, kernel, repeated
from cervello.native.memory.extents.spans import Span, covered, dense, joined


def block_spans(block: Block, n_sources: int, count: int, parameters: Sequence[Any]) -> tuple[Span, ...]:
    """Spans of a block's target and sources. Checks that the block fits the loop and that its constants are large enough."""
    expect(block.n_sources == n_sources, f"a block of {n_sources} sources", block.n_sources)
    named = block.named(parameters)
    for field in block.parameters.fields:
        word = named[field.name]
        if field.kind.startswith("weight") and not (field.kind.endswith("?") and type(word) is int and word == 0):
            expect(isinstance(word, (Weight, PackedWeight)), "a constant among a block's parameters", word)
            expect(held_bytes(word) >= count * 4, f"a constant of {count} float32", f"{held_bytes(word)} bytes")
    return block.reach(count, named)


def in_place_activation(w: Any) -> None:
    """Checks an activation of a product or convolution: it must run in place on the written elements."""
    if w.activation is not None:
        expect(w.activation.elementwise, "an activation that maps float32 elements", w.activation)
        block_spans(w.activation, 1, 0, w.parameters)


def _mapped(w: Any, sources: Sequence[str], parameters: Sequence[Any] | None = None) -> Mapping[str, Span]:
    """A block over the elements of these operands, in the loops around it; `parameters`: of the block, those of the step by default."""
    found = block_spans(w.block, len(sources), w.count, w.parameters if parameters is None else parameters)
    spans = zip(("target", *sources), found, strict=True)
    return {name: covered(span, w.sizes, getattr(w, f"{name}_by")) for name, span in spans}


for _name, _sources in (("unary", ["source"]), ("binary", "ab"), ("ternary", "abc")):
    kernel(f"maps:{_name}")(partial(_mapped, sources=_sources))


@kernel("maps:binary_activated")
def _binary_activated(w: Any) -> Mapping[str, Span]:
    expect(w.block.elementwise, "a block on float32", w.block)
    in_place_activation(w)
    return _mapped(w, "ab", [w.mask])


def _batched_rows(w: Any, result: Span) -> Mapping[str, Span]:
    """Extents of a kernel that reads rows of `count` float32 and writes `result` for each, sixteen rows at a time or with the block."""
    target, source = block_spans(w.block, 1, w.count, w.parameters)
    return {"source": covered(joined(source, dense(w.count * 4)), w.sizes, w.source_by),
            "target": covered(joined(target, result), w.sizes, w.target_by), "transposed": dense(row_scratch(w.count) * 4)}


@kernel("reduce_batched:sum_ reduce_batched:mean reduce_batched:max_")
def _reduced(w: Any) -> Mapping[str, Span]:
    return _batched_rows(w, (0, 4))


@kernel("reduce_batched:softmax")
def _softmax(w: Any) -> Mapping[str, Span]:
    return _batched_rows(w, dense(w.count * 4))


@kernel("reduce_batched:layer_norm")
def _layer_norm(w: Any) -> Mapping[str, Span]:
    expect(w.block.parameters is LAYER_NORM, "the block of a layer norm", w.block)
    return _softmax(w)


@kernel("reduce_short:softmax")
def _short_softmax(w: Any) -> Mapping[str, Span]:
    expect(w.count <= SHORT_ROW, f"rows of at most {SHORT_ROW} elements", w.count)
    return _batched_rows(w, dense(w.count * 4))


@kernel("reduce_short:log_sum_exp")
def _short_log_sum_exp(w: Any) -> Mapping[str, Span]:
    expect(w.count <= SHORT_ROW, f"rows of at most {SHORT_ROW} elements", w.count)
    return _batched_rows(w, (0, 4))


@kernel(" ".join(f"reduce_inner:{name}" for name in ("sum_", "mean", "prod", "max_", "min_", "sum_square", "l2", "l1", "log_sum")))
def _columns(w: Any) -> Mapping[str, Span]:
    return {"source": dense(w.outer * w.terms * w.inner * 4), "target": dense(w.outer * w.inner * 4)}


def copied(w: Any) -> tuple[Span, Span]:
    """The spans that a strided copy reads and writes, in this order."""
    expect(w.itemsize > 0, "elements of at least a byte", w.itemsize)
    return covered((0, w.itemsize), w.sizes, w.source_by), covered((0, w.itemsize), w.sizes, w.target_by)


@kernel("copies:copy")
def _copy(w: Any) -> Mapping[str, Span]:
    source, target = copied(w)
    return {"source": source, "target": target}


@kernel("copies:copy_deep")
def _copy_deep(w: Any) -> Mapping[str, Span]:
    expect(len(w.loops) == COPY_LOOP.n_words * w.outer, "a size and two strides for each outer loop", len(w.loops))
    loops = repeated(COPY_LOOP, w.loops, w.n_rows)
    sizes = [loop.size for loop in loops]
    source, target = copied(w)
    return {"source": covered(source, sizes, [loop.source_by for loop in loops]),
            "target": covered(target, sizes, [loop.target_by for loop in loops])}


@kernel("copies:fill")
def _fill(w: Any) -> Mapping[str, Span]:
    expect(w.itemsize in (1, 2, 4, 8), "elements of 1, 2, 4 or 8 bytes", w.itemsize)
    return {"target": dense(w.count * w.itemsize)}
