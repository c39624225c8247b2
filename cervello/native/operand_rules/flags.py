"""Attributes that say yes or no."""

from __future__ import annotations

from cervello.native.operand_rules.table import Operands

_FLAGS = frozenset({
    "allowzero", "antialias", "ceil_mode", "center_point_box", "count_include_pad", "exclude_outside", "exclusive", "input_forget",
    "interleaved", "inverse", "is_causal", "keepdims", "largest", "linear_before_reset", "noop_with_empty_axes", "onesided",
    "periodic", "reverse", "select_last_index", "sorted", "storage_order", "training_mode", "transA", "transB", "upper"})


def check_flags(o: Operands) -> None:
    """Raises GraphError for a number other than 0 and 1."""
    for name, value in o.node.attributes.items():
        if name in _FLAGS and isinstance(value, int) and value not in (0, 1):
            o.fail(f"{name} of 0 or 1", value)
