"""Training writes a policy's file again and again; environments that play go on with the newest version, without a pause.

    python examples/swap_while_training.py

A thread searches a CartPole policy as `train_cartpole.py` does and puts each generation's file in the place of the last one (`os.replace`,
so that nobody ever reads half a file). The main thread plays sixteen CartPoles all the while; `cervello.watch` swaps the model between two
steps, and no agent is restarted for it. At the end, `update_weights` gives a policy other weights without another file.
"""

import os
import tempfile
import threading
import time
from pathlib import Path

import gymnasium
import numpy as np
from train_cartpole import ELITE, SIZE, export, unpack
from train_cartpole import play as played

import cervello

ENVS, POPULATION, GENERATIONS = 16, 32, 14


def publish(genes: np.ndarray, path: Path) -> None:
    """Writes the file beside its place, then renames it."""
    export(genes, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def train(path: Path, swapped: threading.Event, trained: list[np.ndarray]) -> None:
    """The cross-entropy method, one file per generation."""
    random = np.random.default_rng(3)
    mean, spread = np.zeros(SIZE), np.full(SIZE, 0.5)
    envs = gymnasium.make_vec("CartPole-v1", POPULATION, vectorization_mode="vector_entry_point")
    for generation in range(GENERATIONS):
        genes = mean + spread * random.standard_normal((POPULATION, SIZE))
        returns = np.mean([played(envs, genes, 1000 * generation + k) for k in range(2)], axis=0)
        best = genes[np.argsort(-returns)[:ELITE]]
        mean, spread = best.mean(0), best.std(0) + 0.2 * 0.8**generation
        trained.append(mean)
        swapped.clear()
        publish(mean, path)
        swapped.wait(10)  # so that every version plays
    envs.close()


class Players:
    """CartPoles that play for ever; an agent is restarted when its environment is, and at no other time."""

    def __init__(self, policy: cervello.Policy):
        self.policy, self.agents = policy, np.arange(ENVS)
        self.envs = gymnasium.make_vec("CartPole-v1", ENVS, vectorization_mode="vector_entry_point")
        self.observations, _ = self.envs.reset(seed=0)
        self.running, self.ended = np.zeros(ENVS), np.zeros(ENVS, bool)
        self.first = np.ones(ENVS, np.int64)  # the version that the episode began with
        self.returns: dict[int, list[float]] = {}
        self.steps = 0
        policy.begin_agents(self.agents)

    def step(self) -> None:
        actions = self.policy.infer_batch(self.agents, {"obs": self.observations})
        self.observations, rewards, terminated, truncated, _ = self.envs.step(actions["action"])
        self.policy.restart_agents(self.agents[self.ended])  # their environments have just been reset
        self.running = np.where(self.ended, 0.0, self.running + rewards)
        self.first[self.ended] = actions.version
        self.ended = terminated | truncated
        for env in np.flatnonzero(self.ended):  # an episode counts for the version that began it
            self.returns.setdefault(int(self.first[env]), []).append(float(self.running[env]))
        self.steps += 1

    def mean(self, episodes: int = 16) -> float:
        """Of the next episodes that begin with this version."""
        found: list[float] = []
        version = self.policy.version
        self.returns.pop(version, None)
        while len(found) < episodes:
            self.step()
            found = self.returns.get(version, [])
        return float(np.mean(found))


with tempfile.TemporaryDirectory() as folder:
    path, swapped, trained = Path(folder) / "cartpole.onnx", threading.Event(), []
    publish(np.zeros(SIZE), path)
    with cervello.watch(path, interval_s=0.02, settle_s=0.0, on_swap=lambda policy: swapped.set()) as watch:
        players = Players(watch.policy)
        first = players.mean()
        trainer = threading.Thread(target=train, args=(path, swapped, trained))
        trainer.start()
        while trainer.is_alive():
            players.step()
            time.sleep(2e-4)  # the rest of the game's frame; the trainer has it
        trainer.join()
    last = players.mean()
    policy = watch.policy
    for version, returns in sorted(players.returns.items()):
        print(f"version {version:>2}: {len(returns):>3} episodes, mean return {np.mean(returns):5.1f}")
    print(f"{players.steps} steps of {ENVS} environments, {policy.version} versions, errors of the watch: {watch.error}")
    print(f"mean return {first:.1f} at first, {last:.1f} at last")

    # The trainer's arrays by their names, no export. With its last layer turned around, the policy pushes the wrong way.
    w2 = unpack(trained[-1][None])["w2"][0].astype(np.float32)
    for factor in (-1, 1):
        policy.update_weights({"w2": factor * w2})
        print(f"update_weights, last layer times {factor:>2}: version {policy.version}, mean return {players.mean():.1f}")
    players.envs.close()
