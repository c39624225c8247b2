"""Every estimator beside its definition, written as loops in float64: episodes of different lengths, of which some are over, some go on,
some are cut by the horizon and some are truncated exactly at it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, exp, log, sqrt
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.recording import Episode

HEAD = heads.Categorical("logits")
HORIZON = 6
TARGET = logs.behaviour_weights(scale=0.7)


def q(observations: Any, actions: Any) -> np.ndarray:
    """A value function that is wrong."""
    return 0.5 * np.asarray(observations, np.float64)[:, 0] + 0.3 * np.asarray(actions).reshape(-1) - 0.2


def target() -> cervello.Policy:
    return cervello.load(logs.logits_policy(TARGET, np.zeros(3)))


def mixed(n: int = 40) -> list[Episode]:
    """Lengths 1 to 9; every second one goes on after its last step."""
    return logs.walks(n, longest=9, truncated=True)


@dataclass
class Step:
    """ratio: of this step alone. q: Q̂(s, a). v: V̂(s)."""

    ratio: float
    reward: float
    q: float
    v: float


@dataclass
class Walk:
    """An episode up to the horizon. after: V̂ of what follows, 0 where it is over."""

    steps: list[Step]
    after: float


def state_value(observation: np.ndarray) -> float:
    odds = np.exp(logs.log_softmax(observation.astype(np.float64) @ TARGET))
    return float(sum(odds[a] * q(observation[None], np.array([a]))[0] for a in range(3)))


def read(episodes: list[Episode], horizon: int) -> list[Walk]:
    found = []
    for e in episodes:
        steps = []
        for t in range(min(len(e), horizon)):
            own = logs.log_softmax(e.observations[t].astype(np.float64) @ TARGET)[e.actions[t]]
            steps.append(Step(exp(own - e.log_prob[t]), float(e.rewards[t]), float(q(e.observations[t:t + 1], e.actions[t:t + 1])[0]),
                              state_value(e.observations[t])))
        goes_on = len(e) < horizon and not e.terminations[-1]
        found.append(Walk(steps, state_value(e.observations[len(e)]) if goes_on else 0.0))
    return found


def weight(walk: Walk, t: int) -> float:
    """The product of ratios up to step t; an episode that has ended keeps its last one."""
    product = 1.0
    for step in walk.steps[:t + 1]:
        product *= step.ratio
    return product


def reward(walk: Walk, t: int) -> float:
    return walk.steps[t].reward if t < len(walk.steps) else 0.0


def value_at(walk: Walk, t: int) -> float:
    return walk.steps[t].v if t < len(walk.steps) else walk.after if t == len(walk.steps) else 0.0


def action_value_at(walk: Walk, t: int) -> float:
    return walk.steps[t].q if t < len(walk.steps) else 0.0


def returns(walk: Walk, gamma: float) -> float:
    return sum(gamma**t * step.reward for t, step in enumerate(walk.steps))


def longest(walks: list[Walk]) -> int:
    return max(len(walk.steps) for walk in walks)


def ordinary(walks: list[Walk], gamma: float) -> float:
    return sum(weight(w, len(w.steps)) * returns(w, gamma) for w in walks) / len(walks)


def weighted(walks: list[Walk], gamma: float) -> float:
    return ordinary(walks, gamma) * len(walks) / sum(weight(w, len(w.steps)) for w in walks)


def per_decision(walks: list[Walk], gamma: float) -> float:
    return sum(gamma**t * weight(w, t) * step.reward for w in walks for t, step in enumerate(w.steps)) / len(walks)


def consistent(walks: list[Walk], gamma: float) -> float:
    return sum(gamma**t * sum(weight(w, t) * reward(w, t) for w in walks) / sum(weight(w, t) for w in walks) for t in range(longest(walks)))


def direct(walks: list[Walk], gamma: float) -> float:
    return sum(w.steps[0].v for w in walks) / len(walks)


def doubly_robust(walks: list[Walk], gamma: float) -> float:
    total = 0.0
    for w in walks:
        total += w.steps[0].v
        for t, step in enumerate(w.steps):
            total += gamma**t * weight(w, t) * (step.reward + gamma * value_at(w, t + 1) - step.q)
    return total / len(walks)


def shares(walks: list[Walk], t: int) -> list[float]:
    if t < 0:
        return [1 / len(walks)] * len(walks)
    total = sum(weight(w, t) for w in walks)
    return [weight(w, t) / total for w in walks]


def partial_sums(walks: list[Walk], gamma: float) -> np.ndarray:
    """[n, L + 1] what each episode adds to the j-step estimate, j = −1 … L − 1, of Thomas and Brunskill."""
    L = longest(walks)
    found = np.zeros((len(walks), L + 1))
    for j in range(-1, L):
        now = shares(walks, j)
        for i, w in enumerate(walks):
            found[i, j + 1] = gamma ** (j + 1) * now[i] * value_at(w, j + 1)
            for t in range(j + 1):
                mine, before = shares_of(walks, i, t), shares_of(walks, i, t - 1)
                found[i, j + 1] += gamma**t * (mine * (reward(w, t) - action_value_at(w, t)) + before * value_at(w, t))
    return found


def shares_of(walks: list[Walk], i: int, t: int) -> float:
    return shares(walks, t)[i]


def weighted_doubly_robust(walks: list[Walk], gamma: float) -> float:
    return float(partial_sums(walks, gamma)[:, -1].sum())


def magic(walks: list[Walk], gamma: float, seed: int = 0) -> float:
    n = len(walks)
    each = partial_sums(walks, gamma)
    g = each.sum(0)
    off = each - each.mean(0)
    omega = n / (n - 1) * sum(np.outer(row, row) for row in off)
    again = [weighted_doubly_robust_of([walks[i] for i in places], gamma)
             for places in np.random.default_rng(seed).integers(0, n, (200, n))]
    low, high = np.percentile(again, [5, 95])
    low, high = min(low, g[-1]), max(high, g[-1])
    bias = np.array([x - high if x > high else x - low if x < low else 0.0 for x in g])
    return float(simplex_minimum(omega + np.outer(bias, bias)) @ g)


def weighted_doubly_robust_of(walks: list[Walk], gamma: float) -> float:
    """The same without the shares of each episode: fast enough for resamples."""
    L = HORIZON
    w = np.array([[weight(walk, t) for t in range(L)] for walk in walks])
    r = np.array([[reward(walk, t) - action_value_at(walk, t) for t in range(L)] for walk in walks])
    v = np.array([[value_at(walk, t) for t in range(L + 1)] for walk in walks])
    now = w / w.sum(0)
    before = np.concatenate([np.full((len(walks), 1), 1 / len(walks)), now], 1)
    return float((gamma ** np.arange(L) * (now * r).sum(0)).sum() + (gamma ** np.arange(L + 1) * (before * v).sum(0)).sum())


def simplex_minimum(M: np.ndarray) -> np.ndarray:
    """By trying every set of positive elements."""
    best, least = np.zeros(len(M)), np.inf
    for size in range(1, len(M) + 1):
        for chosen in itertools.combinations(range(len(M)), size):
            x = np.zeros(len(M))
            part = np.linalg.lstsq(M[np.ix_(chosen, chosen)], np.ones(size), rcond=None)[0]
            x[list(chosen)] = part / part.sum()
            if x.min() >= 0 and x @ M @ x < least:
                best, least = x, x @ M @ x
    return best


DEFINITIONS: dict[str, Callable[[list[Walk], float], float]] = {
    "is": ordinary, "pdis": per_decision, "wis": weighted, "cwpdis": consistent, "dm": direct, "dr": doubly_robust,
    "wdr": weighted_doubly_robust, "magic": magic}


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_estimates_of_episodes_that_end_in_every_way_are_those_of_the_definitions(gamma: float) -> None:
    episodes = mixed()
    ends = {(len(e) < HORIZON, len(e) == HORIZON, bool(e.terminations[-1])) for e in episodes}
    assert len(ends) == 6  # shorter, as long, longer; over or not
    report = evaluation.evaluate(episodes, {"a": target()}, head=HEAD, estimators=list(DEFINITIONS), gamma=gamma, horizon=HORIZON, q=q)
    walks = read(episodes, HORIZON)
    for name, definition in DEFINITIONS.items():
        assert report["a"][name].moments.value == pytest.approx(definition(walks, gamma), rel=2e-5), name


def test_diagnostics_are_those_of_the_definitions() -> None:
    walks = read(mixed(200), HORIZON)
    found = evaluation.evaluate(mixed(200), {"a": target()}, head=HEAD, estimators="wis", horizon=HORIZON)["a"].diagnostics
    for t in range(HORIZON):
        weights = [weight(w, t) for w in walks]
        assert found.ess[t] == pytest.approx(sum(weights) ** 2 / sum(x**2 for x in weights), rel=1e-4)
        assert found.mean_weight[t] == pytest.approx(sum(weights) / len(weights), rel=1e-5)
    assert found.largest_share == pytest.approx(max(weights) / sum(weights), rel=1e-4)
    deviation = sqrt(sum((x - np.mean(weights)) ** 2 for x in weights) / (len(weights) - 1))
    assert found.mean_weight_error == pytest.approx(abs(np.mean(weights) - 1) / (deviation / sqrt(len(weights))), rel=1e-3)
    assert found.pareto_k == pytest.approx(tail_index(weights), abs=1e-4)


def tail_index(weights: list[float]) -> float:
    """Zhang and Stephens (2009), as loops; no weight occurs twice."""
    n = len(weights)
    M = ceil(min(n / 5, 3 * sqrt(n)))
    ranked = sorted(weights)
    x = [each - ranked[-M - 1] for each in ranked[-M:]]
    m = 30 + int(sqrt(M))
    theta = [1 / x[-1] + (1 - sqrt(m / (j - 0.5))) / (3 * x[int(M / 4 + 0.5) - 1]) for j in range(1, m + 1)]

    def shape(b: float) -> float:
        return sum(log(1 - b * each) for each in x) / M

    def profile(b: float) -> float:
        return M * (log(-b / shape(b)) - shape(b) - 1)

    chance = [1 / sum(exp(profile(other) - profile(b)) for other in theta) for b in theta]
    k = shape(sum(b * p for b, p in zip(theta, chance, strict=True)))
    return (M * k + 5) / (M + 10)


def states(n: int = 60) -> list[Episode]:
    """Four states as one-hot rows; every third episode goes on after its last step."""
    rng = np.random.default_rng(8)
    found = []
    for i in range(n):
        T = int(rng.integers(1, 8))
        s, a = rng.integers(0, 4, T + 1), rng.integers(0, 2, T)
        over = np.arange(T) == T - 1
        found.append(Episode(i, np.eye(4, dtype=np.float32)[s], a, s[:-1] + 2.0 * a, over & (i % 3 > 0), over & (i % 3 == 0),
                             log_prob=np.full(T, np.log(0.5))))
    return found


@pytest.mark.parametrize("horizon", [None, 5])
def test_marginalised_sampling_is_the_solution_of_the_flow_of_visits(horizon: int | None) -> None:
    w, gamma, episodes = np.random.default_rng(2).normal(size=(4, 2)), 0.9, states()
    report = evaluation.evaluate(episodes, {"a": cervello.load(logs.logits_policy(w, np.zeros(2)))}, head=HEAD, estimators="mis",
                                 gamma=gamma, horizon=horizon)
    ratio = np.exp(logs.log_softmax(w.astype(np.float32).astype(np.float64))) / 0.5
    A, start = np.zeros((4, 4)), np.zeros(4)
    for e in episodes:
        s, T = e.observations.argmax(1), len(e) if horizon is None else min(len(e), horizon)
        start[s[0]] += 1
        for t in range(T):
            A[s[t], s[t]] += gamma**t
            if t < T - 1 or (len(e) == T and not e.terminations[-1] and horizon != T):
                A[s[t + 1], s[t]] -= gamma**t * gamma * ratio[s[t], e.actions[t]]
    visits = np.linalg.solve(A, start)
    total = 0.0
    for e in episodes:
        s = e.observations.argmax(1)
        for t in range(len(e) if horizon is None else min(len(e), horizon)):
            total += gamma**t * visits[s[t]] * ratio[s[t], e.actions[t]] * e.rewards[t]
    assert report["a"]["mis"].moments.value == pytest.approx(total / len(episodes), rel=1e-5)


def two_dimensional(n: int = 400) -> list[Episode]:
    rng = np.random.default_rng(5)
    found = []
    for i in range(n):
        T = int(rng.integers(1, 6))
        obs, a = rng.normal(size=(T + 1, 3)).astype(np.float32), rng.normal(size=(T, 2)) * [1.0, 0.4]
        found.append(Episode(i, obs, np.clip(a, -0.5, 0.5), rng.normal(size=T), np.arange(T) == T - 1, np.zeros(T, bool), pre_clip=a,
                             log_prob=(-0.5 * (a / [1.0, 0.4]) ** 2 - np.log([1.0, 0.4]) - 0.5 * np.log(2 * np.pi)).sum(1)))
    return found


@pytest.mark.parametrize("bandwidth", [None, 0.3])
def test_kernels_stand_in_place_of_the_policy_and_are_as_wide_as_the_number_of_episodes_says(bandwidth: float | None) -> None:
    episodes, gamma = two_dimensional(), 0.9
    w = np.random.default_rng(6).normal(size=(3, 2)).astype(np.float32) * np.float32(0.1)
    file = cervello.load(logs.logits_policy(w, np.zeros(2), "action"))
    report = evaluation.evaluate(episodes, {"a": file}, head=heads.Deterministic("action"), estimators=["kis", "agreement"], gamma=gamma,
                                 bandwidth=bandwidth)
    drawn = np.concatenate([e.pre_clip for e in episodes])
    h = [bandwidth] * 2 if bandwidth else [1.06 * drawn[:, k].std() * len(episodes) ** (-1 / (4 + 2)) for k in range(2)]
    L = max(map(len, episodes))
    weights, rewards, gaps = np.zeros((len(episodes), L)), np.zeros((len(episodes), L)), []
    for i, e in enumerate(episodes):
        product = 1.0
        for t in range(L):
            if t < len(e):
                mine = e.observations[t].astype(np.float64) @ w
                for k in range(2):
                    product *= exp(-0.5 * ((e.pre_clip[t, k] - mine[k]) / h[k]) ** 2) / (h[k] * sqrt(2 * np.pi))
                product /= exp(e.log_prob[t])
                rewards[i, t] = e.rewards[t]
                gaps.append(sqrt(sum((e.actions[t, k] - mine[k]) ** 2 for k in range(2))))
            weights[i, t] = product
    expected = sum(gamma**t * (weights[:, t] * rewards[:, t]).sum() / weights[:, t].sum() for t in range(L))
    assert report["a"]["kis"].value == pytest.approx(expected, rel=1e-5)
    assert report["a"]["agreement"].value == pytest.approx(np.mean(gaps), rel=1e-6)


class Straight:
    """A regressor: least squares, with a little ridge."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        X = np.concatenate([X, np.ones((len(X), 1))], 1)
        self.w = np.linalg.solve(X.T @ X + 1e-6 * np.eye(X.shape[1]), X.T @ y)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.concatenate([X, np.ones((len(X), 1))], 1) @ self.w


@pytest.mark.parametrize("horizon", [None, 3])
def test_fitted_q_evaluation_is_that_of_a_loop_over_folds_and_rounds(horizon: int | None) -> None:
    episodes, gamma = mixed(13), 0.6
    report = evaluation.evaluate(episodes, {"a": target()}, head=HEAD, estimators=["fqe", "dr"], gamma=gamma, q=Straight(),
                                 horizon=horizon)
    cut = [min(len(e), horizon or 99) for e in episodes]
    scale = max(float(np.abs(e.rewards[:T]).max()) for e, T in zip(episodes, cut, strict=True))
    rows: dict[int, list[tuple[np.ndarray, float, int | None]]] = {}  # by episode: [observation, one-hot], reward, step that follows
    for i, (e, T) in enumerate(zip(episodes, cut, strict=True)):
        rows[i] = [(np.concatenate([e.observations[t], np.eye(3)[e.actions[t]]]), float(e.rewards[t]),
                    None if t == T - 1 and len(e) == T and e.terminations[-1] else t + 1) for t in range(T)]

    def v(model: Straight | None, observation: np.ndarray) -> float:
        if model is None:
            return 0.0
        odds = np.exp(logs.log_softmax(observation.astype(np.float64) @ TARGET))
        return float(sum(odds[a] * model.predict(np.concatenate([observation, np.eye(3)[a]])[None])[0] for a in range(3)))

    first, changes = [0.0] * 13, []
    for fold in range(5):
        train = [i for i in range(13) if i % 5 != fold]
        model: Straight | None = None
        for k in range(horizon or 200):
            X = np.array([x for i in train for x, _, _ in rows[i]])
            y = np.array([r + (0.0 if after is None else gamma * v(model, episodes[i].observations[after]))
                          for i in train for _, r, after in rows[i]])
            before = [v(model, s) for i, e in enumerate(episodes) for s in e.observations[:cut[i] + 1]]
            model = Straight()
            model.fit(X, y)
            now = [v(model, s) for i, e in enumerate(episodes) for s in e.observations[:cut[i] + 1]]
            change = max(abs(a - b) for a, b in zip(now, before, strict=True))
            if len(changes) <= k:
                changes.append(0.0)
            changes[k] = max(changes[k], change)
            if change < 1e-4 * scale:
                break
        for i in range(fold, 13, 5):
            first[i] = v(model, episodes[i].observations[0])
    assert report["a"]["fqe"].value == pytest.approx(np.mean(first), rel=1e-5)
    assert report["a"].fit["residuals"] == pytest.approx(changes, rel=1e-4, abs=1e-7)
    assert report["a"].fit["converged"]


def skipping(n: int = 15) -> list[Episode]:
    """Matches of two agents that decide every fourth tick; agent 1 begins later and leaves first."""
    rng = np.random.default_rng(3)
    w, found = logs.behaviour_weights(), []
    for match in range(n):
        late = int(rng.integers(0, 3))
        for agent, (first, T) in enumerate(((0, int(rng.integers(late + 1, 6))), (late, int(rng.integers(1, 3))))):
            obs = rng.normal(size=(T + 1, 3)).astype(np.float32)
            logp = logs.log_softmax(obs[:-1].astype(np.float64) @ w)
            a = np.array([rng.choice(3, p=np.exp(row)) for row in logp])
            found.append(Episode(len(found), obs, a, rng.normal(size=T), np.arange(T) == T - 1, np.zeros(T, bool), agent=agent,
                                 match=match, log_prob=logp[np.arange(T), a], tick=100 * match + 4 * np.arange(first, first + T)))
    return found


@pytest.mark.parametrize("how", ["agent", "joint"])
def test_agents_of_a_match_weigh_alone_or_together_by_the_ticks_at_which_they_decided(how: str) -> None:
    episodes, gamma, n = skipping(), 0.9, 15
    found = evaluation.evaluate(episodes, {"a": target()}, head=HEAD, weights=how, gamma=gamma, estimators=["is", "pdis", "wis", "cwpdis"])
    walks = read(episodes, 99)
    if how == "joint":
        L = 8
        ratio, reward_at = np.ones((n, L)), np.zeros((n, L))
        for e, walk in zip(episodes, walks, strict=True):
            for tick, step in zip(e.tick, walk.steps, strict=True):
                t = (int(tick) - 100 * int(e.match)) // 4
                ratio[e.match, t] *= step.ratio
                reward_at[e.match, t] += step.reward
        product, discount = np.cumprod(ratio, 1), gamma ** np.arange(L)
        whole, total = product[:, -1], (reward_at * discount).sum(1)
        expected = {"is": (whole * total).mean(), "wis": (whole * total).sum() / whole.sum(),
                    "pdis": (product * reward_at * discount).sum(1).mean(),
                    "cwpdis": (discount * (product * reward_at).sum(0) / product.sum(0)).sum()}
    else:
        expected = {name: DEFINITIONS[name](walks, gamma) for name in ("is", "pdis", "wis", "cwpdis")}
    for name, value in expected.items():
        assert found["a"][name].moments.value == pytest.approx(value, rel=1e-5), name
    assert found.n_units == found["a"].diagnostics.n == n


def test_ticks_that_do_not_grow_have_no_steps_of_the_match() -> None:
    from cervello.errors import InputError

    episodes = skipping()
    long = next(i for i, e in enumerate(episodes) if len(e) > 2)
    ticks = episodes[long].tick.copy()
    ticks[2] = ticks[1]
    episodes[long] = replace(episodes[long], tick=ticks)
    with pytest.raises(InputError, match=rf"episode {long}, step 2, tick: expected ticks that grow .*, got {ticks[1]} after {ticks[1]};"):
        evaluation.evaluate(episodes, {"a": target()}, head=HEAD, weights="joint")
    assert evaluation.evaluate(episodes, {"a": target()}, head=HEAD)["a"]["pdis"].moments.value is not None
