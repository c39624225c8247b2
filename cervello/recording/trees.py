"""Trees of columns: an array, a dict of trees or a tuple of trees, as in Gymnasium's Box, Dict and Tuple observations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.spec import Array

Tree = Any  # Array | dict[str, Tree] | tuple[Tree, ...]
Path = tuple[str | int, ...]  # keys of dicts are str, places in tuples are ints of at least 0

EMPTY_DICT: Path = (-2,)  # ends the path of a dict without keys, which keeps the dict
EMPTY_TUPLE: Path = (-1,)  # ends the path of a tuple without elements
KINDS = "biufcUS"  # kinds of numpy dtypes that can be recorded: all but objects, records and times


def leaves(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Paths and arrays of a tree, depth first, in the order of the dicts.

    Raises:
      InputError: a key that is no str.
    """
    if type(tree) is np.ndarray:  # the usual tree; asking for abstract classes takes longer
        yield path, tree
    elif isinstance(tree, Mapping):
        if not tree:
            yield path + EMPTY_DICT, None
        for key, value in tree.items():
            if not isinstance(key, str):
                raise InputError(f"recording, {format_path(path)!r}: expected keys of type str, got {key!r}; rename it")
            yield from leaves(value, (*path, key))
    elif isinstance(tree, tuple):
        if not tree:
            yield path + EMPTY_TUPLE, None
        for i, value in enumerate(tree):
            yield from leaves(value, (*path, i))
    else:
        yield path, tree


def from_leaves(flat: Mapping[Path, Any]) -> Tree:
    """Builds the tree from its `leaves`; a single path () is the tree.

    Raises:
      ValueError: paths that contradict each other: an array that is a dict too, a dict that is a tuple too.
    """
    if tuple(flat) == ((),):
        return flat[()]
    groups: dict[str | int, dict[Path, Any]] = {}
    for path, value in flat.items():
        if path in (EMPTY_DICT, EMPTY_TUPLE) and len(flat) == 1:
            return {} if path == EMPTY_DICT else ()
        if not path or path in (EMPTY_DICT, EMPTY_TUPLE):
            raise ValueError(f"one place is an array, a dict and a tuple: {sorted(map(format_path, flat))}")
        groups.setdefault(path[0], {})[path[1:]] = value
    children = {key: from_leaves(group) for key, group in groups.items()}
    places = [key for key in children if isinstance(key, int)]
    if not places:
        return children
    if sorted(places) != list(range(len(children))):
        raise ValueError(f"one place is a dict and a tuple: {sorted(map(str, children))}")
    return tuple(children[i] for i in range(len(children)))


def map_tree(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """The tree with a function applied to each array."""
    if type(tree) is np.ndarray:
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tree(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map_tree(function, value) for value in tree)
    return function(tree)


def concat_trees(trees: Sequence[Tree]) -> Tree:
    """The rows of trees of one structure, one tree after the other."""
    if isinstance(trees[0], Mapping):
        return {key: concat_trees([tree[key] for tree in trees]) for key in trees[0]}
    if isinstance(trees[0], tuple):
        return tuple(concat_trees(list(parts)) for parts in zip(*trees, strict=True))
    return np.concatenate(trees)


def prefixes(path: Path) -> list[Path]:
    """The paths of the dicts and tuples on the way to a leaf, from the outermost, then its own."""
    return [path[:i] for i in range(1, len(path) + 1)]


def all_prefixes(paths: Iterable[Path]) -> set[Path]:
    """The `prefixes` of all paths."""
    return {prefix for path in paths for prefix in prefixes(path)}


def masked_path(path: Path) -> Path:
    """The key whose rows a column at this path tells by its name, `_key` beside `key`; () if the name is another."""
    last = path[-1]
    return (*path[:-1], last[1:]) if isinstance(last, str) and last.startswith("_") else ()


def format_path(path: Path) -> str:
    """Formats a path for messages: observation.camera.0"""
    return ".".join(map(str, path))


def as_columns(tree: Tree, n_rows: int, where: Path) -> dict[Path, Array]:
    """The leaves of a tree of columns, checked, little-endian; paths begin with `where`.

    Args:
      tree: arrays of [n_rows, …]; other values are converted.
      where: names the tree in messages and begins each path.
    Returns:
      [n_rows, …] arrays by path; places of empty dicts and tuples have [n_rows, 0] uint8.
    Raises:
      InputError: another number of rows, or values that are no numbers, bools or strings.
    """
    found: dict[Path, Array] = {}
    for path, value in leaves(tree, where):
        if value is None:
            if path[-1:] not in (EMPTY_DICT, EMPTY_TUPLE):
                raise InputError(f"recording, {format_path(path)!r}: expected [{n_rows}, …] numbers, bools or strings, got None; leave it "
                                 "out")
            found[path] = np.empty((n_rows, 0), np.uint8)
            continue
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise InputError(f"recording, {format_path(path)!r}: expected rows of one shape, got {error}; leave it out or pad it"
                             ) from error
        if array.dtype.kind not in KINDS:
            raise InputError(f"recording, {format_path(path)!r}: expected numbers, bools or strings, got {array.dtype}; leave it out")
        if array.ndim < 1 or len(array) != n_rows:
            raise InputError(f"recording, {format_path(path)!r}: expected {n_rows} rows, got shape {array.shape}; give a row per episode")
        found[path] = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return found
