"""What benchmarks/evaluation.py compares before it prints a ratio."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads

pytest.importorskip("onnxruntime")
FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    spec = importlib.util.spec_from_file_location("benchmark_of_evaluation", FOLDER / "evaluation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_estimates_are_compared_also_where_the_verdict_withholds_them_and_never_passed_over(benchmark: Any) -> None:
    policies = {name: cervello.load(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3)))
                for name, scale in (("near", 0.3), ("far", 60.0))}
    options: dict[str, Any] = {"head": heads.Categorical("logits"), "estimators": ["wis", "pdis"]}
    report = evaluation.evaluate(logs.walks(30), policies, **options)
    assert report["far"]["wis"].value is None
    right = {name: {key: each.moments.value for key, each in report[name].items()} for name in report}
    benchmark.check(report, right)
    for name in report:
        with pytest.raises(AssertionError):
            benchmark.check(report, {name: {**right[name], "wis": right[name]["wis"] + 0.01}})
    never = cervello.load(logs.logits_policy(np.zeros((1, 2)), [0.0, -np.inf]))
    nothing = evaluation.evaluate([e for e in logs.bandit(50) if e.actions[0] == 1], {"never": never}, **options)
    with pytest.raises(AssertionError):
        benchmark.check(nothing, {"never": {"wis": 0.0}})


def test_a_small_run_agrees_with_loops_over_episodes(benchmark: Any) -> None:
    logged, files = list(benchmark.episodes(4000)), [benchmark.policy(seed) for seed in range(2)]
    report = evaluation.evaluate(logged, {str(k): cervello.load(file) for k, file in enumerate(files)}, head=heads.Categorical("logits"),
                                 estimators=["is", "pdis", "wis", "cwpdis"])
    benchmark.check(report, {str(k): each for k, each in benchmark.peer(logged, files).items()})
