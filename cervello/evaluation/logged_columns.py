"""Columns of a logged episode that only some evaluations read: ticks, and the behaviour's whole distribution."""

from __future__ import annotations

import numpy as np

from cervello.errors import InputError
from cervello.evaluation.logged import Logged
from cervello.evaluation.support import is_never
from cervello.spec import Array

_CLOSE = 1e-3  # probabilities; logits of half precision are off by as much


def ticks(each: Logged) -> Array:
    """[T] int64, all −1 where some were not recorded.

    Raises:
      InputError: they do not grow.
    """
    if each.tick is None or (each.tick < 0).any():
        return np.full(each.length, -1, np.int64)
    if each.tick.shape != (each.length,):
        raise InputError(f"{each.where}, tick: expected ({each.length},) numbers, got {each.tick.shape}; log one per step")
    found = each.tick.astype(np.int64)
    if (stays := np.diff(found) <= 0).any():
        t = int(np.argmax(stays)) + 1
        raise InputError(f"{each.where}, step {t}, tick: expected ticks that grow from step to step for joint weights, got {found[t]} "
                         f"after {found[t - 1]}; log the tick of each decision, or none, or take weights='agent'")
    return found


def logged_distribution(each: Logged) -> Array | None:
    """[T, K] log-probabilities of all actions of one choice, of `behavior_logits`; None where they were not logged.

    Raises:
      InputError: they contradict the actions.
    """
    key = "behavior_logits"
    if key not in each.infos or each.sampled.reshape(each.length, -1).shape[1] != 1 or not each.discrete:
        return None
    given = np.asarray(each.infos[key])
    if given.ndim != 2 or len(given) <= each.length or given.dtype.kind not in "iuf":
        raise InputError(f"{each.where}, {key}: expected a column per action and a row for each observation, the last one too, got "
                         f"{given.shape} of {given.dtype}; element 0 belongs to the reset")
    logits = given[1:each.length + 1].astype(np.float64)
    wrong = np.isnan(logits).any(1) | np.isposinf(logits).any(1)
    if wrong.any():
        t = int(np.argmax(wrong))
        raise InputError(f"{each.where}, step {t}, {key}: expected numbers or −∞, got {logits[t].tolist()}; mend or leave out the column")
    shifted = logits - logits.max(1, keepdims=True)
    found = np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))
    taken = each.sampled.reshape(-1).astype(np.int64)
    own = np.append(found, np.full((len(found), 1), -np.inf), 1)[np.arange(len(taken)), np.minimum(taken, found.shape[1])]
    if (never := is_never(own)).any():
        t = int(np.argmax(never))
        raise InputError(f"{each.where}, step {t}, {key}: expected a probability above 0 of action {taken[t]}, since it was taken, got "
                         f"{logits[t].tolist()}; log the distribution that drew it")
    _check_beside(own, each, key)
    return found


def _check_beside(own: Array, each: Logged, key: str) -> None:
    """Raises InputError where logits, [T] of the actions taken, and the propensities of steps that were drawn differ."""
    if each.logp is None:
        return
    with np.errstate(invalid="ignore"):
        wrong = np.abs(np.exp(own) - np.exp(each.logp)) > _CLOSE
    if each.deterministic is not None:
        wrong &= ~each.deterministic
    if wrong.any():
        t = int(np.argmax(wrong))
        raise InputError(f"{each.where}, step {t}, behavior_logp beside {key}: expected {own[t]:.7g} as the logits say, got "
                         f"{each.logp[t]:.7g}; leave out the wrong column")
