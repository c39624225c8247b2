"""Extents of branches and loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cervello.native.memory.extents.declaration import Bounds, kernel
from cervello.native.memory.extents.loops import copied
from cervello.native.memory.extents.spans import Span, covered

_COUNTER, _FLAG = (0, 16), (0, 1)
_FIXED: dict[str, Mapping[str, Span]] = {
    "label": {}, "jump": {}, "branch": {"condition": _FLAG}, "loop_next": {"condition": _FLAG, "counter": _COUNTER, "going": _FLAG},
    "loop_begin": {"trip_count": (0, 8), "condition": _FLAG, "counter": _COUNTER, "going": _FLAG}}


def _fixed(spans: Mapping[str, Span]) -> Bounds:
    return lambda w: spans


for _name, _spans in _FIXED.items():
    kernel(f"control_flow:{_name}")(_fixed(_spans))


@kernel("control_flow:scan_read")
def _scan_read(w: Any) -> Mapping[str, Span]:
    source, target = copied(w)
    return {"sequence": covered(source, [w.length], [w.element_by]), "counter": (0, 8), "element": target if w.length else None}


@kernel("control_flow:scan_write")
def _scan_write(w: Any) -> Mapping[str, Span]:
    source, target = copied(w)
    return {"element": source if w.length else None, "counter": (0, 8), "sequence": covered(target, [w.length], [w.element_by])}
