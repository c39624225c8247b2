"""Element types of operands, from ONNX's schemas.

An operand may have any type that the file's version of the op or the newest version allows, because kernels implement the newest. Operands
must share a type if both versions require it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import onnx

from cervello.native.frontend.op_schema import Signature, signature
from cervello.native.frontend.operand_rules.table import Operands

Types = frozenset[np.dtype[Any]]
Expected = tuple[str, Types, tuple[str, str] | None]
_NAMES = {"float": "FLOAT", "double": "DOUBLE"}
_BOUNDS_FROM_ATTRIBUTES = {"Clip": (1, 2), "Pad": (2,)}  # once float attributes of ops on any float type, now float32 constants


@lru_cache(maxsize=2048)
def _dtypes(types: frozenset[str]) -> Types | None:
    """numpy types of ONNX's tensor types; None where other things than tensors are allowed."""
    found: set[np.dtype[Any]] = set()
    for one in types:
        if one.startswith("tensor("):
            name = one[7:-1]
            kind = onnx.TensorProto.DataType.Value(_NAMES.get(name, name.upper()))
            found.add(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)))
    return frozenset(found) if found else None


def _allowed(version: Signature | None, index: int) -> tuple[str, str, Types] | None:
    """Name, letter and types of an operand in one version of the op."""
    formal_index = None if version is None else version.formal_index(index)
    if version is None or formal_index is None:
        return None
    dtypes = _dtypes(version.types[version.letters[formal_index]])
    letter = version.letters[formal_index]
    if version.variadic and formal_index == len(version.names) - 1 and not version.homogeneous:
        letter = f"{letter} {index}"
    return None if dtypes is None else (version.names[formal_index], letter, dtypes)


@lru_cache(maxsize=2048)
def _expected(op: str, opset: int, domain: str, count: int) -> tuple[Expected | None, ...]:
    """For each of `count` operands: its name, its types, and the key that operands of one type share; None if ONNX does not say."""
    own, newest = signature(op, opset, domain), signature(op, onnx.defs.onnx_opset_version(), domain)
    found: list[Expected | None] = []
    for index in range(count):
        one, other = _allowed(own, index), _allowed(newest, index)
        if one is None:
            found.append(None)
            continue
        name, letter, types = one
        shared = (letter, letter if other is None else other[1]) if len(types) > 1 else None
        found.append((name, types if other is None else types | other[2], shared))
    return tuple(found)


def check_types(o: Operands) -> None:
    """Raises GraphError for an element type that the op does not take, or for operands that do not share one."""
    node = o.node
    seen: dict[tuple[str, str], np.dtype[np.generic]] = {}
    expected = _expected(node.op, node.opset, node.domain, len(o.values))
    last = None  # the last valid pair; thousands of equal operands are checked once
    for index, (value, wanted) in enumerate(zip(o.values, expected, strict=True)):
        if value is None or wanted is None or value.dtype is None or (value.data is None and last == (id(value.dtype), id(wanted))):
            continue
        if value.data is not None and (value.from_input or value.data.dtype == object):
            continue  # sizes of shapes: exact, whatever type the file has them in
        name, types, shared = wanted
        if value.dtype not in types:
            o.fail(f"operand {index} ({name}) of type {' or '.join(sorted(map(str, types)))}", value.dtype)
        if shared is None or (index in _BOUNDS_FROM_ATTRIBUTES.get(node.op, ()) and value.data is not None):
            continue
        first = seen.setdefault(shared, value.dtype)
        if first != value.dtype:
            o.fail("operands of one element type", f"{first} and {value.dtype}")
        last = id(value.dtype), id(wanted)
