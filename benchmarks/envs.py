"""What a policy and its adapters cost inside environments, beside the environments' own steps, Stable-Baselines3 and torch.

    python benchmarks/envs.py [--rounds 11] [--output FILE]

The clock stands around the environment's own `step`, so that its time and ours come out of the same steps; medians of several rounds. One
thread. The network is Stable-Baselines3's default, 4-64-64-2 with tanh, and actions are drawn. CartPole is played twice: by weights that
balance it, with episodes of some 500 steps, and by untrained ones, with episodes of some 20, where a dozen of 256 begin anew at each step.
The crowd is an environment of this benchmark, all numpy. Needs gymnasium[classic-control]; Stable-Baselines3 and torch are left out, and
the report says so, where they are not installed.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from figures import Figure, report
from generated import mlp
from rich.console import Console
from timing import ROTATION, alternate, machine

import cervello
from cervello import envs

Array = np.ndarray[Any, Any]
ENVS, CROWD, GAMES = 256, 1_000, 64
BLOCK_S = 0.1
WARM_STEPS = 30


class Clocked(gymnasium.vector.VectorWrapper):
    """A vector environment that adds up the seconds of its steps."""

    seconds = 0.0

    def step(self, actions: Array) -> Any:
        start = time.perf_counter()
        found = self.env.step(actions)
        self.seconds += time.perf_counter() - start
        return found


class Field:
    """A parallel environment of PettingZoo's interface in which every agent has four numbers and moves them; nobody dies.

    Attributes:
      seconds: of all steps so far.
    """

    metadata: dict[str, Any] = {"name": "field"}  # noqa: RUF012  (PettingZoo's own form)
    observations = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    actions = gymnasium.spaces.Discrete(2)

    def __init__(self, n_agents: int):
        self.possible_agents = [f"agent_{i}" for i in range(n_agents)]
        self.agents: list[str] = []
        self.seconds = 0.0

    def observation_space(self, agent: str) -> Any:
        return self.observations

    def action_space(self, agent: str) -> Any:
        return self.actions

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents = self.possible_agents[:]
        self._numbers = np.random.default_rng(seed).standard_normal((len(self.agents), 4)).astype(np.float32)
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        start = time.perf_counter()
        agents = self.agents
        moves = np.fromiter(map(actions.__getitem__, agents), np.float32, len(agents))
        self._numbers += np.float32(0.01) * (moves[:, None] - self._numbers)
        never = dict.fromkeys(agents, False)
        found = self._seen(), dict(zip(agents, moves.tolist(), strict=True)), never, never.copy(), {agent: {} for agent in agents}
        self.seconds += time.perf_counter() - start
        return found

    def _seen(self) -> dict[str, Array]:
        return dict(zip(self.agents, self._numbers.copy(), strict=True))

    def close(self) -> None:
        """Nothing is open."""


def policy_of(env: Any, balances: bool = True) -> cervello.Policy:
    """The network for an environment's spaces, with the head that a learner needs: a drawn action and its log-probability.

    Args:
      balances: whether one path through the network keeps a pole up, and all others are random and computed all the same; else actions are
        nearly random, as those of a network are that has learnt nothing.
    """
    head = cervello.Sample(cervello.heads.Categorical("action"), action="drawn", entropy=None)
    policy = cervello.load(mlp((4, 64, 64, 2)), wrappers=[head], spaces=env, threads=1)
    rng = np.random.default_rng(1)
    first, second, last = (rng.standard_normal(shape).astype(np.float32) for shape in ((64, 4), (64, 64), (2, 64)))
    if balances:
        first[0], second[0], last[:] = (0.05, 0.1, 0.5, 0.25), 0, 0  # position, speed, angle, its speed
        second[0, 0], last[:, 0] = 1, (-50, 50)
    else:
        last *= np.float32(0.001)
    nothing = np.zeros(64, np.float32)
    policy.update_weights({"0.weight": first, "0.bias": nothing, "1.weight": second, "1.bias": nothing, "2.weight": last,
                           "2.bias": nothing[:2]})
    return policy


def apart(step: Callable[[], Any], clocks: list[Any], rounds: int) -> tuple[float, float]:
    """What steps take beyond the environment, and what the environment takes.

    Args:
      step: one step of everything.
      clocks: environments with `seconds`.
    Returns:
      seconds per step of ours, and of the environment: medians of rounds.
    """
    for _ in range(WARM_STEPS):
        step()
    start = time.perf_counter()
    for _ in range(WARM_STEPS):
        step()
    count = max(5, round(BLOCK_S * WARM_STEPS / (time.perf_counter() - start)))
    ours, theirs = [], []
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            before, start = sum(clock.seconds for clock in clocks), time.perf_counter()
            for _ in range(count):
                step()
            whole = time.perf_counter() - start
            inside = sum(clock.seconds for clock in clocks) - before
            ours.append((whole - inside) / count)
            theirs.append(inside / count)
    finally:
        gc.enable()
    return statistics.median(ours), statistics.median(theirs)


def rollouts(rounds: int) -> list[Figure]:
    """256 CartPoles through `rollout`."""
    found = []
    for mode, goal in (("sync", 0.10), ("vector_entry_point", 1.0)):
        for balances in (True, False):
            venv = Clocked(gymnasium.make_vec("CartPole-v1", ENVS, vectorization_mode=mode))
            with envs.rollout(venv, policy_of(venv, balances), steps=1 << 40, seed=0) as rollout:
                steps = iter(rollout)
                ours, theirs = apart(lambda steps=steps: next(steps), [venv], rounds)  # type: ignore[misc]
            venv.close()
            name = "SyncVectorEnv" if mode == "sync" else "the native vector environment"
            found.append(Figure(
                f"rollout of {ENVS} CartPoles in {name}, {'balanced' if balances else 'untrained'}: policy and wrapper over environment",
                ours / theirs, "×", goal, least=False, beside=f"{ours * 1e6:.0f} µs; environment {theirs * 1e6:.0f} µs"))
    return found


def decisions(rounds: int) -> list[Figure]:
    """The same observations decided by Cervello, by Stable-Baselines3's `predict` and by torch; and one observation alone."""
    venv = gymnasium.make_vec("CartPole-v1", ENVS, vectorization_mode="vector_entry_point")
    policy = policy_of(venv)
    peers = _peers()
    found = []
    for n in (1, ENVS):
        given = np.random.default_rng(n).standard_normal((ROTATION, n, 4)).astype(np.float32) * np.float32(0.05)
        observations = [each[0] if n == 1 else each for each in given]
        times = alternate({"cervello": [partial(policy.predict, each) for each in observations],
                           **{name: [partial(act, each) for each in observations] for name, act in peers.items()}}, rounds)
        us = times["cervello"] * 1e6
        beside = "; ".join(f"{name} {seconds * 1e6:.1f} µs" for name, seconds in times.items() if name != "cervello")
        what = "one observation" if n == 1 else f"{n} observations"
        found.append(Figure(f"predict of {what} of CartPole", us, "µs", 15 if n == 1 else None, least=False, beside=beside))
        found += [Figure(f"predict of {what}: times faster than {name}", seconds / times["cervello"], "×")
                  for name, seconds in times.items() if name != "cervello"]
    return found


def _peers() -> dict[str, Callable[[Array], Any]]:
    """What else decides for observations, as users write it; empty without torch."""
    try:
        import torch
        from stable_baselines3 import PPO
    except ImportError:
        return {}
    torch.set_num_threads(1)
    learner = PPO("MlpPolicy", gymnasium.make("CartPole-v1"), seed=0, device="cpu")
    actor = torch.nn.Sequential(learner.policy.mlp_extractor.policy_net, learner.policy.action_net)

    @torch.no_grad()
    def in_torch(observation: Array) -> Any:
        drawn = torch.distributions.Categorical(logits=actor(torch.from_numpy(observation)), validate_args=False)
        action = drawn.sample()
        return action.numpy(), drawn.log_prob(action).numpy()

    return {"Stable-Baselines3's predict": learner.predict, "a torch actor": in_torch}


def games(rounds: int) -> list[Figure]:
    """A crowd in which policies play everybody, and games of two in which they play the opponent."""
    field = Field(CROWD)
    policy = policy_of((Field.observations, Field.actions))
    crowd = envs.Crowd(field, {"agent_*": policy}, seed=0)
    crowd.reset(seed=0)
    ours, theirs = apart(crowd.step, [field], rounds)
    found = [Figure(f"Crowd of {CROWD:,} agents: policy and wrapper, per agent and step", ours / CROWD * 1e6, "µs", 2, least=False,
                    beside=f"environment {theirs / CROWD * 1e6:.2f} µs")]
    crowd.close()

    pair = Field(2)
    one = envs.Opponents(pair, "agent_0", {"agent_1": policy}, seed=0)
    one.reset(seed=0)
    ours, theirs = apart(lambda: one.step(0), [pair], rounds)
    found.append(Figure("Opponents, one opponent: policy and wrapper, per step", ours * 1e6, "µs",
                        beside=f"environment {theirs * 1e6:.1f} µs"))
    one.close()

    many = envs.VectorOpponents(lambda: Field(2), GAMES, learner="agent_0", policies={"agent_1": policy}, seed=0)
    many.reset(seed=0)
    actions = np.zeros(GAMES, np.int64)
    ours, theirs = apart(lambda: many.step(actions), [each.env for each in many.envs], rounds)
    found.append(Figure(f"VectorOpponents, {GAMES} games: policy and wrapper, per game and step", ours / GAMES * 1e6, "µs",
                        beside=f"environment {theirs / GAMES * 1e6:.1f} µs"))
    many.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11, help="rounds of each figure (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("envs.json"), help="where to write the figures (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds: expected at least 1, got {arguments.rounds}")
    console = Console(width=None if sys.stdout.isatty() else 180)
    facts = machine(["cervello", "numpy", "numba", "gymnasium", "stable-baselines3", "torch"])
    console.print(" · ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    if "not installed" in (facts["stable-baselines3"], facts["torch"]):
        console.print("Stable-Baselines3 or torch: not installed, the figures beside them are left out")
    parts = (("rollouts", rollouts), ("decisions", decisions), ("games", games))
    report(console, ((what, partial(measure, arguments.rounds)) for what, measure in parts), arguments.output, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
