"""Choices: against scipy in float64, on ordinary and extreme logits, masked and not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from cervello.errors import ConfigurationError, InputError
from cervello.heads import Categorical, EpsilonGreedy, Head, MultiDiscrete
from cervello.inferers.testing import same_bits
from cervello.spec import Specs, TensorSpec

SIZES = [2, 5, 3]
HEADS: dict[str, tuple[Head, int]] = {
    "categorical": (Categorical("logits"), 1), "masked": (Categorical("logits", "mask", "ignore"), 1),
    "choices": (MultiDiscrete("logits", SIZES), 3), "masked_choices": (MultiDiscrete("logits", SIZES, "mask", "ignore"), 3)}


def uniforms(n_rows: int, width: int = 1, seed: int = 0) -> Any:
    """Multiples of 2⁻²⁴ in [0, 1), the extremes among them."""
    found = (np.random.default_rng(seed).integers(0, 1 << 24, (n_rows, width)) * 2.0 ** -24).astype(np.float32)
    found[:1], found[1:2] = 0, 1 - 2.0 ** -24
    return found


def given(n_rows: int, width: int = 10, scale: float = 2.0, seed: int = 1) -> dict[str, Any]:
    chance = np.random.default_rng([seed, n_rows])
    return {"logits": (scale * chance.standard_normal((n_rows, width))).astype(np.float32), "mask": chance.random((n_rows, width)) < 0.5}


def allowed(mask: Any) -> Any:
    return mask | ~mask.any(1, keepdims=True)


def expected(logits: Any, mask: Any = None) -> tuple[Any, Any]:
    """[N, K] log-probabilities and [N] entropies in float64."""
    scores = logits.astype(np.float64) if mask is None else np.where(allowed(mask), logits.astype(np.float64), -np.inf)
    log_p = special.log_softmax(scores, axis=1)
    return log_p, special.entr(np.exp(log_p)).sum(1)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 2.0, 30.0, 1e4, 1e30])
@pytest.mark.parametrize("masked", [False, True])
def test_probabilities_and_entropy_are_those_of_scipy(scale: float, masked: bool) -> None:
    columns = given(200, 7, scale)
    head = Categorical("logits", "mask" if masked else None, "ignore")
    log_p, entropy = expected(columns["logits"], columns["mask"] if masked else None)
    for action in range(7):
        np.testing.assert_allclose(head.log_prob(columns, np.full(200, action)), log_p[:, action], rtol=2e-6, atol=2e-6)
    found = head.entropy(columns)
    np.testing.assert_allclose(found, entropy, rtol=1e-5, atol=2e-6)
    one = np.full((1, 7), -0.5, np.float32)
    assert head.entropy({"logits": one, "mask": np.ones((1, 7), bool)}).item() == pytest.approx(stats.multinomial.entropy(1, [1 / 7] * 7))


def test_several_choices_add_up() -> None:
    columns = given(50)
    head = MultiDiscrete("logits", SIZES, "mask", "ignore")
    found = head.act(columns, uniforms(50, 3))
    total, entropy, first = 0.0, 0.0, 0
    for k, size in enumerate(SIZES):
        part = slice(first, first + size)
        log_p, each = expected(columns["logits"][:, part], columns["mask"][:, part])
        total += log_p[np.arange(50), found["action"][:, k]]
        entropy += each
        first += size
    np.testing.assert_allclose(found["log_prob"], total, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["entropy"], entropy, rtol=1e-5, atol=1e-5)
    assert found["action"].shape == (50, 3)
    assert found["action"].dtype == np.int64


@pytest.mark.parametrize("head", [Categorical("logits"), Categorical("logits", "mask", "ignore"), EpsilonGreedy("logits", 0.3),
                                  EpsilonGreedy("logits", 0.3, "mask")], ids=repr)
@pytest.mark.parametrize("width", [1, 2, 5, 17, 33])
def test_all_log_probabilities_at_once_are_those_of_each_action(head: Categorical, width: int) -> None:
    columns = given(203, width)
    columns["logits"][:6] = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45], np.float32)[:, None]
    columns["logits"][6:9, 0] = np.nan, np.inf, -np.inf
    columns["mask"][:, 0] = True
    found = head.every_log_prob(columns)
    assert found.shape == (203, width)
    for action in range(width):
        assert same_bits(found[:, action], head.log_prob(columns, np.full(203, action)))
    assert same_bits(head.every_log_prob({name: column[7:8] for name, column in columns.items()}), found[7:8])
    assert head.every_log_prob({name: column[:0] for name, column in columns.items()}).shape == (0, width)
    with pytest.raises(InputError, match="'logits'"):
        head.every_log_prob({"logits": np.array(["a"]), "mask": np.ones((1, 1), bool)})


@pytest.mark.parametrize("kind", HEADS)
def test_the_log_probability_of_an_action_is_the_one_given_with_it(kind: str) -> None:
    head, width = HEADS[kind]
    found = head.act(given(300), uniforms(300, width))
    assert same_bits(head.log_prob(given(300), found["action"]), found["log_prob"])
    assert same_bits(head.entropy(given(300)), found["entropy"])


def test_sampled_frequencies_pass_a_chi_square_test() -> None:
    logits = np.array([0.3, -1.2, 2.0, -np.inf, 0.0], np.float32)
    n = 100_000
    found = Categorical("logits").sample({"logits": np.tile(logits, (n, 1))}, uniforms(n))
    counts = np.bincount(found, minlength=5)
    p = special.softmax(logits.astype(np.float64))
    assert counts[3] == 0
    assert stats.chisquare(counts[p > 0], n * p[p > 0]).pvalue > 1e-3


def test_frequencies_under_a_mask_pass_a_chi_square_test() -> None:
    n = 100_000
    columns = {"logits": np.tile(np.arange(10, dtype=np.float32) / 4, (n, 1)), "mask": np.tile([1, 1, 1, 0, 1, 0, 1, 0, 1, 1], (n, 1))}
    found = MultiDiscrete("logits", SIZES, "mask", "ignore").sample(columns, uniforms(n, 3))
    first = 0
    for k, size in enumerate(SIZES):
        log_p, _ = expected(columns["logits"][:1, first:first + size], columns["mask"][:1, first:first + size] != 0)
        p = np.exp(log_p[0])
        counts = np.bincount(found[:, k], minlength=size)
        assert (counts[p == 0] == 0).all()
        assert stats.chisquare(counts[p > 0], n * p[p > 0]).pvalue > 1e-3
        first += size


@pytest.mark.parametrize("width", [1, 2, 5, 16, 17, 33, 100])
@pytest.mark.parametrize("scale", [0.0, 3.0, 1e4])
def test_a_masked_action_is_never_drawn(width: int, scale: float) -> None:
    n = 50_000
    columns = given(n, width, scale, seed=width)
    noise = uniforms(n, seed=width)
    noise[: n // 2] = np.random.default_rng(0).choice(np.float32([0, 2.0 ** -24, 1 - 2.0 ** -24]), (n // 2, 1))
    found = Categorical("logits", "mask", "ignore").act(columns, noise)
    rows = np.arange(n)
    assert allowed(columns["mask"])[rows, found["action"]].all()
    assert np.isfinite(found["log_prob"]).all()
    assert np.isfinite(found["entropy"]).all()


def test_the_draw_is_the_first_action_whose_cumulated_probability_exceeds_the_number() -> None:
    columns = {"logits": np.log(np.float32([[1, 1, 2, 4]])).repeat(8, 0)}
    noise = (np.arange(8, dtype=np.float32) / 8)[:, None]
    assert Categorical("logits").sample(columns, noise).tolist() == [0, 1, 2, 2, 3, 3, 3, 3]


def test_a_row_that_allows_nothing_allows_everything_where_that_is_asked_for() -> None:
    columns = given(1000)
    columns["mask"][:] = False
    masked, free = (Categorical("logits", mask, "ignore").act(columns, uniforms(1000)) for mask in ("mask", None))
    for name in free:
        assert same_bits(masked[name], free[name])


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int64, np.float32])
def test_masks_may_be_numbers(dtype: Any) -> None:
    columns = given(100)
    found = Categorical("logits", "mask", "ignore").act({**columns, "mask": columns["mask"].astype(dtype)}, uniforms(100))
    assert same_bits(found["action"], Categorical("logits", "mask", "ignore").act(columns, uniforms(100))["action"])


def test_the_mode_is_the_most_likely_allowed_action() -> None:
    columns = given(500)
    assert (Categorical("logits").mode(columns) == columns["logits"].argmax(1)).all()
    best = np.where(allowed(columns["mask"]), columns["logits"], -np.inf).argmax(1)
    assert (Categorical("logits", "mask", "ignore").mode(columns) == best).all()
    parts = np.split(columns["logits"], np.cumsum(SIZES)[:-1], axis=1)
    assert (MultiDiscrete("logits", SIZES).mode(columns) == np.stack([part.argmax(1) for part in parts], 1)).all()


@pytest.mark.parametrize("kind", HEADS)
def test_rows_that_draw_and_rows_that_do_not_share_a_batch(kind: str) -> None:
    head, width = HEADS[kind]
    columns, noise = given(40), uniforms(40, width)
    flags = np.random.default_rng(2).random(40) < 0.5
    mixed, free = head.act(columns, noise, flags), head.act(columns, noise)
    assert same_bits(mixed["action"][flags], head.mode(columns)[flags])
    assert same_bits(mixed["action"][~flags], free["action"][~flags])
    assert same_bits(mixed["log_prob"][~flags], head.log_prob(columns, mixed["action"])[~flags])
    assert (mixed["log_prob"][flags] == 0).all()


@pytest.mark.parametrize("kind", HEADS)
def test_a_row_is_the_same_in_every_batch_and_place(kind: str) -> None:
    head, width = HEADS[kind]
    columns, noise = given(17), uniforms(17, width)
    flags = np.arange(17) % 3 == 0
    whole = head.act(columns, noise, flags)
    chance = np.random.default_rng(3)
    for n_rows in range(1, 18):
        rows = chance.permutation(17)[:n_rows]
        part = {name: column[rows] for name, column in columns.items()}
        for name, column in head.act(part, noise[rows], flags[rows]).items():
            assert same_bits(column, whole[name][rows]), f"{name}, {n_rows} rows"
        assert same_bits(head.log_prob(part, whole["action"][rows])[~flags[rows]], whole["log_prob"][rows][~flags[rows]])


@pytest.mark.parametrize("kind", HEADS)
def test_no_rows_give_empty_columns(kind: str) -> None:
    head, width = HEADS[kind]
    columns = given(0)
    found = head.act(columns, uniforms(0, width))
    assert {name: len(column) for name, column in found.items()} == {"action": 0, "log_prob": 0, "entropy": 0}
    assert len(head.log_prob(columns, found["action"])) == len(head.mode(columns)) == len(head.entropy(columns)) == 0


def test_infinite_logits_are_the_largest_and_the_smallest() -> None:
    logits = np.float32([[np.inf, 0, np.inf], [-np.inf, -np.inf, 3], [-np.inf, -np.inf, -np.inf]])
    found = Categorical("l").act({"l": logits}, np.full((3, 1), 0.9, np.float32))
    assert found["action"].tolist() == [2, 2, 2]
    np.testing.assert_allclose(found["log_prob"], [-np.log(2), 0, -np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(found["entropy"], [np.log(2), 0, np.log(3)], rtol=1e-6)


def test_an_impossible_action_has_no_probability() -> None:
    columns = {"l": np.float32([[0, -np.inf, 1], [-np.inf, -np.inf, 3], [-np.inf, -np.inf, -np.inf]]),
               "m": np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0]], bool)}
    head = Categorical("l")
    with np.errstate(invalid="ignore"):
        wide = special.log_softmax(columns["l"][:2].astype(np.float64), axis=1)
    for action in range(3):
        np.testing.assert_allclose(head.log_prob(columns, np.full(3, action))[:2], wide[:, action], rtol=1e-6)
    assert Categorical("l", "m").log_prob(columns, [1, 1, 2]).tolist() == [-np.inf, -np.inf, -np.inf]
    both = {"l": np.concatenate([columns["l"][:1], columns["l"][:1]], 1)}
    assert MultiDiscrete("l", [3, 3]).log_prob(both, [[0, 1]]).tolist() == [-np.inf]
    large = {"l": np.float32([[-3e38, 0]])}
    assert head.log_prob(large, [0]).tolist() == [np.float32(-3e38)]  # a finite logit has a finite logarithm


@pytest.mark.parametrize(("head", "where"), [
    (Categorical("logits", "mask"), "got row 3, which allows none; correct"), (MultiDiscrete("logits", SIZES, "mask"),
                                                                            "got row 3, which allows none in choice 1; correct")])
def test_a_row_that_allows_nothing_is_refused(head: Head, where: str) -> None:
    columns = given(5)
    columns["mask"][:] = True
    head.act(columns, uniforms(5, 3 if isinstance(head, MultiDiscrete) else 1))
    columns["mask"][3, 2:7 if isinstance(head, MultiDiscrete) else None] = False
    columns["mask"][3, :2] &= isinstance(head, MultiDiscrete)
    message = re.escape(f"head {head!r}, mask 'mask': expected at least one allowed action in every row, {where} the mask, or")
    with pytest.raises(InputError, match=message):
        head.act(columns, rng=0)
    with pytest.raises(InputError, match=message):
        head.log_prob(columns, np.zeros((5, 3), int) if isinstance(head, MultiDiscrete) else np.zeros(5, int))
    for make in (lambda choice: Categorical("l", "m", choice), lambda choice: MultiDiscrete("l", [2], "m", choice)):
        with pytest.raises(ConfigurationError, match="expected empty_mask as 'refuse' or 'ignore', got 'allow'"):
            make("allow")


def test_a_nan_logit_shows_in_the_log_probability_and_leaves_the_action_allowed() -> None:
    columns = given(400)
    columns["logits"][::2, :3] = np.nan
    columns["logits"][1] = np.nan
    found = Categorical("logits", "mask", "ignore").act(columns, uniforms(400))
    assert allowed(columns["mask"])[np.arange(400), found["action"]].all()
    counts = np.isnan(np.where(allowed(columns["mask"]), columns["logits"], 0)).any(1)
    assert (np.isnan(found["log_prob"]) == counts).all()
    assert (np.isnan(found["entropy"]) == counts).all()


def test_further_axes_are_flattened() -> None:
    columns = given(6, 12)
    board = {"logits": columns["logits"].reshape(6, 1, 3, 4), "mask": columns["mask"].reshape(6, 3, 4)}
    head = Categorical("logits", "mask", "ignore")
    assert same_bits(head.sample(board, uniforms(6)), head.sample(columns, uniforms(6)))


def test_specs_are_those_of_what_act_gives() -> None:
    specs = Specs([TensorSpec("logits", (10,), np.dtype(np.float32)), TensorSpec("mask", (10,), np.dtype(np.bool_))])
    for head, width in HEADS.values():
        found = head.act(given(4), uniforms(4, width))
        assert {name: (spec.batched(4), spec.dtype) for name, spec in head.specs(specs).items()} == {
            name: (column.shape, column.dtype) for name, column in found.items()}
        assert head.noise_width(specs) == width
        assert head.mask_width(specs) == 10
    with pytest.raises(ConfigurationError, match=re.escape("MultiDiscrete('logits', [3, 4]): expected 7 logits, got 10; sizes")):
        MultiDiscrete("logits", [3, 4]).specs(specs)
    with pytest.raises(ConfigurationError, match=re.escape("expected a tensor among ['logits', 'mask'], got 'other'")):
        Categorical("other").specs(specs)
    with pytest.raises(ConfigurationError, match="expected floats with the batch on axis 0, got mask"):
        Categorical("mask").specs(specs)


@pytest.mark.parametrize(("sizes"), [[], 3, "ab", [0], [2.5], [True], None, np.array(3), np.ones((1, 2), int)])
def test_sizes_that_make_no_sense_are_refused(sizes: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"MultiDiscrete\('x'\): expected sizes as a list of integers from 1, got"):
        MultiDiscrete("x", sizes)


def test_names_are_strings() -> None:
    with pytest.raises(ConfigurationError, match="Categorical: expected the name of a tensor as logits, got 3"):
        Categorical(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(("change", "message"), [
    ({"columns": {"mask": np.ones((4, 10))}}, "expected columns of ['logits', 'mask'], got ['mask']"),
    ({"columns": {"logits": np.zeros((4, 10), complex), "mask": None}}, "'logits': expected numbers [N, …], got (4, 10) complex128"),
    ({"columns": {**given(4), "mask": np.ones((4, 9))}}, "mask 'mask': expected (4, 10) bool or numbers, got (4, 9) float64"),
    ({"noise": None}, "noise: expected (4, 1) uniform numbers, got none; give them or rng=, or let all rows be deterministic"),
    ({"noise": np.zeros((4, 2), np.float32)}, "noise: expected (4, 1) float32, got (4, 2) float32"),
    ({"deterministic": np.zeros(3, bool)}, "deterministic: expected (4,) bool, got (3,) bool"),
    ({"wanted": ("value",)}, "expected one of ['action', 'log_prob', 'entropy', 'deterministic'], got 'value'")])
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    arguments = {"columns": given(4), "noise": uniforms(4), **change}
    with pytest.raises((InputError, ConfigurationError), match=re.escape(message)):
        Categorical("logits", "mask", "ignore").act(**arguments)


@pytest.mark.parametrize(("action", "message"), [
    ([0, 1, 2], "expected integers of 4 rows, 1 each, got (3,) int64"), ([0.0, 1, 2, 3], "got (4,) float64"),
    ([0, 1, 2, 10], "expected 0 ≤ action < 10, got [0] to [10]"), ([-1, 0, 0, 0], "got [-1] to [0]")])
def test_actions_that_do_not_exist_have_no_probability(action: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Categorical("logits").log_prob(given(4), action)
