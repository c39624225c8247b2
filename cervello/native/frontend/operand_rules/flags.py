"""Attributes of any op: flags are 0 or 1, numbers are finite."""

from __future__ import annotations

import math

from cervello.native.frontend.operand_rules.table import Operands

_FLAGS = frozenset({
    "align_corners", "allowzero", "antialias", "ceil_mode", "center_point_box", "count_include_pad", "exclude_outside", "exclusive",
    "input_forget", "interleaved", "inverse", "is_causal", "keepdims", "largest", "linear_before_reset", "noop_with_empty_axes", "onesided",
    "periodic", "reverse", "saturate", "select_last_index", "sorted", "storage_order", "training_mode", "transA", "transB", "upper"})
_ANY = frozenset({"extrapolation_value"})  # it is data


def check_flags(o: Operands) -> None:
    """Raises GraphError for a flag other than 0 and 1, and for numbers that are not finite."""
    for name, value in o.node.attributes.items():
        if name in _FLAGS and isinstance(value, int) and value not in (0, 1):
            o.fail(f"{name} of 0 or 1", value)
        if isinstance(value, float) and name not in _ANY and not math.isfinite(value):
            o.fail(f"a finite number as {name}", value)
