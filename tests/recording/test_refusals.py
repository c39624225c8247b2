"""What a writer refuses, with nothing recorded, and that whatever it takes can be read."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cervello import recording
from cervello.errors import AgentError, InputError, RecordingError
from cervello.recording.trees import map_tree


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "play.log"


ONE = np.zeros((1, 2))
MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "an unknown episode": (lambda log, at: log.step([99], ONE, [0], 0), AgentError, "have begun and not ended, got 99"),
    "a negative handle": (lambda log, at: log.step([-1], ONE, [0], 0), AgentError, "have begun and not ended, got -1"),
    "an episode twice": (lambda log, at: log.step([at[0]] * 2, np.zeros((2, 2)), [0, 0], 0), AgentError, "each episode once, got 0 twice"),
    "floats for episodes": (lambda log, at: log.step([0.5], ONE, [0], 0), InputError, "'episodes': expected the handles"),
    "a decision of whole steps": (lambda log, at: log.decide(at, ONE, [0]), AgentError, "begun without an observation for decide"),
    "an end with another observation": (lambda log, at: log.end(at, ONE, truncated=True), AgentError, "without an observation for end"),
    "an end of neither kind": (lambda log, at: log.end(at), InputError, "expected each episode to be terminated or truncated, got neither"),
    "no observation where it goes on": (lambda log, at: log.step(at, None, [0], 0), InputError, "'observation': expected the observations"),
    "another width": (lambda log, at: log.step(at, np.zeros((1, 3)), [0], 0), InputError, r" \(2,\) <f8, got observation \(3,\)"),
    "another dtype": (lambda log, at: log.step(at, ONE.astype("f4"), [0], 0), InputError, "'observation': expected rows as"),
    "other rows": (lambda log, at: log.step(at, np.zeros((2, 2)), [0], 0), InputError, r"'observation': expected 1 rows, got shape"),
    "other rewards": (lambda log, at: log.step(at, ONE, [0], [0, 1]), InputError, r"'reward': expected \(1,\) float64, got \(2,\)"),
    "a str for a reward": (lambda log, at: log.step(at, ONE, [0], ["a"]), InputError, "'reward': expected"),
    "a float for a flag": (lambda log, at: log.step(at, ONE, [0], 0, terminated=0.5), InputError, "'terminated': expected"),
    "a float for a version": (lambda log, at: log.step(at, ONE, [0], 0, version=1.5), InputError, "'version': expected"),
    "a negative stream": (lambda log, at: log.step(at, ONE, [0], 0, stream=-1), InputError, "'stream': expected numbers of at least 0"),
    "an unknown source": (lambda log, at: log.step(at, ONE, [0], 0, source="me"), InputError, "'source': expected one"),
    "objects": (lambda log, at: log.step(at, ONE, [0], 0, infos={"a": np.array([object()])}), InputError, "'infos.a': expected numbers"),
    "ragged rows": (lambda log, at: log.step(at, ONE, [[[1], [1, 2]]], 0), InputError, "'action': expected"),
    "None in a tree": (lambda log, at: log.step(at, {"a": None}, [0], 0), InputError, "'observation.a': expected"),
    "a key that is no str": (lambda log, at: log.step(at, ONE, {3: [0]}, 0), InputError, "expected keys of type str, got 3"),
    "infos of another shape": (lambda log, at: log.step(at, ONE, [0], 0, infos={"k": np.zeros((1, 2))}), InputError, "'infos.k'"),
    "infos of another kind": (lambda log, at: log.step(at, ONE, [0], 0, infos={"k": np.array(["a"])}), InputError, "strings; leave it out"),
    "an array that becomes a dict": (lambda log, at: log.step(at, ONE, [0], 0, infos={"k": {"x": [1]}}), InputError, "'infos': expected"),
    "no mask beside a key": (lambda log, at: log.step(at, ONE, [0], 0, infos={"_k": np.zeros(1)}), InputError, "'infos._k': expected"),
    "ints and strings": (lambda log, at: log.begin(2, agent=["a", 3]), InputError, "'agent': expected ints or strings, got both"),
    "ints of numpy and strings": (lambda log, at: log.begin(2, agent=[np.int64(3), "a"]), InputError, "'agent': expected ints or strings"),
    "ragged agents": (lambda log, at: log.begin(2, agent=[["a"], ["b", "c"]]), InputError, "'agent': expected one scalar per row"),
    "ragged rewards": (lambda log, at: log.step(at, ONE, [0], [[1], [1, 2]]), InputError, "'reward': expected one scalar per row"),
    "ragged logarithms": (lambda log, at: log.step(at, ONE, [0], 0, log_prob=[[1], [1, 2]]), InputError, "'log_prob': expected one scalar"),
    "ragged episodes": (lambda log, at: log.step([[0], [0, 1]], ONE, [0], 0), InputError, "'episodes': expected the handles"),
    "a source that is no name": (lambda log, at: log.step(at, ONE, [0], 0, source=1), InputError, "'source': expected one of .*, got 1"),
    "a list for a source": (lambda log, at: log.step(at, ONE, [0], 0, source=[["policy"]]), InputError, "'source': expected one"),
    "a tick above int64": (lambda log, at: log.step(at, ONE, [0], 0, tick=2**63), InputError, "'tick': expected numbers that int64 holds"),
    "a negative number of episodes": (lambda log, at: log.begin(-1), InputError, "'n': expected a number from 0, got -1"),
    "half an episode": (lambda log, at: log.begin(0.5), InputError, "'n': expected a number from 0, got 0.5"),
    "an outcome of no step": (lambda log, at: log.outcome(at, reward=[1], step=[0]), InputError, "'step': expected a step below 0, got 0"),
    "no number of episodes": (lambda log, at: log.begin(), InputError, "expected n= or observations"),
}


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_call_that_is_refused_records_and_changes_nothing(path: Path, call: Any, error: type[Exception], message: str) -> None:
    with recording.Writer(path) as log:
        at = log.begin(observation=ONE, infos={"k": np.zeros(1)})
        before = path.read_bytes()
        with pytest.raises(error, match=message):
            call(log, at)
        assert path.read_bytes() == before
        log.step(at, ONE, [0], 0, terminated=True)
        with pytest.raises(AgentError, match="begin it first"):
            log.step(at, ONE, [0], 0)
    assert [len(episode) for episode in recording.read(path)] == [1]


def test_another_action_afterwards_has_leaves_of_the_first(path: Path) -> None:
    with recording.Writer(path) as log:
        at = log.begin(1)
        log.decide(at, ONE, {"a": np.zeros((1, 2)), "b": [1]})
        for action in (np.zeros((1, 2)), {"a": np.zeros((1, 3))}, {"b": [0.5]}, {"c": [1]}):
            with pytest.raises(InputError, match=r"'action': expected leaves of the episode's actions, action\.a"):
                log.outcome(at, action=action)
        log.decide(at, ONE, {"a": np.zeros((1, 2)), "b": [1]}, pre_clip=np.zeros((1, 2)))
        with pytest.raises(InputError, match="'pre_clip': expected rows as the episode's earlier ones"):
            log.decide(at, ONE, {"a": np.zeros((1, 2)), "b": [1]}, pre_clip=np.zeros((1, 3)))
    assert [len(episode) for episode in recording.read(path)] == [2]


def random_tree(rng: np.random.Generator, n: int, depth: int = 2) -> Any:
    kind = int(rng.integers(6 if depth else 4))
    if kind == 4:
        return {key: random_tree(rng, n, depth - 1) for key in rng.choice(["a", "_a", "b"], rng.integers(3), replace=False).tolist()}
    if kind == 5:
        return tuple(random_tree(rng, n, depth - 1) for _ in range(rng.integers(3)))
    return [np.zeros(n), np.ones((n, 2), np.float32), np.arange(n), np.ones(n, np.bool_)][kind]


def test_whatever_a_writer_accepts_can_be_read(path: Path) -> None:
    rng = np.random.default_rng(5)
    accepted = refused = 0
    for _ in range(150):
        path.unlink(missing_ok=True)
        with recording.Writer(path) as log:
            for _ in range(2):
                trees = [random_tree(rng, 2) for _ in range(3)]  # few, so that some fit
                pick = [trees[int(rng.integers(3))] for _ in range(40)]
                whole = rng.random() < 0.5
                handles = log.begin(2, pick[0] if whole else None)
                for t in range(5):
                    at = handles[rng.permutation(2)[:1 + t % 2]]
                    one = [map_tree(itemgetter(slice(len(at))), tree) for tree in pick[5 * t:5 * t + 5]]
                    infos = {"i": one[2]} if rng.random() < 0.4 else None
                    try:
                        if whole:
                            log.step(at, one[0], one[1], 0, infos=infos, pre_clip=one[3])
                        else:
                            log.decide(at, one[0], one[1], infos=infos, pre_tanh=one[3])
                            log.outcome(at, action=one[4])
                        accepted += 1
                    except InputError:
                        refused += 1
            n_steps = log.n_steps
        assert sum(map(len, recording.read(path))) == n_steps
    assert accepted > 100
    assert refused > 100


def test_a_closed_writer_says_so(path: Path) -> None:
    log = recording.Writer(path)
    log.close()
    log.close()
    for call in (lambda: log.begin(1), log.sync):
        with pytest.raises(RecordingError, match="expected a writer that is open, got one that was closed"):
            call()


def test_read_takes_one_of_path_and_id(path: Path) -> None:
    for arguments in ({}, {"path": path, "minari": "a/b-v0"}):
        with pytest.raises(InputError, match="expected a path or minari=, got"):
            recording.read(**arguments)
