"""Sums of products in registers, emitted as LLVM IR: sums[i][j] += scalar[i] * vector[j] for each term, with one fma.

Every tile of products and convolutions adds its terms with these loops, in order, so all tile shapes give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cervello.codegen.simd_ir import F32, F32X16, I64, LANES, llvm_function, pointer, splat_value

Grid = list[list[Any]]  # sums of sixteen lanes, by row and by vector
Moving = Sequence[tuple[Any, Any]]  # addresses, each with its distance to the next term in bytes
Factors = Callable[..., tuple[Sequence[Any], Callable[[int], Any]]]


def sum_terms(builder: Any, first: Any, end: Any, starts: Grid, moving: Moving, factors: Factors) -> tuple[Grid, list[Any]]:
    """Emits a loop over the terms first … end - 1, at least one.

    Args:
      starts: initial values of the sums.
      moving: the addresses that factors need, of the first term.
      factors: (number of the term, moving addresses …) → the term's vectors, and a function of a row that emits its scalar in all lanes.
    Returns:
      The sums, and the moving addresses after the last term.
    """
    fma = llvm_function(builder, "llvm.fma.v16f32", F32X16, [F32X16] * 3)
    before, loop, after = builder.block, builder.append_basic_block("term"), builder.append_basic_block("after_terms")
    builder.branch(loop)
    builder.position_at_end(loop)
    k, addresses = builder.phi(I64), [builder.phi(I64) for _ in moving]
    sums = [[builder.phi(F32X16) for _ in row] for row in starts]
    vectors, scalar = factors(k, *addresses)
    new = []
    for i, row in enumerate(sums):
        value = scalar(i)
        new.append([builder.call(fma, [value, vector, total]) for vector, total in zip(vectors, row, strict=True)])
    k_next, after_last = builder.add(k, I64(1)), [builder.add(address, step) for address, (_, step) in zip(addresses, moving, strict=True)]
    for phi, start, following in ((k, first, k_next), *zip(addresses, (address for address, _ in moving), after_last, strict=True)):
        phi.add_incoming(start, before)
        phi.add_incoming(following, loop)
    connect(sums, starts, before)
    connect(sums, new, loop)
    builder.cbranch(builder.icmp_signed("<", k_next, end), loop, after)
    builder.position_at_end(after)
    return new, after_last


def sum_any_terms(builder: Any, n_terms: Any, starts: Grid, moving: Moving, factors: Factors) -> Grid:
    """The sums of n_terms terms; without terms, their initial values. Arguments as in `sum_terms`."""
    before, some, done = builder.block, builder.append_basic_block("some_terms"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", n_terms, I64(0)), some, done)
    builder.position_at_end(some)
    sums, _ = sum_terms(builder, I64(0), n_terms, starts, moving, factors)
    last = builder.block
    builder.branch(done)
    builder.position_at_end(done)
    results = [[builder.phi(F32X16) for _ in row] for row in starts]
    connect(results, starts, before)
    connect(results, sums, last)
    return results


def connect(phis: Grid, values: Grid, block: Any) -> None:
    """Sets the values of phi nodes for control flow from a block."""
    for row, incoming in zip(phis, values, strict=True):
        for phi, value in zip(row, incoming, strict=True):
            phi.add_incoming(value, block)


def offset_address(builder: Any, address: Any, n_bytes: int) -> Any:
    """An address n_bytes later."""
    return builder.add(address, I64(n_bytes)) if n_bytes else address


def load_vectors(builder: Any, address: Any, vectors: int) -> list[Any]:
    """Adjacent vectors, any alignment."""
    return [builder.load(pointer(builder, offset_address(builder, address, 4 * LANES * j), F32X16), align=4) for j in range(vectors)]


def store_vectors(builder: Any, address: Any, values: Sequence[Any]) -> None:
    """Stores adjacent vectors."""
    for j, value in enumerate(values):
        builder.store(value, pointer(builder, offset_address(builder, address, 4 * LANES * j), F32X16), align=4)


def load_scalar(builder: Any, address: Any) -> Any:
    """One float32 in all lanes."""
    return splat_value(builder, builder.load(pointer(builder, address, F32), align=4), F32X16)


def row_addresses(builder: Any, first: Any, stride: Any, rows: int) -> list[Any]:
    """Addresses of rows."""
    found = [first]
    for _ in range(1, rows):
        found.append(builder.add(found[-1], stride))
    return found
