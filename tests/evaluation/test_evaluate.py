"""`evaluate` from episodes to a report."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.errors import CervelloError, ConfigurationError, InputError
from cervello.evaluation import estimators
from cervello.evaluation.table import Table
from cervello.recording import Episode

HEAD = heads.Categorical("logits")


def policy(scale: float = 0.3, bias: float = 0.0, w: np.ndarray | None = None) -> cervello.Policy:
    weights = logs.behaviour_weights(scale=scale) if w is None else w
    return cervello.load(logs.logits_policy(weights, np.full(weights.shape[1], 0.0) + bias * np.arange(weights.shape[1])))


def test_the_logged_actions_are_scored_and_not_fresh_ones() -> None:
    target = cervello.load(logs.logits_policy(np.zeros((1, 2)), np.log([0.9, 0.1])))
    report = evaluation.evaluate(logs.bandit(4000), {"mostly 0": target}, head=HEAD,
                                 estimators=["is", "wis", "pdis", "cwpdis", "dr", "wdr"])
    for estimate in report["mostly 0"].values():
        assert estimate.value == pytest.approx(0.10, abs=0.01)
        low, high = estimate.interval
        assert low - 1e-6 < 0.10 < high + 1e-6
        assert high - low < 0.03
    exact = []
    for action in (0, 1) * 10:  # every outcome of an even behaviour, equally often
        exact.append(Episode(action, np.zeros((2, 1), np.float32), np.array([action]), np.array([float(action)]), np.array([True]),
                             np.array([False]), log_prob=np.log([0.5])))
    assert evaluation.evaluate(exact, {"it": target}, head=HEAD, estimators="is")["it"]["is"].value == pytest.approx(0.10, rel=1e-6)


def test_estimates_are_those_of_tables_computed_apart() -> None:
    episodes = logs.walks(50)
    found = evaluation.evaluate(episodes, {"a": policy(0.8)}, head=HEAD, estimators=["is", "pdis", "wis", "cwpdis"], gamma=0.9)["a"]
    w = logs.behaviour_weights(scale=0.8)
    ratios = [logs.log_softmax(e.observations[:-1] @ w)[np.arange(len(e)), e.actions] - e.log_prob for e in episodes]
    table = Table.of(ratios, [e.rewards for e in episodes], 0.9)
    for name, estimator in (("is", estimators.importance_sampling), ("pdis", estimators.pdis), ("wis", estimators.wis),
                            ("cwpdis", estimators.cwpdis)):
        assert found[name].value == pytest.approx(estimator(table).value, rel=1e-5)
    assert found.diagnostics.ess.shape == found.diagnostics.mean_weight.shape == (table.n_steps,)


def test_a_policy_evaluated_on_its_own_log_has_weights_of_exactly_1() -> None:
    own = policy()
    episodes = []
    for episode in logs.walks(40):
        columns = {"logits": own.model.run({"obs": episode.observations[:-1]})["logits"]}
        episodes.append(replace(episode, log_prob=HEAD.log_prob(columns, episode.actions)))
    report = evaluation.evaluate(episodes, {"own": own}, head=HEAD, estimators=["is", "pdis", "wis", "cwpdis", "mis"])
    assert (report["own"].diagnostics.mean_weight == 1).all()
    mean = np.mean([e.rewards.astype(np.float64).sum() for e in episodes])
    for estimate in report["own"].values():
        assert estimate.value == pytest.approx(mean, rel=1e-9)
        assert estimate.verdict == "reliable"


@pytest.mark.parametrize("head", ["clipped", "squashed"])
def test_clipped_and_saturated_actions_have_weight_1_from_what_was_recorded(head: str) -> None:
    mean = 20.0 if head == "squashed" else 0.9
    file = logs.logits_policy(np.zeros((2, 1)), np.array([mean]), "mean")
    its = heads.TanhGaussian("mean", std=0.5) if head == "squashed" else heads.Gaussian("mean", std=0.5)
    episodes = []
    for i in range(30):
        obs = np.zeros((4, 2), np.float32)
        wanted = ("action", "log_prob", "pre_tanh") if head == "squashed" else ("action", "log_prob")
        drawn = its.act({"mean": np.full((3, 1), mean, np.float32)}, None, None, wanted, rng=i)
        more = {"pre_tanh": drawn["pre_tanh"]} if head == "squashed" else {"pre_clip": drawn["action"]}
        episodes.append(Episode(i, obs, np.clip(drawn["action"], -1, 1), np.ones(3), np.array([0, 0, 1], bool), np.zeros(3, bool),
                                log_prob=drawn["log_prob"], **more))
    report = evaluation.evaluate(episodes, {"own": cervello.load(file)}, head=its)
    assert (report["own"].diagnostics.mean_weight == 1).all()
    assert {estimate.value for estimate in report["own"].values()} == {3.0}


def test_sharding_and_order_of_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello.evaluation import scoring

    episodes = logs.walks(30)
    whole = evaluation.evaluate(episodes, {"a": policy(0.8)}, head=HEAD, estimators=["pdis", "dr", "agreement"]).to_json()
    monkeypatch.setattr(scoring, "_ROWS", 1)
    assert evaluation.evaluate(iter(episodes), {"a": policy(0.8)}, head=HEAD, estimators=["pdis", "dr", "agreement"]).to_json() == whole


def test_differences_are_paired_and_the_best_has_the_highest_lower_end() -> None:
    episodes = logs.walks(300, scale=0.3)
    three = {"a": policy(), "b": policy(bias=0.2), "c": policy(bias=-0.2)}
    report = evaluation.evaluate(episodes, three, head=HEAD, estimators=["wis", "pdis"])
    d = report.difference("b", "a")
    assert d.value == pytest.approx(report["b"]["wis"].value - report["a"]["wis"].value, abs=1e-12)
    assert d.interval[0] < d.value < d.interval[1]
    lower = {name: bounds[0] for name, bounds in report.simultaneous().items()}
    assert report.best.name == max(lower, key=lower.get)
    wide, narrow = report.simultaneous()["b"], report["b"]["wis"].interval
    assert wide[0] < narrow[0] < narrow[1] < wide[1]  # three policies at once
    assert 0 <= report.regret_at(1).value < 1
    assert report.regret_at(3).value == 0
    assert [name for name, _ in report.ranking()] == sorted(report, key=lambda name: -report[name]["wis"].value)


def test_an_estimate_prints_on_one_line_however_long_the_data() -> None:
    estimate = evaluation.evaluate(logs.walks(60), {"a": policy()}, head=HEAD)["a"]["wis"]
    assert f"value={estimate.value}" in repr(estimate)
    assert "\n" not in repr(estimate)


def test_nothing_is_best_where_nothing_is_supported() -> None:
    never = cervello.load(logs.logits_policy(np.zeros((1, 2)), [0.0, -np.inf]))
    episodes = [e for e in logs.bandit(50) if e.actions[0] == 1]
    report = evaluation.evaluate(episodes, {"never": never}, head=HEAD, estimators=["wis", "pdis"])
    assert report["never"]["wis"].value is None
    assert report.verdict == report["never"]["wis"].verdict == "unsupported"
    assert report["never"].diagnostics.unsupported_actions == len(episodes)
    assert report["never"].diagnostics.deterministic
    assert str(report).startswith("unsupported")
    with pytest.raises(InputError, match="best"):
        report.best  # noqa: B018


def test_ties_and_deterministic_policies_are_counted_and_said() -> None:
    tied = cervello.load(logs.logits_policy(np.zeros((1, 2)), [1.0, 1.0]))
    certain = cervello.load(logs.logits_policy(np.zeros((1, 2)), [0.0, -np.inf]))
    report = evaluation.evaluate(logs.bandit(40), {"tied": tied, "certain": certain}, head=HEAD, estimators=["agreement", "wis"])
    assert report["tied"]["agreement"].value == 0.5
    assert report["tied"].diagnostics.ties == 40
    assert report["certain"].diagnostics.deterministic
    assert not report["tied"].diagnostics.deterministic
    assert "deterministic" in str(report)


def test_a_recurrent_policy_sees_each_episode_from_its_own_start() -> None:
    import small_models

    from cervello import Recurrent

    file = small_models.recurrent()
    given = cervello.load(file, wrappers="auto")
    assert any(isinstance(w, Recurrent) for w in given.wrappers)
    name = next(iter(given.outputs))
    width = given.outputs[name].shape[0]
    d = next(iter(given.inputs.values())).shape[0]
    rng = np.random.default_rng(0)
    episodes = [Episode(i, rng.normal(size=(T + 1, d)).astype(np.float32), rng.normal(size=(T, width)).astype(np.float32), np.ones(T),
                        np.arange(T) == T - 1, np.zeros(T, bool)) for i, T in enumerate([5, 1, 9, 3])]
    given.begin_agents([7])
    report = evaluation.evaluate(episodes, {"r": given}, head=heads.Deterministic(name), estimators=["agreement"])
    assert given.agents == (7,)
    distances = []
    for episode in episodes:
        alone = cervello.load(file, wrappers="auto")
        alone.begin_agent(0)
        for t in range(len(episode)):
            out = alone.infer_single(0, {next(iter(given.inputs)): episode.observations[t]})[name]
            distances.append(np.linalg.norm(out.astype(float) - episode.actions[t]))
    assert report["r"]["agreement"].value == pytest.approx(np.mean(distances), rel=1e-12)


def test_horizons_cut_and_truncations_are_bootstrapped_only_before_them() -> None:
    episodes = logs.walks(40, truncated=True)
    seven = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["pdis", "dm"], q=lambda obs, a: np.full(len(a), 7.0))
    assert seven["a"]["dm"].value == pytest.approx(7)
    assert any("different quantities" in note for note in seven.notes)
    cut = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["pdis", "dr"], q=lambda obs, a: np.zeros(len(a)), horizon=1)
    first = np.mean([e.rewards[0] for e in episodes])
    assert cut["a"]["pdis"].value == pytest.approx(first, rel=1e-5)
    assert cut["a"]["dr"].value == pytest.approx(cut["a"]["pdis"].value, abs=1e-12)
    assert not any("different quantities" in note for note in cut.notes)


def test_fitted_q_evaluation_finds_the_value_of_a_chain() -> None:
    pi, gamma, n = 0.75, 0.9, 40
    target = cervello.load(logs.logits_policy(np.zeros((3, 2)), np.log([1 - pi, pi])))
    rng = np.random.default_rng(0)
    episodes = []
    for i in range(n):  # three states; action 1 moves on and pays the state's number, action 0 stays; after the last it is over
        s, states, actions, rewards = 0, [0], [], []
        while s < 3:
            a = int(rng.random() < 0.5)
            rewards.append(float(s) * a - 0.1)
            s += a
            actions.append(a)
            states.append(min(s, 2))
        T = len(actions)
        episodes.append(Episode(i, np.eye(3, dtype=np.float32)[states], np.array(actions), np.array(rewards), np.arange(T) == T - 1,
                                np.zeros(T, bool), log_prob=np.full(T, np.log(0.5))))
    P = np.array([[1 - pi, pi, 0], [0, 1 - pi, pi], [0, 0, 1 - pi]])
    truth = np.linalg.solve(np.eye(3) - gamma * P, pi * np.arange(3) - 0.1)[0]
    report = evaluation.evaluate(episodes, {"pi": target}, head=HEAD, estimators=["fqe", "dm", "dr", "wdr", "magic"], gamma=gamma)
    for estimate in report["pi"].values():
        assert estimate.value == pytest.approx(truth, abs=2e-3)
    assert report["pi"].fit["converged"]
    assert report["pi"]["fqe"].verdict == "weak"
    short = evaluation.evaluate(episodes, {"pi": target}, head=HEAD, estimators=["fqe"], gamma=gamma, horizon=2)
    r = pi * np.arange(3) - 0.1
    assert short["pi"]["fqe"].value == pytest.approx((r + gamma * P @ r)[0], abs=1e-4)


def test_value_functions_that_never_settle_are_said_not_to_have_converged() -> None:
    episodes = [replace(e, truncations=np.arange(len(e)) == len(e) - 1, terminations=np.zeros(len(e), bool)) for e in logs.walks(20)]
    report = evaluation.evaluate([replace(e, rewards=np.ones(len(e))) for e in episodes], {"a": policy()}, head=HEAD, estimators=["fqe"],
                                 gamma=1.0)
    assert report["a"].fit["converged"] is False
    assert len(report["a"].fit["residuals"]) == 200
    assert any("not converged" in note for note in report["a"]["fqe"].notes)


def test_the_report_is_json_and_text_and_one_page_without_scripts(tmp_path) -> None:
    both = {"<a>": policy(0.6), "b": policy()}
    report = evaluation.evaluate(logs.walks(40), both, head=HEAD, estimators=["is", "wis", "dr", "agreement"])
    found = json.loads(report.to_json())
    assert found["policies"]["b"]["estimates"]["dr"]["value"] == report["b"]["dr"].value
    assert set(found["policies"]["b"]["diagnostics"]) >= {"ess", "largest_share", "pareto_k", "mean_weight", "support_violations", "ties"}
    report.to_html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert report.headline.split(":")[0] in text
    assert "&lt;a&gt;" in text
    for word in ("<script", "http://", "https://", "src="):
        assert word not in text.replace("http://www.w3.org/2000/svg", "")
    assert text.count("<svg") >= 3


def test_agents_of_a_match_are_resampled_and_counted_together() -> None:
    episodes = [replace(e, match=i // 3, agent=i % 3) for i, e in enumerate(logs.walks(60))]
    report = evaluation.evaluate(episodes, {"a": policy(0.6)}, head=HEAD, estimators=["pdis", "wis"])
    assert report.n_units == 20
    assert report["a"].diagnostics.n == 20
    alone = evaluation.evaluate(logs.walks(60), {"a": policy(0.6)}, head=HEAD, estimators=["pdis", "wis"])
    for name in ("pdis", "wis"):
        assert report["a"][name].value == pytest.approx(alone["a"][name].value, rel=1e-12)
        assert report["a"][name].interval != alone["a"][name].interval


def test_joint_weights_multiply_over_the_agents_of_a_match() -> None:
    episodes = [replace(e, match=i // 2, agent=i % 2) for i, e in enumerate(logs.walks(20))]
    found = evaluation.evaluate(episodes, {"a": policy(0.6)}, head=HEAD, estimators=["is", "pdis"], weights="joint")["a"]
    w = logs.behaviour_weights(scale=0.6)
    ratios = [logs.log_softmax(e.observations[:-1] @ w)[np.arange(len(e)), e.actions] - e.log_prob for e in episodes]
    value = []
    for i in range(0, 20, 2):
        whole = np.exp(ratios[i].sum() + ratios[i + 1].sum())
        value.append(whole * (episodes[i].rewards.sum() + episodes[i + 1].rewards.sum()))
    assert found["is"].value == pytest.approx(np.mean(value), rel=1e-5)
    with pytest.raises(ConfigurationError, match="joint"):
        evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["dr"], weights="joint")
    with pytest.raises(InputError, match="match"):
        evaluation.evaluate(logs.walks(4), {"a": policy()}, head=HEAD, weights="joint")


def test_joint_weights_of_matches_with_one_life_are_those_of_the_agent() -> None:
    episodes = [replace(e, match=i, agent=0) for i, e in enumerate(logs.walks(20))]
    options: dict[str, Any] = {"head": HEAD, "estimators": ["is", "pdis", "wis", "cwpdis"], "gamma": 0.9}
    joint = evaluation.evaluate(episodes, {"a": policy(0.6)}, weights="joint", **options)["a"]
    for name, expected in evaluation.evaluate(episodes, {"a": policy(0.6)}, **options)["a"].items():
        assert joint[name].as_dict() == expected.as_dict()
    with pytest.raises(InputError, match="episode 7, match: expected the match of each life"):
        evaluation.evaluate([*episodes[:7], replace(episodes[7], match=None), *episodes[8:]], {"a": policy()}, head=HEAD, weights="joint")


def changed(column: str, step: int, value: object, episode: int = 3, **more: object) -> list[Episode]:
    """Walks of which one episode has another number in a column."""
    episodes = logs.walks(6, longest=8)
    e = next(e for e in episodes[episode:] if len(e) > step + 1)
    array = np.array(getattr(e, column))
    array[step] = value
    episodes[episode] = replace(e, **{column: array}, **more)
    return episodes


NOT_LOGGED = [replace(e, log_prob=None) for e in logs.walks(3)]


@pytest.mark.parametrize(("episodes", "message"), [
    (NOT_LOGGED, r"episode 0, behavior_logp: .*fit_behavior"),
    (changed("log_prob", 1, np.nan), r"episode 3, step 1, behavior_logp: .*NaN.*fit_behavior"),
    (changed("log_prob", 1, 0.3), r"episode 3, step 1, behavior_logp: expected at most 0.*behavior_prob"),
    (changed("log_prob", 1, -np.inf), r"episode 3, step 1, behavior_logp: expected a probability above 0"),
    (changed("rewards", 1, np.nan), r"episode 3, step 1, rewards: expected finite numbers, got nan;"),
    (changed("observations", 1, np.inf), r"episode 3, step 1, observations: expected finite"),
    (changed("actions", 1, 7), r"episode 3, step 1, actions: expected 0 ≤ action < \[3\].*another action space"),
    (changed("terminations", 0, True), r"episode 3, step 0, terminations"),
    ([], r"expected episodes, got none"),
    ([replace(logs.walks(1)[0], actions=np.zeros(0, np.int64), rewards=np.zeros(0), terminations=np.zeros(0, bool),
              truncations=np.zeros(0, bool))], r"episode 0: expected at least one step"),
    ([replace(e, actions=e.actions.astype(np.float32)) for e in logs.walks(2)], r"episode 0, actions: expected discrete actions"),
    ([replace(e, observations=e.observations[:, :2]) for e in logs.walks(2)], r"episode 0, observations: expected rows of \(3,\)"),
    ([replace(e, observations=e.observations[:-1]) for e in logs.walks(2)], r"episode 0, observations: expected \d rows"),
])
def test_data_that_do_not_fit_are_refused_with_the_place(episodes: list[Episode], message: str) -> None:
    with pytest.raises(CervelloError, match=message):
        evaluation.evaluate(episodes, {"a": policy()}, head=HEAD)


def with_prob(values: object) -> list[Episode]:
    found = []
    for e in logs.walks(3):
        column = np.concatenate([[np.nan], np.exp(e.log_prob)])
        column[1] = values if not callable(values) else values(column[1])
        found.append(replace(e, infos={"behavior_prob": column}))
    return found


@pytest.mark.parametrize(("values", "message"), [
    (lambda p: p + 1e-3, r"step 0, behavior_logp beside behavior_prob"),
    (1.5, r"step 0, behavior_prob: expected at most 1 for a discrete action"),
    (0.0, r"step 0, behavior_prob: expected a probability above 0"),
    (-0.5, r"step 0, behavior_prob: expected a probability.*behavior_logp"),
])
def test_columns_that_contradict_each_other_are_refused(values: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluation.evaluate(with_prob(values), {"a": policy()}, head=HEAD)


def test_probabilities_without_logarithms_do_as_well() -> None:
    episodes = [replace(e, log_prob=None) for e in with_prob(lambda p: p)]
    both = evaluation.evaluate(logs.walks(3), {"a": policy(0.5)}, head=HEAD)["a"]["pdis"].value
    assert evaluation.evaluate(episodes, {"a": policy(0.5)}, head=HEAD)["a"]["pdis"].value == pytest.approx(both, rel=1e-12)


def test_a_density_above_1_is_no_error() -> None:
    file = cervello.load(logs.logits_policy(np.zeros((2, 1)), np.zeros(1), "mean"))
    narrow = heads.Gaussian("mean", std=0.01)
    x = np.random.default_rng(0).normal(size=(20, 1)).astype(np.float32) * 0.01
    episodes = [Episode(i, np.zeros((2, 2), np.float32), x[i:i + 1], np.ones(1), np.array([True]), np.array([False]),
                        log_prob=narrow.log_prob({"mean": np.zeros((1, 1), np.float32)}, x[i:i + 1])) for i in range(20)]
    assert all(e.log_prob[0] > 0 for e in episodes)
    assert evaluation.evaluate(episodes, {"a": file}, head=narrow)["a"]["pdis"].value == 1.0


def continuous(**more: object) -> list[Episode]:
    rng = np.random.default_rng(0)
    return [Episode(i, np.zeros((3, 2), np.float32), rng.normal(size=(2, 1)).astype(np.float32), np.ones(2), np.array([False, True]),
                    np.zeros(2, bool), log_prob=np.full(2, -1.0), **more) for i in range(20)]


def test_a_deterministic_continuous_target_is_refused_where_densities_are_needed() -> None:
    file = cervello.load(logs.logits_policy(np.zeros((2, 1)), np.zeros(1), "action"))
    with pytest.raises(ConfigurationError, match=r"policy 'a'.*deterministic.*'kis'"):
        evaluation.evaluate(continuous(), {"a": file}, head=heads.Deterministic("action"), estimators=["pdis"])
    report = evaluation.evaluate(continuous(), {"a": file}, head=heads.Deterministic("action"), estimators=["kis", "fqe", "agreement"])
    assert report["a"]["kis"].value == pytest.approx(2)


def test_deterministic_rows_of_continuous_logs_are_refused_and_of_discrete_ones_have_probability_1() -> None:
    file = cervello.load(logs.logits_policy(np.zeros((2, 1)), np.zeros(1), "mean"))
    with pytest.raises(InputError, match="episode 0, step 1, deterministic"):
        evaluation.evaluate(continuous(deterministic=np.array([False, True])), {"a": file}, head=heads.Gaussian("mean", std=1.0))
    episodes = [replace(e, log_prob=np.full(len(e), np.nan), deterministic=np.ones(len(e), bool)) for e in logs.walks(5)]
    found = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["is"])["a"]
    assert found.diagnostics.mean_weight[0] < 1


def test_a_policy_without_a_distribution_is_refused_with_the_remedy() -> None:
    file = cervello.load(logs.logits_policy(np.zeros((3, 3)), np.zeros(3), "action"))
    with pytest.raises(ConfigurationError, match=r"policy 'a'.*head="):
        evaluation.evaluate(logs.walks(3), {"a": file})


def test_truncated_episodes_without_a_final_observation_are_refused_where_it_is_needed() -> None:
    episodes = logs.walks(10, truncated=True, final_obs_missing=True)
    with pytest.raises(InputError, match=r"episode 0, step \d, observations: .*truncated.*'dr'"):
        evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["pdis", "dr"])
    assert evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["pdis"])["a"]["pdis"].value is not None


def test_reward_ranges_that_the_data_break_are_refused_and_others_give_bounds() -> None:
    with pytest.raises(InputError, match=r"episode \d+, step \d, rewards: expected -1 to 0"):
        evaluation.evaluate(logs.walks(5), {"a": policy()}, head=HEAD, reward_range=(-1, 0))
    target = cervello.load(logs.logits_policy(np.zeros((1, 2)), np.log([0.9, 0.1])))
    widths = []
    for n in (100, 400):
        found = evaluation.evaluate(logs.bandit(n), {"a": target}, head=HEAD, estimators=["is"], interval="hoeffding", horizon=1,
                                    reward_range=(0, 1), max_weight=1.8)["a"]["is"]
        widths.append(found.interval[1] - found.interval[0])
    assert widths[1] == pytest.approx(widths[0] / 2)  # 1 / √n, not √n
    assert widths[0] == pytest.approx(2 * 1.8 * np.sqrt(np.log(2 / 0.05) / 200))
    with pytest.raises(ConfigurationError, match="max_weight="):
        evaluation.evaluate(logs.bandit(5), {"a": target}, head=HEAD, estimators=["is"], interval="hoeffding", reward_range=(0, 1))
    with pytest.raises(ConfigurationError, match="max_weight=1"):
        evaluation.evaluate(logs.bandit(50), {"a": target}, head=HEAD, estimators=["is"], interval="hoeffding", reward_range=(0, 1),
                            max_weight=1, horizon=1)
    with pytest.raises(ConfigurationError, match="'wis'"):
        evaluation.evaluate(logs.bandit(50), {"a": target}, head=HEAD, estimators=["wis"], interval="empirical-bernstein",
                            reward_range=(0, 1), max_weight=2)


def test_intervals_are_those_of_scipy_on_the_same_resamples() -> None:
    from scipy.stats import bootstrap

    episodes = logs.walks(60)
    found = evaluation.evaluate(episodes, {"a": policy(0.6)}, head=HEAD, estimators=["pdis", "wis"], interval="bca", resamples=499, seed=3)
    values = found["a"]["pdis"].moments.columns[:, 0]
    expected = bootstrap((values,), np.mean, n_resamples=499, method="BCa", random_state=np.random.default_rng(3)).confidence_interval
    assert found["a"]["pdis"].interval == pytest.approx(tuple(expected), rel=1e-9)
    columns = found["a"]["wis"].moments.columns
    expected = bootstrap((columns[:, 0], columns[:, 1]), lambda a, b, axis: a.sum(axis) / b.sum(axis), n_resamples=499, method="BCa",
                         paired=True, random_state=np.random.default_rng(3)).confidence_interval
    assert found["a"]["wis"].interval == pytest.approx(tuple(expected), rel=1e-9)


@pytest.mark.parametrize(("options", "word"), [
    ({"estimators": ["pids"]}, "estimators"), ({"gamma": 1.5}, "gamma"), ({"horizon": 0}, "horizon"), ({"interval": "bayes"}, "interval"),
    ({"level": 95}, "level"), ({"ragged": "pad"}, "ragged"), ({"weights": "both"}, "weights"), ({"behavior": 1.0}, "behavior"),
    ({"head": {"b": HEAD}}, "head"), ({"resamples": 0}, "resamples"), ({"estimators": []}, "estimators"),
    ({"seed": -1}, "seed: expected an integer"), ({"seed": 0.5}, "seed: expected an integer"),
])
def test_options_that_make_no_sense_are_refused_by_name(options: dict, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        evaluation.evaluate(logs.walks(3), {"a": policy()}, **{"head": HEAD, **options})
