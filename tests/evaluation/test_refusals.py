"""Bad input: each refusal names the place (episode, step, column; or the policy) and the remedy, and what is not refused is counted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.errors import CervelloError
from cervello.recording import Episode

HEAD = heads.Categorical("logits")
LINEAR = logs.logits_policy(logs.behaviour_weights(), np.zeros(3))
MEAN = logs.logits_policy(np.zeros((2, 1)), np.zeros(1), "mean")
NEVER_1 = logs.logits_policy(np.zeros((3, 3)), [0.0, -np.inf, 0.0])


def walks(**changes: Callable[[Episode], Any]) -> list[Episode]:
    """Six episodes of 4 steps, of which number 3 has other columns."""
    episodes = [e for e in logs.walks(60) if len(e) == 4][:6]
    return [replace(e, **{name: made(e) for name, made in changes.items()}) if i == 3 else e for i, e in enumerate(episodes)]


def at(column: str, step: int, value: float) -> Callable[[Episode], np.ndarray]:
    def made(e: Episode) -> np.ndarray:
        array = np.array(getattr(e, column))
        array[step] = value
        return array

    return made


def prob(step: int, value: float) -> Callable[[Episode], dict[str, np.ndarray]]:
    def made(e: Episode) -> dict[str, np.ndarray]:
        column = np.concatenate([[np.nan], np.exp(e.log_prob)])
        column[step + 1] = value
        return {"behavior_prob": column}

    return made


def logits(step: int, action: int | str, value: float) -> Callable[[Episode], dict[str, np.ndarray]]:
    def made(e: Episode) -> dict[str, np.ndarray]:
        rows = np.zeros((5, 3))
        rows[step + 1, e.actions[step] if action == "taken" else action] = value
        return {"behavior_logits": rows}

    return made


def continuous(**more: Any) -> list[Episode]:
    rng = np.random.default_rng(0)
    return [Episode(i, np.zeros((3, 2), np.float32), rng.normal(size=(2, 1)).astype(np.float32), np.ones(2), np.array([False, True]),
                    np.zeros(2, bool), **{"log_prob": np.full(2, -1.0), **more}) for i in range(4)]


def go_on(**more: Callable[[Episode], Any]) -> list[Episode]:
    episodes = walks(final_obs_missing=lambda e: True, **more)
    return [replace(e, terminations=np.zeros(4, bool), truncations=np.arange(4) == 3) for e in episodes]


def empty(e: Episode) -> Episode:
    return replace(e, observations=e.observations[:1], actions=e.actions[:0], rewards=e.rewards[:0], terminations=e.terminations[:0],
                   truncations=e.truncations[:0], log_prob=e.log_prob[:0])


CASES: dict[str, tuple[Any, dict[str, Any], str, str]] = {  # data, options, place, remedy
    "no propensities": (walks(log_prob=lambda e: None), {}, "episode 3, behavior_logp", "fit_behavior"),
    "a propensity that is missing": (walks(log_prob=at("log_prob", 2, np.nan)), {}, "episode 3, step 2, behavior_logp", "fit_behavior"),
    "a probability over 1": (walks(infos=prob(1, 1.2), log_prob=lambda e: None), {}, "episode 3, step 1, behavior_prob", "mend"),
    "a logarithm over 0": (walks(log_prob=at("log_prob", 1, 0.4)), {}, "episode 3, step 1, behavior_logp", "behavior_prob"),
    "a logarithm for a probability": (walks(infos=prob(1, -0.4), log_prob=lambda e: None), {}, "episode 3, step 1, behavior_prob",
                                      "behavior_logp"),
    "columns that contradict each other": (walks(infos=prob(2, 0.999)), {}, "episode 3, step 2, behavior_logp beside behavior_prob",
                                           "leave out"),
    "probability 0 where an action was taken": (walks(infos=prob(0, 0.0), log_prob=lambda e: None), {}, "episode 3, step 0, behavior_prob",
                                                "distribution that drew it"),
    "minus infinity where an action was taken": (walks(log_prob=at("log_prob", 0, -np.inf)), {}, "episode 3, step 0, behavior_logp",
                                                 "distribution that drew it"),
    "a propensity column of another length": (walks(log_prob=lambda e: e.log_prob[:2]), {}, "episode 3, behavior_logp", "per step"),
    "probabilities without the reset's element": (walks(infos=lambda e: {"behavior_prob": np.exp(e.log_prob)}, log_prob=lambda e: None), {},
                                                  "episode 3, behavior_prob", "reset"),
    "logits without the reset's element": (walks(infos=lambda e: {"behavior_logits": np.zeros((4, 3))}), {}, "episode 3, behavior_logits",
                                           "reset"),
    "logits by which the action is never taken": (walks(infos=logits(2, "taken", -np.inf)), {}, "episode 3, step 2, behavior_logits",
                                                  "distribution that drew it"),
    "logits that are no numbers": (walks(infos=logits(1, 0, np.nan)), {}, "episode 3, step 1, behavior_logits", "mend"),
    "an infinite density": (continuous(infos={"behavior_prob": np.array([np.nan, 0.3, np.inf])}, log_prob=None),
                            {"policy": MEAN, "head": heads.Gaussian("mean", std=1.0)}, "episode 0, step 1, behavior_prob",
                            "before clipping or squashing"),
    "an infinite logarithm of a density": (continuous(log_prob=np.array([-1.0, np.inf])),
                                           {"policy": MEAN, "head": heads.Gaussian("mean", std=1.0)}, "episode 0, step 1, behavior_logp",
                                           "before clipping or squashing"),
    "a propensity that is a guess": (walks(), {"behavior": "guess"}, "evaluation, behavior", "fit_behavior"),
    "a behaviour that never acts so": (walks(), {"behavior": cervello.load(NEVER_1)}, r"episode \d, step \d, behavior", "did not log"),
    "a reward out of range": (walks(rewards=at("rewards", 3, 9.0)), {"reward_range": (-5, 5)}, "episode 3, step 3, rewards", "range"),
    "another number of actions": (walks(actions=at("actions", 2, 3)), {}, "episode 3, step 2, actions", "action space"),
    "another kind of actions": (walks(actions=lambda e: e.actions.astype(np.float32)), {}, "episode 3, actions", "action space"),
    "wider actions": (walks(actions=lambda e: np.stack([e.actions] * 2, 1)), {}, "episode 3, actions", "action space"),
    "actions that are words": (walks(actions=lambda e: np.array(["up"] * 4)), {}, "episode 3, actions", "encode"),
    "too few actions": (walks(actions=lambda e: e.actions[:3]), {}, "episode 3, actions", "one row per step"),
    "too few observations": (walks(observations=lambda e: e.observations[:4]), {}, "episode 3, observations", "after the last step"),
    "another shape of pre_clip": (walks(pre_clip=lambda e: e.actions[:, None]), {}, "episode 3, pre_clip", "shape"),
    "no data": ([], {}, "evaluation, dataset", "record some"),
    "an episode of length 0": ([*walks()[:3], empty(walks()[3])], {}, "episode 3", "leave it out"),
    "a reward of NaN": (walks(rewards=at("rewards", 1, np.nan)), {}, "episode 3, step 1, rewards", "mend"),
    "an infinite observation": (walks(observations=at("observations", 1, np.inf)), {}, "episode 3, step 1, observations", "mend"),
    "another shape of observations": (walks(observations=lambda e: e.observations[:, :2]), {}, "episode 3, observations",
                                      "of more than one observation space; was the log written by several runs? record into a new file"),
    "observations without a key": (
        [replace(e, observations={"obs": e.observations, "hp": e.rewards[[0, 0, 1, 2, 3]]} if i < 5 else {"obs": e.observations})
         for i, e in enumerate(walks())], {}, "episode 5, observations", "observation space"),
    "an end in the middle": (walks(truncations=at("truncations", 1, True)), {}, "episode 3, step 1, terminations", "split"),
    "no final observation": (go_on(), {"estimators": ["dr"]}, "episode 3, step 4, observations", "horizon="),
    "an action and no distribution": (walks(), {"head": None}, "policy 'a'", "head="),
    "a continuous policy without noise": (continuous(), {"policy": MEAN, "head": heads.Deterministic("mean")}, "policy 'a'", "'kis'"),
    "a continuous step that did not draw": (continuous(deterministic=np.array([False, True])),
                                            {"policy": MEAN, "head": heads.Gaussian("mean", std=1.0)}, "episode 0, step 1, deterministic",
                                            "log with exploration"),
    "a weight out of range": (walks(), {"policy": logs.logits_policy(logs.behaviour_weights(scale=4.0), np.zeros(3)),
                                        "estimators": ["is"], "interval": "hoeffding", "reward_range": (-9, 9), "max_weight": 1.01,
                                        "horizon": 4}, r"episode \d, step \d, weight", "bound that holds"),
}


@pytest.mark.parametrize("case", CASES)
def test_refusals_say_where_and_what_to_do(case: str) -> None:
    data, given, place, remedy = CASES[case]
    options = {"head": HEAD, "policy": LINEAR, **given}
    with pytest.raises(CervelloError) as caught:
        evaluation.evaluate(data, {"a": cervello.load(options.pop("policy"))}, **options)
    message = str(caught.value)
    found = re.search(r"^(.*?): expected .*, got .*?; (.*)$", message) or re.search(r"^(.*?): expected (.*)$", message)
    assert found, message
    assert re.search(f"{place}$", found[1].replace("evaluation, policy", "policy")), message
    assert remedy in message.split("expected", 1)[1], message


@pytest.mark.parametrize("case", ["no propensities", "a reward of NaN", "another shape of observations"])
def test_what_was_refused_may_be_evaluated_after_it_is_mended(case: str) -> None:
    policy = cervello.load(LINEAR)
    with pytest.raises(CervelloError):
        evaluation.evaluate(CASES[case][0], {"a": policy}, head=HEAD)
    assert policy.agents == ()
    assert evaluation.evaluate(walks(), {"a": policy}, head=HEAD)["a"]["pdis"].value is not None


def test_actions_that_a_policy_never_takes_are_counted_and_shown_and_their_episodes_kept() -> None:
    episodes = walks()
    report = evaluation.evaluate(episodes, {"a": cervello.load(NEVER_1)}, head=HEAD, estimators=["is", "pdis"])
    never = sum(int((e.actions == 1).sum()) for e in episodes)
    assert never > 0
    assert report["a"].diagnostics.unsupported_actions == never
    assert f"logged actions it never takes {never}" in str(report)
    assert (report.n_episodes, report.n_steps) == (6, 24)
    values = [np.prod(np.where(e.actions == 1, 0.0, 0.5 / np.exp(e.log_prob))) * e.rewards.sum() for e in episodes]
    assert report["a"]["is"].moments.value == pytest.approx(np.mean(values), rel=1e-5)
