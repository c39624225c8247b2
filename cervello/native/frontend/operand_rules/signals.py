"""Frames of signals. Source: ONNX operator specification, STFT-17."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of
from cervello.native.graph.dims import parts, written


@operands_of("STFT")
def _stft(o: Operands) -> None:
    o.rank(0, "a signal", 2, 3)
    length, slope = parts(o.shape(0)[1])
    o.has_one(1, "a step between frames")
    o.has_one(3, "a length of frames")
    if o.known(1) and int(o.data(1).reshape(())) < 1:
        o.fail("a step between frames of at least 1", int(o.data(1).reshape(())))
    if o.known(3) and not slope and not 1 <= int(o.data(3).reshape(())) <= length:
        o.fail(f"frames of 1 to {length} elements, as long as the signal", int(o.data(3).reshape(())))
    if o.known(3):
        o.has_shape(2, "a window", (int(o.data(3).reshape(())),))
    elif o.given(2):
        o.is_list(2, "a window")
        if not slope and parts(o.shape(2)[0])[0] > length:
            o.fail(f"a window of at most {length} elements, as long as the signal", written(o.shape(2)))
