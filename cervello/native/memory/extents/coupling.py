"""Extents of pairwise coupling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cervello.native.memory.extents.declaration import kernel
from cervello.native.memory.extents.spans import Span, contiguous


@kernel("coupling:couple")
def _couple(w: Any) -> Mapping[str, Span]:
    return {"pairs": contiguous(w.rows * (w.classes * (w.classes - 1) // 2) * 4), "result": contiguous(w.rows * w.classes * 4),
            "work": contiguous((w.classes + 2) * w.classes * 8)}
