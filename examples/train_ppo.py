"""Proximal policy optimisation, the learner in torch and the actor in Cervello: CartPole at a mean return of 475 in minutes of one CPU.

    pip install '.[envs-test]' && python examples/train_ppo.py [--steps N] [--actor cervello|torch|both]

The network is exported to ONNX once; between two batches of experience the policy gets the learner's weights by their names. With
`--actor both` the batches are collected in turn by Cervello and by torch, each in environments of its own, and the shares of time that
acting takes are printed side by side. At the end the policy plays; train_ppo.onnx and train_ppo.svg, the learning curve, are written.

Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms"; generalised advantage estimation: Schulman et al. 2016.
"""

import argparse
import io
import time
from collections import defaultdict
from itertools import cycle
from pathlib import Path

import gymnasium
import numpy as np
import torch
from torch import nn

import cervello
from cervello import envs, statistics
from cervello.pictures.returns import returns_chart

ENVS, LENGTH = 32, 64  # environments, and vector steps of a batch
EPOCHS, MINIBATCH, LEARNING_RATE = 10, 256, 1e-3
DISCOUNT, LAMBDA, CLIP, ENTROPY = 0.99, 0.95, 0.2, 0.01
SOLVED = 475  # mean return of the last 100 episodes


class Timed(gymnasium.vector.VectorWrapper):
    """Adds up what the environments themselves take."""

    seconds = 0.0

    def step(self, actions):
        start = time.perf_counter()
        found = self.env.step(actions)
        self.seconds += time.perf_counter() - start
        return found


def network(outputs: int) -> nn.Sequential:
    layers = [nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs)]
    for layer, gain in ((layers[0], 2**0.5), (layers[2], 2**0.5), (layers[4], 0.01 if outputs > 1 else 1.0)):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def export(actor: nn.Module) -> bytes:
    """obs [N, 4] → logits [N, 2]. In training mode, for in the other one torch merges weights of equal values, as fresh biases are."""
    file = io.BytesIO()
    torch.onnx.export(actor, torch.zeros(1, 4), file, dynamo=False, input_names=["obs"], output_names=["logits"],
                      dynamic_axes={"obs": {0: "N"}}, training=torch.onnx.TrainingMode.TRAINING)
    return file.getvalue()


class TorchActor:
    """The same loop without Cervello: the learner's network acts."""

    def __init__(self, venv: gymnasium.vector.VectorEnv, actor: nn.Module):
        self.venv, self.actor = venv, actor
        self.observation, _ = venv.reset(seed=1)
        self.ended = np.zeros(ENVS, bool)

    @torch.no_grad()
    def columns(self, steps: int) -> envs.Step:
        found = []
        for _ in range(steps):
            observation, empty = self.observation.copy(), self.ended
            drawn = torch.distributions.Categorical(logits=self.actor(torch.from_numpy(observation)))
            action = drawn.sample()
            self.observation, reward, terminated, truncated, _ = self.venv.step(action.numpy())
            self.ended = terminated | truncated
            found.append((observation, action.numpy(), drawn.log_prob(action).numpy(), reward.copy(), terminated.copy(), truncated.copy(),
                          self.observation.copy(), ~empty))
        names = ("observation", "sampled_action", "log_prob", "reward", "terminated", "truncated", "next_observation", "valid")
        columns = {name: np.stack(column) for name, column in zip(names, zip(*found, strict=True), strict=True)}
        return envs.Step(**columns, action=columns["sampled_action"], version=np.zeros((steps, ENVS), np.int64), outputs={},
                         env_id=np.tile(np.arange(ENVS), (steps, 1)))


class Learner:
    """The networks, their optimiser, and one update from a batch of experience, [T, N, …]."""

    def __init__(self):
        self.actor, self.critic = network(2), network(1)
        self.optimiser = torch.optim.Adam([*self.actor.parameters(), *self.critic.parameters()], LEARNING_RATE, eps=1e-5)

    def weights(self) -> dict[str, np.ndarray]:
        return {name: tensor.detach().numpy() for name, tensor in self.actor.named_parameters()}

    @torch.no_grad()
    def advantages(self, batch: envs.Step) -> tuple[torch.Tensor, torch.Tensor]:
        """[T, N] advantages, and what the critic should have said. A truncated episode goes on in the critic's eyes."""
        value, following = (self.critic(torch.from_numpy(each))[..., 0].numpy() for each in (batch.observation, batch.next_observation))
        surprise = batch.reward + DISCOUNT * following * ~batch.terminated - value
        found, later = np.zeros(value.shape, np.float32), np.zeros(ENVS)
        for t in reversed(range(len(found))):
            later = surprise[t] + DISCOUNT * LAMBDA * later * ~(batch.terminated | batch.truncated)[t]
            later *= batch.valid[t]  # in a row that only reset itself nothing was decided
            found[t] = later
        return torch.from_numpy(found), torch.from_numpy(found + value)

    def update(self, batch: envs.Step) -> None:
        advantage, target = self.advantages(batch)
        valid = torch.from_numpy(batch.valid)
        observation, action, old, advantage, target = (
            each[valid] for each in (torch.from_numpy(batch.observation), torch.from_numpy(batch.sampled_action),
                                     torch.from_numpy(batch.log_prob), advantage, target))
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(action)).split(MINIBATCH):
                drawn = torch.distributions.Categorical(logits=self.actor(observation[rows]))
                ratio = (drawn.log_prob(action[rows]) - old[rows]).exp()
                gain = (advantage[rows] - advantage[rows].mean()) / (advantage[rows].std() + 1e-8)
                surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
                error = (self.critic(observation[rows])[:, 0] - target[rows]).pow(2).mean()
                self.optimiser.zero_grad()
                (0.5 * error - surrogate - ENTROPY * drawn.entropy().mean()).backward()
                nn.utils.clip_grad_norm_([*self.actor.parameters(), *self.critic.parameters()], 0.5)
                self.optimiser.step()


class Returns:
    """Returns of the episodes that have ended, and the steps of training until then."""

    def __init__(self):
        self.running: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(ENVS))
        self.found: list[tuple[int, float]] = []

    def add(self, who: str, batch: envs.Step, steps: int) -> None:
        running = self.running[who]
        for reward, valid, ended in zip(batch.reward, batch.valid, batch.terminated | batch.truncated, strict=True):
            running += reward * valid
            self.found += [(steps, float(found)) for found in running[ended]]
            running[ended] = 0.0

    def recent(self) -> float:
        return float(np.mean([found for _, found in self.found[-100:]] or [0.0]))

    def curve(self, path: str, parts: int = 12) -> None:
        """Writes the learning curve: a row for each part of the training, a dot for each of its episodes."""
        last = max((steps for steps, _ in self.found), default=1)
        rows = []
        for k in range(parts):
            low, high = last * k // parts, last * (k + 1) // parts
            values = [found for steps, found in self.found if low < steps <= high]
            if values:
                rows.append((f"to {high:,} steps", values, float(np.mean(values)), statistics.bca(values)))
        Path(path).write_text(returns_chart("CartPole-v1, while training", "an episode counts for the steps until its end", rows), "utf-8")


def shares(spent: dict[str, dict[str, float]], batches: dict[str, int]) -> str:
    """A line for each actor: where its time went."""
    lines = []
    for who, parts in spent.items():
        share = {what: f"{100 * seconds / sum(parts.values()):.1f}%" for what, seconds in parts.items()}
        each = 1e6 * parts["acting"] / (batches[who] * LENGTH)
        lines.append(f"acting in {who}: {share['acting']} of the time (environments {share['environments']}, learning "
                     f"{share['learning']}), {each:.0f} µs for one step of {ENVS} environments")
    return "\n".join(lines)


def train(limit: int, who_acts: str) -> bytes:
    """Trains, prints and draws how it goes, and returns the policy as a file."""
    learner, returns = Learner(), Returns()
    venvs = {who: Timed(gymnasium.make_vec("CartPole-v1", ENVS, vectorization_mode="vector_entry_point")) for who in ("cervello", "torch")}
    policy = cervello.load(export(learner.actor), wrappers=[cervello.Sample(cervello.heads.Categorical("logits"), entropy=None)],
                           spaces=venvs["cervello"], name="ppo")
    rollout = envs.rollout(venvs["cervello"], policy, steps=limit + LENGTH, seed=1)  # more than are taken

    def in_cervello(length: int) -> envs.Step:
        policy.update_weights(learner.weights())
        return rollout.columns(length)

    collect = {"cervello": in_cervello, "torch": TorchActor(venvs["torch"], learner.actor).columns}
    actors = list(collect) if who_acts == "both" else [who_acts]
    spent = {who: dict.fromkeys(("acting", "environments", "learning"), 0.0) for who in actors}
    batches: dict[str, int] = defaultdict(int)
    steps, begun = 0, time.perf_counter()
    told = begun
    for who in cycle(actors):
        inside, start = venvs[who].seconds, time.perf_counter()
        batch = collect[who](LENGTH)
        collected, inside = time.perf_counter(), venvs[who].seconds - inside
        learner.update(batch)
        now = time.perf_counter()
        for what, seconds in (("acting", collected - start - inside), ("environments", inside), ("learning", now - collected)):
            spent[who][what] += seconds
        batches[who] += 1
        steps += LENGTH * ENVS
        returns.add(who, batch, steps)
        done = steps >= limit or returns.recent() >= SOLVED
        if done or now - told > 3:
            told = now
            print(f"{now - begun:5.0f} s, {steps:>7,} steps: mean return of the last 100 episodes {returns.recent():5.1f}", flush=True)
        if done:
            break
    rollout.close()
    for venv in venvs.values():
        venv.close()
    print(shares(spent, batches))
    returns.curve("train_ppo.svg")
    return export(learner.actor)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=500_000, help="environment steps at most (default: %(default)s)")
    parser.add_argument("--actor", choices=("cervello", "torch", "both"), default="both", help="what acts (default: %(default)s)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.distributions.Distribution.set_default_validate_args(False)
    Path("train_ppo.onnx").write_bytes(train(arguments.steps, arguments.actor))
    print(envs.play("CartPole-v1", "train_ppo.onnx", episodes=20, seed=2, n_envs=20))
