"""Where episodes come from: logs, Minari datasets, memory; and propensities that are fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads, recording
from cervello.errors import ConfigurationError, InputError
from cervello.recording import Episode

HEAD = heads.Categorical("logits")


def policy(scale: float = 0.6) -> cervello.Policy:
    return cervello.load(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3)))


def write(path: Path, episodes: list[Episode]) -> Path:
    """A log of them, each recorded by whole steps."""
    from gymnasium import spaces

    with recording.Writer(path, observation_space=spaces.Box(-np.inf, np.inf, (3,), np.float32), action_space=spaces.Discrete(3)) as log:
        for e in episodes:
            handle = log.begin(observation=e.observations[:1])
            for t in range(len(e)):
                log.step(handle, e.observations[t + 1:t + 2], e.actions[t:t + 1], e.rewards[t:t + 1], terminated=e.terminations[t:t + 1],
                         truncated=e.truncations[t:t + 1], log_prob=e.log_prob[t:t + 1])
    return path


def same(a: evaluation.Report, b: evaluation.Report) -> None:
    assert a.to_json() == b.to_json()


def test_a_log_gives_what_its_episodes_give(tmp_path: Path) -> None:
    path = write(tmp_path / "play.log", logs.walks(30))
    memory = evaluation.evaluate(logs.walks(30), {"a": policy()}, head=HEAD)
    same(evaluation.evaluate(path, {"a": policy()}, head=HEAD), memory)
    same(evaluation.evaluate(str(path), {"a": policy()}, head=HEAD), memory)
    same(evaluation.evaluate(recording.read(path), {"a": policy()}, head=HEAD), memory)


def test_episodes_in_memory_may_have_their_columns_in_infos(tmp_path: Path) -> None:
    """As Minari's have them: what is constant names agent and match. Infos of a log are the game's own."""
    given = [replace(e, match=i // 2, agent=i % 2) for i, e in enumerate(logs.walks(30))]
    moved = [replace(e, match=None, agent=None, log_prob=None, infos={
        "match": np.full(len(e) + 1, e.match), "agent": np.full(len(e) + 1, e.agent),
        "behavior_logp": np.append(np.float32(9), e.log_prob)}) for e in given]
    for weights in ("agent", "joint"):
        options = {"head": HEAD, "estimators": ["pdis"], "weights": weights}
        same(evaluation.evaluate(moved, {"a": policy()}, **options), evaluation.evaluate(given, {"a": policy()}, **options))
    changing = [replace(e, infos={"match": np.arange(len(e) + 1)}) for e in logs.walks(30)]
    same(evaluation.evaluate(changing, {"a": policy()}, head=HEAD), evaluation.evaluate(logs.walks(30), {"a": policy()}, head=HEAD))
    with pytest.raises(InputError, match=r"episode 0, behavior_logp: expected \(\d+,\) numbers, got \(1,\); element 0 belongs"):
        evaluation.evaluate([replace(moved[0], infos={"behavior_logp": np.zeros(1)})], {"a": policy()}, head=HEAD)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Minari recommends metadata
def test_a_minari_dataset_gives_what_the_log_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    path = write(tmp_path / "play.log", logs.walks(20, truncated=True))
    made = recording.to_minari(path, "arena/walks-v0")
    options = {"head": HEAD, "estimators": ["pdis", "dr"], "gamma": 0.9}
    expected = evaluation.evaluate(path, {"a": policy()}, **options)
    same(evaluation.evaluate("minari:arena/walks-v0", {"a": policy()}, **options), expected)
    same(evaluation.evaluate(made.path, {"a": policy()}, **options), expected)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["hdf5", "parquet"])
def test_a_dataset_that_another_library_wrote_gives_what_its_episodes_give(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                         ) -> None:
    minari = pytest.importorskip("minari")
    pytest.importorskip("pyarrow")
    from gymnasium import spaces
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = logs.walks(15, truncated=True)
    buffers = [EpisodeBuffer(observations=e.observations, actions=e.actions, rewards=list(e.rewards), terminations=list(e.terminations),
                             truncations=list(e.truncations), infos={"behavior_logp": [float("nan"), *e.log_prob.tolist()]})
               for e in episodes]
    minari.create_dataset_from_buffers("other/walks-v0", buffers, observation_space=spaces.Box(-np.inf, np.inf, (3,), np.float32),
                                       action_space=spaces.Discrete(3), data_format=form)
    options = {"head": HEAD, "estimators": ["pdis", "dr"], "gamma": 0.9}
    expected = evaluation.evaluate(episodes, {"a": policy()}, **options)
    same(evaluation.evaluate("minari:other/walks-v0", {"a": policy()}, **options), expected)


def test_episodes_with_minaris_fields_do_as_they_are() -> None:
    class EpisodeData:
        def __init__(self, e: Episode):
            self.id, self.observations, self.actions, self.rewards = 0, e.observations, e.actions, e.rewards
            self.terminations, self.truncations = e.terminations, e.truncations
            self.infos = {"behavior_logp": np.concatenate([[np.nan], e.log_prob])}

    same(evaluation.evaluate(map(EpisodeData, logs.walks(10)), {"a": policy()}, head=HEAD),
         evaluation.evaluate(logs.walks(10), {"a": policy()}, head=HEAD))
    empty = EpisodeData(logs.walks(1)[0])
    empty.rewards = np.zeros(0)
    with pytest.raises(InputError, match=r"episode 1, rewards: expected .* at least one step"):
        evaluation.evaluate([EpisodeData(logs.walks(1)[0]), empty], {"a": policy()}, head=HEAD)


def test_dict_observations_go_to_inputs_by_name_and_masks_to_the_head() -> None:
    masked = heads.Categorical("logits", mask="mask")
    episodes = []
    for e in logs.walks(10):
        mask = np.ones((len(e) + 1, 3), np.int8)
        mask[np.arange(len(e)), (e.actions + 1) % 3] = 0
        episodes.append(replace(e, observations={"obs": e.observations, "mask": mask}))
    found = evaluation.evaluate(episodes, {"a": policy()}, head=masked, estimators=["is"])["a"]
    w = logs.behaviour_weights(scale=0.6)
    values = []
    for e in episodes:
        scores = np.where(e.observations["mask"][:-1] != 0, e.observations["obs"][:-1] @ w, -np.inf)
        values.append(np.exp((logs.log_softmax(scores)[np.arange(len(e)), e.actions] - e.log_prob).sum()) * e.rewards.sum())
    assert found["is"].value == pytest.approx(np.mean(values), rel=1e-5)


def test_the_policy_that_logged_the_data_may_give_the_propensities() -> None:
    episodes = [replace(e, log_prob=None) for e in logs.walks(30)]
    own = policy(0.3)
    report = evaluation.evaluate(episodes, {"own": own, "other": policy()}, head=HEAD, behavior=own)
    assert (report["own"].diagnostics.mean_weight == 1).all()
    logged = evaluation.evaluate(logs.walks(30), {"other": policy()}, head=HEAD)["other"]["pdis"].value
    assert report["other"]["pdis"].value == pytest.approx(logged, rel=1e-5)
    assert report["own"].diagnostics.support_violations is None or report["own"].diagnostics.support_violations == 0


def test_support_violations_are_counted_where_the_behaviour_is_known() -> None:
    never_2 = cervello.load(logs.logits_policy(np.zeros((3, 3)), [0.0, 0.0, -np.inf]))
    episodes = [replace(e, log_prob=None, actions=np.minimum(e.actions, 1)) for e in logs.walks(20)]
    report = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, behavior=never_2, estimators=["wis"])
    assert report["a"].diagnostics.support_violations == report.n_steps
    assert "not observable" in str(evaluation.evaluate(logs.walks(20), {"a": policy()}, head=HEAD))


class Frequencies:
    """The classifier of scikit-learn that looks at no features, in as much as fit_behavior needs."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self.classes_, counts = np.unique(y, return_counts=True)
        self.odds = counts / counts.sum()

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.odds, (len(X), len(self.odds)))


def test_fitted_propensities_come_from_the_other_folds_and_are_said_to_be_estimated() -> None:
    episodes = [replace(e, log_prob=None) for e in logs.walks(23)]
    behavior = evaluation.fit_behavior(episodes, Frequencies(), folds=5)
    report = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, behavior=behavior, estimators=["wis", "is"])
    assert report["a"]["wis"].verdict != "reliable"
    assert any("estimated" in note for note in report.notes)
    others = np.concatenate([e.actions for k, e in enumerate(episodes) if k % 5 != 3])
    taken = episodes[3].actions
    expected = np.log([(others == a).mean() for a in taken])
    from cervello.evaluation.logged import checked

    assert behavior.log_prob(checked(episodes[3], 3)) == pytest.approx(expected)


def test_actions_that_a_fold_never_saw_are_floored_and_counted() -> None:
    episodes = [replace(e, log_prob=None, actions=np.full(len(e), 2 * (i == 2))) for i, e in enumerate(logs.walks(10))]
    behavior = evaluation.fit_behavior(episodes, Frequencies(), folds=5, floor=0.01)
    assert behavior.n_floored == len(episodes[2])


def test_fitted_propensities_are_good_for_their_own_data_only() -> None:
    behavior = evaluation.fit_behavior(logs.walks(10), Frequencies())
    with pytest.raises(InputError, match="fitted on"):
        evaluation.evaluate(logs.walks(12), {"a": policy()}, head=HEAD, behavior=behavior)
    with pytest.raises(InputError, match="fitted on"):
        evaluation.evaluate(logs.walks(9), {"a": policy()}, head=HEAD, behavior=behavior)
    with pytest.raises(InputError, match="folds"):
        evaluation.fit_behavior(logs.walks(3), Frequencies())
    with pytest.raises(ConfigurationError, match=r"fit\(\)"):
        evaluation.fit_behavior(logs.walks(10), object())


def test_logistic_regression_recovers_the_behaviour() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    episodes = logs.walks(400, scale=1.0)
    behavior = evaluation.fit_behavior(episodes, linear_model.LogisticRegression(max_iter=500))
    fitted = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, behavior=behavior, estimators=["wis"])["a"]["wis"]
    logged = evaluation.evaluate(episodes, {"a": policy()}, head=HEAD, estimators=["wis"])["a"]["wis"]
    assert fitted.value == pytest.approx(logged.value, abs=0.1)
    assert fitted.verdict == "weak"


def test_calibrated_classifiers_are_fitted_to_the_other_folds_and_say_how_often_actions_are_taken() -> None:
    calibration, naive_bayes = pytest.importorskip("sklearn.calibration"), pytest.importorskip("sklearn.naive_bayes")
    episodes = [replace(e, log_prob=None) for e in logs.walks(300, scale=1.0)]
    classifier = calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), cv=3)
    behavior = evaluation.fit_behavior(episodes, classifier, folds=4)
    assert not hasattr(classifier, "classes_")  # a copy was fitted
    from cervello.evaluation.logged import checked

    odds, taken = [], []
    for fold in range(4):
        train = [e for i, e in enumerate(episodes) if i % 4 != fold]
        model = calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), cv=3)
        model.fit(np.concatenate([e.observations[:-1] for e in train]).astype(np.float64), np.concatenate([e.actions for e in train]))
        for i in range(fold, 300, 4):
            expected = model.predict_proba(episodes[i].observations[:-1].astype(np.float64))
            found = behavior.every_log_prob(checked(episodes[i], i))
            np.testing.assert_allclose(np.exp(found), np.maximum(expected, 1e-3), rtol=1e-9)
            np.testing.assert_array_equal(behavior.log_prob(checked(episodes[i], i)), found[np.arange(len(found)), episodes[i].actions])
            odds.append(np.exp(found))
            taken.append(episodes[i].actions)
    p, hits = np.concatenate(odds).ravel(), np.eye(3)[np.concatenate(taken)].ravel()
    for low in (0.0, 0.2, 0.4, 0.6):
        some = (p >= low) & (p < low + 0.2)
        assert abs(p[some].mean() - hits[some].mean()) < 0.06


def test_trees_of_scikit_learn_fit_value_functions() -> None:
    ensemble = pytest.importorskip("sklearn.tree")
    report = evaluation.evaluate(logs.walks(60), {"a": policy()}, head=HEAD, estimators=["fqe", "dr"], gamma=0.9, horizon=4,
                                 q=ensemble.DecisionTreeRegressor(max_depth=3, random_state=0))
    assert report["a"]["dr"].value == pytest.approx(evaluation.evaluate(logs.walks(60), {"a": policy()}, head=HEAD, gamma=0.9, horizon=4,
                                                                        estimators=["pdis"])["a"]["pdis"].value, abs=0.5)


def test_the_data_frame_has_a_row_per_estimate() -> None:
    pytest.importorskip("pandas")
    report = evaluation.evaluate(logs.walks(20), {"a": policy(), "b": policy(0.3)}, head=HEAD, estimators=["wis", "is"])
    frame = report.to_dataframe()
    assert list(zip(frame.policy, frame.estimator, strict=True)) == [("a", "wis"), ("a", "is"), ("b", "wis"), ("b", "is")]
    assert frame.value[0] == report["a"]["wis"].value
