"""Value functions of a candidate: the user's own, or fitted Q evaluation, cross-fitted by episodes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from cervello.errors import ConfigurationError, InputError
from cervello.evaluation.candidates import Candidate
from cervello.evaluation.chunk import Data, Scores
from cervello.recording.trees import concat_trees, map_tree
from cervello.spec import Array

_FOLDS, _ROUNDS, _CHANGE, _DRAWS = 5, 200, 1e-4, 16
_MOST_PRODUCTS = 2000


@dataclass(frozen=True, eq=False)
class Values:
    """Q̂ and V̂ along the logged episodes.

    Attributes:
      q: [steps], v: [observations] of episodes that follow each other.
    """

    q: Array
    v: Array


@dataclass(frozen=True, eq=False)
class Fit:
    """How the fit of a value function went.

    Attributes:
      residuals: largest change of V̂ in each round. converged: whether the last change was below 1e-4 of the reward's scale.
    """

    residuals: tuple[float, ...]
    converged: bool


class LinearQ:
    """Ridge regression on [1, x, products of x's elements], the default regressor. Mutable: `fit` keeps coefficients.

    Exact for tables: one-hot states and actions have an indicator for each pair. Without the products where these are more than 2,000.
    """

    def __init__(self, ridge: float = 1e-9):
        self.ridge = ridge
        self._coefficients: Array | None = None

    def fit(self, X: Array, y: Array) -> LinearQ:
        """X: [N, d], y: [N]."""
        self._coefficients = self.solver(X)(y)
        return self

    def fitter(self, X: Array) -> Callable[[Array], LinearQ]:
        """Fits to the same X and other y, each time anew: f(y) ▸ a regressor. What belongs to X alone is done once."""
        solve = self.solver(X)

        def fitted(y: Array) -> LinearQ:
            found = LinearQ(self.ridge)
            found._coefficients = solve(y)
            return found

        return fitted

    def solver(self, X: Array) -> Callable[[Array], Array]:
        """y ▸ coefficients."""
        phi = self._features(X)
        gram = phi.T @ phi
        values, vectors = np.linalg.eigh(gram + self.ridge * len(X) * np.eye(len(gram)))
        sound = values > values[-1] * len(values) * np.finfo(np.float64).eps
        values, vectors = values[sound], vectors[:, sound]
        return lambda y: np.asarray(vectors @ (vectors.T @ (phi.T @ y) / values))

    def predict(self, X: Array) -> Array:
        """[N]."""
        assert self._coefficients is not None
        return np.asarray(self._features(X) @ self._coefficients)

    @staticmethod
    def n_features(width: int) -> int:
        """How many features so many numbers have."""
        products = width * (width + 1) // 2
        return 1 + width + (products if products <= _MOST_PRODUCTS else 0)

    @staticmethod
    def _features(X: Array) -> Array:
        i, j = np.triu_indices(X.shape[1])
        if len(i) > _MOST_PRODUCTS:  # wide observations: linear
            return np.concatenate([np.ones((len(X), 1)), X], 1)
        return np.concatenate([np.ones((len(X), 1)), X, X[:, i] * X[:, j]], 1)


def _fitter(q: Any, X: Array) -> Callable[[Array], Any]:
    """y ▸ a copy of the regressor that is fitted to X and y, and to nothing before."""
    if isinstance(q, LinearQ):
        return q.fitter(X)

    def fitted(y: Array) -> Any:
        model = copy.deepcopy(q)
        model.fit(X, y)
        return model

    return fitted


def room_bytes(n_rows: int, n_held: int, width: int, candidate: Candidate, q: Any) -> int:
    """About how much memory a value function takes that is fitted, or asked, for all data at once.

    Args:
      n_rows: observations. n_held: bytes of all that is known of them. width: numbers in an observation; 0 where nothing is fitted.
    """
    draws = candidate.n_actions or (1 if candidate.deterministic else _DRAWS)
    inputs = width and width + (candidate.n_actions or candidate.action.size)
    features = LinearQ.n_features(inputs) if q is None or isinstance(q, LinearQ) else inputs
    return 2 * n_held + 8 * n_rows * (inputs * (draws + 3) + 3 * features + 2 * draws + 4)


def given_values(q: Callable[..., Any], candidates: Sequence[Candidate], scores: Sequence[Scores], data: Data) -> Iterator[Values]:
    """Values of a callable q(observations, actions) ▸ [N], for each candidate. What does not depend on the candidate is asked once.

    Raises:
      InputError: it gives another shape, or numbers that are not finite.
    """
    tree = concat_trees(data.trees) if len(data.trees) > 1 else data.trees[0]
    lengths = np.array([len(each) for each in data.rewards])
    n_rows, rows = int((lengths + 1).sum()), _logged_rows(lengths)

    def asked(observations: Any, actions: Array) -> Array:
        found = np.array(q(observations, actions), np.float64)  # its own: a function may use one array again
        if found.shape != (len(actions),) or not np.isfinite(found).all():
            raise InputError(f"evaluation, q: expected ({len(actions)},) finite numbers, got {found.shape}; one value per row")
        return found

    taken = np.concatenate(data.actions)
    of_choices: dict[int, list[Array]] = {}  # by their number: Q̂ of each choice at all observations
    of_taken: Array | None = None
    for candidate, its in zip(candidates, scores, strict=True):
        if of_taken is None:
            of_taken = asked(map_tree(lambda column: column[rows], tree), taken)
        found = None if candidate.n_actions is None else of_choices.get(candidate.n_actions)
        if found is None:
            found = [asked(tree, actions.astype(taken.dtype, copy=False)) for actions in _draws(candidate, its, n_rows)]
        if candidate.n_actions is None:
            yield Values(of_taken, np.asarray(np.mean(found, 0)))
            continue
        of_choices[candidate.n_actions] = found
        odds = its.every[0] if len(its.every) == 1 else np.concatenate(its.every)
        yield Values(of_taken, reduce(np.add, (odds[:, a] * each for a, each in enumerate(found))))


def fitted_values(q: Any, candidate: Candidate, scores: Scores, data: Data, gamma: float, horizon: int | None) -> tuple[Values, Fit]:
    """Fitted Q evaluation: Q̂ ← fit(r + γ V̂(s′)), V̂(s) = Σₐ π(a|s) Q̂(s, a), until V̂ changes by less than 1e-4 of the reward's scale.

    Episode i's values are from a fit to the folds without it (i mod 5). With a horizon, Q̂ is indexed by the steps left.

    Args:
      q: a regressor of scikit-learn, on [observation, one-hot action]; a copy of it is fitted in each round of each fold.
    Raises:
      InputError: fewer than 2 episodes. ConfigurationError: no regressor.
    Source: H. Le, C. Voloshin, Y. Yue, "Batch policy learning under constraints", ICML 2019, algorithm 3.
    """
    for name in ("fit", "predict"):
        if not hasattr(q, name):
            raise ConfigurationError(f"evaluation, q: expected a callable or a regressor with fit and predict, got {type(q).__name__}")
    if data.n < 2:
        raise InputError("evaluation, q: expected at least 2 episodes to fit a value function, got 1; record more, or give a callable")
    some = _steps_of(candidate, scores, data)
    scale = float(np.abs(some.reward).max()) or 1.0
    folds = min(_FOLDS, data.n)
    rounds = _ROUNDS if horizon is None else min(_ROUNDS, horizon)
    Q, V = np.zeros(len(some.reward)), np.zeros(len(some.row_episode))
    residuals: list[float] = []
    converged = True
    for fold in range(folds):
        train = some.episode % folds != fold
        settled = False
        for k, (model, v, change) in enumerate(_rounds(q, some, train, gamma)):
            residuals[k:k + 1] = [max([change, *residuals[k:k + 1]])]
            settled = change < _CHANGE * scale
            last = settled or k == rounds - 1
            now, rows_now = _places_of_round(some, fold, folds, k + 1, last, horizon)
            Q[now] = np.asarray(model.predict(some.X[now]), np.float64).reshape(-1) if now.any() else 0.0
            V[rows_now] = v[rows_now]
            if last:
                break
        converged &= settled or (horizon is not None and rounds == horizon)
    return Values(Q, V), Fit(tuple(residuals), converged)


@dataclass(frozen=True, eq=False)
class _Steps:
    """The logged steps of all episodes, one after the other, as fits take them.

    Attributes:
      X: [steps, d] observation and action. reward, episode, step: [steps]; steps count from 0 in each episode.
      logged: [steps] their rows among the observations, T + 1 of each episode.
      goes_on: [steps] bool, whether something follows. blind: [steps] bool, whether it is not known.
      row_episode, row_step: [observations].
      inputs: [observations, d] for each action of which V̂ is a mean. odds: [observations, K] their probabilities; None: they were drawn.
    """

    X: Array
    reward: Array
    episode: Array
    step: Array
    logged: Array
    goes_on: Array
    blind: Array
    row_episode: Array
    row_step: Array
    inputs: list[Array]
    odds: Array | None


def _steps_of(candidate: Candidate, scores: Scores, data: Data) -> _Steps:
    lengths = np.array([len(each) for each in data.rewards])
    states, taken = np.concatenate(data.features), np.concatenate(data.actions)
    logged, encode = _logged_rows(lengths), _encoder(candidate, taken)
    episode, step = _episodes_and_steps(lengths)
    row_episode, row_step = _episodes_and_steps(lengths + 1)
    last_step = step == lengths[episode] - 1
    goes_on = ~(last_step & np.array(data.terminated)[episode])
    return _Steps(
        np.concatenate([states[logged], encode(taken)], 1), np.concatenate(data.rewards), episode, step, logged, goes_on,
        last_step & goes_on & np.array(data.final_obs_missing)[episode], row_episode, row_step,
        [np.concatenate([states, encode(actions)], 1) for actions in _draws(candidate, scores, len(states))],
        np.concatenate(scores.every) if scores.every else None)


def _episodes_and_steps(counts: Array) -> tuple[Array, Array]:
    """The episode of each row, and its place in it, of so many rows in each episode."""
    episode = np.repeat(np.arange(len(counts)), counts)
    return episode, np.arange(len(episode)) - np.repeat(np.cumsum(counts) - counts, counts)


def _rounds(q: Any, some: _Steps, train: Array, gamma: float) -> Iterator[tuple[Any, Array, float]]:
    """Rounds without end: a model that is fitted to the steps of `train`, its V̂ at all observations, and the largest change of V̂."""
    seeing = train & ~some.blind  # a step of which the next observation is not known is good for one step left only
    first = _fitter(q, some.X[train])
    later = _fitter(q, some.X[seeing]) if some.blind.any() else first
    v = np.zeros(len(some.row_episode))
    fitter, rows = first, train
    while True:
        model = fitter((some.reward + gamma * some.goes_on * v[some.logged + 1])[rows])
        predicted = [np.asarray(model.predict(each), np.float64).reshape(-1) for each in some.inputs]
        new = np.mean(predicted, 0) if some.odds is None else (some.odds * np.stack(predicted, 1)).sum(1)
        yield model, new, float(np.abs(new - v).max())
        v, fitter, rows = new, later, seeing


def _places_of_round(some: _Steps, fold: int, folds: int, left: int, last: bool, horizon: int | None) -> tuple[Array, Array]:
    """Steps and observations, bool, that take their values from a round: those of the fold, all in the last round.

    With a horizon, a round is Q̂ of so many steps left, and the last one is for all that have more left.
    """
    mine, my_rows = some.episode % folds == fold, some.row_episode % folds == fold
    if horizon is None:
        return mine & last, my_rows & last
    more, rows_more = horizon - some.step - left, horizon - some.row_step - left
    return mine & ((more >= 0) if last else (more == 0)), my_rows & ((rows_more >= 0) if last else (rows_more == 0))


def _logged_rows(lengths: Array) -> Array:
    """Rows of logged steps among the T + 1 of each episode."""
    return np.arange(int(lengths.sum())) + np.repeat(np.arange(len(lengths)), lengths)


def _encoder(candidate: Candidate, taken: Array) -> Callable[[Array], Array]:
    K = candidate.n_actions
    if K is not None:
        return lambda actions: np.eye(K)[actions.reshape(-1).astype(np.int64)]
    return lambda actions: actions.reshape(len(actions), -1).astype(np.float64)


def _draws(candidate: Candidate, scores: Scores, n_rows: int) -> list[Array]:
    """Actions at all rows of which V̂ is a mean: every one of K, else 16 drawn ones, or the only one."""
    if candidate.n_actions is not None:
        return [np.full(n_rows, a, np.int64) for a in range(candidate.n_actions)]
    columns = {name: np.concatenate([each[name] for each in scores.columns]) for name in scores.columns[0]}
    times = 1 if candidate.deterministic else _DRAWS
    rng = np.random.default_rng(0)
    if times == 1:
        return [candidate.modes(columns)]
    return [candidate.head.sample(columns, rng=rng) for _ in range(times)]
