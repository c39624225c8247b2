"""Law 6: noise is a function of seed, stream, agent, episode and the agent's step, and of nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stacks

from cervello import Epsilon, Policy

KINDS = {"epsilon": ("noise_alone", [Epsilon()]), "fast": ("noise_alone", [Epsilon("epsilon", "fast")]), "graph": ("random_normal", [])}


def make(kind: str, seed: int = 1, inferer: str = "memoizing") -> Policy:
    name, wrappers = KINDS[kind]
    model = stacks.model(name)
    return Policy(model, inferer=inferer, wrappers=wrappers, seed=seed)


def draw(policy: Policy, ids: list[Any]) -> dict[Any, list[float]]:
    found = policy.infer_batch(ids, {"obs": np.zeros((len(ids), 4), np.float32)})["action"]
    return {agent: found[i].tolist() for i, agent in enumerate(ids)}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("inferer", ["basic", "fixed", "memoizing", "dynamic"])
def test_an_agents_noise_does_not_depend_on_the_crowd_or_the_inferer(kind: str, inferer: str) -> None:
    alone = make(kind)
    alone.begin_agent(7, stream=3, episode=2)
    expected = [draw(alone, [7])[7] for _ in range(5)]
    policy = make(kind, inferer=inferer)
    policy.begin_agents(range(100, 140))
    policy.begin_agent(7, stream=3, episode=2)
    crowds: list[list[Any]] = [[7], [100, 7], [7, *range(100, 140)], [*range(100, 117), 7], [139, 7, 100]]
    for step, crowd in enumerate(crowds):
        draw(policy, list(range(100, 105)))  # the others' steps are their own
        assert draw(policy, crowd)[7] == expected[step]


def test_everything_that_should_matter_does(kind: str) -> None:
    def noise(seed: int = 1, agent: Any = 7, stream: int = 0, episode: int = 0, step: int = 0) -> tuple[float, ...]:
        policy = make(kind, seed)
        policy.begin_agent(agent, stream, episode)
        for _ in range(step):
            draw(policy, [agent])
        return tuple(draw(policy, [agent])[agent])

    variants = [{}, {"seed": 2}, {"seed": 2**64 - 1}, {"agent": 8}, {"agent": "7"}, {"agent": "8"}, {"stream": 1}, {"stream": 2**63 - 1},
                {"episode": 1}, {"episode": 2**63 - 1}, {"step": 1}, {"step": 2}, {"stream": 1, "episode": 1}, {"agent": 2**63 - 1}]
    found = [noise(**variant) for variant in variants]  # type: ignore[arg-type]
    assert len(set(found)) == len(variants)
    assert len({value for row in found for value in row}) > 3.5 * len(variants)  # fast noise has few values, some may meet
    assert found == [noise(**variant) for variant in variants]  # type: ignore[arg-type]


def test_a_restart_takes_the_next_episode_of_the_same_stream(kind: str) -> None:
    policy, fresh = make(kind), make(kind)
    policy.begin_agents([1, 2], stream=[5, 6], episode=[0, 10])
    draw(policy, [1, 2])
    policy.restart_agents([2, 1])
    fresh.begin_agents([1, 2], stream=[5, 6], episode=[1, 11])
    assert draw(policy, [1, 2]) == draw(fresh, [1, 2])
    policy.restart_agents([1])
    fresh.end_agent(1)
    fresh.begin_agent(1, stream=5, episode=2)
    assert draw(policy, [1, 2]) == draw(fresh, [1, 2])
    policy.restart_agents([1, 2], stream=9, episode=[4, 5])
    fresh.end_agents([1, 2])
    fresh.begin_agents([2, 1], stream=9, episode=[5, 4])
    assert draw(policy, [1, 2]) == draw(fresh, [1, 2])


def test_deterministic_decisions_count_as_steps(kind: str) -> None:
    policy, reference = make(kind), make(kind)
    for each in (policy, reference):
        each.begin_agent(1)
    draw(reference, [1])
    policy.infer_batch([1], {"obs": np.zeros((1, 4), np.float32)}, deterministic=True)
    assert draw(policy, [1]) == draw(reference, [1])


def test_a_refused_batch_takes_no_step(kind: str) -> None:
    policy, reference = make(kind), make(kind)
    for each in (policy, reference):
        each.begin_agents([1, 2])
        draw(each, [1, 2])
    for ids, x in (([1, 2], np.zeros((2, 3))), ([1, 9], np.zeros((2, 4))), ([1, 1], np.zeros((2, 4)))):
        with pytest.raises((ValueError, KeyError)):
            policy.infer_batch(ids, {"obs": x})
    assert draw(policy, [2, 1]) == draw(reference, [1, 2])


def test_two_noise_inputs_of_one_policy_differ() -> None:
    policy = Policy(stacks.model("full"), wrappers=[Epsilon("epsilon"), Epsilon("prev_action")])
    seen: list[Any] = []

    class Spy(stacks.Pairwise):
        def infer_raw(self, view: Any) -> None:
            seen.append((view.inputs["epsilon"].copy(), view.inputs["prev_action"].copy()))
            super().infer_raw(view)

    policy = Policy(policy.model, inferer=Spy(policy.model), wrappers=policy.wrappers)
    policy.begin_agent(1)
    policy.infer_batch([1], {name: np.zeros(spec.batched(1), spec.dtype) for name, spec in policy.inputs.items()})
    assert not np.intersect1d(*seen[0]).size


def test_string_ids_draw_the_same_in_every_process() -> None:
    script = ("import sys; sys.path.insert(0, sys.argv[1])\nimport numpy as np, stacks\nfrom cervello import Epsilon, Policy\n"
              "policy = Policy(stacks.model('noise_alone'), wrappers=[Epsilon()], seed=9)\n"
              "policy.begin_agents(['adversary_0', 'ágent', ''])\n"
              "print(policy.infer_batch(['', 'ágent', 'adversary_0'], {'obs': np.zeros((3, 4), np.float32)})['action'].tobytes().hex())")
    support = str(Path(__file__).parent.parent / "support")
    printed = {subprocess.run([sys.executable, "-c", script, support], env={**os.environ, "PYTHONHASHSEED": seed},
                              cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout for seed in ("1", "2")}
    policy = Policy(stacks.model("noise_alone"), wrappers=[Epsilon()], seed=9)
    policy.begin_agents(["", "ágent", "adversary_0"])
    here = policy.infer_batch(["", "ágent", "adversary_0"], {"obs": np.zeros((3, 4), np.float32)})["action"].tobytes().hex()
    assert {line.strip() for line in printed} == {here}
