"""Masks in every form that games use, and outputs of every kind as actions of a space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from cervello import ConfigurationError, InputError
from cervello.spaces import Spaces
from cervello.spaces.actions import ActionDecoder
from cervello.spaces.masks import MaskLayout
from cervello.spec import Specs, TensorSpec

OBSERVATIONS = spaces.Box(-1, 1, (2,))


def decoder(space: Any, *shape: int, dtype: Any = np.float32, name: str = "out", drawn: str | None = None, **options: Any) -> ActionDecoder:
    outputs = Specs([TensorSpec(name, shape, np.dtype(dtype))])
    return ActionDecoder("policy 'p'", Spaces((OBSERVATIONS, space), **options), outputs, drawn)


def acted(found: ActionDecoder, column: Any) -> Any:
    return found.executed(found.sampled({"out": np.asarray(column)}))


def test_masks_of_a_discrete() -> None:
    layout = MaskLayout("policy 'p'", spaces.Discrete(3, start=5))
    for mask in ([[True, False, True]], [1, 0, 1], np.array([[1.0, 0.0, 1.0]]), np.array([[3, 0, 256]])):
        assert layout.flat(mask, 1, single=True).tolist() == [[1, 0, 1]]
    assert layout.empty(np.array([[0, 0, 0], [0, 1, 0]])).tolist() == [True, False]
    for mask, message in (([1, 1], "expected .1, 3., got .2,."), (["a", "b", "c"], "expected a mask of bools or numbers"),
                          ([[1, 0, 1]] * 2, "got .2, 3."), ([0.5, 0.0, 1.0], "floats 0 and 1, got other floats")):
        with pytest.raises(InputError, match=message):
            layout.flat(mask, 1)


def test_masks_of_a_multi_discrete_come_side_by_side_or_as_a_tuple() -> None:
    layout = MaskLayout("policy 'p'", spaces.MultiDiscrete([2, 3]))
    for mask in ([1, 0, 0, 1, 1], (np.array([1, 0]), np.array([0, 1, 1])), (np.array([[1, 0]]), np.array([[0, 1, 1]]))):
        assert layout.flat(mask, 1).tolist() == [[1, 0, 0, 1, 1]]
    mask = np.array([[0, 0, 1, 0, 0], [1, 0, 0, 1, 0]], np.int8)
    assert layout.empty(mask).tolist() == [True, False]
    assert layout.with_empty_allowed(mask).tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 1, 0]]
    with pytest.raises(InputError, match=r"expected a mask of \[2, 3\] elements for each choice, got \[3, 2\]"):
        layout.flat((np.ones(3), np.ones(2)), 1)


@pytest.mark.parametrize(("mask", "message"), [
    (([1, [0]], [1, 1, 1]), "policy 'p', mask: expected an array, got something ragged"),
    (([[1, 0]], [[1, 1, 1]] * 2), r"policy 'p', mask: expected as many rows for each choice, got \[\(1, 2\), \(2, 3\)\]"),
    (([1, 0], [[1, 1, 1]]), r"policy 'p', mask: expected as many rows for each choice, got \[\(2,\), \(1, 3\)\]")])
def test_a_tuple_of_masks_that_fit_no_batch_is_refused(mask: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MaskLayout("policy 'p'", spaces.MultiDiscrete([2, 3])).flat(mask, 1, single=True)


def test_a_box_has_no_masks() -> None:
    with pytest.raises(InputError, match="masks are for Discrete and MultiDiscrete"):
        MaskLayout("policy 'p'", OBSERVATIONS).flat([1, 1], 1)


def test_a_discrete_gets_its_start_back() -> None:
    found = decoder(spaces.Discrete(3, start=5), dtype=np.int32)
    actions = acted(found, np.array([0, 2], np.int32))
    assert (actions.tolist(), actions.dtype) == ([5, 7], np.int64)
    assert acted(decoder(spaces.Discrete(3), 1, dtype=np.int64), np.array([[2]])).tolist() == [2]
    with pytest.raises(InputError, match="got 8 in row 1; the file was trained for another game"):
        acted(found, np.array([0, 3]))


def test_a_box_option_is_refused_where_actions_are_no_box() -> None:
    for space in (spaces.Discrete(2), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)):
        with pytest.raises(ConfigurationError, match=r"spaces, box: expected none for .*, which is no Box, got 'unscale'; leave it out"):
            Spaces((OBSERVATIONS, space), box="unscale")


@pytest.mark.parametrize("box", ["cut", "", 1, np.ones(2)], ids=repr)
def test_an_unknown_box_option_is_refused(box: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^spaces, box: expected one of \['clip', 'unscale'\] or None, got "):
        Spaces((OBSERVATIONS, spaces.Box(-1, 1, (2,))), box=box)


def test_a_box_is_clipped_or_unscaled_as_the_trainer_did() -> None:
    space = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32))
    raw = np.array([[-1.0, 3.0], [0.5, -1.0]], np.float32)
    assert acted(decoder(space, 2, box="clip"), raw).tolist() == [[-1, 1], [0.5, 0]]
    assert acted(decoder(space, 2, box="unscale"), np.array([[-1, 1], [0, 0]], np.float32)).tolist() == [[-2, 1], [0, 0.5]]
    with pytest.raises(ConfigurationError, match=r"box='clip'\) for a policy of PPO or A2C, box='unscale' for SAC"):
        decoder(space, 2)
    with pytest.raises(ConfigurationError, match="expected finite bounds to unscale"):
        decoder(spaces.Box(-np.inf, np.inf, (2,)), 2, box="unscale")
    assert acted(decoder(spaces.Box(-np.inf, np.inf, (2,)), 2), raw).tolist() == raw.tolist()


def test_a_multi_binary_of_the_model_is_looked_at() -> None:
    found = decoder(spaces.MultiBinary(2), 2, dtype=np.int64)
    assert acted(found, np.array([[0, 1]])).dtype == np.int8
    with pytest.raises(InputError, match="expected an action of MultiBinary"):
        acted(found, np.array([[0, 2]]))


@pytest.mark.parametrize(("space", "shape", "dtype", "message"), [
    (spaces.Discrete(3), (3,), np.float32, r"if these are logits, say Spaces\(env, action='out'\)"),
    (spaces.Discrete(3), (4,), np.float32, r"expected 1 integer\(s\) .*or 3 logits"),
    (spaces.Discrete(3), (), np.float32, r"or 3 logits"),
    (spaces.Box(-1, 1, (2,)), (3,), np.float32, "expected 2 numbers"),
    (spaces.Box(0, 255, (2,), np.uint8), (2,), np.float32, "never silently becomes an integer"),
    (spaces.Tuple([spaces.Discrete(2)]), (), np.int64, "expected actions of Discrete"),
])
def test_outputs_that_are_no_action_are_refused(space: Any, shape: tuple[int, ...], dtype: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        decoder(space, *shape, dtype=dtype)


def test_position_is_never_a_reason() -> None:
    outputs = Specs([TensorSpec(name, (), np.dtype(np.int64)) for name in ("view", "squeeze")])
    with pytest.raises(ConfigurationError, match=r"got \['view', 'squeeze'\]; say which one is the action"):
        ActionDecoder("policy 'p'", Spaces((OBSERVATIONS, spaces.Discrete(2))), outputs, None)
    assert ActionDecoder("policy 'p'", Spaces((OBSERVATIONS, spaces.Discrete(2)), action="view"), outputs, None).output == "view"


@pytest.mark.parametrize(("found", "column", "unchanged"), [
    (decoder(spaces.Discrete(3), dtype=np.int64, drawn="out"), np.array([2, 0]), True),
    (decoder(spaces.MultiDiscrete([3, 4]), 2, dtype=np.int64, drawn="out"), np.array([[2, 0], [1, 3]]), True),
    (decoder(spaces.MultiDiscrete([[3, 4]]), 2, dtype=np.int64, drawn="out"), np.array([[2, 0], [1, 3]]), False),
    (decoder(spaces.Discrete(3, start=1), dtype=np.int64, drawn="out"), np.array([2, 0]), False),
    (decoder(spaces.Discrete(3), dtype=np.int32, drawn="out"), np.array([2, 0], np.int32), False),
    (decoder(spaces.Discrete(3), dtype=np.int64), np.array([2, 0]), False),
    (decoder(spaces.Box(-1, 1, (2,)), 2, drawn="out", box="clip"), np.array([[2, 0], [0, -3]], np.float32), False)])
def test_actions_that_are_unchanged_are_those_that_decoding_would_return(found: ActionDecoder, column: Any, unchanged: bool) -> None:
    assert found.is_unchanged == unchanged
    if unchanged:
        assert found.executed(found.sampled({"out": column})) is column
