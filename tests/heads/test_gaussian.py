"""Normal actions, plain and squashed: against scipy in float64."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cervello.errors import ConfigurationError, InputError
from cervello.heads import Deterministic, Gaussian, Head, TanhGaussian
from cervello.inferers.testing import same_bits
from cervello.spec import Specs, TensorSpec

ROW = np.float32([0.5, 2.0, 0.1])
HEADS: dict[str, Head] = {
    "std": Gaussian("mean", "std"), "log_std": Gaussian("mean", log_std="log_std"), "number": Gaussian("mean", 0.3),
    "array": Gaussian("mean", ROW), "log_array": Gaussian("mean", log_std=[-1.0, 0.0, 1.0]), "shared": Gaussian("mean", "row"),
    "tanh": TanhGaussian("mean", log_std="log_std"), "tanh_number": TanhGaussian("mean", 0.4)}


def given(n_rows: int, scale: float = 1.0, seed: int = 1) -> dict[str, Any]:
    chance = np.random.default_rng([seed, n_rows])
    log_std = chance.normal(-0.5, 0.7, (n_rows, 3)).astype(np.float32)
    return {"mean": (scale * chance.standard_normal((n_rows, 3))).astype(np.float32), "log_std": log_std, "std": np.exp(log_std),
            "row": ROW}


def normals(n_rows: int, width: int = 3, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((n_rows, width)).astype(np.float32)


@pytest.mark.parametrize(("mean", "std"), [(1.0, 1.0), (0.0, 1e-6), (1e3, 1e-2), (0.0, 1e-30), (1e4, 1e4), (1.0, 1e30)])
def test_density_and_entropy_are_those_of_scipy(mean: float, std: float) -> None:
    columns = {"mean": np.float32(mean) * normals(200, 4), "std": np.float32(std) * np.exp(0.1 * normals(200, 4, 1))}
    head = Gaussian("mean", "std")
    found = head.act(columns, normals(200, 4, 2))
    wide = [column.astype(np.float64) for column in (found["action"], columns["mean"], columns["std"])]
    np.testing.assert_allclose(found["log_prob"], stats.norm.logpdf(*wide).sum(1), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found["entropy"], stats.norm.entropy(wide[1], wide[2]).sum(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["number", "array", "shared", "log_array", "log_std"])
def test_deviations_may_be_a_number_a_row_a_shared_row_or_logarithms(kind: str) -> None:
    columns = given(20)
    std = {"number": 0.3, "array": ROW, "shared": ROW, "log_array": np.exp([-1.0, 0.0, 1.0]), "log_std": np.exp(columns["log_std"])}[kind]
    found = HEADS[kind].act(columns, normals(20))
    np.testing.assert_allclose(found["action"], columns["mean"] + std * normals(20), rtol=1e-5, atol=1e-6)
    expected = stats.norm.logpdf(found["action"].astype(np.float64), columns["mean"], std).sum(1)
    np.testing.assert_allclose(found["log_prob"], expected, rtol=1e-4, atol=1e-4)


def test_squashed_densities_are_those_of_the_change_of_variables() -> None:
    columns = given(500)
    found = HEADS["tanh"].act(columns, normals(500))
    before = columns["mean"].astype(np.float64) + np.exp(columns["log_std"].astype(np.float64)) * normals(500)
    slope = np.log1p(-np.tanh(before) ** 2)
    expected = (stats.norm.logpdf(before, columns["mean"], np.exp(columns["log_std"].astype(np.float64))) - slope).sum(1)
    np.testing.assert_allclose(found["action"], np.tanh(before), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["log_prob"], expected, rtol=2e-5, atol=2e-4)
    inside = (np.abs(found["action"]) < 0.99).all(1)
    assert inside.sum() > 300
    np.testing.assert_allclose(HEADS["tanh"].log_prob(columns, found["action"])[inside], expected[inside], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [0.0, 1e-4, 5.0, 20.0, 1e4])
def test_a_squashed_density_is_finite_wherever_tanh_is_one(size: float) -> None:
    for mean in (size, -size):
        columns = {"mean": np.full((1, 1), mean, np.float32)}
        found = TanhGaussian("mean", 1.0).act(columns, np.zeros((1, 1), np.float32))
        log_slope = 2 * (np.log(2) - size - np.log1p(np.exp(-2 * size)))
        np.testing.assert_allclose(found["log_prob"], [stats.norm.logpdf(0) - log_slope], rtol=1e-6, atol=1e-6)
        assert np.isfinite(TanhGaussian("mean", 1.0).log_prob(columns, np.sign([[mean]]))).all()


def test_draws_pass_a_kolmogorov_smirnov_test() -> None:
    n = 20_000
    columns = {"mean": np.full((n, 1), 1.5, np.float32)}
    for head, back in ((Gaussian("mean", 0.7), np.asarray), (TanhGaussian("mean", 0.7), np.arctanh)):
        found = back(head.sample(columns, normals(n, 1)).astype(np.float64))
        assert stats.kstest(found[:, 0], stats.norm(1.5, 0.7).cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind", [kind for kind in HEADS if "tanh" not in kind])
def test_the_log_density_of_an_action_is_the_one_given_with_it(kind: str) -> None:
    found = HEADS[kind].act(given(300, 100.0), normals(300))
    assert same_bits(HEADS[kind].log_prob(given(300, 100.0), found["action"]), found["log_prob"])
    assert same_bits(HEADS[kind].entropy(given(300, 100.0)), found["entropy"])


def test_the_mode_is_the_mean_and_squashed_its_tanh() -> None:
    columns = given(50)
    assert same_bits(HEADS["std"].mode(columns), columns["mean"])
    np.testing.assert_allclose(HEADS["tanh"].mode(columns), np.tanh(columns["mean"]), rtol=1e-6)


@pytest.mark.parametrize("kind", HEADS)
def test_rows_that_draw_and_rows_that_do_not_share_a_batch(kind: str) -> None:
    head, columns, noise = HEADS[kind], given(40), normals(40)
    flags = np.random.default_rng(2).random(40) < 0.5
    noise[flags] = np.nan  # what such a row is given does not matter
    mixed, free = head.act(columns, noise, flags), head.act(columns, noise)
    assert same_bits(mixed["action"][flags], head.mode(columns)[flags])
    assert same_bits(mixed["action"][~flags], free["action"][~flags])
    assert (mixed["log_prob"][flags] == 0).all()
    assert same_bits(mixed["log_prob"][~flags], free["log_prob"][~flags])


@pytest.mark.parametrize("kind", HEADS)
def test_a_row_is_the_same_in_every_batch_and_place(kind: str) -> None:
    head, columns, noise = HEADS[kind], given(17), normals(17)
    flags = np.arange(17) % 3 == 0
    whole = head.act(columns, noise, flags)
    judged = head.log_prob(columns, whole["action"])
    chance = np.random.default_rng(3)
    for n_rows in range(1, 18):
        rows = chance.permutation(17)[:n_rows]
        part = {name: column if name == "row" else column[rows] for name, column in columns.items()}
        for name, column in head.act(part, noise[rows], flags[rows]).items():
            assert same_bits(column, whole[name][rows]), f"{name}, {n_rows} rows"
        assert same_bits(head.log_prob(part, whole["action"][rows]), judged[rows])


@pytest.mark.parametrize("kind", HEADS)
def test_no_rows_give_empty_columns(kind: str) -> None:
    found = HEADS[kind].act(given(0), normals(0))
    assert set(found) == set(HEADS[kind].supports)
    assert all(len(column) == 0 for column in found.values())
    assert len(HEADS[kind].log_prob(given(0), found["action"])) == len(HEADS[kind].mode(given(0))) == 0


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_actions_have_the_shape_of_the_mean(shape: tuple[int, ...]) -> None:
    head = Gaussian("mean", 0.5)
    specs = Specs([TensorSpec("mean", shape, np.dtype(np.float32))])
    columns = {"mean": np.zeros((4, *shape), np.float32)}
    found = head.act(columns, normals(4, head.noise_width(specs)))
    assert {name: (spec.batched(4), spec.dtype) for name, spec in head.specs(specs).items()} == {
        name: (column.shape, column.dtype) for name, column in found.items()}
    assert head.log_prob(columns, found["action"]).shape == (4,)


def test_a_squashed_normal_has_no_entropy() -> None:
    message = re.escape("head TanhGaussian('mean', std=0.4000000059604645): expected one of ['action', 'log_prob', 'deterministic', "
                        "'pre_tanh'], got 'entropy', which it does not have; leave it out")
    with pytest.raises(ConfigurationError, match=message):
        HEADS["tanh_number"].entropy(given(2))


def test_a_tensor_that_is_the_action_has_nothing_else() -> None:
    head = Deterministic("mean")
    columns = given(3)
    assert head.supports == ("action",)
    assert same_bits(head.act(columns)["action"], columns["mean"])
    assert same_bits(head.mode(columns), columns["mean"])
    assert head.act(columns)["action"] is not columns["mean"]
    assert head.noise_width(Specs([])) == 0
    for ask in (lambda: head.log_prob(columns, columns["mean"]), lambda: head.entropy(columns)):
        with pytest.raises(ConfigurationError, match=r"Deterministic\('mean'\): expected one of \['action'\], got '(log_prob|entropy)'"):
            ask()


@pytest.mark.parametrize(("options", "message"), [
    ({}, "Gaussian('mean'): expected either std or log_std, got neither"),
    ({"std": 1.0, "log_std": 0.0}, "expected either std or log_std, got both"),
    ({"std": 0.0}, "expected std as a tensor's name, a positive, finite number or an array of such, got 0.0"),
    ({"std": [1.0, -1.0]}, "got [1.0, -1.0]"), ({"std": np.nan}, "got nan"), ({"std": object()}, "got <object"),
    ({"log_std": np.inf}, "expected log_std as a tensor's name, a finite number or an array of such, got inf")])
def test_deviations_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Gaussian("mean", **options)


def test_deviations_fit_the_mean() -> None:
    specs = Specs([TensorSpec("mean", (3,), np.dtype(np.float32)), TensorSpec("std", (2,), np.dtype(np.float32))])
    for spread in ("std", [1.0, 2.0]):
        head = Gaussian("mean", spread)
        with pytest.raises(ConfigurationError, match="expected a deviation for each of 3 elements, got 2"):
            head.specs(specs)
        with pytest.raises(InputError, match=re.escape("expected (4, 3) or (3,), got (4, 2)" if spread == "std" else "3 elements, got 2")):
            head.act({"mean": np.zeros((4, 3)), "std": np.ones((4, 2))}, normals(4))


@pytest.mark.parametrize("action", [np.zeros((3, 3)), np.zeros((4, 2)), np.zeros((4, 3), complex)])
def test_actions_of_another_shape_have_no_density(action: Any) -> None:
    with pytest.raises(InputError, match=re.escape("action: expected numbers of (4, 3), got")):
        HEADS["std"].log_prob(given(4), action)


@pytest.mark.parametrize("mean", [0.0, 8.0, 20.0])
def test_log_prob_takes_the_numbers_before_tanh_from_the_columns(mean: float) -> None:
    head = TanhGaussian("mean", std=0.5)
    columns = {"mean": np.full((3, 2), mean, np.float32)}
    found = head.act(columns, wanted=("action", "log_prob", "pre_tanh"), rng=3)
    decided = {**columns, **{name: found[name] for name in ("pre_tanh",)}}
    assert np.array_equal(head.log_prob(decided, found["action"]), found["log_prob"])
    u = found["pre_tanh"].astype(np.float64)
    log_slope = 2 * (np.log(2) - np.abs(u) - np.log1p(np.exp(-2 * np.abs(u))))
    expected = (-0.5 * ((u - mean) / 0.5) ** 2 - np.log(0.5) - 0.5 * np.log(2 * np.pi) - log_slope).sum(1)
    assert np.allclose(found["log_prob"], expected, rtol=1e-5, atol=1e-5)
