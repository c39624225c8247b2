"""Episodes of other libraries, by the fields of Minari's EpisodeData alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cervello import recording
from cervello.errors import InputError


def data(**changes: Any) -> SimpleNamespace:
    fields = {"id": 5, "observations": np.zeros((3, 2)), "actions": np.zeros(2, np.int64), "rewards": [1, 2], "terminations": [0, 1],
              "truncations": [0, 0], "infos": {}}
    return SimpleNamespace(**{**fields, **changes})


def test_columns_of_infos_become_fields_without_the_resets_element() -> None:
    found = recording.as_episode(data(infos={
        "behavior_logp": np.float32([9, -1, -2]), "deterministic": [0, 0, 1], "pre_tanh": np.zeros((3, 2)), "k": [1, 2, 3],
        "final_obs_missing": [False, False, True], "agent": ["a"] * 3, "match": [4] * 3, "behavior_prob": [1, 0.4, 0.1]}))
    assert (found.id, found.rewards.dtype, found.terminations.tolist()) == (5, np.float64, [False, True])
    assert (found.log_prob.tolist(), found.log_prob.dtype, found.deterministic.tolist()) == ([-1, -2], np.float32, [False, True])
    assert (found.pre_tanh.shape, found.final_obs_missing, found.agent, found.match) == ((2, 2), True, "a", 4)
    assert set(found.infos) == {"k", "behavior_prob"}
    assert recording.as_episode(found) is found
    assert repr(found) == "Episode(5 of agent 'a', 2 steps, terminated, return 3)"


@pytest.mark.parametrize("given", [data(), recording.as_episode(data(), seed=3)], ids=["fields of Minari", "an Episode"])
def test_an_id_and_a_seed_that_are_given_replace_those_of_the_episode(given: Any) -> None:
    found = recording.as_episode(given, id=8, seed=4)
    assert (found.id, found.seed) == (8, 4)
    assert (recording.as_episode(given, id=0).id, recording.as_episode(given, seed=0).seed) == (0, 0)
    assert recording.as_episode(found) is recording.as_episode(found, id=8, seed=4) is found
    assert recording.same(recording.as_episode(found, id=9), found)


@pytest.mark.parametrize(("changes", "message"), [
    ({"observations": np.zeros((4, 2))}, r"episode 5, observations: expected T \+ 1 = 3 rows, got \[4\]"),
    ({"actions": np.zeros(3)}, r"episode 5, actions: expected 2 rows, got shape \(3,\)"),
    ({"rewards": []}, "episode 5, rewards: expected .T. with at least one step"),
    ({"infos": {"behavior_logp": np.zeros(2)}}, "infos 'behavior_logp': expected 3 rows, .*element 0 of infos belongs to the reset"),
    ({"terminations": [0]}, "terminations: expected 2 rows"),
])
def test_fields_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recording.as_episode(data(**changes))
    with pytest.raises(InputError, match=r"got object without \['observations'"):
        recording.as_episode(object())
