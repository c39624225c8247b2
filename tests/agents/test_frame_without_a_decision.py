"""What a frame says about an agent that it has no decision of."""

from __future__ import annotations

import numpy as np
import pytest
import stacks

import cervello

ROWS = {"obs": np.zeros((1, 6), np.float32)}


@pytest.fixture
def frame() -> cervello.Frame:
    runtime = cervello.Runtime()
    runtime.add("hunter", cervello.Policy(stacks.model("feed_forward")))
    runtime.begin_agents("hunter", [1, 2])
    runtime.push_batch("hunter", [2], ROWS)
    return runtime.run()


def test_an_agent_that_was_not_pushed_is_named(frame: cervello.Frame) -> None:
    with pytest.raises(cervello.AgentError, match=r"^agent 1: .*no decision in this frame \(not pushed, or skipped\)$") as raised:
        frame["hunter"][1]
    assert isinstance(raised.value, KeyError)


def test_it_is_absent_as_from_any_dict(frame: cervello.Frame) -> None:
    assert 1 not in frame["hunter"]
    assert frame["hunter"].get(1) is None
    assert frame["hunter"].get(1, 5) == 5
    assert list(frame["hunter"]) == [2]
    assert frame["hunter"][2].keys() == {"action"}
