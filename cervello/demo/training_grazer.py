"""Trains the grazer by reinforcement: proximal policy optimisation (PPO) on its real rewards, in plain numpy.

The policy is stochastic and reparameterised: action = tanh(mean + exp(log_std) * epsilon), epsilon standard normal.
Hunters are scripted meanwhile and scouts wander.

Source: Schulman et al., Proximal Policy Optimization Algorithms, 2017; advantages after Schulman et al.,
High-Dimensional Continuous Control Using Generalized Advantage Estimation, 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cervello.demo.arena import Arena
from cervello.demo.experts import TrackingHunter
from cervello.demo.herd import BoolArray, FloatArray
from cervello.demo.species import GRAZER, HUNTER, SCOUT
from cervello.demo.training_adam import Adam, Parameters, glorot

HIDDEN = 24
_CRITIC_HIDDEN = 32
_ITERATIONS = 140
_TICKS = 96
_ARENA_ITERATIONS = 8  # how long one arena is kept, iterations
_EPOCHS = 4
_MINIBATCH = 2048
_RATE = 4e-3
_CLIP = 0.2
_DISCOUNT = 0.96
_TRACE = 0.9
_START_LOG_STD = -0.5


@dataclass(frozen=True, slots=True)
class _Rollout:
    """Transitions of T ticks of n places; rows of empty places are to be skipped.

    Fields:
      obs: [T, n, 16]. wish: [T, n, 2], the action before tanh. log_chance: [T, n], its log density.
      reward: [T, n]. value: [T + 1, n], the critic's opinion. alive: [T, n], was there an agent to act.
      ended: [T, n], did its life end with this tick.
    """

    obs: FloatArray
    wish: FloatArray
    log_chance: FloatArray
    reward: FloatArray
    value: FloatArray
    alive: BoolArray
    ended: BoolArray


def train_grazer(random: np.random.Generator, say: Callable[[str], None]) -> Parameters:
    """Returns the trained weights: w1 [16, HIDDEN], b1 [HIDDEN], w2 [HIDDEN, 2], b2 [2], log_std [2], all float32."""
    actor = _two_layers(random, GRAZER.observation_shape[0], HIDDEN, GRAZER.output_shape[0])
    # A first policy near zero explores evenly in all directions.
    actor["w2"] *= np.float32(0.1)
    actor["log_std"] = np.full(GRAZER.output_shape, _START_LOG_STD, np.float32)
    critic = _two_layers(random, GRAZER.observation_shape[0], _CRITIC_HIDDEN, 1)
    actor_adam, critic_adam = Adam(actor), Adam(critic)
    stage = _Stage(random)
    for iteration in range(_ITERATIONS):
        if iteration % _ARENA_ITERATIONS == 0:
            stage = _Stage(random)
        rollout = stage.roll_out(actor, critic)
        advantage, target = _advantages(rollout)
        alive = rollout.alive
        obs, wish, log_chance = rollout.obs[alive], rollout.wish[alive], rollout.log_chance[alive]
        advantage, target = advantage[alive], target[alive]
        advantage = (advantage - advantage.mean()) / (advantage.std() + np.float32(1e-6))
        rate = _RATE * (1.0 - 0.9 * iteration / _ITERATIONS)
        for _ in range(_EPOCHS):
            order = random.permutation(len(obs))
            for start in range(0, len(order), _MINIBATCH):
                rows = order[start : start + _MINIBATCH]
                actor_adam.step(_actor_gradients(actor, obs[rows], wish[rows], log_chance[rows], advantage[rows]), rate)
                critic_adam.step(_critic_gradients(critic, obs[rows], target[rows]), rate)
        if iteration % 10 == 0 or iteration == _ITERATIONS - 1:
            earned = 100.0 * float(rollout.reward[alive].mean())
            say(f"grazer  iteration {iteration:4d}  reward per 100 ticks {earned:6.2f}  log std {actor['log_std']}")
    return actor


class _Stage:
    """Mutable: an arena with its scripted hunters, played on from rollout to rollout."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._arena = Arena(int(random.integers(2**31)))
        self._hunter = TrackingHunter(HUNTER.capacity)

    def roll_out(self, actor: Parameters, critic: Parameters) -> _Rollout:
        """Plays _TICKS ticks with `actor` and records them."""
        arena, random = self._arena, self._random
        herd, hunters = arena.herds[GRAZER.name], arena.herds[HUNTER.name]
        shape = (_TICKS, GRAZER.capacity)
        obs = np.zeros((*shape, *GRAZER.observation_shape), np.float32)
        wish = np.zeros((*shape, *GRAZER.output_shape), np.float32)
        log_chance, reward = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        value = np.zeros((_TICKS + 1, GRAZER.capacity), np.float32)
        alive, ended = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        for tick in range(_TICKS):
            observations, living = arena.observe(), herd.living()
            seen = observations[GRAZER.name]["obs"]
            epsilon = random.standard_normal((len(living), *GRAZER.output_shape)).astype(np.float32)
            _, mean = _forward(actor, seen)
            obs[tick, living], alive[tick, living] = seen, True
            wish[tick, living] = mean + np.exp(actor["log_std"]) * epsilon
            log_chance[tick, living] = (-0.5 * epsilon**2 - actor["log_std"]).sum(axis=1)
            value[tick, living] = _forward(critic, seen)[1][:, 0]

            hunting = hunters.living()
            self._hunter.forget(hunting[hunters.age[hunting] == 0])
            chase = self._hunter.act(hunting, observations[HUNTER.name]["obs"])
            self._hunter.moved(hunting, chase)
            ids = herd.ids[living]
            arena.step(
                {
                    GRAZER.name: np.tanh(wish[tick, living]),
                    HUNTER.name: chase,
                    SCOUT.name: random.integers(SCOUT.output_shape[0], size=len(arena.ids(SCOUT.name))),
                }
            )
            reward[tick] = herd.reward
            # A place that was refilled within the tick holds another id; both cases are an ended life.
            ended[tick, living] = ~herd.alive[living] | (herd.ids[living] != ids)
        living = herd.living()
        value[_TICKS, living] = _forward(critic, arena.observe()[GRAZER.name]["obs"])[1][:, 0]
        return _Rollout(obs, wish, log_chance, reward, value, alive, ended)


def _advantages(rollout: _Rollout) -> tuple[FloatArray, FloatArray]:
    """Returns the advantage and the critic's target, [T, n] each."""
    advantage = np.zeros_like(rollout.reward)
    running = np.zeros(rollout.reward.shape[1], np.float32)
    for tick in reversed(range(len(rollout.reward))):
        goes_on = ~rollout.ended[tick] & rollout.alive[tick]
        surprise = rollout.reward[tick] + _DISCOUNT * rollout.value[tick + 1] * goes_on - rollout.value[tick]
        running = (surprise + _DISCOUNT * _TRACE * goes_on * running).astype(np.float32)
        advantage[tick] = running
    return advantage, advantage + rollout.value[:-1]


def _actor_gradients(
    actor: Parameters, obs: FloatArray, wish: FloatArray, old_log_chance: FloatArray, advantage: FloatArray
) -> Parameters:
    """Returns the gradients of the clipped surrogate loss over M rows."""
    hidden, mean = _forward(actor, obs)
    std = np.exp(actor["log_std"])
    epsilon = (wish - mean) / std
    ratio = np.exp((-0.5 * epsilon**2 - actor["log_std"]).sum(axis=1) - old_log_chance)
    # The clipped side of the minimum is flat: rows that already went far enough in the good direction stand still.
    moving = np.where(advantage > 0, ratio < 1 + _CLIP, ratio > 1 - _CLIP)
    by_log_chance = (-advantage * ratio * moving / len(obs))[:, None]
    gradients = _backward(actor, obs, hidden, by_log_chance * epsilon / std)
    gradients["log_std"] = (by_log_chance * (epsilon**2 - 1.0)).sum(axis=0).astype(np.float32)
    return gradients


def _critic_gradients(critic: Parameters, obs: FloatArray, target: FloatArray) -> Parameters:
    """Returns the gradients of half the mean squared error over M rows."""
    hidden, value = _forward(critic, obs)
    by_value: FloatArray = ((value - target[:, None]) / len(obs)).astype(np.float32, copy=False)
    return _backward(critic, obs, hidden, by_value)


def _two_layers(random: np.random.Generator, inputs: int, hidden: int, outputs: int) -> Parameters:
    return {
        "w1": glorot(random, inputs, hidden, fan_in=inputs, fan_out=hidden),
        "b1": np.zeros(hidden, np.float32),
        "w2": glorot(random, hidden, outputs, fan_in=hidden, fan_out=outputs),
        "b2": np.zeros(outputs, np.float32),
    }


def _forward(weights: Parameters, obs: FloatArray) -> tuple[FloatArray, FloatArray]:
    hidden: FloatArray = np.tanh(obs @ weights["w1"] + weights["b1"])
    return hidden, hidden @ weights["w2"] + weights["b2"]


def _backward(weights: Parameters, obs: FloatArray, hidden: FloatArray, by_output: FloatArray) -> Parameters:
    by_hidden = (by_output @ weights["w2"].T) * (1.0 - hidden**2)
    return {
        "w1": obs.T @ by_hidden,
        "b1": by_hidden.sum(axis=0),
        "w2": hidden.T @ by_output,
        "b2": by_output.sum(axis=0),
    }
