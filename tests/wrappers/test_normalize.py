"""Observations in units of their standard deviation, and statistics out of Stable-Baselines3's files.

The files in tests/data were made by scripts/export_vecnormalize.py.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from small_models import FLOAT, graph, node

import cervello
from cervello import FormatError, MissingFileError, Normalize, Policy, WrapperError
from cervello.inferers.testing import same_bits
from cervello.wrappers import vecnormalize
from cervello.wrappers.vecnormalize import read_statistics

DATA = Path(__file__).resolve().parents[1] / "data"
CASES = {"box": ("obs", (5,)), "dict-senses": ("senses", (3,)), "dict-map": ("map", (2, 4))}


def shown(key: str, shape: tuple[int, ...], *wrappers: Any) -> Policy:
    """A policy whose action is what the model is shown."""
    model = graph([node("Identity", key, "action")], {key: (FLOAT, ("N", *shape))}, {"action": (FLOAT, ("N", *shape))}, {})
    return cervello.load(model, wrappers=wrappers)


def normal(policy: Policy, given: Any) -> Any:
    ids = list(range(len(given)))
    policy.begin_agents(ids)
    found = policy.infer_batch(ids, {next(iter(policy.inputs)): given})["action"]
    policy.end_agents(ids)
    return found


@pytest.mark.parametrize("case", CASES)
def test_statistics_of_stable_baselines3_give_what_it_gives(case: str) -> None:
    key, shape = CASES[case]
    file = DATA / f"vecnormalize_{case.split('-')[0]}"
    with np.load(file.with_suffix(".npz")) as columns:
        given, expected = columns[f"given_{key}"], columns[f"normal_{key}"]
    policy = shown(key, shape, Normalize.from_vecnormalize(file.with_suffix(".pkl"), key))
    np.testing.assert_allclose(normal(policy, given), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.abs(normal(policy, 1000 * given)), np.full(given.shape, 2.5))  # clip_obs


def test_an_entry_of_a_dict_may_have_another_name_than_the_input() -> None:
    named = Normalize.from_vecnormalize(DATA / "vecnormalize_dict.pkl", "obs", observation="senses")
    assert shown("obs", (3,), named).inputs["obs"].shape == (3,)
    with pytest.raises(FormatError, match=re.escape("expected an observation among ['map', 'senses'], got 'obs'")):
        Normalize.from_vecnormalize(DATA / "vecnormalize_dict.pkl", "obs")


def test_rows_are_shifted_scaled_and_clipped() -> None:
    policy = shown("obs", (2,), Normalize("obs", [1.0, -2.0], [4.0, 0.25], clip=3, epsilon=0))
    given = np.float32([[1, -2], [3, -1], [-100, 100], [np.nan, np.inf]])
    assert same_bits(normal(policy, given), np.float32([[0, 0], [1, 2], [-3, 3], [np.nan, 3]]))
    free = shown("obs", (2,), Normalize("obs", 0, 1e-12, clip=None))
    assert normal(free, given[2:3])[0] == pytest.approx([-100 / 1.00005e-4, 100 / 1.00005e-4], rel=1e-4)


def test_a_large_mean_costs_no_digits() -> None:
    chance = np.random.default_rng(0)
    given = (10_000 + chance.standard_normal((100, 4))).astype(np.float32)
    found = normal(shown("obs", (4,), Normalize("obs", 10_000, 1)), given)
    np.testing.assert_allclose(found, given.astype(np.float64) - 10_000, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mean", [1e7 + 0.25, 1e7 / 3, -1e9 - 0.5, 0.1])
def test_a_mean_between_two_float32_stays_where_it_is(mean: float) -> None:
    chance = np.random.default_rng(0)
    given = (mean + max(1, abs(mean) * 1e-6) * chance.standard_normal((100, 4))).astype(np.float32)
    found = normal(shown("obs", (4,), Normalize("obs", mean, 1, clip=None, epsilon=0)), given)
    assert same_bits(found, (given.astype(np.float64) - mean).astype(np.float32))


def decided(way: str, policy: cervello.Policy, rows: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """What `normal` gives, for rows of any types, by one of the ways to ask."""
    ids = list(range(len(rows)))
    if way == "predict":
        bounds = spaces.Box(-np.inf, np.inf, rows[0].shape, np.float64)
        game = Policy(policy.model, wrappers=policy.wrappers, spaces=(bounds, spaces.Box(-np.inf, np.inf, rows[0].shape)))
        return np.stack([game.predict(row)[0] for row in rows])
    if way.startswith("runtime"):
        runtime = cervello.Runtime()
        runtime.add("it", policy)
        runtime.begin_agents("it", ids)
        if way == "runtime":
            for agent, row in enumerate(rows):
                runtime.push("it", agent, {"obs": row})
        else:
            runtime.push_batch("it", ids, {"obs": np.stack(rows)})
        done = runtime.run()["it"]
        return np.stack([done[agent]["action"] for agent in ids])
    policy.begin_agents(ids)
    if way == "infer":
        actions = policy.infer({agent: {"obs": row} for agent, row in enumerate(rows)})
        return np.stack([actions[agent]["action"] for agent in ids])
    if way == "infer_batch":
        return np.asarray(policy.infer_batch(ids, {"obs": np.stack(rows)})["action"])
    if way == "infer_single":
        return np.stack([policy.infer_single(agent, {"obs": row})["action"] for agent, row in enumerate(rows)])
    batch = cervello.Batcher(policy)
    for agent, row in enumerate(rows):
        batch.push(agent, {"obs": row})
    done = batch.execute()
    return np.stack([done[agent]["action"] for agent in ids])


WAYS = ("infer", "infer_batch", "infer_single", "batcher", "runtime", "runtime in columns", "predict")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.float64, ">f8", np.int64, np.uint32])
def test_the_difference_is_taken_from_what_was_given(way: str, dtype: Any) -> None:
    """1e7 + 0.3 is no float32, and 2²⁴ + 1 none either."""
    integers = np.dtype(dtype).kind in "iu"
    mean = float(2 ** 24) if integers else 1e7
    given = (mean + (3 if integers else 1) * np.random.default_rng(0).standard_normal((37, 4))).astype(dtype)
    policy = shown("obs", (4,), Normalize("obs", mean, 1, clip=None, epsilon=0))
    found = decided(way, policy, list(given))
    assert found.dtype == np.float32
    assert same_bits(found, (given.astype(np.float64) - mean).astype(np.float32))


@pytest.mark.parametrize("way", sorted({*WAYS} - {"infer_batch", "runtime in columns"}))
def test_types_of_other_agents_change_nothing(way: str) -> None:
    chance = np.random.default_rng(0)
    wide = 1e3 + chance.standard_normal((20, 4))
    rows = [row if i % 3 else row.astype(np.float32) for i, row in enumerate(wide)]
    policy = shown("obs", (4,), Normalize("obs", 1e3 + 0.125, np.linspace(0.5, 2, 4)))
    expected = np.concatenate([normal(policy, row[None]) for row in rows])
    assert same_bits(decided(way, shown("obs", (4,), Normalize("obs", 1e3 + 0.125, np.linspace(0.5, 2, 4))), rows), expected)


def test_wrappers_further_out_that_have_memory_or_authors_see_float32() -> None:
    class Seen(cervello.wrappers.Passive):
        reads_inputs = True

        def __init__(self) -> None:
            self.dtypes: set[Any] = set()

        def attach(self, spec: cervello.PolicySpec) -> tuple[cervello.Wrapper, cervello.PolicySpec]:
            return self, spec

        def inward(self, view: cervello.View) -> None:
            self.dtypes.add(view.inputs["obs"].dtype)

    seen = Seen()
    given = np.full((2, 4), 1e7 + 0.3)
    policy = shown("obs", (4,), seen, Normalize("obs", 1e7, 1))
    assert same_bits(normal(policy, given), np.zeros((2, 4), np.float32))
    assert seen.dtypes == {np.dtype(np.float32)}
    stacked = shown("obs", (4,), cervello.FrameStack("obs", 2), Normalize("obs", 1e7, 1))
    assert {spec.keeps_float64 for spec in stacked.inputs.values()} == {False}
    assert policy.inputs["obs"].dtype == np.float32


@pytest.mark.parametrize("mean", [0.25, 0.3, 1e7 + 0.1])
def test_a_row_is_the_same_in_every_batch_and_place(mean: float) -> None:
    policy = shown("obs", (7,), Normalize("obs", mean, np.linspace(0.1, 5, 7), clip=2))
    chance = np.random.default_rng(0)
    given = (3 * chance.standard_normal((17, 7))).astype(np.float32)
    given[3, 2], given[4, 1] = np.nan, -0.0
    whole = normal(policy, given)
    for n_rows in range(1, 18):
        rows = chance.permutation(17)[:n_rows]
        assert same_bits(normal(policy, given[rows]), whole[rows])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Normalize("obs", np.nan, 1), "expected finite means and variances from 0, with var + epsilon > 0, got mean nan, var 1.0"),
    (lambda: Normalize("obs", 0, -1), "var -1.0"), (lambda: Normalize("obs", 0, 0, epsilon=0), "var 0.0, epsilon 0"),
    (lambda: Normalize("obs", "a", 1), "expected mean, var, clip and epsilon as numbers, got others"),
    (lambda: Normalize("obs", 0, 1, clip=0), "expected a positive clip or None, got 0"),
    (lambda: shown("obs", (3,), Normalize("obs", [1, 2], 1)), "expected statistics that fit obs: (N, 3) float32, got mean (2,), var ()"),
    (lambda: shown("obs", (3,), Normalize("map", 0, 1)), "expected an input among ['obs'], got 'map'")])
def test_statistics_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(WrapperError, match=re.escape(message)):
        make()


# Files that mean harm, or nothing ------------------------------------------------------------------------------------------


class Named:
    """Pickles as a call of any global."""

    def __init__(self, call: Any, *arguments: Any):
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def _called(folder: Path) -> str:
    return str(folder / "was_run")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_nothing_in_a_file_is_run(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "statistics.pkl"
    path.write_bytes(pickle.dumps(Named(Path.touch, Path(_called(tmp_path))), protocol))
    with pytest.raises(FormatError, match=r"statistics '.*': expected objects of numpy, .* only, got [\w.]+; such a file could"):
        Normalize.from_vecnormalize(path, "obs")
    assert not Path(_called(tmp_path)).exists()


@pytest.mark.parametrize("name", ["os\nsystem", "builtins\neval", "subprocess\nPopen", "copyreg\n_reconstructor", "numpyish\nload"])
def test_what_has_no_business_there_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "statistics.pkl"
    path.write_bytes(f"c{name}\n(S'true'\ntR.".encode())
    with pytest.raises(FormatError, match=re.escape(f"got {name.replace(chr(10), '.')}; such a file could run any code")):
        read_statistics(path, "obs")


def test_functions_of_numpy_are_not_called_either(tmp_path: Path) -> None:
    path = tmp_path / "statistics.pkl"
    path.write_bytes(f"cnumpy\nsave\n(S'{_called(tmp_path)}'\nI1\ntR.".encode())
    with pytest.raises(FormatError, match=r"expected a VecNormalize, got numpy\.save; save it with VecNormalize\.save"):
        read_statistics(path, "obs")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_cut_or_none_at_all_is_refused(tmp_path: Path) -> None:
    whole = (DATA / "vecnormalize_box.pkl").read_bytes()
    path = tmp_path / "statistics.pkl"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="expected"):
            read_statistics(path, "obs")
    path.write_bytes(b"not a pickle")
    with pytest.raises(FormatError, match=r"expected what VecNormalize\.save wrote, got a file that fails with"):
        read_statistics(path, "obs")
    path.write_bytes(pickle.dumps({"obs_rms": 3}))
    with pytest.raises(FormatError, match="expected a VecNormalize, got dict"):
        read_statistics(path, "obs")
    with pytest.raises(MissingFileError, match="expected a file, found none"):
        read_statistics(tmp_path / "nothing.pkl", "obs")


def test_a_file_of_random_damage_is_read_or_refused(tmp_path: Path) -> None:
    whole = (DATA / "vecnormalize_dict.pkl").read_bytes()
    chance = np.random.default_rng(0)
    path = tmp_path / "statistics.pkl"
    for _ in range(300):
        damaged = bytearray(whole)
        for place in chance.integers(0, len(whole), 3):
            damaged[place] = chance.integers(0, 256)
        path.write_bytes(damaged)
        try:
            found = Normalize.from_vecnormalize(path, "senses")
        except FormatError:
            continue
        assert np.isfinite(found.mean).all()


def test_arrays_of_every_protocol_and_order_are_read() -> None:
    for array in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(4, dtype=">f4"), np.float64(3),
                  np.arange(3, dtype=np.int32), np.array(2.5), np.zeros((0, 3))):
        for protocol in range(2, 6):
            data = pickle.dumps(array, protocol)
            if any(argument == "_codecs encode" for _, argument, _ in pickletools.genops(data)):
                continue  # protocol 2 spells bytes as text
            found = vecnormalize._array(vecnormalize._Reader(io.BytesIO(data)).load())
            assert same_bits(found, np.asarray(array, np.float64)), (array, protocol)


def test_arrays_of_objects_are_no_numbers() -> None:
    for array in (np.array([1, "a"], object), np.array(["a"]), np.array([1 + 2j]), np.array([(1, 2.0)], "i4,f8")):
        with pytest.raises(FormatError, match="expected an array of numbers"):
            vecnormalize._array(vecnormalize._Reader(io.BytesIO(pickle.dumps(array, 4))).load())
