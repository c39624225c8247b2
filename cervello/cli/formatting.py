"""Formats numbers and names. Names come from untrusted files, so they are escaped before they reach a terminal."""

from __future__ import annotations

from typing import Any

from cervello.pictures.text import duration as duration  # also used by pictures
from cervello.pictures.text import share as share
from cervello.pictures.text import three_digits
from cervello.spec import TensorSpec


def plain(text: str) -> str:
    """The text with everything that is not printable (escape sequences above all) spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str) -> str:
    """The text on one line and printable."""
    return plain(" ".join(text.split()))


def size(n_bytes: float) -> str:
    """Bytes with a binary unit and three digits."""
    if n_bytes < 1024:
        return f"{n_bytes:.0f} byte{'' if n_bytes == 1 else 's'}"
    for unit in ("KiB", "MiB", "GiB"):
        n_bytes /= 1024
        if n_bytes < 1024:
            return f"{three_digits(n_bytes)} {unit}"
    return f"{n_bytes / 1024:.1f} TiB"


def rate(per_second: float) -> str:
    """A count per second, thousands apart."""
    return f"{per_second:,.0f}"


def count(number: int) -> str:
    """A count with a decimal unit and three digits; 0 is a dash."""
    if number < 1000:
        return str(number) if number else "-"
    for unit, factor in (("k", 1e3), ("M", 1e6)):
        if number / factor < 999.5:
            return f"{three_digits(number / factor)} {unit}"
    return f"{three_digits(number / 1e9)} G"


def plural(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def row_shape(spec: TensorSpec) -> str:
    """One agent's row: `16`, `3×11×11`, `scalar`."""
    return "×".join(map(str, spec.shape)) or "scalar"


def json_values(array: Any) -> Any:
    """Nested lists; JSON has no infinity and no NaN, so those become text."""
    import numpy as np

    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return np.where(np.isfinite(array), array.astype(object), array.astype(str)).tolist()
    return array.tolist()
