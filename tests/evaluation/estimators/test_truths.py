"""Estimators against worlds of which the truth is known."""

from __future__ import annotations

import numpy as np
import offline_worlds as worlds
import pytest

from cervello.evaluation import estimators
from cervello.evaluation.diagnostics import UNSUPPORTED, diagnose, judge
from cervello.evaluation.estimators.mis import _squares
from cervello.evaluation.table import Table


def moments_by_recursion(world: worlds.Tabular, q: np.ndarray) -> tuple[float, float]:
    """Mean and second moment of one episode's doubly robust value, by recursion over steps; q = 0 is PDIS."""
    v = (world.pi * q).sum(1)
    mean, second = np.zeros(world.S), np.zeros(world.S)
    for _ in range(world.T):
        ratio = world.pi / world.b
        fixed = v[:, None] + ratio * (world.r - q)
        next_mean, next_second = world.P @ mean, world.P @ second
        scale = ratio * world.gamma
        new = (world.b * (fixed + scale * next_mean)).sum(1)
        second = (world.b * (fixed**2 + 2 * fixed * scale * next_mean + scale**2 * next_second)).sum(1)
        mean = new
    return float(world.start @ mean), float(world.start @ second)


def is_second_moment(world: worlds.Tabular) -> float:
    """Of ρ G, from E[ρ²], E[ρ² G] and E[ρ² G²] by recursion over steps."""
    w, g, gg = np.ones(world.S), np.zeros(world.S), np.zeros(world.S)
    for _ in range(world.T):
        square = world.b * (world.pi / world.b) ** 2
        w1, g1, gg1 = world.P @ w, world.P @ g, world.P @ gg
        r, c = world.r, world.gamma
        w, g, gg = ((square * x).sum(1) for x in (w1, r * w1 + c * g1, r**2 * w1 + 2 * r * c * g1 + c**2 * gg1))
    return float(world.start @ gg)


@pytest.mark.parametrize("seed", range(6))
def test_exact_enumeration_gives_the_mean_and_the_variance_of_unbiased_estimators(seed: int) -> None:
    world = worlds.Tabular(seed)
    truth = world.value()
    q = world.rng.normal(size=(world.S, world.A))  # any value function will do
    table, odds = world.enumerate(q)
    assert odds.sum() == pytest.approx(1, abs=1e-12)
    for estimator, second in ((estimators.importance_sampling, is_second_moment(world)),
                              (estimators.pdis, moments_by_recursion(world, np.zeros_like(q))[1]),
                              (estimators.dr, moments_by_recursion(world, q)[1])):
        values = estimator(table).columns[:, 0]
        assert abs(odds @ values - truth) < 1e-12
        assert odds @ values**2 - truth**2 == pytest.approx(second - truth**2, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_estimators_of_every_trajectory_at_its_probability_are_the_truth(seed: int) -> None:
    world = worlds.Tabular(seed, S=2, T=3)
    table, odds = world.enumerate(world.rng.normal(size=(2, 2)))
    for estimator in (estimators.wis, estimators.cwpdis, estimators.wdr):
        found = estimator(table)
        assert found.combine((odds[:, None] * found.columns).sum(0)[None])[0] == pytest.approx(world.value(), abs=1e-12)


def test_a_value_function_that_is_right_makes_the_doubly_robust_estimators_exact_for_one_step() -> None:
    world = worlds.Tabular(3, T=1)
    table = world.draw(50, world.r)
    v = (world.pi * world.r).sum(1)
    assert estimators.dr(table).value == pytest.approx(table.v[:, 0].mean(), abs=1e-12)
    assert estimators.wdr(table).value == pytest.approx(estimators.dm(table).value, abs=1e-12)
    assert v.min() <= estimators.magic(table).value <= v.max()


def test_the_loop_of_one_state_is_refused_where_no_episode_has_weight_and_else_weighted_sampling_is_exactly_1() -> None:
    rng = np.random.default_rng(0)
    empty = 0
    for _ in range(2000):
        table = worlds.one_loop(10, rng)
        found = estimators.wis(table)
        if found.value is None:
            empty += 1
            assert judge(diagnose(table)).name == UNSUPPORTED
            assert "weight" in found.unsupported
        else:
            assert found.value == 1.0
    assert empty / 2000 == pytest.approx((10 / 11) ** 10, abs=0.035)  # 39%


@pytest.mark.parametrize("n", [100, 1000])
def test_the_loop_of_one_state_is_hardly_ever_called_reliable(n: int) -> None:
    rng = np.random.default_rng(n)
    runs = 300 if n == 100 else 100
    said = [judge(diagnose(worlds.one_loop(n, rng))).name for _ in range(runs)]
    assert said.count("reliable") < 0.05 * runs


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("spread", [2.0, 3.0])
def test_wider_gaussian_targets_are_hardly_ever_called_reliable(n: int, spread: float) -> None:
    rng = np.random.default_rng(5)
    runs = 300
    said = []
    for _ in range(runs):
        x = rng.normal(size=(n, 1))
        said.append(judge(diagnose(Table(0.5 * x**2 * (1 - 1 / spread**2) - np.log(spread), x, np.ones(n, np.int64)))).name)
    assert said.count("reliable") < 0.05 * runs


def test_the_blackjack_state_has_its_value() -> None:
    assert worlds.blackjack_value() == pytest.approx(-0.2772042, abs=5e-8)
    table = worlds.blackjack(20_000, np.random.default_rng(1))
    for estimator in (estimators.importance_sampling, estimators.wis):
        found = estimator(table)
        error = found.influence.std() / np.sqrt(found.n)
        assert abs(found.value + 0.2772042) < 4 * error
        assert error < 0.03


def test_equal_policies_give_weights_of_exactly_1_at_any_horizon() -> None:
    reward = np.random.default_rng(0).normal(size=(7, 5000))
    table = Table(np.zeros((7, 5000)), reward, np.full(7, 5000), 0.999)
    found = diagnose(table)
    assert (found.mean_weight == 1).all()
    assert (found.ess == 7).all()
    mean = table.total.mean()
    for estimator in (estimators.importance_sampling, estimators.pdis, estimators.wis, estimators.cwpdis):
        assert estimator(table).value == pytest.approx(mean, rel=1e-12)


def test_products_over_a_thousand_steps_stay_finite_where_they_are_normalised() -> None:
    table = Table(np.full((9, 1100), 1.5), np.ones((9, 1100)), np.full(9, 1100), 1.0)
    assert estimators.wis(table).value == estimators.cwpdis(table).value == 1100
    found = estimators.importance_sampling(table)
    assert found.value is None
    assert "shorten the horizon" in found.unsupported
    low = Table(-table.log_ratio, table.reward, table.length, 1.0)
    assert estimators.wis(low).value == estimators.cwpdis(low).value == 1100


def test_ragged_episodes_carry_their_last_weight_or_leave() -> None:
    table = Table.of([np.zeros(k) for k in (1, 2, 6)], [np.ones(k) for k in (1, 2, 6)])
    assert estimators.cwpdis(table).value == pytest.approx(3, abs=1e-12)
    assert estimators.cwpdis(table, "alive-only").value == pytest.approx(6, abs=1e-12)
    assert estimators.wis(table).value == pytest.approx(3, abs=1e-12)


def test_no_weight_from_a_step_on_names_the_horizon_to_try() -> None:
    table = Table.of([[0.0, 0.0, -np.inf, 0.0]] * 3, [np.ones(4)] * 3, q=[np.zeros(4)] * 3, v=[np.zeros(5)] * 3)
    for estimator in (estimators.cwpdis, estimators.wdr, estimators.magic):
        found = estimator(table)
        assert found.value is None
        assert "horizon=2" in found.unsupported
    assert diagnose(table).last_step_with_weight == 2


def test_a_reward_of_minus_one_gives_marginalised_sampling_minus_the_mean_length() -> None:
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 9, 40)
    table = Table.of([np.zeros(k) for k in lengths], [-np.ones(k) for k in lengths])
    for states in (np.concatenate([np.arange(k) for k in lengths])[:, None], rng.normal(size=(lengths.sum(), 3))):
        following = np.concatenate([states[1:], states[:1]])  # ends have none, so what stands there is not read
        assert estimators.mis(table, estimators.Visits.of(states, following)).value == pytest.approx(-lengths.mean(), abs=1e-9)


def test_marginalised_sampling_finds_the_value_of_a_chain_with_another_policy() -> None:
    # Two states; action 1 moves on, action 0 stays; leaving state 1 ends with reward 1, each step costs 0.1.
    rng = np.random.default_rng(3)
    pi, b, gamma = 0.8, 0.5, 0.9
    ratios, rewards, states = [], [], []
    for _ in range(4000):
        s, ratio, reward = 0, [], []
        while s < 2:
            move = rng.random() < b
            states.append(s)
            s += move
            ratio.append(np.log((pi if move else 1 - pi) / b))
            reward.append(1.0 * (s == 2) - 0.1)
        ratios.append(ratio)
        rewards.append(reward)
    table = Table.of(ratios, rewards, gamma)
    observations = np.eye(2)[states]
    following = np.concatenate([observations[1:], observations[:1]])
    P = np.array([[1 - pi, pi], [0, 1 - pi]])
    truth = np.linalg.solve(np.eye(2) - gamma * P, [-0.1, pi - 0.1])[0]
    assert estimators.mis(table, estimators.Visits.of(observations, following)).value == pytest.approx(truth, abs=0.02)


def test_marginalised_sampling_refuses_truncated_episodes_without_discount() -> None:
    from cervello.errors import ConfigurationError

    table = Table(np.zeros((2, 3)), np.ones((2, 3)), np.full(2, 3), 1.0, truncated=np.array([False, True]))
    with pytest.raises(ConfigurationError, match="episode 1 truncated"):
        estimators.mis(table, estimators.Visits.of(np.zeros((6, 1)), np.zeros((6, 1))))


def test_kernels_find_the_value_of_a_deterministic_policy() -> None:
    rng = np.random.default_rng(4)
    a = rng.normal(size=4000)
    table = Table(np.zeros((4000, 1)), (1 - (a - 0.5) ** 2)[:, None], np.ones(4000, np.int64))
    found = estimators.kis(table, a[:, None], np.full((4000, 1), 0.5), -0.5 * a**2 - 0.5 * np.log(2 * np.pi), bandwidth=0.1)
    assert found.value == pytest.approx(1 - 0.1**2, abs=0.005)


def test_magic_weighs_bias_as_an_outer_product() -> None:
    from cervello.evaluation.estimators.magic import simplex_minimum

    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    M = root @ root.T
    x = simplex_minimum(M)
    assert x.min() >= 0
    assert x.sum() == pytest.approx(1)
    others = rng.dirichlet(np.ones(5) * 0.3, 3000)
    assert x @ M @ x <= np.einsum("ni,ij,nj->n", others, M, others).min() + 1e-9
    # Two estimates with opposite biases and no variance cancel: a product by element could not see it.
    b = np.array([1.0, -1.0])
    assert simplex_minimum(np.outer(b, b)) == pytest.approx([0.5, 0.5], abs=1e-5)


@pytest.mark.parametrize("joined", [True, False])
def test_visits_by_kernels_solve_the_flow_of_the_definition(joined: bool) -> None:
    rng = np.random.default_rng(6)
    lengths = rng.integers(1, 30, 50)
    paths = [rng.normal(size=(T + 1, 3)) for T in lengths]
    states, following = (np.concatenate([each[rows] for each in paths]) for rows in (slice(-1), slice(1, None)))
    if not joined:
        following = following + rng.normal(size=following.shape)
    truncated = rng.random(50) < 0.5
    table = Table.of([rng.normal(0, 0.2, T) for T in lengths], [rng.random(T) for T in lengths], 0.97, truncated=truncated)
    centres = states[np.unique(np.linspace(0, len(states) - 1, 100).round().astype(np.int64))]
    gaps = _squares(centres, centres)  # rounding decides which zeros of the diagonal the median counts
    here, there = (np.exp(((rows[:, None] - centres) ** 2).sum(-1) / (-2 * np.median(gaps[gaps > 0]))) for rows in (states, following))
    discount, ratio = table.discount[np.nonzero(table.alive)[1]], np.exp(table.log_ratio[table.alive])
    first = np.cumsum(lengths) - lengths
    goes_on = np.ones(len(states))
    goes_on[first + lengths - 1] = truncated
    flow = discount[:, None] * (here - (0.97 * ratio * goes_on)[:, None] * there)
    alpha = np.linalg.solve(flow.T @ here + 1e-3 * 50 * np.eye(len(centres)), here[first].sum(0) - flow.sum(0))
    value = (discount * (1 + here @ alpha) * ratio * table.reward[table.alive]).sum() / 50
    assert estimators.mis(table, estimators.Visits.of(states, following)).value == pytest.approx(value, rel=1e-10)
