"""Policies in other processes: pickled by the file's name, a hash and the agents' state; forked with their pools."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import small_models
from stacks import STACKS, Averaged, model

import cervello
from cervello import ConfigurationError, Epsilon, FormatError, MissingFileError, Recurrent, WrapperError
from cervello.inferers.testing import same_bits, sample_columns

SAVABLE = [name for name, (_, wrappers) in STACKS.items() if not any(isinstance(w, Averaged) for w in wrappers)]


def tick(policy: cervello.Policy, agents: Any, step: int) -> Any:
    return policy.infer_batch(list(agents), sample_columns(policy.inputs, agents, step))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "racer.onnx"
    file.write_bytes(small_models.full())
    return file


@pytest.mark.parametrize("stack", SAVABLE)
def test_a_pickled_policy_goes_on_where_it_was(stack: str) -> None:
    arguments, wrappers = STACKS[stack]
    policy = cervello.Policy(model(*arguments), wrappers=wrappers, seed=3)
    policy.begin_agents(range(4), stream=2)
    tick(policy, range(4), 0)
    again = pickle.loads(pickle.dumps(policy))
    assert again.agents == policy.agents
    for step in (1, 2):
        found, expected = tick(again, range(4), step), tick(policy, range(4), step)
        assert all(same_bits(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("inferer", ["basic", "fixed", "dynamic", "memoizing", cervello.inferers.Fixed([1, 4])])
def test_everything_that_was_chosen_is_pickled(path: Path, inferer: Any) -> None:
    policy = cervello.load(path, wrappers=[Recurrent(), Epsilon(scale=0.5)], inferer=inferer, seed=9, threads=2,
                           outputs=["action", "h_out"])
    policy.replace(path)
    again = pickle.loads(pickle.dumps(policy))
    assert (again.name, again.seed, again.version, repr(again.wrappers)) == ("racer", 9, 2, repr(policy.wrappers))
    assert type(again.inferer) is type(policy.inferer)
    assert again.inferer.threads == 2
    assert list(again.model.outputs) == ["action", "h_out"]


def test_the_file_is_named_and_not_copied(path: Path) -> None:
    path.write_bytes(small_models.feed_forward(64, 256, 8))
    assert len(pickle.dumps(cervello.load(path))) < 2500 < path.stat().st_size
    assert len(pickle.dumps(cervello.load(path.read_bytes()))) > path.stat().st_size


def test_updated_weights_travel_along(path: Path) -> None:
    policy = cervello.load(path, wrappers="auto")
    policy.update_weights({"wv": np.ones((8, 1), np.float32)})
    again = pickle.loads(pickle.dumps(policy))
    policy.begin_agent(1)
    again.begin_agent(1)
    assert all(same_bits(a, b) for a, b in zip(tick(again, [1], 0).values(), tick(policy, [1], 0).values(), strict=True))


def test_a_file_that_became_another_policy_is_noticed(path: Path) -> None:
    data = pickle.dumps(cervello.load(path))
    path.write_bytes(path.read_bytes())  # written again, the same
    pickle.loads(data)
    path.write_bytes(small_models.scaled(small_models.full(), 0.5))
    with pytest.raises(FormatError, match=r"as it was when the model was pickled, got another policy; pickles name files"):
        pickle.loads(data)
    path.unlink()
    with pytest.raises(MissingFileError):
        pickle.loads(data)


def test_models_that_decide_otherwise_have_other_fingerprints() -> None:
    a, b = small_models.dense(4, 4, seed=1), small_models.dense(4, 4, seed=2)

    def net(first: Any, second: Any, slope: float) -> str:
        nodes = [small_models.node("MatMul", "obs a", "h"), small_models.node("LeakyRelu", "h", "r", alpha=slope),
                 small_models.node("MatMul", "r b", "action")]
        column = (small_models.FLOAT, ("N", 4))
        return cervello.Model.load(small_models.graph(nodes, {"obs": column}, {"action": column}, {"a": first, "b": second})).fingerprint

    assert net(a, b, 0.1) == net(a, b, 0.1)
    assert len({net(a, b, 0.1), net(b, a, 0.1), net(a, b, 0.9), net(a, a, 0.1)}) == 4


def test_policies_that_share_a_model_share_it_again(path: Path) -> None:
    shared = cervello.Model.load(path)
    first, second = pickle.loads(pickle.dumps([cervello.Policy(shared), cervello.Policy(shared)]))
    assert first.model is second.model


def test_what_cannot_be_pickled_says_so() -> None:
    policy = cervello.Policy(model("feed_forward"), wrappers=[Averaged("obs")])
    with pytest.raises(WrapperError, match="its state cannot be saved"):
        pickle.dumps(policy)
    from cervello.native.frontend.importer import read

    with pytest.raises(ConfigurationError, match=r"expected one from Model\.load"):
        pickle.dumps(cervello.Model(read(small_models.feed_forward())))


def test_another_process_decides_the_same(path: Path, tmp_path: Path) -> None:
    policy = cervello.load(path, wrappers="auto", seed=4)
    policy.begin_agents(range(3))
    tick(policy, range(3), 0)
    (tmp_path / "policy.pickle").write_bytes(pickle.dumps(policy))
    program = """if True:
        import pickle, sys
        import numpy as np
        from cervello.inferers.testing import sample_columns
        policy = pickle.load(open(sys.argv[1], "rb"))
        np.savez(sys.argv[2], **policy.infer_batch([0, 1, 2], sample_columns(policy.inputs, range(3), 1)))
    """
    subprocess.run([sys.executable, "-c", program, tmp_path / "policy.pickle", tmp_path / "found.npz"], check=True, timeout=120,
                   env={**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)})
    expected, found = tick(policy, range(3), 1), np.load(tmp_path / "found.npz")
    assert all(same_bits(found[name], expected[name]) for name in expected)


def steered(policy: cervello.Policy) -> Any:
    """A CartPole that is steered by a policy from within: actions are only nudges."""

    class Steered(gymnasium.Wrapper):  # type: ignore[type-arg]  # here, so that it is pickled by value: no process can import this file
        def reset(self, **options: Any) -> Any:
            if 0 in policy:
                policy.end_agent(0)
            policy.begin_agent(0)
            self.last, info = self.env.reset(**options)
            return self.last, info

        def step(self, action: Any) -> Any:
            chosen = policy.infer_single(0, {"obs": self.last})["action"]
            self.last, *rest = self.env.step(int(chosen))
            return self.last, *rest

    return lambda: Steered(gymnasium.make("CartPole-v1"))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_policy_works_in_an_async_vector_environment(context: str) -> None:
    import multiprocessing

    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {context} here")
    policy = cervello.load(Path(__file__).resolve().parent.parent.parent / "examples" / "cartpole.onnx", seed=1, threads=2)
    policy.begin_agent(5)  # the pools have threads, and the policy an agent, before the environments are made
    policy.infer_single(5, {"obs": np.zeros(4, np.float32)})

    envs = gymnasium.vector.AsyncVectorEnv([steered(policy), steered(policy)], context=context)
    try:
        envs.reset(seed=[1, 2])
        total = np.zeros(2)
        for _ in range(100):
            _, rewards, terminated, _, _ = envs.step(np.zeros(2, np.int64))
            total += rewards
            assert not terminated.any()
        assert (total == 100).all()
    finally:
        envs.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_pools_work_after_a_fork_in_the_midst_of_a_swap() -> None:
    program = """if True:
        import os, sys, threading
        import numpy as np
        import cervello
        sys.path.insert(0, sys.argv[1])
        import small_models
        policy = cervello.load(small_models.feed_forward(64, 256, 8), threads=2)
        policy.begin_agents(range(4096))
        x = {"obs": np.ones((4096, 64), np.float32)}
        expected = policy.infer_batch(list(range(4096)), x)["action"]
        held = threading.Event()
        threading.Thread(target=lambda: (policy._core.lock.swapping.acquire(), held.set(), threading.Event().wait(60)), daemon=True).start()
        held.wait()
        child = os.fork()
        if child == 0:
            found = policy.infer_batch(list(range(4096)), x)["action"]
            policy.replace(small_models.feed_forward(64, 256, 8))
            again = policy.infer_batch(list(range(4096)), x)["action"]
            os._exit(0 if (found == expected).all() and (again == expected).all() else 3)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    support = Path(__file__).resolve().parent.parent / "support"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program, support], timeout=120, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)})
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_runtime_goes_on_after_a_fork() -> None:
    program = """if True:
        import os, sys, threading
        import numpy as np
        import cervello
        sys.path.insert(0, sys.argv[1])
        import small_models
        runtime = cervello.Runtime(threads=2)
        runtime.add("a", cervello.load(small_models.feed_forward()))
        runtime.begin_agents("a", range(8))
        x = {"obs": np.ones((8, 6), np.float32)}
        runtime.push_batch("a", range(8), x)
        expected = runtime.submit().result(30)["a"][3]["action"]
        runtime.push_batch("a", range(8), x)
        held = threading.Event()
        threading.Thread(target=lambda: (runtime._lock.acquire(), held.set(), threading.Event().wait(60)), daemon=True).start()
        held.wait()
        child = os.fork()
        if child == 0:
            frames = [runtime.run(), runtime.push_batch("a", range(8), x) or runtime.submit().result(30)]
            os._exit(0 if all((frame["a"][3]["action"] == expected).all() for frame in frames) else 3)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    support = Path(__file__).resolve().parent.parent / "support"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program, support], timeout=120, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)})
    assert done.returncode == 0, done.stderr
