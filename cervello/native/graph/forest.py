"""Decision trees in the form that kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cervello.native.graph.dtypes import Array

LESS, EQUAL, GREATER, UNORDERED = 1, 2, 4, 8  # comparison of a value with a threshold; NaN is unordered
NODE = np.dtype([("threshold", np.float64), ("feature", np.int32), ("outcomes", np.int32), ("yes", np.int32), ("no", np.int32)])


class TreeCycleError(Exception):
    """A tree has a cycle."""


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees whose leaves vote for targets; immutable.

    A node's children and a tree's root are numbers of nodes, or ~leaf below 0. A child's number is higher than its parent's.

    Attributes:
      nodes: [nodes] of `NODE`; the branch "yes" is taken if the comparison of feature and threshold is among the outcomes.
      roots: [trees] int32.
      starts: [leaves + 1] int32, where the votes of each leaf begin.
      targets: [votes] int32; values: [votes] float64.
      n_targets: columns of the result; n_features: the least columns of an input.
    """

    nodes: Array
    roots: Array
    starts: Array
    targets: Array
    values: Array
    n_targets: int
    n_features: int

    @property
    def single(self) -> int | None:
        """The only target that leaves vote for; None where they vote for several or none."""
        found = np.unique(self.targets)
        return int(found[0]) if len(found) == 1 else None


def build_forest(nodes: Array, roots: Sequence[int], votes: Sequence[Sequence[tuple[int, float]]], n_targets: int) -> Forest:
    """A forest of nodes in any order.

    Args:
      nodes: [nodes] of `NODE`, whose children exist.
      roots: of the trees; votes: targets and values of each leaf.
    Raises:
      TreeCycleError: a node is its own descendant.
    """
    order = _parents_first(np.stack([nodes["yes"], nodes["no"]], 1).tolist(), roots)
    number = np.zeros(len(nodes), np.int32)
    number[order] = np.arange(len(order))
    kept, first = nodes[order], np.array(roots, np.int32)
    for numbers in (kept["yes"], kept["no"], first):
        inner = numbers >= 0
        numbers[inner] = number[numbers[inner]]
    flat = [vote for each in votes for vote in each]
    return Forest(kept, first, np.cumsum([0, *map(len, votes)]).astype(np.int32), np.array([target for target, _ in flat], np.int32),
                  np.array([value for _, value in flat], np.float64), n_targets, int(kept["feature"].max(initial=-1)) + 1)


def _parents_first(children: list[list[int]], roots: Sequence[int]) -> list[int]:
    """The nodes that roots lead to, each before its children."""
    behind: list[int] = []
    state = bytearray(len(children))  # 1: on the current path, 2: done
    for root in roots:
        stack = [root] if root >= 0 else []
        while stack:
            node = stack[-1]
            if state[node]:
                stack.pop()
                if state[node] == 1:
                    state[node] = 2
                    behind.append(node)
                continue
            state[node] = 1
            for child in children[node]:
                if child < 0 or state[child] == 2:
                    continue
                if state[child] == 1:
                    raise TreeCycleError
                stack.append(child)
    return behind[::-1]
