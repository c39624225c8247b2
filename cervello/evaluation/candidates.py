"""Candidate policies: a copy without agents that runs over logged observations, and the head that describes its actions."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.description import load
from cervello.errors import ConfigurationError, InputError
from cervello.evaluation.candidate_model import check_draws_nothing, model_with_tensors
from cervello.evaluation.logged import Logged
from cervello.evaluation.policy_runner import PolicyOutputs, PolicyRunner
from cervello.evaluation.registry import alternatives, names_where
from cervello.heads import Bernoulli, Categorical, Deterministic, Head, MultiDiscrete
from cervello.recording.trees import Tree
from cervello.spec import Array, Specs, TensorSpec


class Candidate:
    """One policy to evaluate. The given policy keeps its agents, which never see the data.

    Attributes:
      name: in the report. path: of the file, None for a Policy.
      head: the distribution of its actions.
      discrete: whether its actions are integers. deterministic: whether it has no distribution at all.
      space: of the game's actions, where the policy knows its game.
    """

    def __init__(self, name: str, given: Any, head: Head | None, threads: int = 1):
        self.name = name
        self.path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
        policy = self._opened(given)
        samples: list[Any] = [wrapper for wrapper in policy.wrappers if _is_sample(wrapper)]
        others: list[Any] = [wrapper for wrapper in policy.wrappers if not _is_sample(wrapper)]
        self.head = head if head is not None else samples[0].head if samples else self._missing_head(policy)
        # The previous action is the logged one, and not what the policy would have done.
        actions = {sample.names.get("action") for sample in samples} | set(
            self.head.tensors if isinstance(self.head, Deterministic) else ())
        previous = [wrapper.key for wrapper in others if _is(wrapper, "PreviousAction") and wrapper.output in actions]
        wrappers = [wrapper for wrapper in others if not (_is(wrapper, "PreviousAction") and wrapper.key in previous)]
        check_draws_nothing(name, policy, wrappers, self.head)
        model = model_with_tensors(name, policy, self.path, self.head)
        stripped = Policy(model, wrappers=wrappers, inferer="memoizing", threads=threads)
        binding = core_of(policy).binding if policy.spaces is not None else None
        self._runner = PolicyRunner(name, stripped, self.head, binding, previous, threads)
        specs = Specs([self._spec(stripped, tensor) for tensor in self.head.tensors])
        self.action = self.head.specs(specs)["action"]
        self.discrete = self.action.dtype.kind in "iub"
        self.deterministic = isinstance(self.head, Deterministic)
        self.n_actions = (self.head.mask_width(specs) if isinstance(self.head, Categorical) else None)
        self._sizes = np.array(self.head.sizes if isinstance(self.head, MultiDiscrete) else [self.n_actions or 0])
        self.space = None if policy.spaces is None else policy.spaces.action_space
        self._fingerprint = policy.model.fingerprint

    def _opened(self, given: Any) -> Policy:
        if isinstance(given, Policy):
            return given
        if self.path is None:
            raise ConfigurationError(f"evaluation, policy {self.name!r}: expected a path or a cervello.Policy, got {type(given).__name__}")
        # A description names its wrappers.
        return load(given) if self.path.lower().endswith(".toml") else load(given, wrappers="auto")

    def _spec(self, policy: Policy, tensor: str) -> TensorSpec:
        """The spec of a tensor of the head."""
        found = policy.outputs.get(tensor)
        if found is not None:
            return found
        if tensor not in policy.constants:
            raise ConfigurationError(f"evaluation, policy {self.name!r}: expected the head's tensor among {list(policy.outputs)}, got "
                                     f"{tensor!r}; name an output of the policy in head= (--head on the command line)")
        constant = policy.constants[tensor]
        return TensorSpec(tensor, constant.shape, constant.dtype, None)

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

    # Over data -----------------------------------------------------------------------------------------------------------

    def check(self, episode: Logged) -> None:
        """Raises InputError when an episode's actions are not of this policy's kind."""
        if self.discrete != episode.discrete:
            kinds = ["continuous", "discrete"]
            raise InputError(f"{episode.where}, actions: expected {kinds[self.discrete]} actions for policy {self.name!r} ({self.head!r}), "
                             f"got {kinds[episode.discrete]} ones, {episode.actions.dtype}; the data are of another action space")
        size = math.prod(episode.actions.shape[1:])
        if size != self.action.size:
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
        if discrete != self.discrete or math.prod(shape) != self.action.size:
            return False
        if self.n_actions is None and not isinstance(self.head, MultiDiscrete):
            return True
        parts = [each.actions for each in some] + [each.sampled for each in some if each.sampled is not each.actions]
        rows = np.concatenate(parts).reshape(-1, self.action.size)
        return bool((rows.min(0) >= 0).all() and (rows.max(0) < self._sizes).all())

    def run(self, episodes: Sequence[Logged], tree: Tree) -> PolicyOutputs:
        """Runs the policy over episodes, as `PolicyRunner.run` does."""
        return self._runner.run(episodes, tree)

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


def _is_sample(wrapper: Any) -> bool:
    return isinstance(getattr(wrapper, "head", None), Head)


def _is(wrapper: Any, kind: str) -> bool:
    """Whether a wrapper is of this class of `cervello.wrappers`, which an evaluation does not import."""
    return type(wrapper).__name__ == kind


def _as_taken(head: Head, sampled: Array) -> Array:
    """[N, …] logged actions in a type that the head takes."""
    if isinstance(head, Bernoulli):
        return sampled
    return sampled.astype(np.int64) if sampled.dtype.kind in "iub" else sampled
