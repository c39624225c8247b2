"""A behaviour policy fitted to the data, where propensities were not logged."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from cervello.errors import ConfigurationError, InputError
from cervello.evaluation.features import features
from cervello.evaluation.logged import Logged, checked, episodes
from cervello.spec import Array
from cervello.statistics.arguments import is_integer, is_number


class Behavior:
    """Propensities of logged actions. Made by `fit_behavior`. Immutable; good for the data set that it was fitted on.

    Attributes:
      n: episodes. folds: how many.
      n_floored: steps whose action was absent from the folds that their model was fitted on, or had less than the floor.
      classes: [K] the actions that were logged, or None for continuous ones.
    """

    def __init__(self, logs: list[Array], every: list[Array] | None, classes: Array | None, n_floored: int, folds: int):
        self._logs, self._every = logs, every
        self.classes, self.n_floored, self.folds, self.n = classes, n_floored, folds, len(logs)

    def __repr__(self) -> str:
        return f"Behavior({self.n} episodes, {self.folds} folds, {self.n_floored} actions at the floor)"

    def log_prob(self, episode: Logged) -> Array:
        """[T] of an episode of the data set.

        Raises:
          InputError: it is of another data set.
        """
        if episode.index >= self.n or len(self._logs[episode.index]) < episode.length:
            raise InputError(f"{episode.where}, behavior: expected the data set that it was fitted on ({self.n} episodes), got another "
                             "one; fit it again")
        return self._logs[episode.index][:episode.length]

    def every_log_prob(self, episode: Logged) -> Array | None:
        """[T, K] log-probabilities of all actions in an episode, where they are numbered from 0 without gaps; else None."""
        return None if self._every is None else self._every[episode.index][:episode.length]

    def check_count(self, n: int) -> None:
        """Raises InputError unless the data set has as many episodes."""
        if n != self.n:
            raise InputError(f"evaluation, behavior: expected the data set that it was fitted on, of {self.n} episodes, got {n}; fit it "
                             "again")


def fit_behavior(dataset: Any, estimator: Any, folds: int = 5, floor: float = 1e-3) -> Behavior:
    """Estimates the propensities of logged actions, cross-fitted by episodes: no episode's are from a model that saw it.

    Args:
      dataset: as for `evaluate`, iterated once.
      estimator: discrete actions: any classifier of scikit-learn, with fit(X, y), predict_proba(X) and classes_. Continuous ones: anything
        with fit(X, A) and log_density(X, A) ▸ [N], or a regressor, fit(X, A) and predict(X): a Gaussian around its prediction, with the
        deviation of its errors on the episodes that it was fitted on. It is copied, never changed.
      folds: episode k (match k, where matches are recorded) is in fold k mod folds.
      floor: the least probability of an action, as where it is absent from the folds that a model was fitted on.
    Raises:
      InputError: fewer episodes than folds, or episodes that do not fit. ConfigurationError: an estimator without these methods.
    """
    if not is_integer(folds) or folds < 2:
        raise ConfigurationError(f"fit_behavior, folds: expected at least 2, got {folds!r}; 5 is usual")
    if not is_number(floor) or not 0 < floor < 1:
        raise ConfigurationError(f"fit_behavior, floor: expected a probability, got {floor!r}; 1e-3 is usual")
    states, actions, units = [], [], []
    known: dict[Any, int] = {}
    discrete = True
    for index, episode in enumerate(episodes(dataset)):
        each = checked(episode, index)
        if index and each.discrete != discrete:
            raise InputError(f"{each.where}, actions: expected one kind of actions, got {each.actions.dtype}")
        discrete = each.discrete
        states.append(features(each.observations)[:each.length])
        actions.append(each.sampled.reshape(each.length, -1))
        units.append(index if each.match is None else known.setdefault(each.match, len(known)))
    place = np.array(units) % folds
    if len(set(place.tolist())) < folds:
        raise InputError(f"fit_behavior, folds: expected at least {folds} episodes (or matches), got {len(set(units))}; record more, or "
                         "give fewer folds")
    if discrete and actions[0].shape[1] != 1:
        raise InputError(f"fit_behavior, actions: expected one choice per step, got {actions[0].shape[1]}; log the propensities instead")
    needed = ("fit", "predict_proba") if discrete else ("fit",)
    for name in needed:
        if not hasattr(estimator, name):
            raise ConfigurationError(f"fit_behavior, estimator: expected {name}() for {'discrete' if discrete else 'continuous'} actions, "
                                     f"got {type(estimator).__name__} without; take sklearn.linear_model.LogisticRegression()")
    return _discrete(states, actions, place, estimator, folds, floor) if discrete else _density(states, actions, place, estimator, folds)


def _discrete(states: list[Array], actions: list[Array], place: Array, estimator: Any, folds: int, floor: float) -> Behavior:
    flat = [each[:, 0].astype(np.int64) for each in actions]
    classes = np.unique(np.concatenate(flat))
    logs: list[Array] = [np.zeros(0)] * len(flat)
    every: list[Array] = [np.zeros(0)] * len(flat)
    floored = 0
    for fold in range(folds):
        train = [i for i in range(len(flat)) if place[i] != fold]
        labels = np.concatenate([flat[i] for i in train])
        seen = np.unique(labels)
        model = None
        if len(seen) > 1:
            model = copy.deepcopy(estimator)
            model.fit(np.concatenate([states[i] for i in train]), labels)
        columns = np.searchsorted(classes, seen if model is None else model.classes_)
        for i in np.flatnonzero(place == fold).tolist():
            odds = np.full((len(flat[i]), len(classes)), floor)
            odds[:, columns] = 1.0 if model is None else model.predict_proba(states[i])
            taken = np.searchsorted(classes, flat[i])
            chosen = odds[np.arange(len(taken)), taken]
            floored += int((~np.isin(flat[i], seen) | (chosen < floor)).sum())
            logs[i] = np.log(np.maximum(chosen, floor))
            every[i] = np.log(np.maximum(odds, floor))
    dense = (classes == np.arange(len(classes))).all()
    return Behavior(logs, every if dense else None, classes, floored, folds)


def _density(states: list[Array], actions: list[Array], place: Array, estimator: Any, folds: int) -> Behavior:
    if not hasattr(estimator, "log_density") and not hasattr(estimator, "predict"):
        raise ConfigurationError(f"fit_behavior, estimator: expected predict() or log_density() for continuous actions, got "
                                 f"{type(estimator).__name__} with neither")
    logs: list[Array] = [np.zeros(0)] * len(states)
    for fold in range(folds):
        train = [i for i in range(len(states)) if place[i] != fold]
        X, A = np.concatenate([states[i] for i in train]), np.concatenate([actions[i] for i in train]).astype(np.float64)
        model = copy.deepcopy(estimator)
        model.fit(X, A[:, 0] if A.shape[1] == 1 and not hasattr(model, "log_density") else A)
        deviation = None
        if not hasattr(model, "log_density"):
            deviation = (A - model.predict(X).reshape(A.shape)).std(0)
            if not (deviation > 0).all():
                raise InputError("fit_behavior, actions: expected actions that vary around the prediction, got a deterministic behaviour, "
                                 "which has no density; log with exploration")
        for i in np.flatnonzero(place == fold).tolist():
            given = actions[i].astype(np.float64)
            if deviation is None:
                logs[i] = np.asarray(model.log_density(states[i], given), np.float64).reshape(len(given))
            else:
                z = (given - model.predict(states[i]).reshape(given.shape)) / deviation
                logs[i] = (-0.5 * z**2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)).sum(1)
    return Behavior(logs, None, None, 0, folds)
