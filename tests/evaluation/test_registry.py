"""The table of estimators says what they do, and one entry of it is all that an estimator needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.errors import ConfigurationError
from cervello.evaluation.registry import INFOS, alternatives, names_where
from cervello.recording import Episode

ROOT = Path(__file__).resolve().parent.parent.parent
HEAD = heads.Categorical("logits")
_spec = importlib.util.spec_from_file_location("list_estimators", ROOT / "scripts" / "list_estimators.py")
assert _spec is not None
assert _spec.loader is not None
lister = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lister)


def candidate(scale: float = 0.4) -> cervello.Policy:
    return cervello.load(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3)))


def continuous() -> Iterator[Episode]:
    rng = np.random.default_rng(3)
    for i in range(40):
        obs, a = rng.normal(size=(3, 2)).astype(np.float32), rng.normal(size=(2, 1)).astype(np.float32)
        yield Episode(i, obs, a, rng.normal(size=2), np.array([False, True]), np.zeros(2, bool),
                      log_prob=(-0.5 * a.astype(np.float64) ** 2 - 0.5 * np.log(2 * np.pi))[:, 0])


def report_of(name: str, **more: Any) -> evaluation.Report:
    if name == "kis":
        file = cervello.load(logs.logits_policy(np.full((2, 1), 0.1), np.zeros(1), "mean"))
        return evaluation.evaluate(list(continuous()), {"a": file}, head=heads.Deterministic("mean"), estimators=[name], gamma=0.9, **more)
    return evaluation.evaluate(logs.walks(60), {"a": candidate()}, head=HEAD, estimators=[name], gamma=0.9, **more)


@pytest.mark.parametrize("name", evaluation.ESTIMATORS)
def test_an_estimator_has_the_kinds_of_intervals_of_the_table(name: str) -> None:
    info = INFOS[name]
    assert info.name == name
    assert (info.function is None) != (info.function_of_all is None)
    assert report_of(name, interval="student-t")["a"][name].kind == ("student-t" if "student-t" in info.intervals else "bca")
    bounds: dict[str, Any] = {"reward_range": (-20.0, 20.0), "max_weight": 1e6}
    for kind in ("hoeffding", "empirical-bernstein"):
        if kind in info.intervals:
            assert report_of(name, interval=kind, **bounds)["a"][name].kind == kind
        else:
            with pytest.raises(ConfigurationError, match=rf"expected estimators among \['is', 'pdis'\], got '{name}'"):
                report_of(name, interval=kind, **bounds)


@pytest.mark.parametrize("name", evaluation.ESTIMATORS)
def test_an_estimator_needs_propensities_where_the_table_says_so(name: str) -> None:
    episodes = [replace(each, log_prob=None) for each in logs.walks(20)]
    file, head = candidate(), HEAD
    if name == "kis":
        episodes = [replace(each, log_prob=None) for each in continuous()]
        file, head = cervello.load(logs.logits_policy(np.full((2, 1), 0.1), np.zeros(1), "mean")), heads.Deterministic("mean")
    job: dict[str, Any] = {"head": head, "estimators": [name], "gamma": 0.9}
    if "propensities" in INFOS[name].needs:
        with pytest.raises(cervello.errors.InputError, match="behavior_logp: expected the propensities"):
            evaluation.evaluate(episodes, {"a": file}, **job)
    else:
        report = evaluation.evaluate(episodes, {"a": file}, **job)
        assert report["a"][name].value is not None
        assert report["a"].diagnostics is None


def test_estimators_that_resample_a_fit_say_that_they_keep_it() -> None:
    for name in names_where(lambda info: "student-t" not in info.intervals):
        estimate = report_of(name)["a"][name]
        assert any("kept in resamples" in note for note in estimate.notes), name


def test_one_entry_of_the_table_makes_an_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(inputs: Any) -> Any:
        found = INFOS["pdis"].function(inputs)
        return replace(found, columns=found.columns * np.array([2.0, 1.0]), influence=2 * found.influence)

    monkeypatch.setitem(INFOS, "twice", replace(INFOS["pdis"], name="twice", function=twice, joint=False, continues=True))
    report = evaluation.evaluate(logs.walks(60, truncated=True), {"a": candidate()}, head=HEAD, estimators=["pdis", "twice"], gamma=0.9)
    assert report["a"]["twice"].value == pytest.approx(2 * report["a"]["pdis"].value, rel=1e-12)
    assert any("truncated before the horizon: twice estimate" in note for note in report.notes)
    with pytest.raises(ConfigurationError, match=r"among \['is', 'pdis', 'wis', 'cwpdis'\], got \['twice'\]"):
        evaluation.evaluate(logs.walks(6), {"a": candidate()}, head=HEAD, estimators=["twice"], weights="joint")


def test_the_page_has_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert lister.main(["--check"]) == 0
    monkeypatch.setitem(INFOS, "pdis", replace(INFOS["pdis"], summary="Another one."))
    assert lister.main(["--check"]) == 1
    assert "run python scripts/list_estimators.py" in capsys.readouterr().err


def test_alternatives_are_a_sentence() -> None:
    assert alternatives(["is"]) == "'is'"
    assert alternatives(["is", "pdis", "wis"]) == "'is', 'pdis' or 'wis'"
