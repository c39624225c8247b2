"""Games against policies made by Gymnasium: registered, rebuilt from their spec, pickled, in other processes."""

from __future__ import annotations

import functools
import multiprocessing
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import games
import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

import cervello
from cervello import ConfigurationError, envs

pytest.importorskip("pettingzoo")
simple_tag = pytest.importorskip("mpe2.simple_tag_v3", reason="mpe2")


@pytest.fixture
def chaser(tmp_path: Path) -> Path:
    path = tmp_path / "chaser.onnx"
    path.write_bytes(games.linear(16, 5))
    return path


@pytest.fixture
def options(chaser: Path) -> dict[str, Any]:
    """Arguments of which none is the default, and none leaves a game as it is."""
    other = chaser.with_name("other.onnx")
    other.write_bytes(games.linear(16, 5, seed=1))
    return {"env": "mpe2.simple_tag_v3:parallel_env", "env_kwargs": {"max_cycles": 9}, "learner": "agent_0",
            "policies": {"adversary_*": {str(chaser): 2.0, str(other): 1.0}}, "seed": (5, 6), "per": "agent"}


@pytest.fixture
def registered(options: dict[str, Any]) -> Iterator[str]:
    gymnasium.register("CervelloTag-v0", "cervello.envs:Opponents", kwargs=options, max_episode_steps=7)
    yield "CervelloTag-v0"
    del gymnasium.registry["CervelloTag-v0"]


def trace(env: Any, seed: int = 3, n: int = 24) -> list[Any]:
    """All bits of a few episodes."""
    found: list[Any] = [env.reset(seed=seed)[0].tobytes()]
    for k in range(n):
        observation, reward, terminated, truncated, _ = env.step(k % 5)
        found.append((observation.tobytes(), reward, terminated, truncated))
        if terminated or truncated:
            found.append(env.reset()[0].tobytes())
    env.close()
    return found


def test_an_environment_rebuilt_from_its_spec_acts_the_same(options: dict[str, Any]) -> None:
    env = envs.Opponents(**options)
    spec, expected = env.spec, trace(env)
    assert len(expected) > 25  # an episode has ended within
    assert trace(gymnasium.make(spec)) == expected
    rebuilt = gymnasium.make(EnvSpec.from_json(spec.to_json()))
    assert type(rebuilt) is envs.Opponents
    assert trace(rebuilt) == expected
    plain = envs.Opponents(**{**options, "seed": 0})
    assert trace(plain) != expected  # what the spec holds is not the default


def test_a_registered_game_acts_the_same_and_so_does_its_spec(registered: str, options: dict[str, Any]) -> None:
    env = gymnasium.make(registered)
    spec = env.spec
    assert spec is not None
    expected = trace(env)
    by_hand = gymnasium.wrappers.TimeLimit(envs.Opponents(**options), 7)
    assert trace(by_hand) == expected
    assert trace(gymnasium.make(spec)) == expected
    assert trace(gymnasium.make(EnvSpec.from_json(spec.to_json()))) == expected


def vector_trace(env: Any, n: int = 24) -> list[Any]:
    """All bits of a few steps of every row."""
    found = [env.reset(seed=3)[0].tobytes()]
    for k in range(n):
        observation, reward, terminated, truncated, _ = env.step((np.arange(env.num_envs) + k) % 5)
        found.append((observation.tobytes(), reward.tobytes(), terminated.tobytes(), truncated.tobytes()))
    env.close()
    return found


def test_make_vec_makes_games_that_ask_together(options: dict[str, Any]) -> None:
    by_hand = envs.VectorOpponents(functools.partial(simple_tag.parallel_env, max_cycles=9), 3, learner="agent_0",
                                   policies=options["policies"], seed=(5, 6), per="agent")
    expected = vector_trace(by_hand)
    made = gymnasium.make_vec(envs.Opponents(**options).spec, num_envs=3)
    assert type(made) is envs.VectorOpponents
    spec = made.spec
    assert spec is not None
    assert vector_trace(made) == expected
    assert vector_trace(gymnasium.make_vec(spec)) == expected
    assert vector_trace(gymnasium.make_vec(EnvSpec.from_json(spec.to_json()))) == expected
    gymnasium.register("CervelloManyTags-v0", "cervello.envs:Opponents", vector_entry_point="cervello.envs:make_vector_opponents",
                       kwargs=options)
    try:
        again = gymnasium.make_vec("CervelloManyTags-v0", 3, autoreset="same_step")
        assert again.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.SAME_STEP
        assert vector_trace(gymnasium.make_vec("CervelloManyTags-v0", 3)) == expected
        again.close()
    finally:
        del gymnasium.registry["CervelloManyTags-v0"]


def test_each_row_of_seeds_is_the_game_with_its_number_behind_them(options: dict[str, Any]) -> None:
    venv = gymnasium.make_vec(envs.Opponents(**options).spec, num_envs=2)
    one = envs.Opponents(**{**options, "seed": (5, 6, 1)})
    assert venv.reset(seed=[8, 9])[0][1].tobytes() == one.reset(seed=9)[0].tobytes()
    for k in range(9):
        row, alone = venv.step(np.array([0, k % 5])), one.step(k % 5)
        assert (row[0][1].tobytes(), row[1][1]) == (alone[0].tobytes(), alone[1])
    venv.close()
    one.close()


def test_make_vec_refuses_what_no_game_can_be_made_of(options: dict[str, Any], registered: str, chaser: Path) -> None:
    with pytest.raises(ConfigurationError, match="make_vector_opponents, env: expected a function that makes an environment, or its name"):
        envs.make_vector_opponents(2, **{**options, "env": simple_tag.parallel_env(), "env_kwargs": None})
    with pytest.raises(ConfigurationError, match="max_episode_steps: expected None, got 7; limit the game by its env_kwargs"):
        envs.make_vector_opponents(2, **options, max_episode_steps=7)
    spaces = tuple(getattr(simple_tag.parallel_env(), f"{kind}_space")("adversary_0") for kind in ("observation", "action"))
    policy = cervello.load(chaser, wrappers="auto", spaces=envs.Spaces(spaces))
    made = envs.Opponents(options["env"], "agent_0", {"adversary_*": policy})
    with pytest.raises(ConfigurationError, match="Opponents, spec: expected paths, which can be loaded once more"):
        gymnasium.make_vec(made.spec, num_envs=2)
    made.close()


def test_wrappers_around_are_part_of_the_spec(options: dict[str, Any]) -> None:
    env = gymnasium.wrappers.TimeAwareObservation(gymnasium.wrappers.TimeLimit(envs.Opponents(**options), 5))
    spec, expected = env.spec, trace(env)
    assert trace(gymnasium.make(EnvSpec.from_json(spec.to_json()))) == expected


def test_functions_of_modules_are_recorded_by_name(chaser: Path) -> None:
    env = envs.Opponents(simple_tag.parallel_env, "agent_0", {"adversary_*": chaser})
    assert env.spec.kwargs["env"].endswith(":parallel_env")
    assert trace(gymnasium.make(EnvSpec.from_json(env.spec.to_json()))) == trace(env)


def test_what_has_no_name_is_refused_when_it_is_made_again(chaser: Path) -> None:
    spaces = tuple(getattr(simple_tag.parallel_env(), f"{kind}_space")("adversary_0") for kind in ("observation", "action"))
    policy = cervello.load(chaser, wrappers="auto", spaces=envs.Spaces(spaces))
    named = "mpe2.simple_tag_v3:parallel_env"
    for env, policies, message in (
            (named, {"adversary_*": policy}, r"Opponents, spec: expected paths, which can be loaded once more, got the policy 'chaser' for "
                                             r"'adversary_\*'; give its file's path"),
            (named, lambda _: chaser, "Opponents, spec: expected policies as {pattern: path}, got")):
        made = envs.Opponents(env, "agent_0", policies)
        with pytest.raises(ConfigurationError, match=message):
            gymnasium.make(made.spec)
        with pytest.raises(ValueError, match="Opponents, spec: expected"):
            made.spec.to_json()
        made.close()
    assert envs.Opponents(named, "agent_0", {"adversary_*": chaser}, seed=np.int64(3)).spec.kwargs["seed"] == 3
    for env in (simple_tag.parallel_env(), lambda: simple_tag.parallel_env()):
        assert envs.Opponents(env, "agent_0", {"adversary_*": chaser}).spec is None


def test_names_and_arguments_that_make_no_environment_are_refused(chaser: Path) -> None:
    policies = {"adversary_*": chaser}
    for env, more, message in (
            ("simple_tag", {}, "Opponents, env: expected an environment of PettingZoo or 'module:function', got 'simple_tag'"),
            ("nowhere:env", {}, "Opponents, env: expected module:function of a module that can be imported, got 'nowhere:env'"),
            ("mpe2.simple_tag_v3:nothing", {}, "mpe2.simple_tag_v3 has no function 'nothing' and registers no such id"),
            (simple_tag.parallel_env(), {"env_kwargs": {"max_cycles": 3}}, "env_kwargs: expected none for an environment that is there"),
            (dict, {}, "Opponents, env: expected a parallel or turn-based environment of PettingZoo, got dict")):
        with pytest.raises(ConfigurationError, match=message):
            envs.Opponents(env, "agent_0", policies, **more)


def test_a_pickle_acts_the_same(options: dict[str, Any], chaser: Path) -> None:
    spaces = tuple(getattr(simple_tag.parallel_env(), f"{kind}_space")("adversary_0") for kind in ("observation", "action"))
    policy = cervello.load(chaser, wrappers="auto", spaces=envs.Spaces(spaces), seed=2)
    for env in (envs.Opponents(**options), envs.Opponents(**{**options, "policies": {"adversary_*": policy}})):
        env.reset(seed=1)
        env.step(2)
        again = pickle.loads(pickle.dumps(env))
        assert trace(again) == trace(env)
        assert again.begun == again.ended == env.begun


def test_a_pickle_of_the_midst_of_a_game_goes_on() -> None:
    """Where the environment's own pickle does, which those of mpe2 do not."""
    from arena_policies import arena_policies

    from cervello.demo.parallel_env import ArenaEnv

    policies = arena_policies(ArenaEnv(30))
    policies["grazer_[!0]*"] = policies.pop("grazer_*")
    env = envs.Opponents(ArenaEnv(30), "grazer_0", policies, seed=4)
    env.reset(seed=2)
    action = np.zeros(2, np.float32)
    for _ in range(5):
        env.step(action)
    again = pickle.loads(pickle.dumps(env))
    for _ in range(5):
        one, other = env.step(action), again.step(action)
        assert one[0].tobytes() == other[0].tobytes()
        assert one[1:4] == other[1:4]
        assert (env.begun, env.ended) == (again.begun, again.ended)
        if one[2] or one[3]:
            break


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # of Python 3.12, whatever is forked
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_other_processes_give_the_same_bits(options: dict[str, Any], chaser: Path, context: str) -> None:
    """With an opponent that is loaded there from a path, and one that is sent there."""
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no start method {context} on this system")
    spaces = tuple(getattr(simple_tag.parallel_env(), f"{kind}_space")("adversary_0") for kind in ("observation", "action"))
    policy = cervello.load(chaser, wrappers="auto", spaces=envs.Spaces(spaces), seed=8)
    sent = {**options, "policies": {"adversary_*": policy}, "seed": 1}
    makers = [functools.partial(envs.Opponents, **each) for each in (options, sent)]
    one, other = SyncVectorEnv(makers), AsyncVectorEnv(makers, context=context)
    try:
        assert one.reset(seed=7)[0].tobytes() == other.reset(seed=7)[0].tobytes()
        for k in range(25):
            actions = np.array([k % 5, (k + 2) % 5])
            for a, b in zip(one.step(actions)[:4], other.step(actions)[:4], strict=True):
                assert a.tobytes() == b.tobytes()
    finally:
        other.close(timeout=10)
        one.close()
