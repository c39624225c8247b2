"""Binds the spaces of an environment to a policy's inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cervello.errors import ConfigurationError, InputError
from cervello.spaces.actions import ActionDecoder
from cervello.spaces.description import Spaces
from cervello.spaces.masks import MaskLayout
from cervello.spaces.observations import MASK_KEY, ObservationEncoder
from cervello.spec import Array, Specs

__all__ = ["MASK_KEY", "DrawnOutputs", "Encoded", "SpaceBinding"]


class Encoded(NamedTuple):
    """Observations as inputs of a policy.

    Attributes:
      columns: [N, *row] by input, with the mask where the policy has an input for it.
      n_rows: N.
      single: whether it was one agent's observation, without N.
      mask: [N, width] int8, or None.
      empty: [N] bool, rows whose mask allows nothing in some choice; None without a mask.
    """

    columns: dict[str, Array]
    n_rows: int
    single: bool
    mask: Array | None
    empty: Array | None


class DrawnOutputs(NamedTuple):
    """Names of the outputs of a `Sample`; None for one that is left out.

    Attributes:
      action, log_prob, pre_tanh: names; pre_tanh is the sample of a `TanhGaussian` before squashing.
    """

    action: str | None
    log_prob: str | None = None
    pre_tanh: str | None = None


class SpaceBinding:
    """Converts observations to columns, masks to their input, and outputs to actions. Immutable.

    Args:
      where: prefix of messages, the policy.
      spaces: the game.
      inputs: of the policy; those with a default may be left out.
      outputs: of the policy.
      mask: name of the input that takes masks of actions, the sampling head's or the file's; None where there is none.
      drawn: the outputs of a `Sample` that is the action; None when the model decides.

    Attributes:
      spaces: as given.
      output: name of the output that is the action.
      drawn: as given.
      is_binary: whether actions are of a MultiBinary.
      is_unchanged: whether the output needs no conversion, so that `sampled` and `executed` would return it.
      model_decides: whether the model decides, so that `deterministic` changes nothing.
      takes_mask: whether the policy takes masks of actions.

    Raises:
      ConfigurationError: spaces and policy do not fit.
    """

    def __init__(self, where: str, spaces: Spaces, inputs: Specs, outputs: Specs, mask: str | None,
                 drawn: DrawnOutputs | None = None):
        self._where, self.spaces = where, spaces
        others = Specs([spec for name, spec in inputs.items() if name != mask])
        self._observations = ObservationEncoder(where, spaces, others, mask)
        self._actions = ActionDecoder(where, spaces, outputs, None if drawn is None else drawn.action)
        self._layout = MaskLayout(where, spaces.action_space)
        self.drawn, self._mask, self.model_decides, self.output = drawn, mask, drawn is None, self._actions.output
        self.is_binary, self.is_unchanged = self._actions.is_binary, self._actions.is_unchanged
        self._masked, self.takes_mask = self._observations.masked, mask is not None
        self._ones: Array | None = None
        self._mask_spec = None if mask is None else inputs[mask]
        if mask is not None and self._mask_spec is not None and self._mask_spec.size != self._layout.width:
            raise ConfigurationError(f"{where}, spaces: expected a mask of {self._layout.width} elements for {spaces.action_space}, got "
                                     f"{self._mask_spec}")
        if self._observations.masked and mask is None:
            remedy = ("export the logits, so that a head can draw among what is allowed" if self.model_decides else
                      f"give the head of Sample a mask, as Categorical(…, mask={MASK_KEY!r})")
            raise ConfigurationError(f"{where}, spaces: expected a policy that takes the mask {MASK_KEY!r} of the game's "
                                     f"observations, got one without; {remedy}, or leave it out with keys={{{MASK_KEY!r}: None}}")

    def encode(self, observation: Any, action_masks: Any = None) -> Encoded:
        """Converts one observation or a batch, with its masks; both the observation's and the given mask must allow an action.

        Args:
          observation: of the environment.
          action_masks: masks besides the one in the observation; None allows every action.
        Raises:
          InputError: an observation or mask that does not fit.
        """
        columns, n_rows, single = self._observations.encode(observation)
        if action_masks is None and not self._masked:
            if self._mask is not None:
                columns[self._mask] = self._allowed(n_rows)
            return Encoded(columns, n_rows, single, None, None)
        return self._with_mask(columns, n_rows, single, self._observations.mask(observation), action_masks)

    def encode_rows(self, observations: list[Any], action_masks: Any = None) -> Encoded:
        """Separate observations, one per agent; `action_masks`: a list with a mask or None for each, or None."""
        columns, n_rows = self._observations.encode_rows(observations), len(observations)
        mask = None
        if self._observations.masked:
            masks = [self.flat_mask(self._observations.mask(each), 1, True) for each in observations]
            mask = np.concatenate(masks) if masks else None
        if action_masks is not None and any(each is not None for each in action_masks):
            given = np.concatenate([self.allowed(1) if each is None else self.flat_mask(each, 1, True)
                                    for each in action_masks])
            mask = given if mask is None else mask & given
        return self._with_mask(columns, n_rows, False, mask, None)

    def flat_mask(self, mask: Any, n_rows: int, single: bool = False) -> Array:
        """[N, width] int8 of a mask in any supported form.

        Args:
          mask: of n_rows rows, or of one where `single`.
          n_rows, single: number of rows, and whether the mask has no axis for them.
        Raises:
          InputError: the space has none, or it does not fit.
        """
        return self._layout.flat(mask, n_rows, single)

    def allowed(self, n_rows: int) -> Array:
        """[N, width] int8, a mask that allows everything, for n_rows rows."""
        return np.ones((n_rows, self._layout.width), np.int8)

    def _with_mask(self, columns: dict[str, Array], n_rows: int, single: bool, inner: Any, outer: Any) -> Encoded:
        masks = [self._layout.flat(mask, n_rows, single) for mask in (inner, outer) if mask is not None]
        if not masks:
            if self._mask is not None:
                columns[self._mask] = self._allowed(n_rows)
            return Encoded(columns, n_rows, single, None, None)
        if self._mask is None:
            raise InputError(f"{self._where}, mask: expected none, since the policy takes no mask, got one; "
                             + ("export its logits" if self.model_decides else f"give its head one: Categorical(…, mask={MASK_KEY!r})"))
        mask = masks[0] if len(masks) == 1 else masks[0] & masks[1]
        empty = self._layout.empty(mask)
        columns[self._mask] = self._as_input(self._layout.with_empty_allowed(mask) if empty.any() else mask)
        return Encoded(columns, n_rows, single, mask, empty)

    def _as_input(self, mask: Array) -> Array:
        spec = self._mask_spec
        assert spec is not None
        return mask.astype(spec.dtype, copy=False).reshape(len(mask), *spec.shape)

    def _allowed(self, n_rows: int) -> Array:
        """A mask that allows everything; the same array while the number of rows stays."""
        ones = self._ones
        if ones is None or len(ones) != n_rows:
            ones = self._ones = self._as_input(self.allowed(n_rows))
        return ones

    def sampled(self, results: Mapping[str, Array]) -> Array:
        """[N, …] the action among a batch's `results`, before clipping or unscaling, in the space's shape."""
        return self._actions.sampled(results)

    def executed(self, sampled: Array) -> Array:
        """[N, …] the executed actions for the actions `sampled`, of the space's shape and dtype."""
        return self._actions.executed(sampled)
