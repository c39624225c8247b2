"""The equation of an Einsum."""

from __future__ import annotations

from collections import Counter

from cervello.errors import GraphError
from cervello.native.graph.graph import Node


def letters(node: Node) -> tuple[list[str], str]:
    """The axes of every operand and of the result, a letter each.

    Raises:
      GraphError: no equation, or one of something other than letters.
    """
    equation = str(node.attributes.get("equation", "")).replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    once = sorted(letter for letter, count in Counter(left.replace(",", "")).items() if count == 1)
    result = result if arrow else "".join(once)
    if "..." not in equation and (not all((term + result).isalpha() or not term + result for term in terms)
                                  or not set(result) <= set(left) or len(set(result)) < len(result)):
        raise GraphError(f"node {node}: expected an equation like 'ij,jk->ik', got {equation!r}")
    return terms, result
