"""Fast comparison of a batch's ids with those of the previous batch; cheaper than looking the ids up.

Equality alone is not sufficient: [True] and [1.0] equal [1] but are not valid ids. Types are compared too, by compiled code that reads
the objects of lists and tuples in place.

Source: CPython Include/cpython/listobject.h and tupleobject.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import is_
from typing import Any

from cervello.codegen import entry
from cervello.noise import layout

SIZE = 16  # bytes from the start of a list or tuple to its length


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _has_expected_layout() -> bool:
    things = [object(), "a", 1 << 40]
    flat = tuple(things)
    expected = [id(thing) for thing in things]
    return (_word(id(things) + SIZE) == _word(id(flat) + SIZE) == 3
            and [_word(_word(id(things) + SIZE + 8) + 8 * i) for i in range(3)] == expected
            and [_word(id(flat) + SIZE + 8 + 8 * i) for i in range(3)] == expected)


@lru_cache(maxsize=1)
def is_compiled() -> bool:
    """Whether compiled code can read this interpreter's lists and tuples."""
    return layout.is_known() and _has_expected_layout()


@lru_cache(maxsize=1)
def id_comparer() -> Callable[[int, int, Any, Any], int]:
    """f(is_tuple, 0, a, b) for a list or tuple a and any object b: 2 if b is of the same kind and holds the same objects, 1 if it holds
    objects of the same types, else 0."""
    if is_compiled():
        return entry.fastcall_objects("cervello.agents.membership.table_kernels:equal_ids", SIZE)
    return _equal_ids


def _equal_ids(is_tuple: int, unused: int, a: Sequence[Any], b: Sequence[Any]) -> int:
    if type(a) is not type(b) or len(a) != len(b):
        return 0
    if all(map(is_, a, b)):
        return 2
    return int(all(map(is_, map(type, a), map(type, b))))
