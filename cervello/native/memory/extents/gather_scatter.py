"""Extents of gather, scatter and random ops. Kernels check indices at run time against the sizes in their words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cervello.native.kernels.sizes import FEW_CLASSES, FEW_CLASSES_SCRATCH
from cervello.native.memory.extents.declaration import expect, kernel
from cervello.native.memory.extents.spans import Span, covered, dense
from cervello.noise.words import FILL

_DEPTH = 5


def _index_bytes(n_bytes: int) -> int:
    expect(n_bytes in (4, 8), "indices of 4 or 8 bytes", n_bytes)
    return n_bytes


@kernel("copies:gather")
def _gather(w: Any) -> Mapping[str, Span]:
    return {"table": dense(w.outer * w.size * w.inner), "indices": dense(w.count * _index_bytes(w.index_bytes)),
            "target": dense(w.outer * w.count * w.inner)}


def _elements(w: Any) -> tuple[Span, Span, Span]:
    """Spans of the indexed elements, the indices, and the moved elements."""
    expect(w.itemsize > 0, "elements of at least a byte", w.itemsize)
    return (covered((0, w.itemsize), [w.size, *w.sizes], [w.axis_by, *w.data_by]),
            covered((0, _index_bytes(w.index_bytes)), w.sizes, w.indices_by), covered((0, w.itemsize), w.sizes, w.values_by))


def _blocks(w: Any) -> tuple[Span, Span, Span]:
    """Spans of the indexed blocks, the index tuples, and the moved blocks."""
    expect(w.depth <= _DEPTH, f"tuples of up to {_DEPTH} indices", w.depth)
    n_tuples = w.batches * w.tuples
    named = covered(dense(w.block), [*w.sizes[:w.depth], w.batches, min(w.tuples, 1)], [*w.strides[:w.depth], w.batch_by, 0])
    return named, dense(n_tuples * w.depth * _index_bytes(w.index_bytes)), dense(n_tuples * w.block)


def _declare(gather: str, scatter: str, spans: Callable[[Any], tuple[Span, Span, Span]]) -> None:
    """Declares a gather, which reads the indexed elements, and a scatter, which writes them."""
    @kernel(f"gather_scatter:{gather}")
    def _gathered(w: Any) -> Mapping[str, Span]:
        return dict(zip(("data", "indices", "target"), spans(w), strict=True))

    @kernel(f"gather_scatter:{scatter}")
    def _scattered(w: Any) -> Mapping[str, Span]:
        expect(w.mode <= 4 and w.kind <= 2, "a mode of 0 to 4 and a kind of 0 to 2", (w.mode, w.kind))
        return dict(zip(("target", "indices", "updates"), spans(w), strict=True))


_declare("gather_elements", "scatter_elements", _elements)
_declare("gather_nd", "scatter_nd", _blocks)


@kernel("gather_scatter:top_k")
def _top_k(w: Any) -> Mapping[str, Span]:
    return {"source": dense(w.rows * w.n * 4), "values": dense(w.rows * w.k * 4), "indices": dense(w.rows * w.k * 8)}


@kernel("random:normal random:uniform")
def _random(w: Any) -> Mapping[str, Span]:
    return {"target": dense(w.rows * w.width * 4), "block": dense(FILL.n_bytes)}


@kernel("multinomial:multinomial")
def _multinomial(w: Any) -> Mapping[str, Span]:
    expect(w.itemsize in (4, 8), "results of 4 or 8 bytes", w.itemsize)
    lines = w.rows * w.lines
    return {"logits": dense(lines * w.classes * 4), "target": dense(lines * w.samples * w.itemsize), "draws": dense(lines * w.samples * 4),
            "weights": dense(max(w.classes * 4, FEW_CLASSES_SCRATCH * 4 if w.classes <= FEW_CLASSES else 0)), "block": dense(FILL.n_bytes)}
