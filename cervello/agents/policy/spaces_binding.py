"""A policy's environment spaces: its wrappers, its space binding, and decisions without agents."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cervello.agents.policy.actions import Actions
from cervello.agents.policy.engine import Engine
from cervello.agents.policy.predictor import Predictor, PredictState
from cervello.errors import CervelloError, ConfigurationError, InputError
from cervello.native import Model
from cervello.spaces import MASK_KEY, DrawnOutputs, SpaceBinding, Spaces
from cervello.spaces.distributions import head_for
from cervello.spaces.kinds import kind
from cervello.spec import Array, Specs, Wrapper
from cervello.wrappers import Fill, Sample, Stack, suggest_wrappers

_MASK_INPUTS = (MASK_KEY, "action_masks", "mask")


class Prediction(NamedTuple):
    """Decisions of a policy for rows without agents.

    Attributes:
      actions: [N, …], or a single one for one observation.
      state: for the next call; None for policies without state and noise.
      outputs: [N, …] by name, with the policy's version.
      n_rows: N.
    """

    actions: Array
    state: PredictState | None
    outputs: Actions
    n_rows: int


class EnvironmentInterface:
    """A policy's binding to its environment spaces. Mutable only in the counters and caches of `predict`.

    Use `of`, then `bind`.

    Attributes:
      spaces: None for a policy without an environment.
      wrappers: of the policy, outermost first.

    Args:
      hidden: name of the mask that the head of `spaces` added.
      origin: hashes of the graph and the weights that the policy was loaded with, by which its states of `predict` are told from
        another's; later weights do not change it.
      calls: how many times `predict` has begun without a state.
    """

    def __init__(self, spaces: Spaces | None, wrappers: tuple[Wrapper, ...], hidden: str | None, origin: str, calls: int = 0):
        self.spaces, self.wrappers, self._origin = spaces, wrappers, origin
        self._hidden = hidden
        self._binding: SpaceBinding | None = None
        self._calls, self._lock = calls, threading.Lock()
        self._predictors: list[Predictor | None] = [None, None]  # for the action alone, and for all outputs

    @classmethod
    def of(cls, model: Model, wrappers: Any, spaces: Any) -> EnvironmentInterface:
        """Wrappers as given, or those that the file and the spaces suggest.

        Raises:
          ConfigurationError: wrappers of a wrong kind, or spaces that do not fit the file.
        """
        if isinstance(spaces, _Pickled):
            return cls(spaces.spaces, tuple(wrappers), spaces.hidden, spaces.origin, spaces.calls)
        env_spaces = None if spaces is None else Spaces.of(spaces)
        origin = f"{model.structure}{model.weights.digest}"
        if isinstance(wrappers, str) and wrappers == "auto":
            proposed = suggest_wrappers(model.spec)
            if env_spaces is None:
                return cls(None, tuple(proposed), None, origin)
            return cls(env_spaces, *_for_spaces(model, proposed, env_spaces), origin)
        if isinstance(wrappers, Sequence) and not isinstance(wrappers, str):
            return cls(env_spaces, tuple(wrappers), None, origin)
        raise ConfigurationError(f"policy {model.name!r}: expected a list of wrappers or 'auto', got {wrappers!r}; put it in a list")

    def bind(self, name: str, engine: Engine) -> None:
        """Binds the spaces to the policy's inputs and outputs. Raises ConfigurationError if they do not fit."""
        if self.spaces is None:
            return
        sample = next((w for w in engine.stack.outer_first if isinstance(w, Sample) and "action" in w.names), None)
        if sample is not None and self.spaces.action not in (None, sample.names["action"], *sample.head.tensors):
            sample = None
        mask = sample.head.mask if sample is not None else next((m for m in _MASK_INPUTS if m in engine.inputs), None)
        if mask is not None and mask not in engine.inputs:
            mask = None
        drawn = None if sample is None else DrawnOutputs(*(sample.names.get(what) for what in ("action", "log_prob", "pre_tanh")))
        self._binding = SpaceBinding(f"policy {name!r}", self.spaces, engine.inputs, engine.outputs, mask, drawn)

    def binding(self, name: str) -> SpaceBinding:
        """See `PolicyAgents.binding`."""
        if self._binding is None:
            raise ConfigurationError(f"policy {name!r}: expected the spaces of an environment, got none; load it with spaces=env")
        return self._binding

    def visible_inputs(self, inputs: Specs) -> Specs:
        """Inputs without the mask that the head of `spaces` added."""
        return inputs if self._hidden is None else Specs([spec for name, spec in inputs.items() if name != self._hidden])

    def picklable(self) -> Any:
        """The part that a pickle keeps."""
        return None if self.spaces is None else _Pickled(self.spaces, self._hidden, self._origin, self._calls)

    def decide(self, name: str, engine: Engine, seed: int, observation: Any, state: Any, starts: Any, deterministic: Any, masks: Any,
               ) -> Prediction:
        """See `PolicyCore.decide`."""
        actions, after, results, n_rows = self.predict(True, name, engine, seed, observation, state, starts, deterministic, masks)
        outputs = Actions(results)
        outputs.version = engine.version
        return Prediction(actions, after, outputs, n_rows)

    def predict(self, all_outputs: bool, name: str, engine: Engine, seed: int, observation: Any, state: Any, starts: Any,
                deterministic: Any, masks: Any) -> tuple[Array, PredictState | None, Mapping[str, Array], int]:
        """See `Policy.predict`.

        Args:
          all_outputs: all outputs are needed, not the action alone.
        Returns:
          actions, the new state, outputs by name, and the number of rows.
        """
        binding = self._binding or self.binding(name)
        if type(observation) is tuple and kind(binding.spaces.observation_space) != "Tuple":
            raise InputError(f"policy {name!r}, predict: expected an observation, got a tuple; env.reset() of Gymnasium returns "
                             "(observation, info): give its first part")
        if deterministic is not False and deterministic is not True and not isinstance(deterministic, np.bool_):
            raise InputError(f"policy {name!r}, predict, deterministic: expected True or False, got {deterministic!r}")
        found = binding.encode(observation, masks)
        if found.empty is not None and found.empty.any():
            raise InputError(f"policy {name!r}, predict, mask: expected an allowed action in every row, got none in row "
                             f"{int(np.argmax(found.empty))}")
        with self._lock:
            predictor = self._predictors[all_outputs]
            if predictor is None or predictor.source is not engine:
                output = None if all_outputs else binding.output
                predictor = self._predictors[all_outputs] = Predictor(engine, self._origin, seed, output)
            stream = 0
            if state is None and predictor.stateful:
                self._calls = stream = self._calls + 1
        try:
            results, after = predictor.run(found.columns, found.n_rows, state, starts, bool(deterministic), stream)
            actions = results[binding.output] if binding.is_unchanged else binding.executed(binding.sampled(results))
        except BaseException as error:
            with self._lock:
                if stream and self._calls == stream:  # no call of another thread has begun since
                    self._calls -= 1
            if isinstance(error, CervelloError):
                error.name_policy(name, engine.model.name)
            raise
        if binding.is_binary:  # Stable-Baselines3 returns these as floats
            actions = actions.astype(np.float32)
        return (actions.squeeze(0) if found.single else actions), after, results, found.n_rows


class _Pickled:
    """The part of an `EnvironmentInterface` that a pickle keeps."""

    def __init__(self, spaces: Spaces, hidden: str | None, origin: str, calls: int):
        self.spaces, self.hidden, self.origin, self.calls = spaces, hidden, origin, calls


def _for_spaces(model: Model, proposed: list[Wrapper], env_spaces: Spaces) -> tuple[tuple[Wrapper, ...], str | None]:
    """Suggested wrappers, with the head of the environment's actions outermost, and the name of the mask that it adds."""
    where = f"policy {model.name!r}"
    fed = {name for name in env_spaces.keys.values() if name}
    if kind(env_spaces.observation_space) == "Dict":
        fed |= set(env_spaces.observation_space.spaces)
    inner = [w for w in proposed if not isinstance(w, Sample) and not (isinstance(w, Fill) and w.key in fed)]
    outputs = Stack(inner, model.spec).spec.outputs
    head = head_for(where, env_spaces, outputs, MASK_KEY)
    if head is None:
        return tuple(inner), None
    action = "action" if "action" not in outputs else "sampled_action"
    log_prob, entropy = (name if name not in outputs else f"sampled_{name}" for name in ("log_prob", "entropy"))
    return (Sample(head, action=action, log_prob=log_prob, entropy=entropy), *inner), head.mask
