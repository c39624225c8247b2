"""The head that samples actions of a space from an output with logits or values."""

from __future__ import annotations

import math

from cervello.errors import ConfigurationError
from cervello.heads import Bernoulli, Categorical, EpsilonGreedy, Head, MultiDiscrete
from cervello.heads.logits_names import is_named_logits
from cervello.spaces.actions import choose_output
from cervello.spaces.description import Spaces
from cervello.spaces.kinds import kind
from cervello.spec import Specs


def head_for(where: str, spaces: Spaces, outputs: Specs, mask: str) -> Head | None:
    """The head of the action space over a policy's outputs; None where the output is the action.

    Floats are logits only where the output is called logits or is named as `action=`.

    Args:
      where: prefix of messages.
      mask: name of the input that takes masks, for heads that have them.
    Raises:
      ConfigurationError: the output is ambiguous, or values do not fit the space.
    """
    spec = choose_output(where, outputs, spaces.action)
    what, space = kind(spaces.action_space), spaces.action_space
    if spaces.greedy is not None:
        if what != "Discrete" or spec.dtype.kind != "f" or spec.size != space.n:
            raise ConfigurationError(f"{where}, spaces, greedy: expected an output with a value for each action of a Discrete, got "
                                     f"{spec} for {space}")
        return EpsilonGreedy(spec.name, spaces.greedy, mask=mask)
    if spec.dtype.kind != "f" or not (is_named_logits(spec.name) or spaces.action is not None):
        return None
    if what == "Discrete" and spec.size == space.n:
        return Categorical(spec.name, mask=mask)
    if what == "MultiDiscrete" and spec.size == int(space.nvec.sum()):
        return MultiDiscrete(spec.name, space.nvec.reshape(-1).tolist(), mask=mask)
    if what == "MultiBinary" and spec.size == math.prod(space.shape):
        return Bernoulli(spec.name)
    return None
