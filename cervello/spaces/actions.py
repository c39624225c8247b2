"""Converts outputs of a policy to actions of a space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cervello.array_like import castable
from cervello.errors import ConfigurationError, InputError
from cervello.spaces.description import Spaces
from cervello.spaces.kinds import kind
from cervello.spec import Array, Specs, TensorSpec

_NAMES = ("action", "actions", "logits")
_KINDS = ("Discrete", "MultiDiscrete", "MultiBinary", "Box")


def choose_output(where: str, outputs: Specs, action: str | None) -> TensorSpec:
    """The output that is the action, or holds its logits: the named one, else the only one, else the one with that name.

    Raises:
      ConfigurationError: the output is ambiguous.
    """
    if action is not None:
        if action not in outputs:
            raise ConfigurationError(f"{where}, spaces, action: expected an output among {list(outputs)}, got {action!r}")
        return outputs[action]
    found = list(outputs) if len(outputs) == 1 else [name for name in _NAMES if name in outputs]
    if not found:
        raise ConfigurationError(f"{where}, spaces: expected one output, or one called {', '.join(_NAMES)}, got {list(outputs)}; "
                                 "say which one is the action: Spaces(env, action=…), or cervello play --action")
    return outputs[found[0]]


class ActionDecoder:
    """Turns the output that is the action into actions of the space. Immutable.

    Args:
      where: prefix of messages.
      spaces: the spaces, and the mapping into a Box.
      outputs: of the policy.
      drawn: the action of the head of a `Sample`, whose range needs no check; None when the model decides.

    Attributes:
      output: name of the output.
      dtype: of the space's actions.
      is_binary: whether the space is a MultiBinary.
      is_unchanged: whether the output needs no conversion, so that `sampled` and `executed` would return it.

    Raises:
      ConfigurationError: the output does not fit the space, or the mapping is not given.
    """

    def __init__(self, where: str, spaces: Spaces, outputs: Specs, drawn: str | None):
        self._where = where
        self.space = space = spaces.action_space
        self._kind = kind(space)
        if self._kind not in _KINDS:
            raise ConfigurationError(f"{where}, spaces: expected actions of {', '.join(_KINDS)}, got {space}; change the environment")
        spec = outputs[drawn] if drawn is not None else choose_output(where, outputs, spaces.action)
        self.output, self._drawn = spec.name, drawn is not None
        self._shape = tuple(space.shape or ())
        self.is_binary = self._kind == "MultiBinary"
        self.dtype = np.dtype(space.dtype)
        self._check(spec, spaces)
        self._start: Any = getattr(space, "start", 0)
        self._has_start = bool(np.any(self._start))
        self._limits = self._bounds(spaces.box) if self._kind == "Box" else None
        as_drawn = self._drawn and self._kind != "Box" and not self._has_start
        self.is_unchanged = as_drawn and spec.shape == self._shape and spec.dtype == self.dtype

    def _check(self, spec: TensorSpec, spaces: Spaces) -> None:
        space, where = self.space, f"{self._where}, spaces, output {spec.name!r}"
        size, wanted = spec.size, math.prod(self._shape)
        if spec.batch_axis != 0:
            raise ConfigurationError(f"{where}: expected an output with the batch on axis 0, got {spec}")
        if self._kind == "Box":
            if size != wanted:
                raise ConfigurationError(f"{where}: expected {wanted} numbers for {space}, got {spec}")
            if spec.dtype.kind != "f":
                if not castable(spec.dtype, self.dtype):
                    raise ConfigurationError(f"{where}: expected numbers that {self.dtype} holds, got {spec}")
            elif self.dtype.kind != "f":
                raise ConfigurationError(f"{where}: expected integers for {space}, got {spec}; a float never silently becomes an integer")
            elif spaces.box is None and (np.isfinite(space.low).any() or np.isfinite(space.high).any()):
                raise ConfigurationError(f"{where}: expected box=, which maps float actions to the bounds of {space}, got none; give "
                                         "Spaces(env, box='clip') for a policy of PPO or A2C, box='unscale' for SAC, TD3 or DDPG")
            return
        if size == wanted and spec.dtype.kind in ("iub" if self._kind == "MultiBinary" else "iu"):
            return
        logits = int(space.n) if self._kind == "Discrete" else wanted if self._kind == "MultiBinary" else int(space.nvec.sum())
        if spec.dtype.kind == "f" and size == logits:
            raise ConfigurationError(f"{where}: expected an integer action for {space}, got {spec}; if these are logits, say "
                                     f"Spaces(env, action={spec.name!r}) with wrappers='auto', or draw with a Sample; if they are values, "
                                     f"Spaces(env, action={spec.name!r}, greedy=0.0)")
        remedy = ""
        if self._kind == "MultiDiscrete":
            remedy = f"; draw them with Sample(heads.MultiDiscrete(<the logits>, {space.nvec.reshape(-1).tolist()}))"
        raise ConfigurationError(f"{where}: expected {wanted} integer(s) for {space}, or {logits} logits, got {spec}{remedy}")

    def _bounds(self, box: str | None) -> tuple[Array, Array, bool] | None:
        """Low, high, and whether actions are unscaled; None where they stay as they are."""
        low, high = np.asarray(self.space.low), np.asarray(self.space.high)
        if box is None:
            return None
        if box == "unscale" and not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConfigurationError(f"{self._where}, spaces, box: expected finite bounds to unscale to, got {self.space}; use box='clip'")
        return low, high, box == "unscale"

    def sampled(self, results: Mapping[str, Array]) -> Array:
        """[N, *shape] the action from the distribution or the model, before clipping or unscaling; a start is added."""
        array = results[self.output]
        if array.shape[1:] != self._shape:
            array = array.reshape(len(array), *self._shape)
        return array + self._start if self._has_start else array

    def executed(self, sampled: Array) -> Array:
        """[N, *shape] of the space's dtype: clipped or unscaled as `spaces` says.

        Raises:
          InputError: the action is outside the space.
        """
        if self._kind == "Box":
            if self._limits is None:
                return sampled.astype(self.dtype, copy=False)
            low, high, unscale = self._limits
            if unscale:  # the order of operations of Stable-Baselines3, so that the bits are its own
                return np.asarray(low + (0.5 * (sampled + 1.0) * (high - low)), self.dtype)
            return np.asarray(np.clip(sampled, low, high), self.dtype)
        if not self._drawn:
            self._check_range(sampled)
        return sampled if sampled.dtype is self.dtype else sampled.astype(self.dtype, copy=False)

    def _check_range(self, actions: Array) -> None:
        """What the model itself decided may be anything."""
        if self._kind == "MultiBinary":
            good = (actions == 0) | (actions == 1)
        else:
            counts = self.space.n if self._kind == "Discrete" else self.space.nvec
            zero_based = actions - self._start if self._has_start else actions
            good = (zero_based >= 0) & (zero_based < counts)
        if not good.all():
            row = int(np.argmin(good.reshape(len(good), -1).all(axis=1)))
            raise InputError(f"{self._where}, output {self.output!r}: expected an action of {self.space}, got {actions[row]} in row "
                             f"{row}; the file was trained for another game")
