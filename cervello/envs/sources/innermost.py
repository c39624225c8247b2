"""The rewards that an environment itself gives, whatever its wrappers make of them."""

from __future__ import annotations

from typing import Any


class Listener:
    """Adds up what the innermost environment's `step` gives, until it is asked.

    The environment's own `step` is replaced on the object and put back by `close`.

    Args:
      env: an environment, with or without wrappers.
    """

    def __init__(self, env: Any):
        self._core = core = env.unwrapped
        self._own = vars(core).get("step")  # an attribute of the object itself, which is put back
        self._sum = 0.0
        step = core.step

        def listening(*arguments: Any, **options: Any) -> Any:
            found = step(*arguments, **options)
            self._sum += float(found[1])  # a frame skip takes several steps
            return found

        core.step = listening

    def heard(self) -> float:
        """The rewards since the last call."""
        found, self._sum = self._sum, 0.0
        return found

    def close(self) -> None:
        """Puts the environment's own `step` back."""
        if self._own is None:
            vars(self._core).pop("step", None)
        else:
            self._core.step = self._own
