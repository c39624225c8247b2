"""The same evaluation on a local Ray of 2 CPUs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import offline_logs as logs
import pytest

import cervello
from cervello import evaluation, heads
from cervello.errors import ConfigurationError, InputError

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

HEAD = heads.Categorical("logits")
SUPPORT = str(Path(__file__).parent.parent / "support")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": SUPPORT}})
    yield
    ray.shutdown()


def candidates() -> dict[str, cervello.Policy]:
    return {str(scale): cervello.load(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3))) for scale in (0.3, 0.6)}


def test_the_report_is_that_of_one_process_whatever_the_number_of_workers() -> None:
    options = {"head": HEAD, "estimators": ["pdis", "wis", "dr", "mis", "agreement"], "gamma": 0.9}
    episodes = logs.walks(150, truncated=True)
    here = evaluation.evaluate(episodes, candidates(), **options)
    for workers in (1, 2):
        assert evaluation.evaluate(episodes, candidates(), ray=workers, **options).to_json() == here.to_json()


def test_errors_name_the_place_as_in_one_process() -> None:
    episodes = logs.walks(100)
    episodes[77].rewards[0] = np.nan
    with pytest.raises(InputError, match="episode 77, step 0, rewards"):
        evaluation.evaluate(episodes, candidates(), head=HEAD, ray=2)
    with pytest.raises(InputError, match="none"):
        evaluation.evaluate([], candidates(), head=HEAD, ray=1)
    with pytest.raises(ConfigurationError, match="workers"):
        evaluation.evaluate(episodes, candidates(), head=HEAD, ray=0)
