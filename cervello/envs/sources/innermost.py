"""The rewards that an environment itself gives, whatever its wrappers make of them."""

from __future__ import annotations

from functools import wraps
from typing import Any


class InnermostReward:
    """Adds up what the innermost environment's `step` gives, until it is asked.

    Rewards of steps that a wrapper takes after a reset and before the next question belong to no action and are dropped.
    The environment's own `step` and `reset` are replaced on the object and put back by `close`.

    Args:
      env: an environment, with or without wrappers.
    """

    def __init__(self, env: Any):
        self._core = core = env.unwrapped
        self._own = {name: vars(core)[name] for name in ("step", "reset") if name in vars(core)}  # put back; others are the class's
        self._sum = 0.0
        self._before_reset: float | None = None
        step, reset = core.step, core.reset

        @wraps(step)  # checkers look at the signature
        def listening(*arguments: Any, **options: Any) -> Any:
            found = step(*arguments, **options)
            self._sum += float(found[1])  # a frame skip takes several steps
            return found

        @wraps(reset)
        def resetting(*arguments: Any, **options: Any) -> Any:
            if self._before_reset is None:
                self._before_reset = self._sum
            return reset(*arguments, **options)

        core.step, core.reset = listening, resetting

    def collect(self) -> float:
        """The rewards since the last call, up to a reset that came between."""
        found = self._sum if self._before_reset is None else self._before_reset
        self._sum, self._before_reset = 0.0, None
        return found

    def close(self) -> None:
        """Puts the environment's own methods back."""
        for name in ("step", "reset"):
            if name in self._own:
                setattr(self._core, name, self._own[name])
            else:
                vars(self._core).pop(name, None)
