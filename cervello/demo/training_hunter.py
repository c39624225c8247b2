"""Trains the hunter by imitation: a GRU learns to track from `TrackingHunter`, with truncated backpropagation in numpy.

The pupil sees one flash in FLASH_PERIOD ticks and the teacher's action on every tick; the only way to act like the
teacher in the dark is to remember. After the first round the pupil itself plays while the teacher says what it would
have done, so that the pupil learns to recover from its own mistakes.

Source: Ross, Gordon and Bagnell, A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning, 2011 (DAgger); the cell is the ONNX operator GRU-14 with linear_before_reset = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cervello.demo.arena import Arena
from cervello.demo.experts import TrackingHunter, graze
from cervello.demo.herd import BoolArray, FloatArray
from cervello.demo.species import GRAZER, HUNTER, SCOUT
from cervello.demo.training_adam import Adam, Parameters, glorot

STATE = 24
HIDDEN = 16
_ROUNDS = 8
_TICKS = 160
_UPDATES_PER_ROUND = 250
_SEQUENCE = 32
_BATCH = 64
_RATE = 4e-3


@dataclass(frozen=True, slots=True)
class _Lesson:
    """T ticks of n places. obs: [T, n, 9]. wanted: [T, n, 2]. alive, newborn: [T, n]."""

    obs: FloatArray
    wanted: FloatArray
    alive: BoolArray
    newborn: BoolArray


@dataclass(frozen=True, slots=True)
class _Sequence:
    """Batch-wise [T, B, ...] cut of lessons. weight: [T, B], 0 before the first flash: earlier memory is cut off."""

    obs: FloatArray
    wanted: FloatArray
    newborn: BoolArray
    weight: FloatArray


@dataclass(frozen=True, slots=True)
class _Cell:
    """What one GRU step keeps for the way back, [B, STATE] each."""

    before: FloatArray
    update: FloatArray
    reset: FloatArray
    candidate: FloatArray
    recurrent_candidate: FloatArray
    after: FloatArray


def train_hunter(random: np.random.Generator, say: Callable[[str], None]) -> Parameters:
    """Returns the trained float32 weights.

    Gates lie side by side in the order update, reset, candidate: w [9, 3 STATE], r [STATE, 3 STATE], wb and rb
    [3 STATE]; the head is w1 [STATE, HIDDEN], b1, Relu, w2 [HIDDEN, 2], b2, Tanh.
    """
    inputs, outputs = HUNTER.observation_shape[0], HUNTER.output_shape[0]
    weights: Parameters = {
        "w": glorot(random, inputs, 3 * STATE, fan_in=inputs, fan_out=STATE),
        "r": glorot(random, STATE, 3 * STATE, fan_in=STATE, fan_out=STATE),
        "wb": np.zeros(3 * STATE, np.float32),
        "rb": np.zeros(3 * STATE, np.float32),
        "w1": glorot(random, STATE, HIDDEN, fan_in=STATE, fan_out=HIDDEN),
        "b1": np.zeros(HIDDEN, np.float32),
        "w2": glorot(random, HIDDEN, outputs, fan_in=HIDDEN, fan_out=outputs),
        "b2": np.zeros(outputs, np.float32),
    }
    adam = Adam(weights)
    lessons: list[_Lesson] = []
    for round_number in range(_ROUNDS):
        lesson, catches = _play(weights, random, pupil_plays=round_number > 0)
        lessons.append(lesson)
        losses = []
        for update in range(_UPDATES_PER_ROUND):
            done = (round_number + update / _UPDATES_PER_ROUND) / _ROUNDS
            loss, gradients = _loss_and_gradients(weights, _cut(lessons, random))
            adam.step(_clipped(gradients), _RATE * (1.0 - 0.95 * done))
            losses.append(loss)
        player = "pupil" if round_number else "teacher"
        say(f"hunter  round {round_number}  {player}'s catches {catches:4d}  loss {np.mean(losses[-50:]):.4f}")
    return weights


def _play(weights: Parameters, random: np.random.Generator, *, pupil_plays: bool) -> tuple[_Lesson, int]:
    """Plays _TICKS ticks and notes what the teacher wanted; returns the lesson and the number of catches."""
    arena = Arena(int(random.integers(2**31)))
    herd = arena.herds[HUNTER.name]
    teacher = TrackingHunter(HUNTER.capacity)
    shape = (_TICKS, HUNTER.capacity)
    obs = np.zeros((*shape, *HUNTER.observation_shape), np.float32)
    wanted = np.zeros((*shape, *HUNTER.output_shape), np.float32)
    alive, newborn = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    state = np.zeros((HUNTER.capacity, STATE), np.float32)
    catches = 0
    for tick in range(_TICKS):
        observations, living = arena.observe(), herd.living()
        young = living[herd.age[living] == 0]
        teacher.forget(young)
        state[young] = 0.0
        seen = observations[HUNTER.name]["obs"]
        obs[tick, living], alive[tick, living], newborn[tick, young] = seen, True, True
        wanted[tick, living] = action = teacher.act(living, seen)
        if pupil_plays:
            cell = _gru(weights, seen @ weights["w"] + weights["wb"], state[living])
            state[living] = cell.after
            action = _head(weights, cell.after)[1]
        teacher.moved(living, action)
        arena.step(
            {
                GRAZER.name: graze(observations[GRAZER.name]["obs"]),
                HUNTER.name: action,
                SCOUT.name: random.integers(SCOUT.output_shape[0], size=len(arena.ids(SCOUT.name))),
            }
        )
        catches += int(herd.reward.sum())
    return _Lesson(obs, wanted, alive, newborn), catches


def _cut(lessons: list[_Lesson], random: np.random.Generator) -> _Sequence:
    """Draws _BATCH pieces of _SEQUENCE ticks, each from one place of one lesson."""
    which = random.integers(len(lessons), size=_BATCH)
    start = random.integers(_TICKS - _SEQUENCE + 1, size=_BATCH)
    place = random.integers(HUNTER.capacity, size=_BATCH)
    pieces = [(lessons[k], slice(s, s + _SEQUENCE), p) for k, s, p in np.stack([which, start, place], 1).tolist()]
    obs = np.stack([lesson.obs[span, p] for lesson, span, p in pieces], axis=1)
    newborn = np.stack([lesson.newborn[span, p] for lesson, span, p in pieces], axis=1)
    alive = np.stack([lesson.alive[span, p] for lesson, span, p in pieces], axis=1)
    informed = np.logical_or.accumulate((obs[:, :, 0] > 0) | newborn, axis=0)
    return _Sequence(
        obs=obs,
        wanted=np.stack([lesson.wanted[span, p] for lesson, span, p in pieces], axis=1),
        newborn=newborn,
        weight=(alive & informed).astype(np.float32),
    )


def _loss_and_gradients(weights: Parameters, sequence: _Sequence) -> tuple[float, Parameters]:
    """Returns the mean squared error of the actions and its gradients, through the whole sequence."""
    ticks, batch = sequence.weight.shape
    projected = sequence.obs @ weights["w"] + weights["wb"]
    cells: list[_Cell] = []
    state = np.zeros((batch, STATE), np.float32)
    for tick in range(ticks):
        state = np.where(sequence.newborn[tick][:, None], np.float32(0.0), state)
        cells.append(_gru(weights, projected[tick], state))
        state = cells[-1].after
    after = np.stack([cell.after for cell in cells])
    hidden, action = _head(weights, after)

    total = max(float(sequence.weight.sum()), 1.0)
    error = (action - sequence.wanted) * sequence.weight[:, :, None]
    loss = float((error**2).sum()) / total
    by_output = (error * (1.0 - action**2) * (2.0 / total)).astype(np.float32, copy=False)
    by_hidden = (by_output @ weights["w2"].T) * (hidden > 0)
    by_after = by_hidden @ weights["w1"].T
    gradients: Parameters = {
        "w1": np.tensordot(after, by_hidden, axes=((0, 1), (0, 1))),
        "b1": by_hidden.sum(axis=(0, 1)),
        "w2": np.tensordot(hidden, by_output, axes=((0, 1), (0, 1))),
        "b2": by_output.sum(axis=(0, 1)),
    }

    by_projected = np.zeros_like(projected)
    by_recurrent = np.zeros_like(projected)
    by_state = np.zeros((batch, STATE), np.float32)
    for tick in reversed(range(ticks)):
        cell = cells[tick]
        by_state = by_state + by_after[tick]
        by_candidate = by_state * (1.0 - cell.update) * (1.0 - cell.candidate**2)
        by_update = by_state * (cell.before - cell.candidate) * cell.update * (1.0 - cell.update)
        by_reset = by_candidate * cell.recurrent_candidate * cell.reset * (1.0 - cell.reset)
        by_projected[tick] = np.concatenate([by_update, by_reset, by_candidate], axis=1)
        by_recurrent[tick] = np.concatenate([by_update, by_reset, by_candidate * cell.reset], axis=1)
        by_state = by_state * cell.update + by_recurrent[tick] @ weights["r"].T
        by_state = np.where(sequence.newborn[tick][:, None], np.float32(0.0), by_state)
    before = np.stack([cell.before for cell in cells])
    gradients["w"] = np.tensordot(sequence.obs, by_projected, axes=((0, 1), (0, 1)))
    gradients["r"] = np.tensordot(before, by_recurrent, axes=((0, 1), (0, 1)))
    gradients["wb"] = by_projected.sum(axis=(0, 1))
    gradients["rb"] = by_recurrent.sum(axis=(0, 1))
    return loss, gradients


def _gru(weights: Parameters, projected: FloatArray, before: FloatArray) -> _Cell:
    """One step; projected: [B, 3 STATE], the inputs' part of the gates; before: [B, STATE]."""
    recurrent = before @ weights["r"] + weights["rb"]
    gates: FloatArray = np.reciprocal(1.0 + np.exp(-(projected[:, : 2 * STATE] + recurrent[:, : 2 * STATE])))
    update, reset = gates[:, :STATE], gates[:, STATE:]
    recurrent_candidate = recurrent[:, 2 * STATE :]
    candidate: FloatArray = np.tanh(projected[:, 2 * STATE :] + reset * recurrent_candidate)
    after: FloatArray = (1.0 - update) * candidate + update * before
    return _Cell(before, update, reset, candidate, recurrent_candidate, after)


def _head(weights: Parameters, state: FloatArray) -> tuple[FloatArray, FloatArray]:
    hidden = np.maximum(state @ weights["w1"] + weights["b1"], np.float32(0.0))
    action: FloatArray = np.tanh(hidden @ weights["w2"] + weights["b2"])
    return hidden, action


def _clipped(gradients: Parameters, limit: float = 1.0) -> Parameters:
    """Shortens the whole gradient to `limit`: the rare exploding sequence must not undo the others."""
    norm = float(np.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values())))
    scale = np.float32(min(1.0, limit / max(norm, 1e-12)))
    return {name: gradient * scale for name, gradient in gradients.items()}
