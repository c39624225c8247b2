"""The spaces of a server's recording: one Dict of the inputs and one of the outputs, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.bridge.wire import WireTensor

_Parts = dict[str, Any]


def recorded_spaces(policy: Policy, inputs: Mapping[str, WireTensor], outputs: Mapping[str, WireTensor]) -> tuple[Any, Any]:
    """(observation space, action space) of Gymnasium, a Dict each.

    An input or output is a Box of all values of its dtype, unless the policy's own `spaces` say more: a Box of an input's shape keeps its
    bounds, and the output that is the action is a Discrete or MultiDiscrete. Its values count from 0, since a server records what the
    policy gives; so an action space's `start` is 0 here, and bounds of a Box of actions, to which the game maps them, are left out.

    Args:
      policy: the policy that is recorded.
      inputs, outputs: recorded ones.
    """
    from gymnasium import spaces  # it takes long to import, and few servers record

    observations: _Parts = {name: _box(tensor) for name, tensor in inputs.items()}
    actions: _Parts = {name: _box(tensor) for name, tensor in outputs.items()}
    if policy.spaces is not None:
        for name, space in _parts_by_input(policy.spaces, inputs).items():
            tensor = inputs[name]
            if isinstance(space, spaces.Box) and space.shape == tensor.shape:
                low, high = (bound.astype(tensor.wire.type) for bound in (space.low, space.high))
                observations[name] = spaces.Box(low, high, dtype=tensor.wire.type)
        decided = core_of(policy).binding.output
        space = policy.spaces.action_space
        if decided in outputs and isinstance(space, spaces.Discrete | spaces.MultiDiscrete) and outputs[decided].shape == space.shape:
            actions[decided] = (spaces.Discrete(int(space.n), dtype=outputs[decided].wire.type) if isinstance(space, spaces.Discrete) else
                                spaces.MultiDiscrete(space.nvec, dtype=outputs[decided].wire.type))
    return spaces.Dict(observations), spaces.Dict(actions)


def _box(tensor: WireTensor) -> Any:
    """A Box of all values of a tensor's dtype."""
    from gymnasium import spaces

    dtype = tensor.wire.type
    if tensor.wire.kind == "f":
        return spaces.Box(-np.inf, np.inf, tensor.shape, dtype)
    if tensor.wire.kind == "b":
        return spaces.Box(0, 1, tensor.shape, dtype)
    return spaces.Box(np.iinfo(dtype).min, np.iinfo(dtype).max, tensor.shape, dtype)


def _parts_by_input(described: Any, inputs: Mapping[str, WireTensor]) -> _Parts:
    """The parts of a policy's observation space by the input that they feed; parts without an input are left out."""
    space = described.observation_space
    if hasattr(space, "spaces"):  # a Dict or Tuple
        parts = dict(space.spaces) if isinstance(space.spaces, Mapping) else dict(enumerate(space.spaces))
        found = {described.keys.get(key, key): part for key, part in parts.items()}
    else:
        required = [name for name, tensor in inputs.items() if tensor.default is None and tensor.shape == space.shape]
        found = {described.keys.get(None, required[0] if len(required) == 1 else None): space}
    return {name: part for name, part in found.items() if name in inputs}
