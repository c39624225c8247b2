"""Categorical actions, one or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.errors import ConfigurationError, InputError
from cervello.heads.base import COMMON_EXTRAS, Head, Rng, scalars, tensor_name
from cervello.heads.categorical_graphs import all_log_probs_model, log_prob_model, sampling_model
from cervello.heads.graph_stages import FLAGS, NOISE, run, stage
from cervello.native.execution.chained import Feed, Stage
from cervello.spec import Array, Specs, TensorSpec

_INT64 = np.dtype(np.int64)


class _Choices(Head):
    """Independent choices, each with its own logits, concatenated in one tensor."""

    noise = "uniform"
    extras = COMMON_EXTRAS

    def __init__(self, kind: str, logits: str, mask: str | None, empty_mask: str):
        if not isinstance(empty_mask, str) or empty_mask not in ("refuse", "ignore"):
            raise ConfigurationError(f"{kind}: expected empty_mask as 'refuse' or 'ignore', got {empty_mask!r}")
        self.empty_mask = empty_mask
        self.name = tensor_name(kind, "logits", logits)
        self.mask = None if mask is None else tensor_name(kind, "mask", mask)
        if self.mask == self.name:
            raise ConfigurationError(f"{kind}({logits!r}): expected a mask beside {logits!r}, got the same tensor; name another")
        self.tensors = (self.name,)

    def _sizes(self, width: int) -> tuple[int, ...]:
        """Number of logits of each choice, from their total."""
        raise NotImplementedError

    def _action_rows(self, actions: Array) -> Array:
        """Actions [N, choices] as the caller sees them."""
        return actions

    def noise_width(self, given: Specs) -> int:
        """One number per choice, by the specs `given`."""
        return len(self._sizes(self.mask_width(given)))

    def mask_width(self, given: Specs) -> int:
        """One element per logit, by the specs `given`."""
        return self._spec(given, self.name).size

    def act(self, columns: Mapping[str, Any], noise: Array | None = None, deterministic: Array | None = None,
            wanted: tuple[str, ...] | None = None, rng: Rng = None) -> dict[str, Array]:
        logits, sizes, mask = self._parameters(columns)
        flags = self._flags(deterministic, len(logits))
        names = self._wanted(wanted)
        model = sampling_model(sizes, mask is not None, self._graph_results(names))
        found = run(model, logits=logits, mask=mask, uniform=self._noise(noise, flags, len(sizes), rng), deterministic=flags[:, None])
        if "action" in found:
            found["action"] = self._action_rows(found["action"])
        return self._with_flags(found, names, flags)

    def log_prob(self, columns: Mapping[str, Any], action: Any) -> Array:
        logits, sizes, mask = self._parameters(columns)
        actions = self._array("action", action)
        if actions.dtype.kind not in "iu" or actions.ndim < 1 or actions.size != len(logits) * len(sizes) or len(actions) != len(logits):
            raise InputError(f"head {self!r}, action: expected integers of {len(logits)} rows, {len(sizes)} each, got {actions.shape} "
                             f"{actions.dtype}")
        rows = np.ascontiguousarray(actions.reshape(len(logits), len(sizes)), np.int64)
        if ((rows < 0) | (rows >= np.array(sizes))).any():
            raise InputError(f"head {self!r}, action: expected 0 ≤ action < {', '.join(map(str, sizes))}, got {rows.min(0).tolist()} to "
                             f"{rows.max(0).tolist()}")
        return run(log_prob_model(sizes, mask is not None), logits=logits, mask=mask, action=rows)["log_prob"]

    def stages(self, given: Specs, wanted: tuple[str, ...]) -> tuple[Stage, ...] | None:
        return self._choice_stages(given, wanted, Feed("output", self.name)) if type(self) in (Categorical, MultiDiscrete) else None

    def _choice_stages(self, given: Specs, wanted: tuple[str, ...], logits: Feed) -> tuple[Stage, ...]:
        """`stages` that end with a choice by these logits."""
        sizes = self._sizes(self.mask_width(given))
        model = sampling_model(sizes, self.mask is not None, self._graph_results(wanted))
        chosen = stage(model, logits=logits, mask=self._mask_feed(sizes), uniform=NOISE, deterministic=FLAGS)
        return self._with_flags_stage(chosen, wanted=wanted)

    def _mask_feed(self, sizes: tuple[int, ...]) -> Feed:
        return Feed("allowed", sizes=sizes if self.empty_mask == "refuse" else ())

    def _parameters(self, columns: Mapping[str, Any]) -> tuple[Array, tuple[int, ...], Array | None]:
        logits = self._rows(columns, self.name)
        try:
            sizes = self._sizes(logits.shape[1])
        except ConfigurationError as error:
            raise InputError(str(error)) from error
        mask = self._mask(columns, (len(logits), logits.shape[1]))
        if mask is not None and self.empty_mask == "refuse":
            self._check_mask(mask, sizes)
        return logits, sizes, mask

    def _check_mask(self, mask: Array, sizes: tuple[int, ...]) -> None:
        """Raises InputError when a mask allows nothing for some choice of some row."""
        allowed = np.logical_or.reduceat(mask, np.cumsum([0, *sizes[:-1]]), axis=1)
        if not allowed.all():
            row, choice = np.argwhere(~allowed)[0].tolist()
            raise InputError(f"head {self!r}, mask {self.mask!r}: expected at least one allowed action in every row, got row {row}, which "
                             f"allows none{f' in choice {choice}' if len(sizes) > 1 else ''}; correct the mask, or let such rows allow "
                             "everything with empty_mask='ignore'")

    def _options(self) -> str:
        masked = "" if self.mask is None else f", mask={self.mask!r}"
        return masked + ("" if self.empty_mask == "refuse" else f", empty_mask={self.empty_mask!r}")


class Categorical(_Choices):
    """One of K actions, with probabilities softmax(logits). Actions are int64 [N].

    A draw takes one uniform number per row: the action is the first whose cumulated probability exceeds it. An action of
    probability 0, such as a masked one, is therefore never drawn. A logit of -∞ has probability 0, unless all allowed ones are -∞: they are
    equally likely then. A row in which a logit is NaN gets an allowed action, and its log-probability and entropy are NaN.

    Args:
      logits: name of a tensor [N, K] (or with further axes, which are flattened).
      mask: name of a mask [N, K].
      empty_mask: treatment of a row whose mask allows nothing. "refuse": InputError, with the row. "ignore": everything is allowed.
    Raises:
      ConfigurationError: invalid names, or an unknown `empty_mask`.
    """

    def __init__(self, logits: str, mask: str | None = None, empty_mask: str = "refuse"):
        super().__init__("Categorical", logits, mask, empty_mask)

    def __repr__(self) -> str:
        return f"Categorical({self.name!r}{self._options()})"

    def specs(self, given: Specs) -> Specs:
        self._sizes(self.mask_width(given))
        return scalars(TensorSpec("action", (), _INT64), self.supports)

    def _sizes(self, width: int) -> tuple[int, ...]:
        if width < 1:
            raise ConfigurationError(f"head {self!r}: expected at least one logit, got none")
        return (width,)

    def _action_rows(self, actions: Array) -> Array:
        return actions.reshape(len(actions))

    def every_log_prob(self, columns: Mapping[str, Any]) -> Array:
        """[N, K] float32, `log_prob` of every action, bit for bit.

        Args:
          columns: the logits, and the mask, by name.
        Raises:
          InputError: arrays that do not fit.
        """
        logits, sizes, mask = self._parameters(columns)
        return run(all_log_probs_model(sizes[0], mask is not None), logits=logits, mask=mask)["log_prob"]


class MultiDiscrete(_Choices):
    """Several choices at once, with concatenated logits in one tensor. Actions are int64 [N, len(sizes)].

    Each choice is as in `Categorical`, with a uniform number of its own; log-probabilities and entropies are summed.

    Args:
      name: of a tensor [N, sum(sizes)].
      sizes: number of actions of each choice.
      mask: name of a mask [N, sum(sizes)].
      empty_mask: as in `Categorical`, for each choice.
    Raises:
      ConfigurationError: invalid names, sizes that are no positive numbers, an unknown `empty_mask`.
    """

    def __init__(self, name: str, sizes: Sequence[int], mask: str | None = None, empty_mask: str = "refuse"):
        super().__init__("MultiDiscrete", name, mask, empty_mask)
        vector = sizes.ndim == 1 if isinstance(sizes, np.ndarray) else isinstance(sizes, Sequence) and not isinstance(sizes, str)
        plain = vector and len(sizes) > 0
        if not plain or not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n > 0 for n in sizes):
            raise ConfigurationError(f"MultiDiscrete({name!r}): expected sizes as a list of integers from 1, got {sizes!r}")
        self.sizes = tuple(int(n) for n in sizes)

    def __repr__(self) -> str:
        return f"MultiDiscrete({self.name!r}, {list(self.sizes)}{self._options()})"

    def specs(self, given: Specs) -> Specs:
        self._sizes(self.mask_width(given))
        return scalars(TensorSpec("action", (len(self.sizes),), _INT64), self.supports)

    def _sizes(self, width: int) -> tuple[int, ...]:
        if width != sum(self.sizes):
            raise ConfigurationError(f"head {self!r}: expected {sum(self.sizes)} logits, got {width}; sizes must add up to them")
        return self.sizes
