"""Sizes that depend on the number of rows N: `const + slope * N`.

Shapes, offsets, strides and byte counts of a program are ints where they do not depend on N and `Affine` where they do.
Arithmetic that would leave the affine form raises `NotAffine`, which the caller turns into a slower tier or a refusal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class NotAffine(ArithmeticError):
    """The result depends on N in a way that `const + slope * N` cannot express."""


@dataclass(frozen=True, slots=True)
class Affine:
    """`const + slope * N` with N ≥ 1 and slope ≠ 0; build with `affine`, which returns an int where it can."""

    const: int
    slope: int

    def __add__(self, other: Any) -> Dim:
        const, slope = parts(other)
        return affine(self.const + const, self.slope + slope)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return affine(-self.const, -self.slope)

    def __sub__(self, other: Any) -> Dim:
        negative: Dim = -other
        return self + negative

    def __rsub__(self, other: Any) -> Dim:
        const, slope = parts(other)
        return affine(const - self.const, slope - self.slope)

    def __mul__(self, other: Any) -> Dim:
        if isinstance(other, Affine):
            raise NotAffine(f"({self}) * ({other})")
        times, _ = parts(other)
        return affine(self.const * times, self.slope * times)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Dim:
        const, slope = parts(other)
        if slope:
            ratio, rest = divmod(self.slope, slope)
            if rest == 0 and ratio * const == self.const:
                return ratio
            raise NotAffine(f"({self}) / ({other})")
        if const == 0 or self.const % const or self.slope % const:
            raise NotAffine(f"({self}) / {other}")
        return affine(self.const // const, self.slope // const)

    __truediv__ = __floordiv__

    def __rfloordiv__(self, other: Any) -> Dim:
        raise NotAffine(f"{other} / ({self})")

    __rtruediv__ = __rfloordiv__

    def __str__(self) -> str:
        rows = "N" if self.slope == 1 else f"{self.slope}·N"
        return rows if self.const == 0 else f"{rows} + {self.const}"


Dim = int | Affine
Shape = tuple[Dim, ...]
ROWS = Affine(0, 1)


def affine(const: int, slope: int) -> Dim:
    """`const + slope * N`, an int when the slope is 0."""
    return Affine(const, slope) if slope else const


def parts(dim: Any) -> tuple[int, int]:
    """(const, slope) of a size.

    Raises:
      NotAffine: a number that is not whole.
    """
    if type(dim) is int:
        return dim, 0
    if type(dim) is Affine:
        return dim.const, dim.slope
    if isinstance(dim, float) and not dim.is_integer():
        raise NotAffine(f"{dim} is not a size")
    return int(dim), 0


def at(dim: Dim, n_rows: int) -> int:
    """The size for N = n_rows."""
    if type(dim) is int:
        return dim
    if type(dim) is Affine:
        return dim.const + dim.slope * n_rows
    const, slope = parts(dim)
    return const + slope * n_rows


def product(dims: Iterable[Dim]) -> Dim:
    """The product of sizes; at most one of them may depend on N."""
    result: Dim = 1
    for dim in dims:
        if dim == 0:
            return 0
        result = result * dim
    return result


def rows_axis(shape: Iterable[Dim]) -> int | None:
    """The first axis whose size depends on N; None if there is none."""
    return next((i for i, size in enumerate(shape) if isinstance(size, Affine)), None)


def depends_on_rows(shape: Iterable[Dim]) -> bool:
    """Whether a size depends on N."""
    return rows_axis(shape) is not None


def written(shape: Iterable[Dim]) -> str:
    """A shape as people write it: (N, 24)."""
    inner = ", ".join(str(dim) for dim in shape)
    return f"({inner},)" if inner and "," not in inner else f"({inner})"
