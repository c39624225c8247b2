"""Extents of random ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cervello.native.kernels.sizes import FEW_CLASSES, FEW_CLASSES_SCRATCH
from cervello.native.memory.extents.declaration import expect, kernel
from cervello.native.memory.extents.spans import Span, contiguous
from cervello.noise.words import FILL


@kernel("random:normal random:uniform")
def _random(w: Any) -> Mapping[str, Span]:
    return {"target": contiguous(w.rows * w.width * 4), "block": contiguous(FILL.n_bytes)}


@kernel("multinomial:multinomial")
def _multinomial(w: Any) -> Mapping[str, Span]:
    expect(w.itemsize in (4, 8), "results of 4 or 8 bytes", w.itemsize)
    lines = w.rows * w.lines
    scratch = max(w.classes, FEW_CLASSES_SCRATCH if w.classes <= FEW_CLASSES else 0)
    return {"logits": contiguous(lines * w.classes * 4), "target": contiguous(lines * w.samples * w.itemsize),
            "draws": contiguous(lines * w.samples * 4), "weights": contiguous(scratch * 4), "block": contiguous(FILL.n_bytes)}
