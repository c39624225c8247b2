"""Trains the scout by imitation: a small convolutional network learns the directions that `experts` plans in its view.

The pupil plays from the second round on while the teacher says what each direction would have been worth. It learns a
soft choice, because two berries equally near make two directions equally right.

Source: Ross, Gordon and Bagnell, A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning, 2011 (DAgger).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cervello.demo.arena import Arena
from cervello.demo.experts import TrackingHunter, direction_values, graze
from cervello.demo.herd import FloatArray
from cervello.demo.species import GRAZER, HUNTER, IMAGE_SIDE, SCOUT
from cervello.demo.training_adam import Adam, Parameters, glorot

FILTERS = (8, 16)
KERNEL = 3
STRIDES = (1, 2)
SIDES = ((IMAGE_SIDE - KERNEL) // STRIDES[0] + 1, ((IMAGE_SIDE - KERNEL) // STRIDES[0] + 1 - KERNEL) // STRIDES[1] + 1)
"""Sides of the two feature maps, cells (9 and 4): no padding."""

HIDDEN = 32
_ROUNDS = 8
_TICKS = 120
_UPDATES_PER_ROUND = 220
_BATCH = 128
_RATE = 3e-3
_SHARPNESS = 12.0  # of the soft choice; larger is nearer to the argmax


def train_scout(random: np.random.Generator, say: Callable[[str], None]) -> Parameters:
    """Returns the trained float32 weights.

    k1 [3 * 9, 8] and k2 [8 * 9, 16] are kernels with rows in the order (input channel, row, column), c1 and c2 their
    biases; w1 [16 * 4 * 4, HIDDEN] with rows in the order (channel, row, column), b1, w2 [HIDDEN, 8], b2.
    """
    channels, outputs = SCOUT.observation_shape[0], SCOUT.output_shape[0]
    area = KERNEL * KERNEL
    flat = FILTERS[1] * SIDES[1] ** 2
    weights: Parameters = {
        "k1": glorot(random, channels * area, FILTERS[0], fan_in=channels * area, fan_out=FILTERS[0] * area),
        "c1": np.zeros(FILTERS[0], np.float32),
        "k2": glorot(random, FILTERS[0] * area, FILTERS[1], fan_in=FILTERS[0] * area, fan_out=FILTERS[1] * area),
        "c2": np.zeros(FILTERS[1], np.float32),
        "w1": glorot(random, flat, HIDDEN, fan_in=flat, fan_out=HIDDEN),
        "b1": np.zeros(HIDDEN, np.float32),
        "w2": glorot(random, HIDDEN, outputs, fan_in=HIDDEN, fan_out=outputs),
        "b2": np.zeros(outputs, np.float32),
    }
    adam = Adam(weights)
    images = np.zeros((0, *SCOUT.observation_shape), np.float32)
    wanted = np.zeros((0, outputs), np.float32)
    for round_number in range(_ROUNDS):
        seen, chosen, berries = _play(weights, random, pupil_plays=round_number > 0)
        images, wanted = np.concatenate([images, seen]), np.concatenate([wanted, chosen])
        fitting = []  # share of choices about as good as the teacher's best; ties make plain agreement misleading
        for update in range(_UPDATES_PER_ROUND):
            done = (round_number + update / _UPDATES_PER_ROUND) / _ROUNDS
            rows = random.integers(len(images), size=_BATCH)
            opinion, gradients = _gradients(weights, images[rows], wanted[rows])
            adam.step(gradients, _RATE * (1.0 - 0.95 * done))
            picked = np.take_along_axis(wanted[rows], opinion.argmax(axis=1)[:, None], axis=1)[:, 0]
            fitting.append(float((picked > 0.5 * wanted[rows].max(axis=1)).mean()))
        player = "pupil" if round_number else "teacher"
        say(
            f"scout   round {round_number}  {player}'s reward {berries:7.1f}  fitting choices {np.mean(fitting[-50:]):.3f}"
        )
    return weights


def logits(weights: Parameters, image: FloatArray) -> FloatArray:
    """Returns [N, 8] float32, the network's opinion of the images [N, 3, S, S]."""
    return _forward(weights, image)[-1]


def _play(
    weights: Parameters, random: np.random.Generator, *, pupil_plays: bool
) -> tuple[FloatArray, FloatArray, float]:
    """Plays _TICKS ticks; returns images [M, 3, S, S], the teacher's soft choices [M, 8] and the scouts' reward."""
    arena = Arena(int(random.integers(2**31)))
    herd, hunters = arena.herds[SCOUT.name], arena.herds[HUNTER.name]
    hunter = TrackingHunter(HUNTER.capacity)
    images, wanted, reward = [], [], 0.0
    for _ in range(_TICKS):
        observations, hunting = arena.observe(), hunters.living()
        hunter.forget(hunting[hunters.age[hunting] == 0])
        chase = hunter.act(hunting, observations[HUNTER.name]["obs"])
        hunter.moved(hunting, chase)
        image = observations[SCOUT.name]["image"]
        choice = _soft_choice(direction_values(image))
        images.append(image)
        wanted.append(choice)
        direction = (logits(weights, image) if pupil_plays else choice).argmax(axis=1)
        arena.step(
            {GRAZER.name: graze(observations[GRAZER.name]["obs"]), HUNTER.name: chase, SCOUT.name: direction},
        )
        reward += float(herd.reward.sum())
    return np.concatenate(images), np.concatenate(wanted), reward


def _soft_choice(values: FloatArray) -> FloatArray:
    """Returns [N, 8] probabilities from what each direction is worth [N, 8]."""
    relative = values / np.maximum(values.max(axis=1, keepdims=True), np.float32(1e-6))
    return _softmax(np.float32(_SHARPNESS) * relative)


def _softmax(logits: FloatArray) -> FloatArray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _forward(weights: Parameters, image: FloatArray) -> tuple[FloatArray, ...]:
    """Returns (patches of layer 1, map 1, patches of layer 2, map 2, hidden, logits); maps are [N, row, column, C]."""
    patches_1 = _patches(image, STRIDES[0], SIDES[0])
    map_1 = np.maximum(patches_1 @ weights["k1"] + weights["c1"], np.float32(0.0))
    patches_2 = _patches(map_1.transpose(0, 3, 1, 2), STRIDES[1], SIDES[1])
    map_2 = np.maximum(patches_2 @ weights["k2"] + weights["c2"], np.float32(0.0))
    flat = map_2.transpose(0, 3, 1, 2).reshape(len(image), -1)
    hidden = np.maximum(flat @ weights["w1"] + weights["b1"], np.float32(0.0))
    return patches_1, map_1, patches_2, map_2, hidden, hidden @ weights["w2"] + weights["b2"]


def _gradients(weights: Parameters, image: FloatArray, wanted: FloatArray) -> tuple[FloatArray, Parameters]:
    """Returns the logits [N, 8] and the gradients of the mean cross entropy to `wanted` [N, 8]."""
    patches_1, map_1, patches_2, map_2, hidden, opinion = _forward(weights, image)
    count = len(image)
    flat = map_2.transpose(0, 3, 1, 2).reshape(count, -1)
    by_logits = (_softmax(opinion) - wanted) / np.float32(count)
    by_hidden = (by_logits @ weights["w2"].T) * (hidden > 0)
    by_flat = by_hidden @ weights["w1"].T
    by_map_2 = by_flat.reshape(count, FILTERS[1], SIDES[1], SIDES[1]).transpose(0, 2, 3, 1) * (map_2 > 0)
    by_patches_2 = (by_map_2 @ weights["k2"].T).reshape(count, SIDES[1], SIDES[1], FILTERS[0], KERNEL, KERNEL)
    by_map_1 = np.zeros_like(map_1)
    reach = STRIDES[1] * SIDES[1]
    for row in range(KERNEL):
        for column in range(KERNEL):
            rows, columns = slice(row, row + reach, STRIDES[1]), slice(column, column + reach, STRIDES[1])
            by_map_1[:, rows, columns] += by_patches_2[..., row, column]
    by_map_1 *= map_1 > 0
    return opinion, {
        "k1": np.tensordot(patches_1, by_map_1, axes=((0, 1, 2), (0, 1, 2))),
        "c1": by_map_1.sum(axis=(0, 1, 2)),
        "k2": np.tensordot(patches_2, by_map_2, axes=((0, 1, 2), (0, 1, 2))),
        "c2": by_map_2.sum(axis=(0, 1, 2)),
        "w1": flat.T @ by_hidden,
        "b1": by_hidden.sum(axis=0),
        "w2": hidden.T @ by_logits,
        "b2": by_logits.sum(axis=0),
    }


def _patches(maps: FloatArray, stride: int, side: int) -> FloatArray:
    """Returns [N, side, side, C * 9], the 3 x 3 surroundings of each output cell of `maps` [N, C, H, W]."""
    windows = np.lib.stride_tricks.sliding_window_view(maps, (KERNEL, KERNEL), axis=(2, 3))[:, :, ::stride, ::stride]
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 1, 4, 5)).reshape(len(maps), side, side, -1)
