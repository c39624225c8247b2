"""Observations of every kind of space become the columns that a policy takes, or loading says why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from cervello import ConfigurationError, InputError
from cervello.spaces import Spaces
from cervello.spaces.observations import ObservationEncoder
from cervello.spec import Specs, TensorSpec

ACTIONS = spaces.Discrete(3)


def spec(name: str, *shape: int, dtype: Any = np.float32, **options: Any) -> TensorSpec:
    return TensorSpec(name, shape, np.dtype(dtype), **options)


def encoder(space: Any, *inputs: TensorSpec, **options: Any) -> ObservationEncoder:
    return ObservationEncoder("policy 'p'", Spaces((space, ACTIONS), **options), Specs(inputs))


def test_a_plain_box_feeds_the_only_input_whatever_it_is_called() -> None:
    found = encoder(spaces.Box(-1, 1, (4,)), spec("x.1", 4))
    columns, n_rows, single = found.encode(np.arange(4.0))
    assert (n_rows, single, columns["x.1"].shape) == (1, True, (1, 4))
    columns, n_rows, single = found.encode(np.zeros((3, 4)))
    assert (n_rows, single, columns["x.1"].shape) == (3, False, (3, 4))


def test_one_row_of_a_batch_is_no_single_observation() -> None:
    assert encoder(spaces.Box(-1, 1, (4,)), spec("obs", 4)).encode(np.zeros((1, 4)))[1:] == (1, False)


def test_a_discrete_is_an_index_less_its_start_or_a_one_hot_vector() -> None:
    space = spaces.Discrete(4, start=2)
    column = encoder(space, spec("obs", dtype=np.int64)).encode(np.array([2, 5]))[0]["obs"]
    assert column.tolist() == [0, 3]
    assert column.dtype == np.int64
    assert encoder(space, spec("obs", 1, dtype=np.int32)).encode(5)[0]["obs"].tolist() == [[3]]
    assert encoder(space, spec("obs", 4)).encode(np.array([2, 5]))[0]["obs"].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    with pytest.raises(InputError, match=r"expected values from \[2\] below \[6\], got 1"):
        encoder(space, spec("obs", 4)).encode(1)
    with pytest.raises(InputError, match="expected integers, got float64"):
        encoder(space, spec("obs", 4)).encode(2.0)


def test_a_multi_discrete_is_indices_or_one_hot_vectors_side_by_side() -> None:
    space = spaces.MultiDiscrete([2, 3])
    assert encoder(space, spec("obs", 2, dtype=np.int64)).encode(np.array([[1, 2]]))[0]["obs"].tolist() == [[1, 2]]
    assert encoder(space, spec("obs", 5)).encode(np.array([1, 2]))[0]["obs"].tolist() == [[0, 1, 0, 0, 1]]


@pytest.mark.parametrize("space", [spaces.Discrete(4, start=2), spaces.MultiDiscrete([2, 3])])
def test_no_rows_at_all_are_no_rows_of_indices_and_of_one_hot_vectors(space: Any) -> None:
    """As when all rows of a vector environment only reset themselves."""
    none = np.zeros((0, *space.shape), np.int64)
    size, width = (1, 4) if isinstance(space, spaces.Discrete) else (2, 5)
    assert encoder(space, spec("x", size, dtype=np.int64)).encode(none)[0]["x"].shape == (0, size)
    assert encoder(space, spec("x", width)).encode(none)[0]["x"].shape == (0, width)


def test_a_multi_binary_goes_as_it_is() -> None:
    assert encoder(spaces.MultiBinary(3), spec("obs", 3)).encode(np.array([1, 0, 1], np.int8))[0]["obs"].tolist() == [[1, 0, 1]]


def test_a_dict_feeds_inputs_of_its_keys_and_leaves_text_out() -> None:
    space = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "goal": spaces.Discrete(3), "hint": spaces.Text(8)})
    found = encoder(space, spec("a", 2), spec("goal", 3))
    columns, n_rows, single = found.encode({"a": np.zeros(2), "goal": 1, "hint": "x"})
    assert (set(columns), n_rows, single) == ({"a", "goal"}, 1, True)
    assert columns["goal"].tolist() == [[0, 1, 0]]


def test_a_tuple_is_told_by_position() -> None:
    space = spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.Discrete(3)])
    found = encoder(space, spec("obs", 2), spec("goal", 3), keys={0: "obs", 1: "goal"})
    assert found.encode((np.ones(2), 2))[0]["goal"].tolist() == [[0, 0, 1]]
    with pytest.raises(ConfigurationError, match=r"got none for 0; say which with keys=\{0: 'obs'\}"):
        encoder(space, spec("obs", 2), spec("goal", 3))


def test_the_mask_of_a_game_is_no_observation_where_no_input_takes_it() -> None:
    space = spaces.Dict({"observation": spaces.Box(-1, 1, (2,)), "action_mask": spaces.Box(0, 1, (3,), np.int8)})
    found = encoder(space, spec("obs", 2), keys={"observation": "obs"})
    assert found.masked
    assert found.mask({"observation": np.zeros(2), "action_mask": np.array([0, 1, 1])}).tolist() == [0, 1, 1]
    taken = ObservationEncoder("policy 'p'", Spaces((space, ACTIONS), keys={"observation": "obs", "action_mask": "legal"}),
                               Specs([spec("obs", 2)]), "legal")
    assert taken.mask({"observation": np.zeros(2), "action_mask": np.array([0, 1, 1])}).tolist() == [0, 1, 1]


def test_separate_observations_are_stacked() -> None:
    space = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "goal": spaces.Discrete(3)})
    rows = [{"a": np.full(2, i, np.float32), "goal": i} for i in range(3)]
    columns = encoder(space, spec("a", 2), spec("goal", 3)).encode_rows(rows)
    assert columns["a"].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert columns["goal"].tolist() == np.eye(3).tolist()


def test_separate_observations_of_any_layout_and_type_are_the_same_rows() -> None:
    wide = np.random.default_rng(0).standard_normal((6, 4, 9)).astype(np.float32)[:, ::2, 1:7:2]
    rows: list[Any] = list(wide.copy())
    made = encoder(spaces.Box(-9, 9, (2, 3)), spec("a", 2, 3))
    expected = wide.tobytes()
    assert made.encode_rows(rows)["a"].tobytes() == expected
    own = type("Array", (np.ndarray,), {})
    for other in (wide[2], np.asfortranarray(wide[2]), wide[2].astype(">f4"), wide[2].tolist(), wide[2].view(own)):
        for place in (0, 5):
            found = made.encode_rows([*rows[:place], other, *rows[place + 1:]])["a"].astype(np.float32)
            assert found[place].tobytes() == wide[2].tobytes()
            assert np.delete(found, place, 0).tobytes() == np.delete(wide, place, 0).tobytes()
    doubles = made.encode_rows([*rows[:5], wide[5].astype(np.float64) / 3])["a"]
    assert doubles.dtype == np.float64  # nothing is rounded before the policy casts it
    with pytest.raises(InputError, match=r"expected \(2, 3\) for every agent, got \[\(3, 2\)\]"):
        made.encode_rows([*rows, rows[0].T])


@pytest.mark.parametrize(("space", "inputs", "options", "message"), [
    (spaces.Dict({"observation": spaces.Box(-1, 1, (2,))}), [spec("obs", 2)], {}, r"none for 'observation'; .*\{'observation': 'obs'\}"),
    (spaces.Box(-1, 1, (2,)), [spec("a", 2), spec("b", 2)], {}, r"one input for Box.*got \['a', 'b'\].*keys=\{None: 'a'\}"),
    (spaces.Box(-1, 1, (2,)), [spec("a", 2), spec("b", 2)], {"keys": {None: "a"}}, r"none for \['b'\]"),
    (spaces.Box(-1, 1, (3,)), [spec("a", 2)], {}, r"expected an input of \(3,\)"),
    (spaces.Box(-1, 1, (3,)), [spec("a", 3, dtype=np.int64)], {}, "expected an input that float32 can be cast to"),
    (spaces.Box(-1, 1, (3,)), [spec("a", 3)], {"keys": {"x": "a"}}, r"expected keys among \[None\], got 'x'"),
    (spaces.Box(-1, 1, (3,)), [spec("a", 3)], {"keys": {None: "x"}}, r"expected an input among \['a'\], got 'x'"),
    (spaces.Dict({"a": spaces.Box(-1, 1, (3,)), "b": spaces.Box(-1, 1, (3,))}), [spec("a", 3)], {"keys": {"b": "a"}}, "two for 'a'"),
    (spaces.Sequence(spaces.Box(-1, 1, (3,))), [spec("a", 3)], {}, "expected one of Box, Discrete, MultiDiscrete, MultiBinary"),
    (spaces.Discrete(4), [spec("a", 3)], {}, "a float one of 4 for one-hot"),
    (spaces.Box(-1, 1, (3,)), [spec("a", 3, batch_axis=None)], {}, "expected an input with the batch on axis 0"),
])
def test_what_does_not_fit_is_refused_with_the_remedy(space: Any, inputs: list[TensorSpec], options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        encoder(space, *inputs, **options)


def test_observations_of_another_shape_name_the_key() -> None:
    found = encoder(spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Box(-1, 1, (2,))}), spec("a", 2), spec("b", 2))
    with pytest.raises(InputError, match=r"observation 'b': expected \(2,\) or \(1, 2\), got \(3,\)"):
        found.encode({"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(InputError, match=r"observation with \['a', 'b'\], got \['a'\]"):
        found.encode({"a": np.zeros(2)})


@pytest.mark.parametrize("options", [{"box": "squash"}, {"keys": [1]}, {"keys": {"a": 1}}, {"action": ""}, {"greedy": 2}, {"greedy": True}])
def test_options_that_make_no_sense_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Spaces((spaces.Discrete(2), ACTIONS), **options)


@pytest.mark.parametrize("env", [None, 3, (1, 2), (spaces.Discrete(2), None), object()])
def test_what_has_no_spaces_is_refused(env: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"expected an? (observation|action) space of Gymnasium"):
        Spaces(env)
