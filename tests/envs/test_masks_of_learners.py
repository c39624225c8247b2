"""The masks of a learner in a game of several agents: what all masks of its step allow."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from cervello import InputError
from cervello.envs.multiagent.masks import allowed_actions, masks_in

SPACE = gymnasium.spaces.MultiDiscrete([3, 2])


def test_masks_of_info_and_observation_both_count() -> None:
    masks = masks_in({"action_mask": np.array([1, 1, 0, 1, 1], np.int8)}, {"action_mask": np.array([0, 1, 1, 1, 0], np.int8)})
    found = allowed_actions("env", SPACE, masks)
    np.testing.assert_array_equal(found, np.array([False, True, False, True, False]), strict=True)


def test_a_choice_in_which_nothing_is_allowed_has_no_mask() -> None:
    found = allowed_actions("env", SPACE, [np.array([0, 0, 0, 0, 1], np.int8)])
    np.testing.assert_array_equal(found, np.array([True, True, True, False, True]), strict=True)


def test_without_masks_there_is_none() -> None:
    assert allowed_actions("env", SPACE, masks_in({}, np.zeros(3))) is None


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"^env, mask: expected \(1, 5\), got \(4,\)"):
        allowed_actions("env", SPACE, [np.ones(4, np.int8)])
