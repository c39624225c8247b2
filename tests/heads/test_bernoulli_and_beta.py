"""Choices between off and on, and actions between 0 and 1: against torch.distributions and scipy in float64."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import small_models
from scipy import special, stats

from cervello import Model, Policy, Sample
from cervello.errors import ConfigurationError, InputError
from cervello.heads import Bernoulli, Beta, Categorical, Deterministic, Gaussian, Head, MultiDiscrete, TanhGaussian
from cervello.inferers.testing import same_bits
from cervello.spec import Specs, TensorSpec

HEADS: dict[str, Head] = {"bernoulli": Bernoulli("logits"), "beta": Beta("alpha", "beta"), "shared": Beta("alpha", "row")}


def given(n_rows: int, width: int = 3, seed: int = 1) -> dict[str, Any]:
    chance = np.random.default_rng([seed, n_rows])
    return {"logits": (3 * chance.standard_normal((n_rows, width))).astype(np.float32),
            "alpha": np.exp(chance.normal(0.5, 1, (n_rows, width))).astype(np.float32),
            "beta": np.exp(chance.normal(0.5, 1, (n_rows, width))).astype(np.float32), "row": np.float32([0.5, 2, 7])[:width]}


def uniforms(n_rows: int, width: int = 3, seed: int = 0) -> Any:
    found = (np.random.default_rng(seed).integers(0, 1 << 24, (n_rows, width)) * 2.0 ** -24).astype(np.float32)
    found[:1], found[1:2] = 0, 1 - 2.0 ** -24
    return found


# Bernoulli ----------------------------------------------------------------------------------------------------------------


def test_bits_have_the_probabilities_and_entropies_of_torch() -> None:
    torch = pytest.importorskip("torch")
    columns = given(500, 5)
    found = Bernoulli("logits").act(columns, uniforms(500, 5))
    truth = torch.distributions.Bernoulli(logits=torch.tensor(columns["logits"], dtype=torch.float64))
    np.testing.assert_allclose(found["log_prob"], truth.log_prob(torch.tensor(found["action"], dtype=torch.float64)).sum(1), rtol=2e-6)
    np.testing.assert_allclose(found["entropy"], truth.entropy().sum(1), rtol=2e-6, atol=1e-6)
    assert found["action"].dtype == np.int8
    assert set(np.unique(found["action"])) == {0, 1}
    p = special.expit(columns["logits"].astype(np.float64))
    noise = uniforms(500, 5)
    clear = np.abs(noise - p) > 1e-6
    assert (found["action"] == (noise < p))[clear].all()


def test_frequencies_of_bits_pass_a_binomial_test() -> None:
    logits = np.float32([-2, 0, 0.5, 4])
    n = 100_000
    found = Bernoulli("logits").sample({"logits": np.tile(logits, (n, 1))}, rng=5)
    for count, p in zip(found.sum(0, dtype=np.int64), special.expit(logits.astype(np.float64)), strict=True):
        assert stats.binomtest(int(count), n, p).pvalue > 1e-3


def test_extreme_logits_decide_for_certain() -> None:
    head, logits = Bernoulli("l"), np.float32([[np.inf], [-np.inf], [200], [-200], [0], [np.nan]])
    for u in (0.0, 1 - 2.0 ** -24):
        found = head.act({"l": logits}, np.full((6, 1), u, np.float32))
        assert found["action"][:2, 0].tolist() == [1, 0]
        assert found["log_prob"][:2].tolist() == [0, 0]
    np.testing.assert_allclose(found["entropy"], [0, 0, 0, 0, np.log(2), np.nan], atol=1e-30, rtol=1e-6)
    assert head.log_prob({"l": logits}, np.array([[0], [1], [0], [1], [0], [0]]))[:4].tolist() == [-np.inf, -np.inf, -200, -200]
    assert np.isnan(head.act({"l": logits}, rng=0)["log_prob"][5])
    assert head.mode({"l": logits})[:, 0].tolist() == [1, 0, 1, 0, 0, 0]


# Beta ---------------------------------------------------------------------------------------------------------------------


def test_shares_have_the_densities_and_entropies_of_torch() -> None:
    torch = pytest.importorskip("torch")
    columns = given(500)
    found = Beta("alpha", "beta").act(columns, uniforms(500))
    a, b, x = (torch.tensor(each, dtype=torch.float64) for each in (columns["alpha"], columns["beta"], found["action"]))
    truth = torch.distributions.Beta(a, b)
    np.testing.assert_allclose(found["log_prob"], truth.log_prob(x).sum(1), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(found["entropy"], truth.entropy().sum(1), rtol=2e-6, atol=1e-6)
    assert found["action"].dtype == np.float32
    assert ((found["action"] > 0) & (found["action"] < 1)).all()


@pytest.mark.parametrize(("a", "b"), [(0.1, 0.1), (0.5, 3), (1, 1), (2, 5), (40, 3), (1e4, 2e4), (1e-3, 1)])
def test_a_draw_inverts_the_cumulative_distribution(a: float, b: float) -> None:
    noise = uniforms(3000, 1)
    columns = {"alpha": np.full((3000, 1), a, np.float32), "beta": np.full((3000, 1), b, np.float32)}
    found = Beta("alpha", "beta").sample(columns, noise).astype(np.float64)
    alpha, beta = float(np.float32(a)), float(np.float32(b))
    expected = stats.beta.ppf(noise.astype(np.float64) + 2.0 ** -25, alpha, beta)
    np.testing.assert_allclose(found, np.clip(expected, np.finfo(np.float32).tiny, 1 - 2.0 ** -24), rtol=3e-7)
    if min(a, b) >= 0.5:  # below, much of the mass is nearer to 1 than float32 can be
        assert stats.kstest(found[2:, 0], stats.beta(alpha, beta).cdf).pvalue > 1e-3


def test_the_mode_is_where_the_density_is_highest_and_else_the_mean() -> None:
    columns = {"alpha": np.float32([[2, 5, 0.5, 1, 3]]), "beta": np.float32([[2, 2, 0.5, 3, 1]])}
    np.testing.assert_allclose(Beta("alpha", "beta").mode(columns), [[0.5, 0.8, 0.5, 0.25, 0.75]], rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_what_is_no_parameter_gives_nan_in_its_row_alone(bad: float) -> None:
    columns, whole = given(5), Beta("alpha", "beta").act(given(5), uniforms(5))
    for name in ("alpha", "beta"):
        spoilt = {**columns, name: columns[name].copy()}
        spoilt[name][2, 1] = bad
        found = Beta("alpha", "beta").act(spoilt, uniforms(5))
        for key in whole:
            assert same_bits(np.delete(found[key], 2, 0), np.delete(whole[key], 2, 0))
        assert np.isnan(found["action"][2, 1])
        assert np.isnan(found["log_prob"][2])
        assert np.isnan(found["entropy"][2])


def test_densities_outside_and_at_the_ends() -> None:
    columns = {"alpha": np.full((4, 1), 2, np.float32), "beta": np.full((4, 1), 1, np.float32)}
    found = Beta("alpha", "beta").log_prob(columns, np.float32([[-0.1], [1.5], [0], [1]]))
    np.testing.assert_allclose(found, [-np.inf, -np.inf, -np.inf, np.log(2)], rtol=1e-6)


# Both ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HEADS)
def test_a_row_is_the_same_in_every_batch_and_place(kind: str) -> None:
    head, columns, noise = HEADS[kind], given(17), uniforms(17)
    flags = np.arange(17) % 3 == 0
    whole = head.act(columns, noise, flags)
    assert same_bits(head.log_prob(columns, whole["action"])[~flags], whole["log_prob"][~flags])
    assert (whole["log_prob"][flags] == 0).all()
    assert same_bits(whole["action"][flags], head.mode(columns)[flags])
    assert same_bits(head.entropy(columns), whole["entropy"])
    chance = np.random.default_rng(3)
    for n_rows in range(1, 18):
        rows = chance.permutation(17)[:n_rows]
        part = {name: column if name == "row" else column[rows] for name, column in columns.items()}
        for name, column in head.act(part, noise[rows], flags[rows]).items():
            assert same_bits(column, whole[name][rows]), f"{name}, {n_rows} rows"


@pytest.mark.parametrize("kind", HEADS)
def test_specs_are_those_of_what_act_gives(kind: str) -> None:
    head, columns = HEADS[kind], given(0)
    shapes = {name: TensorSpec(name, (3,), np.dtype(np.float32), None if name == "row" else 0) for name in columns}
    specs = Specs([shapes[name] for name in head.tensors])
    every = {**head.specs(specs), **head.extra_specs(specs)}
    found = head.act(columns, uniforms(0, head.noise_width(specs)), wanted=(*head.supports, *head.extras))
    assert {name: (column.shape[1:], column.dtype) for name, column in found.items()} == {
        name: (spec.shape, spec.dtype) for name, spec in every.items()}


@pytest.mark.parametrize(("call", "message"), [
    (lambda: HEADS["bernoulli"].log_prob(given(2), [[0, 1, 2], [0, 0, 0]]), "expected zeros and ones of (2, 3), got (2, 3) int64, with"),
    (lambda: HEADS["bernoulli"].log_prob(given(2), [[0, 1], [0, 0]]), "expected zeros and ones of (2, 3), got (2, 2) int64"),
    (lambda: HEADS["beta"].log_prob(given(2), np.zeros((2, 2))), "expected numbers of (2, 3), got (2, 2) float64"),
    (lambda: HEADS["beta"].act({**given(2), "beta": np.ones((2, 2))}, rng=0), "'beta': expected (2, 3) or (3,), got (2, 2)"),
    (lambda: HEADS["beta"].act(given(2)), "expected (2, 3) uniform numbers, got none"),
    (lambda: HEADS["beta"].act(given(2), uniforms(2), rng=0), "expected either noise or rng, got both"),
    (lambda: HEADS["beta"].act(given(2), rng=-1), "rng: expected a numpy Generator or a seed from 0, got -1"),
    (lambda: HEADS["beta"].act(given(2), rng=True), "got True"), (lambda: HEADS["beta"].act(given(2), rng="x"), "got 'x'")])
def test_arrays_that_do_not_fit_are_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call()


def test_parameters_of_other_sizes_are_refused() -> None:
    specs = Specs([TensorSpec("alpha", (3,), np.dtype(np.float32)), TensorSpec("beta", (2,), np.dtype(np.float32))])
    with pytest.raises(ConfigurationError, match=r"head Beta\('alpha', 'beta'\): expected 'beta' with 3 elements, got beta: \(N, 2\)"):
        Beta("alpha", "beta").specs(specs)


@pytest.mark.parametrize("head", [Categorical("logits"), MultiDiscrete("logits", [1, 2]), Gaussian("logits", 1.0),
                                  TanhGaussian("logits", 1.0), Bernoulli("logits"), Beta("alpha", "beta"), Deterministic("logits")],
                         ids=repr)
def test_a_head_draws_without_a_policy(head: Head) -> None:
    columns = given(50)
    assert same_bits(head.sample(columns, rng=3), head.sample(columns, rng=np.random.default_rng(3)))
    generator = np.random.default_rng(3)
    twice = [head.sample(columns, rng=generator) for _ in range(2)]
    assert same_bits(twice[0], head.sample(columns, rng=3))
    assert same_bits(twice[0], twice[1]) == isinstance(head, Deterministic)


@pytest.mark.parametrize("size", [0.0, 3.0, 8.0, 20.0, 80.0])
def test_the_number_before_tanh_has_the_density_that_act_gave(size: float) -> None:
    head = TanhGaussian("mean", 0.5)
    columns = {"mean": np.full((200, 2), size, np.float32)}
    found = head.act(columns, rng=1, wanted=("action", "log_prob", "pre_tanh", "deterministic"))
    assert same_bits(head.log_prob(columns, pre_tanh=found["pre_tanh"]), found["log_prob"])
    assert same_bits(head.log_prob(columns, found["action"], pre_tanh=found["pre_tanh"]), found["log_prob"])
    u = found["pre_tanh"].astype(np.float64)
    slope = 2 * (np.log(2) - u - np.log1p(np.exp(-2 * u)))
    np.testing.assert_allclose(found["log_prob"], (stats.norm.logpdf(u, size, 0.5) - slope).sum(1), rtol=1e-5, atol=1e-4)
    assert not found["deterministic"].any()
    with pytest.raises(InputError, match=re.escape("expected action = tanh(pre_tanh), got others")):
        head.log_prob(columns, found["action"] - 0.5, pre_tanh=found["pre_tanh"])
    with pytest.raises(InputError, match="expected action or pre_tanh, got neither"):
        head.log_prob(columns)
    with pytest.raises(InputError, match="pre_tanh: expected numbers of"):
        head.log_prob(columns, pre_tanh=found["pre_tanh"][:, :1])


def test_a_policy_gives_what_else_a_head_knows() -> None:
    model = Model.load(small_models.stochastic())
    policy = Policy(model, wrappers=[Sample(TanhGaussian("mean", 0.5), extra={"pre_tanh": "u", "deterministic": "greedy"})])
    assert str(policy.outputs["u"]) == "u: (N, 2) float32"
    assert str(policy.outputs["greedy"]) == "greedy: (N) bool"
    policy.begin_agents(range(4))
    flags = np.array([True, False, True, False])
    found = policy.infer_batch(range(4), {"obs": np.ones((4, 5), np.float32)}, flags)
    assert same_bits(found["greedy"], flags)
    np.testing.assert_allclose(np.tanh(found["u"]), found["action"], rtol=1e-6)
    assert (found["log_prob"][flags] == 0).all()
    assert same_bits(TanhGaussian("mean", 0.5).log_prob(found, pre_tanh=found["u"])[~flags], found["log_prob"][~flags])
