"""`Operands`, the view of a node that operand rules check, and the table of rules.

A rule raises GraphError if the node contradicts its op. If it asks for a shape or data that is only known at run time, it ends
without an error; the fallback tier that runs the node applies it again to the arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

from cervello.errors import GraphError
from cervello.native.graph.dims import Dim, Shape, parts, product, written
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value

_MOST = 1 << 31  # of strides, pads and their like


class UnknownOperandError(Exception):
    """A shape or data is only known at run time."""


class Operands:
    """A node and the values of its operands, as far as they are known."""

    def __init__(self, node: Node, values: Sequence[Value | None]):
        self.node, self.values = node, values

    def fail(self, expected: str, got: object, remedy: str = "export the policy again") -> NoReturn:
        """Raises GraphError: node X: expected …, got …; remedy."""
        raise GraphError(f"node {self.node}: expected {expected}, got {got}; {remedy}")

    # Operands ------------------------------------------------------------------------------------------------------------

    def given(self, index: int) -> bool:
        return index < len(self.values) and self.values[index] is not None

    def value(self, index: int) -> Value:
        value = self.values[index]
        assert value is not None
        return value

    def shape(self, index: int) -> Shape:
        shape = self.value(index).shape
        if shape is None:
            raise UnknownOperandError
        return shape

    def shape_or_none(self, index: int) -> Shape | None:
        """The shape of an operand; None where it is absent or only the run can tell."""
        return self.value(index).shape if self.given(index) else None

    def data(self, index: int) -> Array:
        """The data of a constant operand without sizes that depend on N."""
        data = self.value(index).constant
        if data is None:
            raise UnknownOperandError
        return data

    def known(self, index: int) -> bool:
        """Whether `data` is available."""
        return self.given(index) and self.value(index).constant is not None

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attributes.get(name, default)

    # Checks -------------------------------------------------------------------------------------------------------------

    def rank(self, index: int, name: str, least: int, most: int | None = None) -> int:
        """The number of axes of an operand, within bounds."""
        shape = self.shape(index)
        if len(shape) < least or (most is not None and len(shape) > most):
            ranks = f"rank {least}" if least == most else f"rank {least} or more" if most is None else f"rank {least} to {most}"
            self.fail(f"{name} of {ranks}", written(shape))
        return len(shape)

    def has_shape(self, index: int, name: str, expected: Shape) -> None:
        """Checks the shape of an operand, if it is given and its shape is known."""
        if self.shape_or_none(index) not in (None, tuple(expected)):
            self.fail(f"{name} of shape {written(expected)}", written(self.shape(index)))

    def has_one(self, index: int, name: str) -> None:
        """Checks that an operand, where given, is one number."""
        shape = self.shape_or_none(index)
        if shape is not None and product_or_none(shape) != 1:
            self.fail(f"one number as {name}", written(shape))

    def is_list(self, index: int, name: str, length: Dim | None = None) -> None:
        """Checks that an operand, where given, has one axis, of a certain length."""
        shape = self.shape_or_none(index)
        if shape is not None and (len(shape) != 1 or (length is not None and shape != (length,))):
            self.fail(f"{name} of shape ({'n' if length is None else length},)", written(shape))

    def broadcasts(self, index: int, name: str, to: Shape) -> None:
        """Checks that an operand, where given, broadcasts to exactly this shape."""
        shape = self.shape_or_none(index)
        if shape is not None and (len(shape) > len(to) or any(have not in (1, size) for have, size in zip(shape[::-1], to[::-1],
                                                                                                          strict=False))):
            self.fail(f"{name} of a shape that broadcasts to {written(to)}", written(shape))

    def axis(self, rank: int, default: int | None = None, end: bool = False) -> int:
        """The attribute `axis`, counted from 0; `end`: one past the last axis is valid too."""
        value = self.attribute("axis", default)
        most = max(rank, 1) if not end else rank + 1
        if not isinstance(value, int) or not -rank <= value < most:
            self.fail(f"an axis within rank {rank}", value)
        return value + rank if value < 0 else value

    def axes(self, values: Sequence[int], rank: int, name: str = "axes") -> list[int]:
        """Axes from 0, each once."""
        found = [int(value) + rank if value < 0 else int(value) for value in values]
        if any(not 0 <= axis < max(rank, 1) for axis in found) or len(set(found)) < len(found):
            self.fail(f"{name} within rank {rank}, each once", list(values))
        return found

    def choice(self, name: str, default: Any, choices: Collection[Any]) -> Any:
        value = self.attribute(name, default)
        if value not in choices:
            self.fail(f"{name} among {', '.join(map(repr, choices))}", repr(value))
        return value

    def at_least(self, name: str, least: int, default: int | None = None) -> int:
        value: int | None = self.attribute(name, default)
        if value is None or value < least:
            self.fail(f"{name} of at least {least}", value)
        return value

    def each(self, name: str, count: int, least: int) -> tuple[int, ...] | None:
        """A list attribute with this length and minimum; None if it is absent or empty."""
        values: tuple[int, ...] | None = self.attribute(name) or None
        if values is not None and (len(values) != count or min(values) < least):
            self.fail(f"{count} numbers of at least {least} as {name}", list(values))
        if values is not None and max(values) >= _MOST:
            self.fail(f"numbers below 2**31 as {name}", list(values))
        return values


def product_or_none(shape: Shape) -> Dim | None:
    """The number of elements; None if it is not affine in N."""
    try:
        return product(shape)
    except ArithmeticError:
        return None


def at_most(a: Dim, b: Dim) -> bool:
    """Whether a ≤ b for every N ≥ 1."""
    (a_const, a_slope), (b_const, b_slope) = parts(a), parts(b)
    return a_const + a_slope <= b_const + b_slope and a_slope <= b_slope


OperandRule = Callable[[Operands], None]
OPERAND_RULES: dict[tuple[str, str], OperandRule] = {}  # by domain and op


def operands_of(*ops: str, domain: str = "") -> Callable[[OperandRule], OperandRule]:
    """Registers an operand rule."""
    def register(function: OperandRule) -> OperandRule:
        for op in ops:
            assert (domain, op) not in OPERAND_RULES, op
            OPERAND_RULES[domain, op] = function
        return function

    return register
