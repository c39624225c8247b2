"""Several steps at once, beside gymnasium's and Stable-Baselines3's way of stacking."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
import pytest
import stacks
from gymnasium.wrappers import FrameStackObservation
from small_models import FLOAT, graph, node

import cervello
from cervello import FrameStack, Image, Policy, WrapperError
from cervello.inferers.testing import same_bits
from cervello.wrappers.testing.fakes import FailingWrapper


def shown(shape: tuple[int, ...], *wrappers: Any) -> Policy:
    """A policy whose action is what the model is shown."""
    model = graph([node("Identity", "obs", "action")], {"obs": (FLOAT, ("N", *shape))}, {"action": (FLOAT, ("N", *shape))}, {})
    return cervello.load(model, wrappers=wrappers)


def frames(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal((6, *shape)).astype(np.float32)


class Showing(gymnasium.Env[Any, Any]):
    """An environment that shows given frames."""

    def __init__(self, given: Any):
        self.given, self.step_t = given, 0
        self.observation_space = gymnasium.spaces.Box(-9, 9, given.shape[1:], np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, **options: Any) -> Any:
        self.step_t = 0
        return self.given[0], {}

    def step(self, action: Any) -> Any:
        self.step_t += 1
        return self.given[self.step_t], 0.0, False, False, {}


def test_frames_stack_as_gymnasium_stacks_them() -> None:
    given = frames(3, 2)
    env = FrameStackObservation(Showing(given), 4)
    policy = shown((4, 3, 2), FrameStack("obs", 4, drop_axis=True))
    assert str(policy.inputs["obs"]) == "obs: (N, 3, 2) float32"
    policy.begin_agent(1)
    expected = env.reset()[0]
    for step, frame in enumerate(given):
        if step:
            expected = env.step(0)[0]
        assert same_bits(policy.infer_single(1, {"obs": frame})["action"], np.asarray(expected))


def test_frames_after_zeros_stack_as_stable_baselines3_stacks_them() -> None:
    given = frames(2, 3)  # VecFrameStack: zeros at reset, the newest channels last
    policy = shown((6, 3), FrameStack("obs", 3, "zeros"))
    assert str(policy.inputs["obs"]) == "obs: (N, 2, 3) float32"
    policy.begin_agent(1)
    stacked = np.zeros((6, 3), np.float32)
    for frame in given:
        stacked = np.concatenate([stacked[2:], frame])
        assert same_bits(policy.infer_single(1, {"obs": frame})["action"], stacked)


def test_a_single_frame_keeps_its_axis_unless_it_is_dropped() -> None:
    assert shown((4, 5), FrameStack("obs", 4)).inputs["obs"].shape == (1, 5)
    assert shown((4, 5), FrameStack("obs", 4, drop_axis=True)).inputs["obs"].shape == (5,)
    assert shown((4,), FrameStack("obs", 4, drop_axis=True)).inputs["obs"].shape == ()
    assert shown((8,), FrameStack("obs", 4)).inputs["obs"].shape == (2,)


def test_agents_that_begin_at_different_ticks_have_frames_of_their_own() -> None:
    policy = shown((3,), FrameStack("obs", 3, drop_axis=True))
    policy.begin_agent(1)
    policy.infer({1: {"obs": 1.0}})
    policy.begin_agent(2)
    found = policy.infer({1: {"obs": 2.0}, 2: {"obs": 5.0}})
    assert (found[1]["action"].tolist(), found[2]["action"].tolist()) == ([1, 1, 2], [5, 5, 5])
    policy.restart_agents([1])
    found = policy.infer({1: {"obs": 7.0}, 2: {"obs": 6.0}})
    assert (found[1]["action"].tolist(), found[2]["action"].tolist()) == ([7, 7, 7], [5, 5, 6])


def test_a_failed_batch_is_no_frame() -> None:
    failing = FailingWrapper()
    policy = shown((3,), failing, FrameStack("obs", 3, drop_axis=True))
    policy.begin_agent(1)
    policy.infer({1: {"obs": 1.0}})
    failing.fail = "outward"
    with pytest.raises(Exception, match=r"^$"):
        policy.infer({1: {"obs": 9.0}})
    failing.fail = ""
    assert policy.infer({1: {"obs": 2.0}})[1]["action"].tolist() == [1, 1, 2]


def test_frames_of_bytes_come_by_way_of_image() -> None:
    policy = Policy(stacks.model("picture"), wrappers=[Image("image"), FrameStack("image", 4)])
    assert str(policy.inputs["image"]) == "image: (N, 6, 6, 1) uint8"
    policy.begin_agent(1)
    seen = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 1), np.uint8)
    for picture in seen:
        found = policy.infer_single(1, {"image": picture})
    expected = policy.model.run({"image": seen.transpose(3, 0, 1, 2).astype(np.float32) * np.float32(1 / 255)})
    assert same_bits(found["action"], expected["action"][0])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: FrameStack("obs", 1), "FrameStack('obs'): expected at least 2 frames, got 1"),
    (lambda: FrameStack("obs", True), "expected at least 2 frames, got True"),
    (lambda: FrameStack("obs", 2, "last"), "expected fill='first' or 'zeros', got 'last'"),
    (lambda: shown((5,), FrameStack("obs", 2)), "whose rows begin with a multiple of 2, got obs: (N, 5) float32"),
    (lambda: shown((), FrameStack("obs", 2)), "whose rows begin with a multiple of 2, got obs: (N) float32"),
    (lambda: shown((4,), FrameStack("obs", 2, drop_axis=True)), "expected rows (2, …) to drop an axis, got obs: (N, 4) float32"),
    (lambda: shown((4,), FrameStack("image", 2)), "expected an input among ['obs'], got 'image'")])
def test_stacks_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(WrapperError, match=re.escape(message)):
        make()


@pytest.mark.parametrize("fill", ["first", "zeros"])
@pytest.mark.parametrize("depth", [1, 2])
def test_frames_may_lie_along_any_axis(fill: str, depth: int) -> None:
    given = frames(3, 5, depth)
    along_last = shown((3, 5, 4 * depth), FrameStack("obs", 4, fill, axis=-1))
    along_first = shown((4 * depth, 3, 5), FrameStack("obs", 4, fill))
    assert along_last.inputs["obs"].shape == (3, 5, depth)
    for policy in (along_last, along_first):
        policy.begin_agents([1, 2])
    for frame in given:
        last = along_last.infer({1: frame, 2: frame * 2})
        first = along_first.infer({i: np.moveaxis(frame * i, -1, 0) for i in (1, 2)})
        for agent in (1, 2):
            assert same_bits(np.moveaxis(last[agent]["action"], -1, 0), first[agent]["action"])


def test_an_axis_may_be_dropped_anywhere() -> None:
    policy = shown((3, 4), FrameStack("obs", 4, drop_axis=True, axis=1))
    policy.begin_agent(1)
    given = frames(3)
    for frame in given:
        found = policy.infer_single(1, frame)["action"]
    assert same_bits(found, np.ascontiguousarray(given[-4:].T))


def test_a_picture_whose_frames_may_lie_along_two_axes_is_refused() -> None:
    with pytest.raises(WrapperError, match=r"FrameStack\('obs', 4\): expected axis=, got none for .*; give axis=0 or axis=-1"):
        shown((84, 84, 4), FrameStack("obs", 4))
    assert shown((84, 84, 4), FrameStack("obs", 4, axis=-1)).inputs["obs"].shape == (84, 84, 1)
    for axis in (3, -4, 1):
        with pytest.raises(WrapperError, match=f"on axis {axis}, a multiple of 5"):
            shown((5, 84, 4), FrameStack("obs", 5, axis=axis))
    with pytest.raises(WrapperError, match="expected axis as a whole number or None, got 'last'"):
        FrameStack("obs", 4, axis="last")  # type: ignore[arg-type]


def test_a_model_of_pictures_with_channels_at_the_end_is_refused_by_image() -> None:
    with pytest.raises(WrapperError, match="whose channels seem to be the last axis"):
        shown((84, 84, 3), Image("obs"))
    assert shown((3, 84, 84), Image("obs")).inputs["obs"].shape == (84, 84, 3)
