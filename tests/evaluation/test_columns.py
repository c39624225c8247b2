"""Columns of episodes that are no numbers, have another shape or contradict each other are refused with the place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.errors import InputError
from cervello.recording import Episode

HEAD = heads.Categorical("logits")


def policy(scale: float = 0.4) -> cervello.Policy:
    return cervello.load(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3)))


def infos(e: Episode, **columns: Any) -> Episode:
    return replace(e, infos=columns)


def behaviour_logits(e: Episode) -> np.ndarray:
    """[T + 1, 3], element 0 of the reset."""
    logits = e.observations[:-1].astype(np.float64) @ logs.behaviour_weights()
    return np.concatenate([np.zeros((1, 3)), logits])


CASES: dict[str, tuple[Callable[[Episode], Episode], str]] = {
    "rewards of objects": (lambda e: replace(e, rewards=np.array(["a"] * len(e), object)), r"rewards: expected \(\d,\) numbers, got obj"),
    "rewards of two axes": (lambda e: replace(e, rewards=e.rewards[:, None]), r"rewards: expected \(\d,\) numbers, got \(\d, 1\)"),
    "complex rewards": (lambda e: replace(e, rewards=e.rewards + 1j), r"rewards: expected \(\d,\) numbers, got complex"),
    "logarithms of text": (lambda e: replace(e, log_prob=np.array(["a"] * len(e))), r"behavior_logp: expected \(\d,\) numbers, got <U1"),
    "ends of two axes": (lambda e: replace(e, terminations=e.terminations[:, None]), r"terminations: expected \(\d,\) numbers, got \("),
    "flags of two axes": (lambda e: replace(e, deterministic=np.zeros((len(e), 1), bool)), r"deterministic: expected \(\d,\) numbers"),
    "probabilities of text": (lambda e: infos(e, behavior_prob=np.array(["a"] * (len(e) + 1))), r"behavior_prob: expected \(\d,\) numbers"),
    "logits of text": (lambda e: infos(e, behavior_logits=np.full((len(e) + 1, 3), "a")), r"behavior_logits: expected a column per action"),
    "logits of another policy": (lambda e: infos(e, behavior_logits=-9 * behaviour_logits(e)),
                                 r"step \d, behavior_logp beside behavior_logits: expected -\d.* as the logits say, got "),
    "actions of two axes": (lambda e: replace(e, actions=e.actions[:, None]), r"actions: expected \(\) as in the first episode, got"),
    "drawn actions that are none": (lambda e: replace(e, pre_clip=e.actions + 7), r"step 0, pre_clip: expected 0 ≤ action < \[3\]"),
    "negative drawn actions": (lambda e: replace(e, pre_clip=e.actions - 3), r"step 0, pre_clip: expected 0 ≤ action < \[3\]"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_column_is_refused_with_the_place(case: str) -> None:
    change, message = CASES[case]
    episodes = logs.walks(9)
    with pytest.raises(InputError, match=rf"^episode 4, {message}"):
        evaluation.evaluate([*episodes[:4], change(episodes[4]), *episodes[5:]], {"a": policy()}, head=HEAD)


def test_logits_that_agree_with_the_propensities_change_no_estimate() -> None:
    episodes = logs.walks(40)
    beside = [infos(e, behavior_logits=behaviour_logits(e).astype(np.float16)) for e in episodes]  # half precision will do
    expected, found = (evaluation.evaluate(some, {"a": policy()}, head=HEAD)["a"] for some in (episodes, beside))
    assert [each.value for each in found.estimates.values()] == [each.value for each in expected.estimates.values()]
    assert (expected.diagnostics.support_violations, found.diagnostics.support_violations) == (None, 0)


def gaussian(d: int) -> cervello.Policy:
    """obs [N, 3] ▸ mean [N, d], and log_std [d], a constant as Stable-Baselines3 exports it."""
    from small_models import FLOAT, graph, node

    w = (np.random.default_rng(0).normal(size=(3, d)) * 0.3).astype(np.float32)
    return cervello.load(graph([node("MatMul", "obs w", "mean"), node("Identity", "s", "log_std")], {"obs": (FLOAT, ("N", 3))},
                               {"mean": (FLOAT, ("N", d)), "log_std": (FLOAT, (d,))},
                               {"w": w, "s": np.linspace(-0.5, 0.8, d).astype(np.float32)}))


def drawn(n: int, T: int, d: int) -> list[Episode]:
    rng = np.random.default_rng(3)
    found = []
    for i in range(n):
        obs, a = rng.normal(size=(T + 1, 3)).astype(np.float32), rng.normal(size=(T, d))
        found.append(Episode(i, obs, a, rng.normal(size=T), np.arange(T) == T - 1, np.zeros(T, bool),
                             log_prob=(-0.5 * a**2 - 0.5 * np.log(2 * np.pi)).sum(1)))
    return found


@pytest.mark.parametrize(("n", "T", "d"), [(1, 1, 2), (1, 2, 3), (2, 1, 4)])
def test_a_constant_with_as_many_elements_as_there_are_observations_belongs_to_every_row(n: int, T: int, d: int) -> None:
    episodes = drawn(n, T, d)
    alone = evaluation.evaluate(episodes, {"a": gaussian(d)}, head=heads.Gaussian("mean", log_std="log_std"), estimators="is")["a"]
    more = evaluation.evaluate([*episodes, *drawn(5, 3, d)], {"a": gaussian(d)}, head=heads.Gaussian("mean", log_std="log_std"),
                               estimators="is")["a"]
    assert alone["is"].moments.columns.tolist() == more["is"].moments.columns[:n].tolist()


def test_value_functions_take_constants_of_data_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello.evaluation import scoring

    options: dict[str, Any] = {"head": heads.Gaussian("mean", log_std="log_std"), "estimators": ["dm", "dr"], "gamma": 0.9}
    whole = evaluation.evaluate(drawn(30, 3, 2), {"a": gaussian(2)}, **options)["a"]
    monkeypatch.setattr(scoring, "_ROWS", 20)
    parts = evaluation.evaluate(drawn(30, 3, 2), {"a": gaussian(2)}, **options)["a"]
    for name in options["estimators"]:
        assert parts[name].value == pytest.approx(whole[name].value, rel=1e-9)
