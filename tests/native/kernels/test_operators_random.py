"""Random ops: what they draw, what rows and seeds share, what deterministic rows get."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_cases import named
from native_graphs import Chain, In, one, rows

from cervello.errors import InputError
from cervello.native import Model

N = 20_000


def _noise(**attributes: float) -> Model:
    return Model.load(one("RandomNormalLike", rows(2), **attributes))


def test_normal_draws_have_the_asked_mean_and_scale() -> None:
    drawn = _noise(mean=1.5, scale=0.5).run({"x0": np.zeros((N, 2), np.float32)}, seed=3)["y0"]
    assert abs(drawn.mean() - 1.5) < 0.02
    assert abs(drawn.std() - 0.5) < 0.02
    assert len(np.unique(drawn)) > 1.9 * N


def test_uniform_draws_fill_their_range() -> None:
    model = Model.load(one("RandomUniformLike", rows(2), low=-1.0, high=3.0))
    drawn = model.run({"x0": np.zeros((N, 2), np.float32)}, seed=3)["y0"]
    assert drawn.min() >= -1
    assert drawn.max() < 3
    np.testing.assert_allclose(np.histogram(drawn, 8, (-1, 3))[0] / drawn.size, 1 / 8, atol=0.01)


def test_multinomial_draws_classes_as_often_as_their_probability() -> None:
    logits = np.tile(np.log(np.array([0.1, 0.0001, 0.6, 0.2999], np.float32)), (N, 1))
    drawn = Model.load(one("Multinomial", rows(4), dtype=7)).run({"x0": logits}, seed=3)["y0"]
    np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=4) / N, [0.1, 0.0001, 0.6, 0.2999], atol=0.015)


def test_multinomial_never_draws_an_impossible_class() -> None:
    logits = np.full((N, 3), -np.inf, np.float32)
    logits[:, 1] = 2.0
    drawn = Model.load(one("Multinomial", rows(3), sample_size=3)).run({"x0": logits}, seed=3)["y0"]
    assert drawn.dtype == np.int32
    assert (drawn == 1).all()


def test_multinomial_survives_a_nan_row() -> None:
    logits = np.zeros((3, 4), np.float32)
    logits[1] = np.nan
    drawn = Model.load(one("Multinomial", rows(4))).run({"x0": logits}, seed=3)["y0"]
    assert ((drawn >= 0) & (drawn < 4)).all()


def test_equal_seeds_draw_equally_and_others_differently() -> None:
    model, x = _noise(), {"x0": np.zeros((50, 2), np.float32)}
    first, again, other = (model.run(x, seed=seed)["y0"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_two_nodes_draw_different_numbers() -> None:
    c = Chain(x=rows(2))
    model = Model.load(c.model(c.add("RandomNormalLike", "x"), c.add("RandomNormalLike", "x")))
    a, b = model.run({"x": np.zeros((50, 2), np.float32)}, seed=1).values()
    assert (a != b).all()


def test_deterministic_runs_take_mean_middle_and_mode() -> None:
    x = np.array([[0.0, 2.0, 2.0], [5.0, 1.0, 9.0]], np.float32)
    assert (_noise(mean=1.5).run({"x0": x[:, :2]}, deterministic=True)["y0"] == 1.5).all()
    uniform = Model.load(one("RandomUniformLike", rows(3), low=-1.0, high=3.0))
    assert (uniform.run({"x0": x}, deterministic=True)["y0"] == 1.0).all()
    multinomial = Model.load(one("Multinomial", rows(3), sample_size=2))
    assert multinomial.run({"x0": x}, deterministic=True)["y0"].tolist() == [[1, 1], [2, 2]]


def test_a_random_op_without_a_seed_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected seed= or deterministic=True, got neither; .*RandomNormalLike"):
        _noise().run({"x0": np.zeros((1, 2), np.float32)})
    model = _noise()
    with pytest.raises(InputError, match="expected seed="):
        model.bind({"x0": np.zeros((1, 2), np.float32)}, {"y0": np.zeros((1, 2), np.float32)})


def test_a_bound_handle_keeps_its_seed() -> None:
    model, x = _noise(), np.zeros((300, 2), np.float32)
    out = np.zeros((300, 2), np.float32)
    handle = model.bind({"x0": x}, {"y0": out}, seed=4)
    junk = [np.full(1 << k, -1, np.int64) for k in range(4, 12) for _ in range(8)]  # memory that a lost table would now hold
    handle()
    np.testing.assert_array_equal(out, model.run({"x0": x}, seed=4)["y0"])
    assert junk


def test_a_run_after_a_deterministic_one_draws_again() -> None:
    model, x = Model.load(named("Multinomial").build(17)), np.random.default_rng(0).standard_normal((9, 17)).astype(np.float32)
    before = model.run({"x0": x}, seed=1)["y0"]
    model.run({"x0": x}, deterministic=True)
    np.testing.assert_array_equal(model.run({"x0": x}, seed=1)["y0"], before)


@pytest.mark.parametrize("seed", [0, 1, 1 << 63])
def test_draws_have_their_distributions(seed: int) -> None:
    """Kolmogorov–Smirnov for numbers, chi-square for classes; over agents, and over the elements of a row."""
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed: no distributions to compare with")
    x = {"x0": np.zeros((N, 3), np.float32)}
    normal = Model.load(one("RandomNormalLike", rows(3), mean=-2.0, scale=3.0)).run(x, seed=seed)["y0"]
    uniform = Model.load(one("RandomUniformLike", rows(3), low=-1.0, high=3.0)).run(x, seed=seed)["y0"]
    for i in range(3):
        assert stats.kstest(normal[:, i], stats.norm(-2, 3).cdf).pvalue > 1e-4
        assert stats.kstest(uniform[:, i], stats.uniform(-1, 4).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(normal[:, 0], normal[:, 1])[0, 1]) < 4 / N ** 0.5
    p = np.array([0.05, 0.6, 0.25, 0.1])
    logits = {"x0": np.tile(np.log(p).astype(np.float32), (N, 1))}
    drawn = Model.load(one("Multinomial", rows(4), sample_size=2, dtype=7)).run(logits, seed=seed)["y0"]
    for i in range(2):
        assert stats.chisquare(np.bincount(drawn[:, i], minlength=4), p * N).pvalue > 1e-4
    table = np.histogram2d(drawn[:, 0], drawn[:, 1], bins=4)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-4  # the draws of a row are independent
    ones = Model.load(one("Bernoulli", rows(2))).run({"x0": np.full((N, 2), 0.3, np.float32)}, seed=seed)["y0"]
    assert stats.chisquare([(ones == 0).sum(), (ones == 1).sum()], [0.7 * 2 * N, 0.3 * 2 * N]).pvalue > 1e-4


def test_deterministic_runs_take_the_mode_of_a_gumbel_sampler() -> None:
    """argmax(logits - log(-log(u))): with one u for all classes, this is the most probable class."""
    c = Chain(x=rows(5))
    u = c.add("RandomUniformLike", "x", low=1e-6, high=1 - 1e-6)
    noise = c.add("Neg", c.add("Log", c.add("Neg", c.add("Log", u))))
    y = c.add("ArgMax", c.add("Add", "x", noise), axis=1, keepdims=0)
    model, x = Model.load(c.model(y)), np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32)
    np.testing.assert_array_equal(model.run({"x": x}, deterministic=True)[y], x.argmax(1))
    assert (model.run({"x": x}, seed=1)[y] != x.argmax(1)).any()


def test_deterministic_actions_of_real_policies_are_the_means_that_they_give_themselves(shared_models: Any) -> None:
    """ML-Agents exports both: sampled actions, and those without noise."""
    pairs = 0
    for name in shared_models.of_kind("valid"):
        model = Model.load(shared_models.path(name))
        if model.random_nodes and {"continuous_actions", "deterministic_continuous_actions"} <= set(model.outputs):
            x = {k: np.random.default_rng(0).standard_normal(s.batched(9)).astype(s.dtype) for k, s in model.inputs.items()}
            found = model.run(x, deterministic=True)
            np.testing.assert_allclose(found["continuous_actions"], found["deterministic_continuous_actions"], rtol=1e-5, atol=1e-6)
            pairs += 1
    assert pairs


def test_all_lines_of_a_graph_for_one_agent_draw_for_that_agent() -> None:
    """A model for one row may hold many lines; noise keys and counters there are for one agent only."""
    logits = np.log(np.array([0.25, 0.5, 0.25], np.float32))
    c = Chain(x=In((1, 1)))
    y = c.add("Multinomial", c.add("Add", np.tile(logits, (4000, 1)), c.add("Squeeze", "x")), sample_size=2)
    model = Model.load(c.model(y))
    assert not model.batched
    drawn = model.run({"x": np.zeros((1, 1), np.float32)}, seed=5)[y].reshape(-1)
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / drawn.size, [0.25, 0.5, 0.25], atol=0.03)
