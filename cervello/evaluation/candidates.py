"""Candidate policies: a copy without agents that runs over logged observations, and the head that describes its actions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.agents.policy.predictor import WITHOUT_STATE
from cervello.description import load
from cervello.errors import ConfigurationError, InputError
from cervello.evaluation.candidate_model import check_draws_nothing, model_with_tensors
from cervello.evaluation.logged import Logged
from cervello.evaluation.registry import alternatives, names_where
from cervello.heads import Bernoulli, Categorical, Deterministic, Head, MultiDiscrete
from cervello.recording.trees import Tree, leaves
from cervello.spec import Array, Specs, TensorSpec

_ROWS = 4096  # of a batch of policies that remember nothing
_MASKS = ("action_mask", "action_masks")


@dataclass(frozen=True, eq=False)
class Decided:
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


class Candidate:
    """One policy to evaluate. The given policy keeps its agents, which never see the data.

    Attributes:
      name: in the report. path: of the file, None for a Policy.
      head: the distribution of its actions.
      discrete: whether its actions are integers. deterministic: whether it has no distribution at all.
      remembers: whether episodes have to be run in step order.
      space: of the game's actions, where the policy knows its game.
    """

    def __init__(self, name: str, given: Any, head: Head | None, threads: int = 1):
        self.name = name
        self.path: str | None = None
        if isinstance(given, Policy):
            policy = given
        elif isinstance(given, str | os.PathLike):
            self.path = os.fspath(given)
            # A description names its wrappers.
            policy = load(given) if self.path.lower().endswith(".toml") else load(given, wrappers="auto")
        else:
            raise ConfigurationError(f"evaluation, policy {name!r}: expected a path or a cervello.Policy, got {type(given).__name__}")
        without_heads = [w for w in policy.wrappers if not isinstance(getattr(w, "head", None), Head)]
        own: list[Any] = [w for w in policy.wrappers if isinstance(getattr(w, "head", None), Head)]
        self.head = head if head is not None else own[0].head if own else self._missing_head(policy)
        # The previous action is the logged one, and not what the policy would have done.
        actions = {each.names.get("action") for each in own} | set(self.head.tensors if isinstance(self.head, Deterministic) else ())
        self._previous = [w.key for w in without_heads if type(w).__name__ == "PreviousAction" and w.output in actions]  # type: ignore[attr-defined]
        without_heads = [w for w in without_heads if getattr(w, "key", None) not in self._previous or type(w).__name__ != "PreviousAction"]
        check_draws_nothing(name, policy, without_heads, self.head)
        model = model_with_tensors(name, policy, self.path, self.head)
        self._policy = Policy(model, wrappers=without_heads, inferer="memoizing", threads=threads)
        self._binding = core_of(policy).binding if policy.spaces is not None else None
        for tensor in self.head.tensors:
            if tensor not in self._policy.outputs and tensor not in self._policy.constants:
                raise ConfigurationError(f"evaluation, policy {name!r}: expected the head's tensor among {list(self._policy.outputs)}, got "
                                         f"{tensor!r}; name an output of the policy in head= (--head on the command line)")
        given_specs = Specs([self._spec(tensor) for tensor in self.head.tensors])
        self.action = self.head.specs(given_specs)["action"]
        self.discrete = self.action.dtype.kind in "iub"
        self.deterministic = isinstance(self.head, Deterministic)
        self.n_actions = (self.head.mask_width(given_specs) if isinstance(self.head, Categorical) else None)
        self._sizes = np.array(self.head.sizes if isinstance(self.head, MultiDiscrete) else [self.n_actions or 0])
        self.remembers = any(not isinstance(wrapper, WITHOUT_STATE) for wrapper in without_heads)
        self._n_begun = 0
        ports = (*policy.model.inputs.values(), *policy.model.outputs.values())
        # A graph that runs by itself takes one thread.
        self._is_graph = not without_heads and threads == 1 and all(port.batch_axis == 0 for port in ports)
        self.space = None if policy.spaces is None else policy.spaces.action_space
        self._fingerprint = policy.model.fingerprint

    def versions(self, recorded: Mapping[int, Mapping[str, str]] | None) -> list[int]:
        """The recorded versions that this policy is, by its fingerprint and head."""
        return [version for version, about in (recorded or {}).items()
                if about.get("fingerprint") == self._fingerprint and about.get("head") == repr(self.head)]

    def __repr__(self) -> str:
        return f"Candidate({self.name!r}, {self.head!r})"

    def _missing_head(self, policy: Policy) -> Head:
        raise ConfigurationError(f"evaluation, policy {self.name!r}: expected a distribution of actions, got outputs "
                                 f"{list(policy.outputs)} and no head; say head=heads.Categorical('logits') or another one "
                                 "(--head categorical:logits on the command line), or head=heads.Deterministic('action') "
                                 "(--head deterministic:action) if there is none")

    def _spec(self, tensor: str) -> TensorSpec:
        found = self._policy.outputs.get(tensor)
        if found is not None:
            return found
        constant = self._policy.constants[tensor]
        return TensorSpec(tensor, constant.shape, constant.dtype, None)

    # Over data -----------------------------------------------------------------------------------------------------------

    def check(self, episode: Logged) -> None:
        """Raises InputError when an episode's actions are not of this policy's kind."""
        if self.discrete != episode.discrete:
            kinds = ["continuous", "discrete"]
            raise InputError(f"{episode.where}, actions: expected {kinds[self.discrete]} actions for policy {self.name!r} ({self.head!r}), "
                             f"got {kinds[episode.discrete]} ones, {episode.actions.dtype}; the data are of another action space")
        size = int(np.prod(episode.actions.shape[1:], dtype=np.int64))
        if size != int(np.prod(self.action.shape, dtype=np.int64)):
            raise InputError(f"{episode.where}, actions: expected rows of {self.action.shape} for policy {self.name!r}, got "
                             f"{episode.actions.shape[1:]}; the data are of another action space")
        if self.n_actions is not None or isinstance(self.head, MultiDiscrete):
            for column, actions in (("actions", episode.actions), ("pre_clip", episode.sampled)):
                rows = actions.reshape(episode.length, -1)
                wrong = ((rows < 0) | (rows >= self._sizes)).any(1)
                if wrong.any():
                    t = int(np.argmax(wrong))
                    raise InputError(f"{episode.where}, step {t}, {column}: expected 0 ≤ action < {self._sizes.tolist()} for policy "
                                     f"{self.name!r}, got {rows[t].tolist()}; the data are of another action space")

    def fits(self, some: Sequence[Logged]) -> bool:
        """Whether `check` would let all of some episodes pass; asked for all at once."""
        kinds = {(each.discrete, each.actions.shape[1:]) for each in some}
        if len(kinds) > 1:
            return False
        [(discrete, shape)] = kinds
        if discrete != self.discrete or np.prod(shape, dtype=np.int64) != np.prod(self.action.shape, dtype=np.int64):
            return False
        if self.n_actions is None and not isinstance(self.head, MultiDiscrete):
            return True
        parts = [each.actions for each in some] + [each.sampled for each in some if each.sampled is not each.actions]
        rows = np.concatenate(parts).reshape(-1, int(np.prod(shape, dtype=np.int64)))
        return bool((rows.min(0) >= 0).all() and (rows.max(0) < self._sizes).all())

    def decide(self, some: Sequence[Logged], tree: Tree) -> Decided:
        """Runs the policy over episodes.

        Args:
          tree: all T + 1 observations of each, one episode after the other.
        Raises:
          InputError: observations that do not fit.
        """
        columns, masks = self._encode(tree, some)
        n_rows = sum(each.length + 1 for each in some)
        outputs = self._in_order(columns, [each.length + 1 for each in some]) if self.remembers else self._at_once(columns, n_rows)
        found = {name: outputs[name] if name in outputs else _repeated(self._policy.constants[name], n_rows) for name in self.head.tensors}
        return Decided({**found, **masks}, n_rows)

    def _encode(self, tree: Tree, some: Sequence[Logged]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Columns of the policy's inputs, and the head's mask."""
        wanted = self._policy.inputs
        where = f"policy {self.name!r}"
        if self._binding is not None:
            given: dict[str, Any] = dict(self._binding.encode(tree).columns)
        elif isinstance(tree, Mapping):
            given = {str(key): value for key, value in tree.items()}
        elif isinstance(tree, tuple):
            raise InputError(f"{where}: expected spaces for Tuple observations, got none; load it with spaces=(…, …)")
        else:
            free = [name for name, spec in wanted.items() if spec.default is None and name not in self._previous]
            if len(free) != 1:
                raise InputError(f"{where}: expected observations by name for inputs {free}, got one array; load it with spaces=")
            given = {free[0]: tree}
        for name in self._previous:
            given[name] = np.concatenate([_delayed(each.sampled) for each in some]).astype(wanted[name].dtype)
        columns = {}
        for name, spec in wanted.items():
            if name not in given:
                if spec.default is not None:
                    continue
                raise InputError(f"{where}, input {name!r}: expected a key of the observations {list(given)}; load it with "
                                 "spaces= and keys=")
            array = np.asarray(given[name])
            if array.shape[1:] != spec.shape and array[0].size == int(np.prod(spec.shape, dtype=np.int64)) and array.ndim <= 2:
                array = array.reshape(len(array), *spec.shape)
            if array.shape[1:] != spec.shape and -1 not in spec.shape:
                raise InputError(f"{some[0].where}, observations: expected rows of {spec.shape} for policy {self.name!r}, input {name!r}, "
                                 f"got {array.shape[1:]}; the data are of another observation space")
            columns[name] = array
        mask = self.head.mask
        if mask is None:
            return columns, {}
        if mask in given:
            return columns, {mask: np.asarray(given[mask])}
        for key in (mask, *_MASKS):
            if all(key in each.infos for each in some):
                return columns, {mask: np.concatenate([np.asarray(each.infos[key])[:each.length + 1] for each in some])}
        raise InputError(f"{where}, mask {mask!r}: expected it among observations or infos, got {list(given)} and "
                         f"{list(some[0].infos)}; log it")

    def _at_once(self, columns: Mapping[str, Array], n_rows: int) -> dict[str, Array]:
        """Rows of a policy that remembers nothing are as many agents; where nothing but the graph sees them, they need not be looked up."""
        ids = np.arange(0 if self._is_graph and len(columns) == len(self._policy.inputs) else min(n_rows, _ROWS))
        if len(ids) > self._n_begun:
            self._policy.begin_agents(ids[self._n_begun:])
            self._n_begun = len(ids)
        parts = []
        for start in range(0, n_rows, _ROWS):
            stop = min(start + _ROWS, n_rows)
            some = {name: column[start:stop] for name, column in columns.items()}
            found = self._policy.infer_batch(ids[:stop - start], some, True) if len(ids) else self._policy.model.run(some)
            parts.append({name: found[name] for name in self.head.tensors if name in self._policy.outputs})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _in_order(self, columns: Mapping[str, Array], lengths: Sequence[int]) -> dict[str, Array]:
        """Episodes side by side, each an agent that begins and ends with it."""
        starts = np.cumsum([0, *lengths[:-1]])
        order = np.argsort(-np.asarray(lengths), kind="stable")
        sizes, first = np.asarray(lengths)[order], starts[order]
        self._policy.begin_agents(order, 0, 0)
        found: dict[str, Array] = {}
        alive = len(order)
        try:
            for t in range(int(sizes[0])):
                over = int(np.searchsorted(-sizes, -t, "left"))  # episodes of more than t rows
                if over < alive:
                    self._policy.end_agents(order[over:alive])
                    alive = over
                rows = first[:alive] + t
                results = self._policy.infer_batch(order[:alive], {name: column[rows] for name, column in columns.items()}, True)
                for name in self.head.tensors:
                    if name in results:
                        if name not in found:
                            found[name] = np.empty((sum(lengths), *results[name].shape[1:]), results[name].dtype)
                        found[name][rows] = results[name]
        finally:
            self._policy.end_agents(order[:alive])
        return found

    # What the head says ----------------------------------------------------------------------------------------------------

    def log_prob(self, columns: Mapping[str, Array], sampled: Array, pre_tanh: Array | None) -> Array:
        """[N] float64 of logged actions; −∞ where the policy never takes them, NaN where a squashed action lies at the edge and what was
        drawn before squashing is not known.

        Raises:
          ConfigurationError: it has no distribution over continuous actions.
        """
        if not self.deterministic:
            if pre_tanh is not None and "pre_tanh" in self.head.extras:
                return self.head.log_prob(columns, pre_tanh=pre_tanh).astype(np.float64)  # type: ignore[call-arg]
            logs = self.head.log_prob(columns, _as_taken(self.head, sampled)).astype(np.float64)
            if "pre_tanh" in self.head.extras:
                logs[(np.abs(sampled) >= 1).reshape(len(sampled), -1).any(1)] = np.nan
            return logs
        if not self.discrete:
            raise ConfigurationError(f"evaluation, policy {self.name!r}: expected a distribution, got a deterministic policy with "
                                     "continuous actions, which has no density; take estimators "
                                     f"{alternatives(names_where(lambda info: 'ratios' not in info.needs))}")
        same = (self.modes(columns).reshape(len(sampled), -1) == sampled.reshape(len(sampled), -1)).all(1)
        return np.where(same, 0.0, -np.inf)

    def modes(self, columns: Mapping[str, Array]) -> Array:
        """[N, …] the most likely actions."""
        return self.head.mode(columns)

    def every_log_prob(self, columns: Mapping[str, Array], n_rows: int) -> Array | None:
        """[N, K] of all actions of one choice; None where actions are otherwise."""
        if self.n_actions is None:
            return None
        if isinstance(self.head, Categorical) and type(self.head).log_prob is Categorical.log_prob:
            found = np.asarray(self.head.every_log_prob(columns), np.float64)
            return np.broadcast_to(found, (n_rows, found.shape[-1]))  # logits that do not depend on observations are one row
        return np.stack([self.head.log_prob(columns, np.full(n_rows, a)) for a in range(self.n_actions)], 1).astype(np.float64)

    def draw(self, columns: Mapping[str, Array], seed: int) -> Array:
        """[N, …] actions drawn with the noise of a seed."""
        return self.head.sample(columns, rng=seed) if self.head.noise is not None else self.modes(columns)


def _repeated(constant: Any, n_rows: int) -> Array:
    """[n_rows, …] views of one tensor."""
    array = np.asarray(constant)
    return np.broadcast_to(array, (n_rows, *array.shape))


def _delayed(actions: Array) -> Array:
    """[T + 1, …] zeros, then the actions."""
    return np.concatenate([np.zeros_like(actions[:1]), actions]).reshape(len(actions) + 1, -1)


def _as_taken(head: Head, sampled: Array) -> Array:
    if isinstance(head, Bernoulli):
        return sampled
    return sampled.astype(np.int64) if sampled.dtype.kind in "iub" else sampled


def joined(trees: Sequence[Tree]) -> Tree:
    """Trees of rows, one after the other."""
    if isinstance(trees[0], Mapping):
        return {key: joined([tree[key] for tree in trees]) for key in trees[0]}
    if isinstance(trees[0], tuple):
        return tuple(joined(list(parts)) for parts in zip(*trees, strict=True))
    return np.concatenate(trees)


def features(observations: Tree) -> Array:
    """[N, d] float64 of a tree of observations, its arrays side by side."""
    rows = [np.asarray(array, np.float64) for _, array in leaves(observations) if array is not None]
    return np.concatenate([each.reshape(len(each), -1) for each in rows], 1)
