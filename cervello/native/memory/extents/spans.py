"""Byte ranges relative to an address: half-open (low, high), or None if nothing is accessed."""

from __future__ import annotations

from collections.abc import Sequence

Span = tuple[int, int] | None


def dense(n_bytes: int) -> Span:
    """n_bytes, starting at the address."""
    return (0, n_bytes) if n_bytes > 0 else None


def covered(span: Span, sizes: Sequence[int], strides: Sequence[int]) -> Span:
    """The range that nested loops of these sizes and strides access, if each iteration accesses `span`."""
    if span is None:
        return None
    low, high = span
    for size, stride in zip(sizes, strides, strict=True):
        if size <= 0:
            return None
        reach = (size - 1) * stride
        if reach < 0:
            low += reach
        else:
            high += reach
    return low, high


def joined(*spans: Span) -> Span:
    """The smallest range that contains all spans."""
    some = [span for span in spans if span is not None]
    return (min(low for low, _ in some), max(high for _, high in some)) if some else None


def round_up(n: int, multiple: int) -> int:
    """n rounded up to a multiple."""
    return -(-n // multiple) * multiple
