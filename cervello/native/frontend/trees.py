"""Reads the trees of TreeEnsembleRegressor, TreeEnsembleClassifier and TreeEnsemble, and checks them, once per file.

The node then holds one `Forest` in place of the lists that describe the trees. Source: ONNX operator specification,
ai.onnx.ml, TreeEnsembleRegressor-5, TreeEnsembleClassifier-5, TreeEnsemble-5.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from cervello.errors import GraphError
from cervello.native.graph.forest import EQUAL, GREATER, LESS, NODE, UNORDERED, Forest, TreeCycleError, build_forest
from cervello.native.graph.graph import Node

ML = "ai.onnx.ml"
FOREST = "(trees)"  # the attribute, by a name no file has
_OUTCOMES = {"BRANCH_LEQ": LESS | EQUAL, "BRANCH_LT": LESS, "BRANCH_GTE": GREATER | EQUAL, "BRANCH_GT": GREATER, "BRANCH_EQ": EQUAL,
             "BRANCH_NEQ": LESS | GREATER | UNORDERED}
_MODES = tuple(_OUTCOMES)
_MEMBER = len(_MODES)
_AGGREGATES, TRANSFORMS = ("AVERAGE", "SUM", "MIN", "MAX"), ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_MOST, _MOST_TARGETS = 1 << 31, 1 << 16
Votes = list[list[tuple[int, float]]]


def with_forest(node: Node) -> Node:
    """The node with its trees as a `Forest`; any other node as it is.

    Raises:
      GraphError: the lists that describe the trees contradict each other, ids are out of range, or a tree has a cycle.
    """
    read = _READERS.get(node.op) if node.domain == ML else None
    if read is None:
        return node
    lists = _Lists(node)
    attributes = read(lists)
    try:
        attributes[FOREST] = attributes[FOREST]()
    except TreeCycleError:
        lists.fail("trees without cycles", "a node that is below itself")
    return replace(node, attributes=attributes)


class _Lists:
    """The attributes of a node, read with checks; `node` is for messages."""

    def __init__(self, node: Node):
        self.node = node

    def fail(self, expected: str, got: object) -> NoReturn:
        raise GraphError(f"node {self.node}: expected {expected}, got {got}; export the policy again")

    def get(self, name: str, default: Any) -> Any:
        return self.node.attributes.get(name, default)

    def choice(self, name: str, default: Any, choices: Collection[Any]) -> Any:
        value = self.get(name, default)
        if value not in choices:
            self.fail(f"{name} among {', '.join(map(str, choices))}", value)
        return value

    def count(self, name: str) -> int:
        value = self.get(name, 1)
        if not 1 <= value <= _MOST_TARGETS:
            self.fail(f"{name} from 1 to {_MOST_TARGETS}", value)
        return int(value)

    def numbers(self, name: str, length: int | None = None) -> list[int]:
        """A list of integers."""
        found = list(self.get(name, ()))
        self._as_long(name, len(found), length)
        return found

    def within(self, name: str, most: int, length: int | None = None) -> list[int]:
        """A list of integers from 0 to below a number."""
        found = self.numbers(name, length)
        wrong = [value for value in found if not 0 <= value < most]
        if wrong:
            self.fail(f"{name} from 0 to {most - 1}", wrong[0])
        return found

    def floats(self, name: str, length: int | None = None) -> list[float]:
        """A list of floats, or the tensor `name`_as_tensor."""
        tensor, listed = self.get(f"{name}_as_tensor", None), list(self.get(name, ()))
        if tensor is not None and listed:
            self.fail(f"{name} or {name}_as_tensor", "both")
        if tensor is not None:
            listed = self.tensor(f"{name}_as_tensor")
        self._as_long(name, len(listed), length)
        return listed

    def tensor(self, name: str, length: int | None = None, kind: str = "f") -> list[Any]:
        """The numbers of a tensor of one axis."""
        array = self.get(name, np.zeros(0))
        if array.ndim != 1 or array.dtype.kind not in kind:
            self.fail(f"{'floats' if kind == 'f' else 'integers'} on one axis as {name}", f"{array.dtype} {array.shape}")
        self._as_long(name, len(array), length)
        return list((array.astype(np.float64) if kind == "f" else array).tolist())

    def _as_long(self, name: str, found: int, length: int | None) -> None:
        if length is not None and found != length:
            self.fail(f"{length} elements of {name}", found)

    def optional(self, read: Callable[[str, int], list[Any]], name: str, length: int) -> list[Any]:
        """A list that may be left out."""
        is_absent = not len(self.get(name, ())) and not len(self.get(f"{name}_as_tensor", ()))
        return [] if is_absent else read(name, length)

    def missing(self, length: int) -> list[int]:
        """For each node, whether NaN takes the branch "yes"."""
        return self.optional(lambda name, size: self.within(name, 2, size), "nodes_missing_value_tracks_true", length) or [0] * length

    def finite(self, name: str, values: Iterable[float]) -> None:
        """Refuses NaN."""
        if any(value != value for value in values):
            self.fail(f"numbers as {name}", "NaN")

    def places(self, prefix: str) -> tuple[list[tuple[int, int]], int]:
        """(tree, node) of each element of the lists with this prefix, and their number."""
        nodes = self.numbers(f"{prefix}_nodeids")
        return list(zip(self.numbers(f"{prefix}_treeids", len(nodes)), nodes, strict=True)), len(nodes)


def _base(lists: _Lists, n_targets: int, may_be_one: bool = False) -> list[float]:
    found = lists.floats("base_values")
    if len(found) not in (0, n_targets) and not (may_be_one and len(found) == 1):
        lists.fail(f"no base_values or {n_targets}", len(found))
    return found


def _from_node_lists(lists: _Lists, prefix: str, n_targets: int) -> Callable[[], Forest]:
    """Trees as lists of nodes by tree and id, leaves among them, and lists of votes that name their leaf."""
    places, count = lists.places("nodes")
    at = {place: i for i, place in enumerate(places)}
    if len(at) < count:
        lists.fail("each node once", f"{count - len(at)} of them again")
    if not count:
        lists.fail("at least one node", "none")
    modes = lists.get("nodes_modes", ())
    unknown = set(modes) - {*_MODES, "LEAF"}
    if len(modes) != count or unknown:
        lists.fail(f"{count} nodes_modes among {', '.join(_MODES)} and LEAF", sorted(unknown) or len(modes))
    lists.optional(lists.floats, "nodes_hitrates", count)
    missing, thresholds = lists.missing(count), lists.floats("nodes_values", count)
    features = lists.numbers("nodes_featureids", count)
    below = {name: lists.numbers(f"nodes_{name}nodeids", count) for name in ("true", "false")}
    leaves = [i for i, mode in enumerate(modes) if mode == "LEAF"]
    inner = [i for i, mode in enumerate(modes) if mode != "LEAF"]
    number = {**{i: ~k for k, i in enumerate(leaves)}, **{i: k for k, i in enumerate(inner)}}
    nodes = np.zeros(len(inner), NODE)
    for k, i in enumerate(inner):
        tree, children = places[i][0], []
        for name in ("true", "false"):
            child = at.get((tree, below[name][i]))
            if child is None:
                lists.fail(f"nodes_{name}nodeids among the nodes of tree {tree}", below[name][i])
            children.append(number[child])
        if not 0 <= features[i] < _MOST:
            lists.fail("nodes_featureids of at least 0", features[i])
        nodes[k] = thresholds[i], features[i], _OUTCOMES[modes[i]] | (UNORDERED if missing[i] else 0), *children
    lists.finite("nodes_values", nodes["threshold"].tolist())
    votes: Votes = [[] for _ in leaves]
    vote_leaves, n_votes = lists.places(prefix)
    for place, target, value in zip(vote_leaves, lists.within(f"{prefix}_ids", n_targets, n_votes),
                                    lists.floats(f"{prefix}_weights", n_votes), strict=True):
        leaf = number.get(at.get(place, -1), 0)
        if leaf >= 0:
            lists.fail(f"{prefix}_nodeids that are leaves", f"node {place[1]} of tree {place[0]}")
        votes[~leaf].append((target, value))
    roots = {tree: i for i, (tree, _) in reversed(list(enumerate(places)))}  # the first node of each
    return lambda: build_forest(nodes, [number[i] for i in sorted(roots.values())], votes, n_targets)


def _regressor(lists: _Lists) -> dict[str, Any]:
    n_targets = lists.count("n_targets")
    return {"aggregate": lists.choice("aggregate_function", "SUM", _AGGREGATES), "base": _base(lists, n_targets),
            "transform": lists.choice("post_transform", "NONE", TRANSFORMS), FOREST: _from_node_lists(lists, "target", n_targets)}


def _classifier(lists: _Lists) -> dict[str, Any]:
    labels = lists.numbers("classlabels_int64s")
    if len(labels) < 2:
        lists.fail("at least two classlabels_int64s", labels)
    return {"aggregate": "SUM", "base": _base(lists, len(labels), len(labels) == 2), "labels": tuple(labels),
            "transform": lists.choice("post_transform", "NONE", TRANSFORMS), FOREST: _from_node_lists(lists, "class", len(labels))}


def _ensemble(lists: _Lists) -> dict[str, Any]:
    """Nodes and leaves are separate lists and refer to each other by index."""
    n_targets, count = lists.count("n_targets"), len(lists.get("nodes_featureids", ()))
    targets = lists.within("leaf_targetids", n_targets)
    votes = [[vote] for vote in zip(targets, lists.tensor("leaf_weights", len(targets)), strict=True)]
    children = []
    for name in ("true", "false"):
        to_leaf, place = lists.within(f"nodes_{name}leafs", 2, count), lists.numbers(f"nodes_{name}nodeids", count)
        for leaf, child in zip(to_leaf, place, strict=True):
            if not 0 <= child < (len(votes) if leaf else count):
                lists.fail(f"nodes_{name}nodeids below {len(votes) if leaf else count}", child)
        children.append([~child if leaf else child for leaf, child in zip(to_leaf, place, strict=True)])
    modes = lists.tensor("nodes_modes", count, "u")
    if any(mode > _MEMBER for mode in modes):
        lists.fail(f"nodes_modes from 0 to {_MEMBER}", max(modes))
    lists.optional(lists.tensor, "nodes_hitrates", count)
    splits, missing = lists.tensor("nodes_splits", count), lists.missing(count)
    lists.finite("nodes_splits", (split for split, mode in zip(splits, modes, strict=True) if mode != _MEMBER))
    outcomes = [(_OUTCOMES[_MODES[mode]] if mode != _MEMBER else 0) | (UNORDERED if gone else 0)
                for mode, gone in zip(modes, missing, strict=True)]
    columns = zip(splits, lists.within("nodes_featureids", _MOST, count), outcomes, *children, strict=True)
    nodes = _with_members(lists, [list(column) for column in columns], modes)
    roots = lists.within("tree_roots", count)
    if not roots:
        lists.fail("at least one of tree_roots", "none")
    return {"aggregate": _AGGREGATES[lists.choice("aggregate_function", 1, range(4))], "base": [],
            "transform": TRANSFORMS[lists.choice("post_transform", 0, range(5))],
            FOREST: lambda: build_forest(np.array([tuple(node) for node in nodes], NODE), roots, votes, n_targets)}


def _with_members(lists: _Lists, nodes: list[list[Any]], modes: Sequence[int]) -> list[list[Any]]:
    """Replaces each node that tests membership in a set by a chain of nodes, each of which compares with one member."""
    member_nodes = [i for i, mode in enumerate(modes) if mode == _MEMBER]
    sets: list[list[float]] = [[]]
    for value in lists.tensor("membership_values"):
        if value == value:
            sets[-1].append(value)
        else:
            sets.append([])
    if not sets[-1]:  # the last delimiter may be left out
        sets.pop()
    if len(sets) != len(member_nodes) or not all(sets):
        lists.fail(f"{len(member_nodes)} sets as membership_values, NaN between them, none of them empty", len(sets))
    for i, members in zip(member_nodes, sets, strict=True):
        _, feature, missing, yes, no = nodes[i]
        for member in members[:0:-1]:
            nodes.append([member, feature, EQUAL | missing, yes, no])
            no = len(nodes) - 1
        nodes[i] = [members[0], feature, EQUAL | missing, yes, no]
    return nodes


_READERS = {"TreeEnsembleRegressor": _regressor, "TreeEnsembleClassifier": _classifier, "TreeEnsemble": _ensemble}
