"""Every kind of action and observation: what a policy recorded of itself has weights of exactly 1, and other policies' weights are those of
a definition in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import offline_logs as logs
import pytest
from gymnasium import spaces
from scipy import stats
from small_models import FLOAT, graph, node

import cervello
from cervello import evaluation, heads, recording
from cervello.errors import ConfigurationError, InputError
from cervello.recording import Episode

D = 4


def linear(width: int, scale: float, *names: str, ends: str = "") -> bytes:
    """obs [N, 4] ▸ one or more tensors [N, width], through a last operation where named."""
    nodes, constants = [], {}
    for i, name in enumerate(names):
        constants[f"w{i}"] = (np.random.default_rng(i).normal(size=(D, width)) * scale).astype(np.float32)
        nodes.append(node("MatMul", f"obs w{i}", f"{name}.z" if ends else name))
        if ends:
            nodes.append(node(ends, f"{name}.z", name))
    return graph(nodes, {"obs": (FLOAT, ("N", D))}, dict.fromkeys(names, (FLOAT, ("N", width))), constants)


def played(file: bytes, head: heads.Head, n: int = 25, longest: int = 5) -> list[Episode]:
    """Episodes whose actions a policy's head drew from observations at random."""
    model, rng = cervello.Model.load(file), np.random.default_rng(0)
    found = []
    for i in range(n):
        T = int(rng.integers(1, longest + 1))
        obs = rng.normal(size=(T + 1, D)).astype(np.float32)
        drawn = head.act(model.run({"obs": obs[:-1]}), None, None, ("action", "log_prob"), rng=i)
        found.append(Episode(i, obs, drawn["action"], rng.normal(size=T), np.arange(T) == T - 1, np.zeros(T, bool),
                             log_prob=drawn["log_prob"]))
    return found


def outputs(file: bytes, episode: Episode) -> dict[str, np.ndarray]:
    found = cervello.Model.load(file).run({"obs": episode.observations[:-1]})
    return {name: column.astype(np.float64) for name, column in found.items()}


def of_choices(sizes: list[int]) -> Callable[[bytes, Episode], np.ndarray]:
    def log_prob(file: bytes, e: Episode) -> np.ndarray:
        parts = np.split(outputs(file, e)["logits"], np.cumsum(sizes)[:-1], 1)
        return sum(logs.log_softmax(part)[np.arange(len(e)), e.actions.reshape(len(e), -1)[:, k]] for k, part in enumerate(parts))

    return log_prob


def of_bits(file: bytes, e: Episode) -> np.ndarray:
    p = 1 / (1 + np.exp(-outputs(file, e)["logits"]))
    return np.where(e.actions == 1, np.log(p), np.log1p(-p)).sum(1)


def of_beta(file: bytes, e: Episode) -> np.ndarray:
    found = outputs(file, e)
    return stats.beta.logpdf(e.actions.astype(np.float64), found["alpha"], found["beta"]).sum(1)


def of_greedy(file: bytes, e: Episode) -> np.ndarray:
    best = outputs(file, e)["values"].argmax(1) == e.actions
    return np.log(np.where(best, 0.7, 0.0) + 0.1)


KINDS: dict[str, tuple[heads.Head, Callable[[float], bytes], Callable[[bytes, Episode], np.ndarray]]] = {
    "Categorical": (heads.Categorical("logits"), lambda scale: linear(3, scale, "logits"), of_choices([3])),
    "MultiDiscrete": (heads.MultiDiscrete("logits", [2, 3]), lambda scale: linear(5, scale, "logits"), of_choices([2, 3])),
    "Bernoulli": (heads.Bernoulli("logits"), lambda scale: linear(3, scale, "logits"), of_bits),
    "Beta": (heads.Beta("alpha", "beta"), lambda scale: linear(2, scale, "alpha", "beta", ends="Exp"), of_beta),
    "EpsilonGreedy": (heads.EpsilonGreedy("values", 0.3), lambda scale: linear(3, scale, "values"), of_greedy),
}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_every_head_are_those_of_its_definition(kind: str) -> None:
    head, make, log_prob = KINDS[kind]
    own, other = make(0.3), make(0.5)
    episodes = played(own, head)
    policies = {"own": cervello.load(own), "other": cervello.load(other)}
    report = evaluation.evaluate(episodes, policies, head=head, estimators=["is", "wis", "agreement"])
    assert (report["own"].diagnostics.mean_weight == 1).all()
    assert report["own"]["is"].value == pytest.approx(np.mean([e.rewards.sum() for e in episodes]), rel=1e-12)
    weights = [np.exp((log_prob(other, e) - e.log_prob).sum()) for e in episodes]
    assert report["other"]["is"].value == pytest.approx(np.mean([w * e.rewards.sum() for w, e in zip(weights, episodes, strict=True)]),
                                                        rel=2e-5)
    behavior = evaluation.evaluate([replace(e, log_prob=None) for e in episodes], policies, head=head, behavior=policies["own"],
                                   estimators=["is"])
    assert behavior["other"]["is"].value == pytest.approx(report["other"]["is"].value, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_value_functions_and_doubly_robust_estimates_take_every_head(kind: str) -> None:
    head, make, _ = KINDS[kind]
    report = evaluation.evaluate(played(make(0.3), head), {"a": cervello.load(make(0.3))}, head=head, estimators=["fqe", "dr"], gamma=0.9,
                                 horizon=3)
    for estimate in report["a"].values():
        assert np.isfinite(estimate.value)
        assert estimate.interval[0] < estimate.value < estimate.interval[1]


@pytest.mark.parametrize("start", [3, -2])
def test_actions_of_a_discrete_space_are_counted_from_its_start(tmp_path: Path, start: int) -> None:
    episodes = logs.walks(20)
    policy = cervello.load(logs.logits_policy(logs.behaviour_weights(scale=0.6), np.zeros(3)))
    expected = evaluation.evaluate(episodes, {"a": policy}, head=heads.Categorical("logits"), estimators=["pdis", "dr"]).to_json()
    box = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    with recording.Writer(tmp_path / "log", observation_space=box, action_space=spaces.Discrete(3, start=start)) as log:
        for e in episodes:
            handle = log.begin(observation=e.observations[:1])
            for t in range(len(e)):
                log.step(handle, e.observations[t + 1:t + 2], e.actions[t:t + 1] + start, e.rewards[t:t + 1],
                         terminated=e.terminations[t:t + 1], log_prob=e.log_prob[t:t + 1])
    report = evaluation.evaluate(tmp_path / "log", {"a": policy}, head=heads.Categorical("logits"), estimators=["pdis", "dr"])
    assert report.to_json() == expected
    in_memory = [replace(e, actions=e.actions + start) for e in episodes]
    with pytest.raises(InputError, match=r"step \d, actions: expected 0 ≤ action < \[3\]"):
        evaluation.evaluate(in_memory, {"a": policy}, head=heads.Categorical("logits"))
    (tmp_path / "a.onnx").write_bytes(logs.logits_policy(logs.behaviour_weights(scale=0.6), np.zeros(3)))
    knows = cervello.load(tmp_path / "a.onnx", wrappers="auto", spaces=(box, spaces.Discrete(3, start=start)))
    assert evaluation.evaluate(in_memory, {"a": knows}, estimators=["pdis", "dr"])["a"]["dr"].value == pytest.approx(
        report["a"]["dr"].value, rel=1e-12)


def test_pixels_beside_numbers_come_from_a_log_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernel, more = (rng.normal(size=(3, 3, 8, 8)) * 0.01).astype(np.float32), rng.normal(size=(2, 3)).astype(np.float32)
    file = graph([node("Conv", "camera kernel", "seen", strides=[8, 8]), node("GlobalAveragePool", "seen", "pooled"),
                  node("Flatten", "pooled", "flat"), node("MatMul", "speed more", "said"), node("Add", "flat said", "logits")],
                 {"camera": (FLOAT, ("N", 3, 32, 40)), "speed": (FLOAT, ("N", 2))}, {"logits": (FLOAT, ("N", 3))},
                 {"kernel": kernel, "more": more})
    (tmp_path / "camera.onnx").write_bytes(file)
    policy, head = cervello.load(tmp_path / "camera.onnx", wrappers=[cervello.Sample(heads.Categorical("logits"))], seed=3), None
    game = spaces.Dict({"camera": spaces.Box(0, 255, (3, 32, 40), np.uint8), "speed": spaces.Box(-9, 9, (2,), np.float32)})
    with recording.Writer(tmp_path / "log", observation_space=game, action_space=spaces.Discrete(3), policy=policy) as log:
        def look(n: int) -> dict[str, Any]:
            return {"camera": rng.integers(0, 256, (n, 3, 32, 40), dtype=np.uint8), "speed": rng.normal(size=(n, 2)).astype(np.float32)}

        ids, seen = np.arange(12), look(12)
        policy.begin_agents(ids)
        handles = log.begin(observation=seen)
        for t in range(3):
            found, after = policy.infer_batch(ids, seen), look(12)
            log.step(handles, after, found["action"], rng.normal(size=12), terminated=t == 2, log_prob=found["log_prob"],
                     version=found.version, source="policy")
            seen = after
    report = evaluation.evaluate(tmp_path / "log", {"own": policy}, head=head, estimators=["is"])
    assert (report["own"].diagnostics.mean_weight == 1).all()
    assert policy.agents == tuple(range(12))
    minari = pytest.importorskip("minari")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
        recording.to_minari(tmp_path / "log", "pixels/camera-v0", author="-", author_email="-", code_permalink="-", algorithm_name="-",
                            description="-")
        assert minari.load_dataset("pixels/camera-v0").total_steps == 36
        again = evaluation.evaluate("minari:pixels/camera-v0", {"own": policy}, estimators=["is"])
    assert again.to_json() == report.to_json()


def self_recorded(path: Path, policy: cervello.Policy, wrong_at: int | None = None, known: bool = True, **more: Any) -> Path:
    """Four episodes of three steps that a policy drew; in step 1 of one of them a log-probability is off by 0.001."""
    rng = np.random.default_rng(1)
    with recording.Writer(path, policy=policy if known else None, **more) as log:
        ids = np.arange(4)
        policy.begin_agents(ids)
        seen = rng.normal(size=(4, 3)).astype(np.float32)
        handles = log.begin(observation=seen)
        for t in range(3):
            found = policy.infer_batch(ids, {"obs": seen})
            after = rng.normal(size=(4, 3)).astype(np.float32)
            log_prob = found["log_prob"] + np.where((ids == wrong_at) & (t == 1), np.float32(-1e-3), np.float32(0))
            log.step(handles, after, found["action"], np.ones(4), terminated=t == 2, log_prob=log_prob, version=found.version)
            seen = after
        policy.end_agents(ids)
    return path


def test_the_recorders_log_probabilities_are_checked_against_those_of_the_policy_that_it_recorded(tmp_path: Path) -> None:
    file = logs.logits_policy(logs.behaviour_weights(), np.zeros(3))
    policy = cervello.load(file, wrappers=[cervello.Sample(heads.Categorical("logits"))], seed=2)
    good = self_recorded(tmp_path / "good", policy)
    bad = self_recorded(tmp_path / "bad", policy, wrong_at=2)
    assert (evaluation.evaluate(good, {"own": policy})["own"].diagnostics.mean_weight == 1).all()
    with pytest.raises(InputError, match=r"episode 2, step 1, behavior_logp: expected -\d.*policy 'own' gives .*\(version 1\), got"):
        evaluation.evaluate(bad, {"own": policy})
    other = cervello.load(logs.logits_policy(logs.behaviour_weights(scale=0.4), np.zeros(3)))
    assert evaluation.evaluate(bad, {"other": other}, head=heads.Categorical("logits"))["other"]["pdis"].value is not None
    unknown = self_recorded(tmp_path / "unknown", policy, wrong_at=2, known=False)
    assert evaluation.evaluate(unknown, {"own": policy})["own"]["pdis"].value is not None
    flatter = heads.EpsilonGreedy("logits", 0.5)  # the same file, drawn otherwise, is another policy
    assert evaluation.evaluate(bad, {"flatter": policy}, head=flatter)["flatter"]["pdis"].value is not None


def test_two_sessions_of_different_policies_in_one_log_are_evaluated_and_the_users_metadata_kept(tmp_path: Path) -> None:
    policies = {name: cervello.load(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3)),
                                    wrappers=[cervello.Sample(heads.Categorical("logits"))], seed=2)
                for name, scale in (("a", 0.3), ("b", 0.6))}
    for policy in policies.values():  # each of them records itself as version 1
        self_recorded(tmp_path / "log", policy, metadata={"policies": "a, then b"})
    read = recording.read(tmp_path / "log")
    assert read.metadata["policies"] == "a, then b"
    episodes = list(read)
    assert [set(each.policies or {}) for each in episodes] == [{1}] * 8
    assert len({each.policies[1]["fingerprint"] for each in episodes}) == 2  # type: ignore[index]
    report = evaluation.evaluate(tmp_path / "log", policies)
    assert report.n_episodes == 8
    for name, first in (("a", 0), ("b", 4)):  # its own session has weights of exactly 1
        own = evaluation.evaluate(episodes[first:first + 4], {name: policies[name]})[name]
        assert (own.diagnostics.mean_weight == 1).all()
        assert not (report[name].diagnostics.mean_weight == 1).all()
    bad = self_recorded(tmp_path / "log", policies["b"], wrong_at=1)
    with pytest.raises(InputError, match=r"episode 9, step 1, behavior_logp: expected -\d.*policy 'b' gives"):
        evaluation.evaluate(bad, policies)


def test_what_a_bridge_recorded_by_names_of_outputs_is_evaluated(tmp_path: Path) -> None:
    episodes = logs.walks(15)
    named = [replace(e, observations={"obs": e.observations}, actions={"action": e.actions, "value": e.rewards}) for e in episodes]
    policy = cervello.load(logs.logits_policy(logs.behaviour_weights(scale=0.6), np.zeros(3)))
    options: dict[str, Any] = {"head": heads.Categorical("logits"), "estimators": ["pdis"]}
    expected = evaluation.evaluate(episodes, {"a": policy}, **options)
    assert evaluation.evaluate(named, {"a": policy}, **options).to_json() == expected.to_json()
    alone = [replace(e, actions={"move": e.actions["action"]}) for e in named]
    assert evaluation.evaluate(alone, {"a": policy}, **options).to_json() == expected.to_json()
    for wrong in ({"move": named[0].actions["action"], "jump": named[0].actions["action"]}, (named[0].actions["action"],)):
        with pytest.raises(InputError, match=r"episode 0, actions: expected one array, got .*; flatten"):
            evaluation.evaluate([replace(named[0], actions=wrong)], {"a": policy}, **options)


def test_previous_actions_are_the_logged_ones() -> None:
    w, u = logs.behaviour_weights(), np.random.default_rng(5).normal(size=(1, 3)).astype(np.float32)
    file = graph([node("MatMul", "obs w", "a"), node("MatMul", "last u", "b"), node("Add", "a b", "logits")],
                 {"obs": (FLOAT, ("N", 3)), "last": (FLOAT, ("N", 1))}, {"logits": (FLOAT, ("N", 3))}, {"w": w.astype(np.float32), "u": u})
    policy = cervello.load(file, wrappers=[cervello.PreviousAction("last", "action"), cervello.Sample(heads.Categorical("logits"))])
    episodes = logs.walks(30)
    found = evaluation.evaluate(episodes, {"a": policy}, estimators=["is"])["a"]
    values = []
    for e in episodes:
        last = np.concatenate([[0], e.actions[:-1]])[:, None]
        mine = logs.log_softmax(e.observations[:-1] @ w + last @ u)[np.arange(len(e)), e.actions]
        values.append(np.exp((mine - e.log_prob).sum()) * e.rewards.sum())
    assert found["is"].value == pytest.approx(np.mean(values), rel=1e-5)


def test_previous_actions_that_are_not_the_drawn_ones_are_refused() -> None:
    file = graph([node("MatMul", "obs w", "a"), node("Add", "a last", "logits"), node("Tanh", "logits", "action")],
                 {"obs": (FLOAT, ("N", 3)), "last": (FLOAT, ("N", 3))}, {"logits": (FLOAT, ("N", 3)), "action": (FLOAT, ("N", 3))},
                 {"w": logs.behaviour_weights().astype(np.float32)})
    head = heads.Categorical("logits")
    policy = cervello.load(file, wrappers=[cervello.PreviousAction("last", "action")])
    with pytest.raises(ConfigurationError, match=r"policy 'a': expected no PreviousAction\('last', 'action'\).*log the previous action"):
        evaluation.evaluate(logs.walks(3), {"a": policy}, head=head)
    fed_back = cervello.load(file, wrappers=[cervello.PreviousAction("last", "logits")])  # a state: what is drawn does not matter
    episodes, w, values = logs.walks(10), logs.behaviour_weights(), []
    for e in episodes:
        logits = np.cumsum(e.observations[:-1].astype(np.float64) @ w, 0)
        mine = logs.log_softmax(logits)[np.arange(len(e)), e.actions]
        values.append(np.exp((mine - e.log_prob).sum()) * e.rewards.sum())
    assert evaluation.evaluate(episodes, {"a": fed_back}, head=head, estimators=["is"])["a"]["is"].value == pytest.approx(np.mean(values),
                                                                                                                     rel=1e-5)


@pytest.mark.parametrize("extra", ["Epsilon", "random"])
def test_graphs_that_draw_are_refused_with_the_remedy(extra: str) -> None:
    if extra == "Epsilon":
        file = graph([node("MatMul", "obs w", "z"), node("Add", "z epsilon", "action")],
                     {"obs": (FLOAT, ("N", 2)), "epsilon": (FLOAT, ("N", 1))}, {"action": (FLOAT, ("N", 1))},
                     {"w": np.ones((2, 1), np.float32)})
        policy = cervello.load(file, wrappers=[cervello.Epsilon("epsilon")])
    else:
        file = graph([node("MatMul", "obs w", "z"), node("RandomNormalLike", "z", "e"), node("Add", "z e", "action")],
                     {"obs": (FLOAT, ("N", 2))}, {"action": (FLOAT, ("N", 1))}, {"w": np.ones((2, 1), np.float32)})
        policy = cervello.load(file)
    with pytest.raises(ConfigurationError, match=r"policy 'a': expected .*(draws|random nodes).*export"):
        evaluation.evaluate(logs.walks(3), {"a": policy}, head=heads.Deterministic("action"))


def lives(n: int = 12) -> list[Episode]:
    """Matches of two agents of different lengths; agent 1 begins at tick 1 and leaves first."""
    rng = np.random.default_rng(3)
    w, found = logs.behaviour_weights(), []
    for match in range(n):
        for agent, (first, T) in enumerate(((0, 4), (1, 2))):
            obs = rng.normal(size=(T + 1, 3)).astype(np.float32)
            logp = logs.log_softmax(obs[:-1].astype(np.float64) @ w)
            a = np.array([rng.choice(3, p=np.exp(row)) for row in logp])
            found.append(Episode(len(found), obs, a, rng.normal(size=T), np.arange(T) == T - 1, np.zeros(T, bool), agent=agent, match=match,
                                 log_prob=logp[np.arange(T), a], tick=np.arange(first, first + T)))
    return found


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_joint_weights_follow_the_ticks_of_the_match(gamma: float) -> None:
    episodes, target = lives(), logs.behaviour_weights(scale=0.6)
    found = evaluation.evaluate(episodes, {"a": cervello.load(logs.logits_policy(target, np.zeros(3)))}, head=heads.Categorical("logits"),
                                estimators=["is", "pdis", "wis", "cwpdis"], weights="joint", gamma=gamma)
    ratio, reward = np.zeros((12, 4)), np.zeros((12, 4))
    for e in episodes:
        mine = logs.log_softmax(e.observations[:-1] @ target)[np.arange(len(e)), e.actions] - e.log_prob
        ratio[e.match, e.tick] += mine
        reward[e.match, e.tick] += e.rewards
    weight, discount = np.exp(np.cumsum(ratio, 1)), gamma ** np.arange(4)
    whole, total = weight[:, -1], (reward * discount).sum(1)
    expected = {"is": (whole * total).mean(), "pdis": (weight * reward * discount).sum(1).mean(),
                "wis": (whole * total).sum() / whole.sum(), "cwpdis": (discount * (weight * reward).sum(0) / weight.sum(0)).sum()}
    for name, value in expected.items():
        assert found["a"][name].value == pytest.approx(value, rel=1e-5), name
    assert found.n_units == found["a"].diagnostics.n == 12
