"""Extents of branches and loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cervello.native.memory.extents.declaration import kernel
from cervello.native.memory.extents.loops import copied
from cervello.native.memory.extents.spans import Span, covered

_COUNTER, _FLAG = (0, 16), (0, 1)


@kernel("control_flow:label control_flow:jump")
def _nothing(w: Any) -> Mapping[str, Span]:
    return {}


@kernel("control_flow:branch")
def _branch(w: Any) -> Mapping[str, Span]:
    return {"condition": _FLAG}


@kernel("control_flow:loop_begin")
def _loop_begin(w: Any) -> Mapping[str, Span]:
    return {"trip_count": (0, 8), "condition": _FLAG, "counter": _COUNTER, "going": _FLAG}


@kernel("control_flow:loop_next")
def _loop_next(w: Any) -> Mapping[str, Span]:
    return {"condition": _FLAG, "counter": _COUNTER, "going": _FLAG}


@kernel("control_flow:scan_read")
def _scan_read(w: Any) -> Mapping[str, Span]:
    source, target = copied(w)
    return {"sequence": covered(source, [w.length], [w.element_by]), "counter": (0, 8), "element": target if w.length else None}


@kernel("control_flow:scan_write")
def _scan_write(w: Any) -> Mapping[str, Span]:
    source, target = copied(w)
    return {"element": source if w.length else None, "counter": (0, 8), "sequence": covered(target, [w.length], [w.element_by])}
