"""What a policy decided for some rows, before and after the space's bounds; what recorders are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.spec import Array
from cervello.wrappers import Epsilon


@dataclass(slots=True)
class Decision:
    """A policy's decision for m of the rows of an environment.

    Attributes:
      places: [m] int64, positions among the rows that arrived.
      outputs: [m, …] by name, all of the policy's.
      sampled: [m, …] the action that was drawn, before clipping or unscaling.
      action: [m, …] what the environment is to execute.
      log_prob: [m] float32, of the sampled action under the distribution that drew it; 0 for deterministic rows, NaN where unknown.
      deterministic: [m] bool, rows that took no draw.
      version: of the policy.
      pre_tanh: [m, …] the sampled numbers before tanh; None where there are none.
      pre_clip: [m, …] the sampled action where the environment is given a clipped one; None elsewhere.
      empty_masks: rows whose mask allowed nothing; it counted as no mask.
      stream: of the noise that the rows drew with; None where unknown.
    """

    places: Array
    outputs: dict[str, Array]
    sampled: Array
    action: Array
    log_prob: Array
    deterministic: Array
    version: int
    pre_tanh: Array | None = None
    pre_clip: Array | None = None
    empty_masks: int = 0
    stream: int | None = None


def slice_decision(decision: Decision, first: int, end: int) -> Decision:
    """Rows first to end - 1 of a decision."""
    def cut(column: Any) -> Any:
        return None if column is None else column[first:end]

    return Decision(np.arange(end - first), {name: cut(column) for name, column in decision.outputs.items()}, cut(decision.sampled),
                    cut(decision.action), cut(decision.log_prob), cut(decision.deterministic), decision.version, cut(decision.pre_tanh),
                    cut(decision.pre_clip), stream=decision.stream)


@runtime_checkable
class DecisionSink(Protocol):
    """A recorder: it is told of a decision before the step that executes it."""

    def tell(self, decision: Decision) -> None:
        """Notes the decision for the next step."""


def find_recorders(env: Any) -> list[DecisionSink]:
    """Recorders among an environment's wrappers, the outermost first."""
    found: list[DecisionSink] = []
    while env is not None:
        if isinstance(env, DecisionSink):
            found.append(env)
        env = vars(env).get("env", vars(env).get("venv")) if hasattr(env, "__dict__") else None
    return found


def find_game_recorder(env: Any) -> Any:
    """The recorder among a game's wrappers, which is told of agents' decisions; None without one."""
    while env is not None and not hasattr(type(env), "tell_agents"):
        env = vars(env).get("env") if hasattr(env, "__dict__") else None
    return env


def model_draws(policy: Policy) -> bool:
    """Whether the model itself draws, by ops or by noise inputs, so that the probability of its actions is not known."""
    return bool(policy.model.random_nodes) or any(isinstance(wrapper, Epsilon) for wrapper in policy.wrappers)


def draws_actions(policy: Policy) -> bool:
    """Whether a policy draws its actions where noise is allowed: from the distribution of a head, or within the model."""
    binding = core_of(policy).binding
    return model_draws(policy) or (not binding.model_decides and binding.spaces.greedy != 0)


def decision_of(policy: Policy, outputs: Any, places: Array, deterministic: bool, empty_masks: int = 0, stream: int | None = None,
                ) -> Decision:
    """A policy's outputs as a decision.

    Args:
      outputs: the policy's `Actions`, [m, …] by name.
      places: [m] int64.
      deterministic: whether the policy was asked for no draws.
      empty_masks, stream: as in `Decision`.
    """
    binding, n = core_of(policy).binding, len(places)
    results: dict[str, Array] = dict(outputs)
    sampled = results[binding.output] if binding.is_unchanged else binding.sampled(results)
    action = sampled if binding.is_unchanged else binding.executed(sampled)
    certain = deterministic or (binding.model_decides and not model_draws(policy))
    drawn = binding.drawn
    if certain:
        log_prob: Array = np.zeros(n, np.float32)
    elif drawn is None or drawn.log_prob is None:
        log_prob = np.full(n, np.nan, np.float32)
    else:
        log_prob = results[drawn.log_prob]
        if log_prob.dtype != np.float32:
            log_prob = log_prob.astype(np.float32)
    pre_tanh = None if drawn is None or drawn.pre_tanh is None else results[drawn.pre_tanh]
    pre_clip = sampled if binding.spaces.box == "clip" and sampled.dtype.kind == "f" else None
    undrawn: Array = np.zeros(n, np.bool_)
    if certain:
        undrawn.fill(True)
    return Decision(places, results, sampled, action, log_prob, undrawn, outputs.version, pre_tanh, pre_clip, empty_masks, stream)
