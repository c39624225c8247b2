"""Runs a candidate's policy, which has no agents of its own, over logged observations."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.predictor import WITHOUT_STATE
from cervello.errors import InputError
from cervello.evaluation.logged import Logged
from cervello.heads import Head
from cervello.recording.trees import Tree, concat_trees, map_tree
from cervello.spaces import SpaceBinding
from cervello.spec import Array

_ROWS = 4096  # of a batch of policies without state
_MASKS = ("action_mask", "action_masks")


@dataclass(frozen=True, eq=False)
class PolicyOutputs:
    """What a policy's tensors say at all observations of some episodes, T + 1 rows each.

    Attributes:
      columns: [rows, …] by tensor of the head and its mask; a constant of the graph is repeated.
      n_rows: rows.
    """

    columns: Mapping[str, Array]
    n_rows: int

    def rows(self, chosen: Any) -> dict[str, Array]:
        """The columns at some rows."""
        return {name: column[chosen] for name, column in self.columns.items()}


class PolicyRunner:
    """Runs a policy over episodes, and keeps the tensors of its head. Mutable: rows of a batch are agents of the policy.

    Args:
      name: of the candidate, for messages.
      policy: without `Sample`, and without agents.
      head: whose tensors are kept.
      binding: of the game's spaces to inputs, where the policy knows its game.
      previous_actions: inputs that take the logged action before, which the policy's own wrapper would supply otherwise.
      threads: that the policy was made with.

    Attributes:
      has_state: whether episodes have to be run in step order.
    """

    def __init__(self, name: str, policy: Policy, head: Head, binding: SpaceBinding | None, previous_actions: Collection[str],
                 threads: int):
        self._name, self._policy, self._head, self._binding, self._previous_actions = name, policy, head, binding, previous_actions
        self.has_state = any(not isinstance(wrapper, WITHOUT_STATE) for wrapper in policy.wrappers)
        self._n_begun = 0
        ports = (*policy.model.inputs.values(), *policy.model.outputs.values())
        # A graph that runs by itself takes one thread.
        self._is_graph = not policy.wrappers and threads == 1 and all(port.batch_axis == 0 for port in ports)

    def run(self, episodes: Sequence[Logged], tree: Tree) -> PolicyOutputs:
        """Runs the policy over episodes.

        Args:
          episodes: as they were logged.
          tree: all T + 1 observations of each, one episode after the other.
        Raises:
          InputError: observations that do not fit.
        """
        given = self._given(tree, episodes)
        columns, mask = self._input_columns(given, episodes), self._mask(given, episodes)
        lengths = [each.length + 1 for each in episodes]
        n_rows = sum(lengths)
        outputs = self._run_in_order(columns, lengths) if self.has_state else self._run_at_once(columns, n_rows)
        found = {name: outputs[name] if name in outputs else _repeated(self._policy.constants[name], n_rows) for name in self._head.tensors}
        return PolicyOutputs({**found, **mask}, n_rows)

    def _given(self, tree: Tree, episodes: Sequence[Logged]) -> dict[str, Any]:
        """Columns by input or by key of the observation, with previous actions."""
        where = f"policy {self._name!r}"
        wanted = self._policy.inputs
        if self._binding is not None and not self._holds_inputs(tree, self._binding):
            masks = [_masks_of_infos(episodes, key) for key in _MASKS if self._binding.takes_mask and _have(episodes, key)]
            given: dict[str, Any] = dict(self._binding.encode(tree, masks[0] if masks else None).columns)
        elif isinstance(tree, Mapping):
            given = {str(key): value for key, value in tree.items()}
        elif isinstance(tree, tuple):
            raise InputError(f"{where}: expected spaces for Tuple observations, got none; load it with spaces=(…, …)")
        else:
            free = [name for name, spec in wanted.items() if spec.default is None and name not in self._previous_actions]
            if len(free) != 1:
                raise InputError(f"{where}: expected observations by name for inputs {free}, got one array; load it with spaces=")
            given = {free[0]: tree}
        for name in self._previous_actions:
            given[name] = np.concatenate([_delayed(each.sampled) for each in episodes]).astype(wanted[name].dtype)
        return given

    def _holds_inputs(self, tree: Tree, binding: SpaceBinding) -> bool:
        """Whether observations are the policy's inputs by name, as a server records them, and not of the game's space."""
        if not isinstance(tree, Mapping):
            return False
        required = {name for name, spec in self._policy.inputs.items() if spec.default is None and name not in self._previous_actions}
        if not required <= tree.keys():
            return False
        parts = getattr(binding.spaces.observation_space, "spaces", ())
        shapes = {key: part.shape for key, part in parts.items()} if isinstance(parts, Mapping) else {}
        if not tree.keys() <= shapes.keys():
            return True
        # The game's parts have the names of inputs: rows that only fit the inputs tell, as one-hot rows of a Discrete part.
        inputs = {name: self._policy.inputs[name].shape for name in required}
        rows = {name: np.shape(tree[name])[1:] for name in required if not isinstance(tree[name], Mapping | tuple)}
        return rows == inputs and rows != {name: shapes[name] for name in required}

    def _input_columns(self, given: Mapping[str, Any], episodes: Sequence[Logged]) -> dict[str, Array]:
        """Columns of the policy's inputs, of the shapes that it expects."""
        columns = {}
        for name, spec in self._policy.inputs.items():
            if name not in given:
                if spec.default is not None:
                    continue
                raise InputError(f"policy {self._name!r}, input {name!r}: expected a key of the observations {list(given)}; load it with "
                                 "spaces= and keys=")
            array = np.asarray(given[name])
            if array.shape[1:] != spec.shape and array[0].size == spec.size and array.ndim <= 2:
                array = array.reshape(len(array), *spec.shape)
            if array.shape[1:] != spec.shape and -1 not in spec.shape:
                raise InputError(f"{episodes[0].where}, observations: expected rows of {spec.shape} for policy {self._name!r}, input "
                                 f"{name!r}, got {array.shape[1:]}; the data are of another observation space")
            columns[name] = array
        return columns

    def _mask(self, given: Mapping[str, Any], episodes: Sequence[Logged]) -> dict[str, Array]:
        """The head's mask by name, from observations or infos; empty for a head without one."""
        mask = self._head.mask
        if mask is None:
            return {}
        if mask in given:
            return {mask: np.asarray(given[mask])}
        for key in (mask, *_MASKS):
            if _have(episodes, key):
                return {mask: np.asarray(_masks_of_infos(episodes, key))}
        if self._binding is not None and self._binding.takes_mask:  # as where the game is played, no mask allows everything
            return {mask: self._binding.allowed(sum(each.length + 1 for each in episodes))}
        raise InputError(f"policy {self._name!r}, mask {mask!r}: expected it among observations or infos, got {list(given)} and "
                         f"{list(episodes[0].infos)}; log it")

    def _run_at_once(self, columns: Mapping[str, Array], n_rows: int) -> dict[str, Array]:
        """Rows of a policy without state are as many agents; where nothing but the graph sees them, they need not be looked up."""
        ids = np.arange(0 if self._is_graph and len(columns) == len(self._policy.inputs) else min(n_rows, _ROWS))
        if len(ids) > self._n_begun:
            self._policy.begin_agents(ids[self._n_begun:])
            self._n_begun = len(ids)
        parts = []
        for start in range(0, n_rows, _ROWS):
            stop = min(start + _ROWS, n_rows)
            batch = {name: column[start:stop] for name, column in columns.items()}
            found = self._policy.infer_batch(ids[:stop - start], batch, True) if len(ids) else self._policy.model.run(batch)
            parts.append({name: found[name] for name in self._head.tensors if name in self._policy.outputs})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run_in_order(self, columns: Mapping[str, Array], lengths: Sequence[int]) -> dict[str, Array]:
        """Runs episodes side by side, each an agent that begins and ends with it."""
        starts = np.cumsum([0, *lengths[:-1]])
        order = np.argsort(-np.asarray(lengths), kind="stable")
        sizes, first = np.asarray(lengths)[order], starts[order]
        self._policy.begin_agents(order, 0, 0)
        found: dict[str, Array] = {}
        n_alive = len(order)
        try:
            for t in range(int(sizes[0])):
                n_left = int(np.searchsorted(-sizes, -t, "left"))  # episodes of more than t rows
                if n_left < n_alive:
                    self._policy.end_agents(order[n_left:n_alive])
                    n_alive = n_left
                rows = first[:n_alive] + t
                results = self._policy.infer_batch(order[:n_alive], {name: column[rows] for name, column in columns.items()}, True)
                for name in self._head.tensors:
                    if name in results:
                        if name not in found:
                            found[name] = np.empty((sum(lengths), *results[name].shape[1:]), results[name].dtype)
                        found[name][rows] = results[name]
        finally:
            self._policy.end_agents(order[:n_alive])
        return found


def _have(episodes: Sequence[Logged], key: str) -> bool:
    """Whether the infos of all episodes have a key."""
    return all(key in each.infos for each in episodes)


def _masks_of_infos(episodes: Sequence[Logged], key: str) -> Tree:
    """[rows, …] a column of masks in infos, at all T + 1 observations of each episode; those of several choices side by side."""
    found = concat_trees([map_tree(operator.itemgetter(slice(each.length + 1)), each.infos[key]) for each in episodes])
    return found if isinstance(found, tuple) else found.reshape(len(found), -1)


def _repeated(constant: Any, n_rows: int) -> Array:
    """[n_rows, …] views of one tensor."""
    array = np.asarray(constant)
    return np.broadcast_to(array, (n_rows, *array.shape))


def _delayed(actions: Array) -> Array:
    """[T + 1, …] zeros, then the actions."""
    return np.concatenate([np.zeros_like(actions[:1]), actions]).reshape(len(actions) + 1, -1)
