"""Estimators against worlds of which the truth is known."""

from __future__ import annotations

import numpy as np
import offline_worlds as worlds
import pytest

from cervello.evaluation import estimators
from cervello.evaluation.diagnostics import UNSUPPORTED, diagnose, judge
from cervello.evaluation.estimators.mis import Flow
from cervello.evaluation.moments import Moments
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
        assert _marginalised(table, states).value == pytest.approx(-lengths.mean(), abs=1e-9)


def _marginalised(table: Table, states: np.ndarray) -> Moments:
    """Of [steps, d] states; what stands after an episode's end is not read."""
    ends = np.cumsum(table.length)
    observations = np.insert(np.asarray(states, np.float64), ends, np.nan, axis=0)
    [weights] = estimators.visit_ratios(observations, estimators.Flow.of([table]))
    return estimators.mis(table, weights)


def test_marginalised_sampling_of_candidates_together_is_that_of_each_alone() -> None:
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, 2500, 3)  # longer than the blocks in which kernels are made
    tables = [Table.of([rng.normal(size=k) * 0.1 for k in lengths], [rng.normal(size=k) for k in lengths], 0.9) for _ in range(3)]
    observations = rng.normal(size=(lengths.sum() + 3, 2))
    together = list(estimators.visit_ratios(observations, estimators.Flow.of(tables)))
    for table, found in zip(tables, together, strict=True):
        flow = estimators.Flow.of([table])
        [alone] = estimators.visit_ratios(observations, flow)
        np.testing.assert_allclose(found, alone, rtol=1e-9)
        taken = flow.discount > 0
        np.testing.assert_allclose(alone[taken], _dense_ratios(observations, flow, lengths)[taken], rtol=1e-7)


def _dense_ratios(observations: np.ndarray, flow: Flow, lengths: np.ndarray) -> np.ndarray:
    """By the definition, on whole matrices."""
    ends = np.cumsum(lengths + 1) - 1
    steps = np.delete(np.arange(len(observations)), ends)
    states = observations[steps]
    centres = states[np.unique(np.linspace(0, len(states) - 1, 100).round().astype(np.int64))]
    gaps = ((centres[:, None] - centres) ** 2).sum(-1)
    phi = np.exp(-((observations[:, None] - centres) ** 2).sum(-1) / (2 * np.median(gaps[gaps > 0])))
    features = flow.discount[steps, None] * phi[steps] - flow.onward[0, steps, None] * phi[steps + 1]
    rest = phi[flow.start > 0].sum(0) - features.sum(0)
    return 1 + phi @ np.linalg.solve(features.T @ phi[steps] + 1e-3 * len(lengths) * np.eye(len(centres)), rest)


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
    P = np.array([[1 - pi, pi], [0, 1 - pi]])
    truth = np.linalg.solve(np.eye(2) - gamma * P, [-0.1, pi - 0.1])[0]
    assert _marginalised(table, np.eye(2)[states]).value == pytest.approx(truth, abs=0.02)


def test_marginalised_sampling_refuses_truncated_episodes_without_discount() -> None:
    from cervello.errors import ConfigurationError

    table = Table(np.zeros((2, 3)), np.ones((2, 3)), np.full(2, 3), 1.0, truncated=np.array([False, True]))
    with pytest.raises(ConfigurationError, match="episode 1 truncated"):
        estimators.Flow.of([table])


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
