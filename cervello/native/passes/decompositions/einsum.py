"""Decomposes Einsum into transposes, sums and matrix products; more than two operands are multiplied pair by pair.

A letter in both operands and the result is a batch axis; a letter in both operands only is summed. An operand becomes [batch, own, summed],
and the result of the product is [batch, left, right].
"""

from __future__ import annotations

import math

from cervello.native.graph.dims import Affine, Dim
from cervello.native.graph.dtypes import F32
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes
from cervello.native.shapes.einsum import letters


@decomposes("Einsum")
def _einsum(s: GraphBuilder) -> Results:
    terms, result = letters(s.node)
    if any(s.dtype(i) != F32 for i in range(len(s.values))) or any("." in term for term in (*terms, result)):
        return None
    sizes: dict[str, Dim] = {}
    for i, term in enumerate(terms):
        if len(set(term)) < len(term):  # a diagonal
            return None
        sizes |= dict(zip(term, s.shape(i), strict=True))
    if sum(isinstance(size, Affine) for size in sizes.values()) > 1:
        return None
    operands = list(zip(s.node.inputs, terms, strict=True))
    while len(operands) > 1:
        (a, left), (b, right) = operands[:2]
        wanted = set(result).union(*(term for _, term in operands[2:]))
        found = _pair(s, a, left, b, right, wanted, sizes)
        if found is None:
            return None
        operands[:2] = [found]
    name, term = operands[0]
    summed_axes = [i for i, letter in enumerate(term) if letter not in result]
    if any(isinstance(sizes[term[i]], Affine) for i in summed_axes):
        return None
    if summed_axes:
        name = s.add("ReduceSum", name, s.constant(summed_axes), keepdims=0)
        term = "".join(letter for letter in term if letter in result)
    if term != result:
        name = s.transpose(name, *(term.index(letter) for letter in result))
    return name


def _pair(s: GraphBuilder, a: str, left: str, b: str, right: str, wanted: set[str], sizes: dict[str, Dim]) -> tuple[str, str] | None:
    """One product; letters that are not needed later are summed."""
    shared = [letter for letter in left if letter in right]
    batch = [letter for letter in shared if letter in wanted]
    summed = [letter for letter in shared if letter not in wanted]
    free_letters = [[letter for letter in term if letter not in shared] for term in (left, right)]
    if any(isinstance(sizes[letter], Affine) for letter in summed):
        return None
    if not summed and not free_letters[0] and not free_letters[1]:
        return s.add("Mul", a, _ordered(s, b, right, list(left))), left
    batch_sizes = _sizes(sizes, batch)
    if batch_sizes is None:
        return None
    flat = [_sizes(sizes, each, free=not any(isinstance(sizes[x], Affine) for x in batch)) for each in free_letters]
    counts: list[int] = [int(sizes[letter]) for letter in summed]  # type: ignore[arg-type]
    terms = math.prod(counts)
    if flat[0] is None or flat[1] is None:
        return None
    x = s.reshape(_ordered(s, a, left, [*batch, *free_letters[0], *summed]), *batch_sizes, _one(flat[0]), terms)
    y = s.reshape(_ordered(s, b, right, [*batch, *summed, *free_letters[1]]), *batch_sizes, terms, _one(flat[1]))
    term = "".join([*batch, *free_letters[0], *free_letters[1]])
    return s.reshape(s.add("MatMul", x, y), *batch_sizes, *flat[0], *flat[1]), term


def _sizes(sizes: dict[str, Dim], found: list[str], free: bool = True) -> list[int] | None:
    """Sizes for a Reshape, the batch as -1; None where there would be two of them."""
    given = [-1 if isinstance(sizes[letter], Affine) else int(sizes[letter]) for letter in found]  # type: ignore[arg-type]
    return None if given.count(-1) > 1 or (-1 in given and not free) else given


def _one(found: list[int]) -> int:
    return -1 if -1 in found else math.prod(found)


def _ordered(s: GraphBuilder, name: str, term: str, order: list[str]) -> str:
    axes = [term.index(letter) for letter in order]
    return name if axes == sorted(axes) else s.transpose(name, *axes)
