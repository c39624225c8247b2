"""Declarations of extents: the byte range of each operand from the values of a kernel's words (`native.kernels.schema`).

Every bound is a sum of products of counts, rows and strides with coefficients ≥ 0, or a maximum of such sums. Constant and slope of a
number of rows are ≥ 0, and those of a stride have one sign. A high end is therefore convex in N and a low end concave, and a buffer's size
is affine in N. A high end that does not exceed the buffer's size at both ends of a range of N does not exceed it inside the range, so two
values of N suffice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from cervello.codegen.schema import Field, Schema
from cervello.errors import PlanError
from cervello.native.graph.dims import parts
from cervello.native.graph.dtypes import Array
from cervello.native.graph.tensors import Address, Jump, PackedWeight, Weight
from cervello.native.kernels.schema import PREFIX
from cervello.native.kernels.sizes import PANEL
from cervello.native.memory.extents.blocks import Block, block_at
from cervello.native.memory.extents.spans import Span

Bounds = Callable[[Any], Mapping[str, Span]]

KERNELS: dict[str, Bounds] = {}


def kernel(references: str) -> Callable[[Bounds], Bounds]:
    """Declares the extents of kernels "module:name …", whose words are in `native.kernels.schemas`. The decorated function maps the words
    at one N, with N as `n_rows`, to byte ranges relative to operands and constants. Those that it does not return
    are not accessed."""
    def declare(bounds: Bounds) -> Bounds:
        KERNELS.update((PREFIX + reference, bounds) for reference in references.split())
        return bounds

    return declare


def values(schema: Schema, words: Sequence[Any], n_rows: int) -> SimpleNamespace:
    """A step's words by name, for N = n_rows.

    Raises:
      PlanError: a word is missing or of another kind.
    """
    found, at = SimpleNamespace(), 0
    if len(words) < schema.n_words or (len(words) > schema.n_words and not schema.more):
        raise PlanError(f"expected {schema.n_words} words{' or more' if schema.more else ''}, got {len(words)}")
    for field in schema.fields:
        if field.count:
            setattr(found, field.name, [_value(field, word, n_rows) for word in words[at:at + field.count]])
        else:
            setattr(found, field.name, _value(field, words[at], n_rows))
        at += field.count or 1
    found.n_rows = n_rows
    if schema.more:
        setattr(found, schema.more, words[at:])
    return found


def repeated(schema: Schema, words: Sequence[Any], n_rows: int) -> list[SimpleNamespace]:
    """The words of consecutive records."""
    n = schema.n_words
    return [values(schema, words[i:i + n], n_rows) for i in range(0, len(words), n)]


def _value(field: Field, word: Any, n_rows: int) -> Any:
    kind = field.kind
    if kind in ("count", "rows", "stride", "int"):
        return number(field.name, kind, word, n_rows)
    if kind in ("bits", "float"):
        return word
    if kind.endswith("?") and type(word) is int and word == 0:
        return None
    kind = kind.rstrip("?")
    if kind == "block" and isinstance(word, Address):
        return block_at(word.reference)
    if isinstance(word, _KINDS[kind]):
        return word
    raise PlanError(f"expected word {field.name!r} to be a {kind}, got {word!r}")


_KINDS: dict[str, Any] = {"block": Block, "weight": (Weight, PackedWeight), "function": Address, "jump": Jump}


def number(name: str, kind: str, word: Any, n_rows: int) -> int:
    """A word that is a number, for N = n_rows.

    Raises:
      PlanError: it is not a number, is below its kind's minimum, or depends on N although its kind does not.
    """
    if type(word) is int and (word >= 0 or kind in ("stride", "int")):
        return word
    if isinstance(word, (Address, Weight, PackedWeight, Jump)):
        raise PlanError(f"expected word {name!r} to be a number, got {word!r}")
    const, slope = parts(word)
    if slope and kind in ("count", "int"):
        raise PlanError(f"expected word {name!r} not to depend on N, got {word}")
    if (kind in ("count", "rows") and (const < 0 or slope < 0)) or (kind == "stride" and const * slope < 0):
        raise PlanError(f"expected word {name!r} to be {'a stride of one sign' if kind == 'stride' else 'at least 0'} for every N, "
                        f"got {word}")
    return const + slope * n_rows


def held_bytes(word: Weight | PackedWeight) -> int:
    """The size in bytes of the constant that a word refers to, in the layout that its kernel reads."""
    if isinstance(word, PackedWeight):
        return int(word.array.nbytes)
    if word.kind == "panels":
        k, width = word.shape
        return -(-width // PANEL) * PANEL * k * 4
    return int(np.asarray(word.data).nbytes)


def content(word: Weight | PackedWeight) -> Array:
    """The constant that a word refers to; it must not be packed."""
    return np.asarray(word.array if isinstance(word, PackedWeight) else word.data)


def expect(holds: bool, what: str, got: Any) -> None:
    """Refuses words for which the bounds of the kernel are not valid.

    Raises:
      PlanError: `holds` is false.
    """
    if not holds:
        raise PlanError(f"expected {what}, got {got}")


def constants(schema: Schema) -> Sequence[str]:
    """Names of the words that are addresses of constants."""
    return [field.name for field in schema.fields if field.kind.startswith("weight")]
