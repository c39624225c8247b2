"""Adam over named parameters, the one optimiser of all three trainings."""

from __future__ import annotations

import numpy as np

from cervello.demo.herd import FloatArray

Parameters = dict[str, FloatArray]
"""Weights by tensor name; gradients use the same names and shapes."""


class Adam:
    """Mutable optimiser state; `step` changes the parameters in place.

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, algorithm 1.
    """

    def __init__(self, parameters: Parameters, decay_first: float = 0.9, decay_second: float = 0.999) -> None:
        self._parameters = parameters
        self._decays = (decay_first, decay_second)
        self._first = {name: np.zeros_like(value) for name, value in parameters.items()}
        self._second = {name: np.zeros_like(value) for name, value in parameters.items()}
        self._steps = 0

    def step(self, gradients: Parameters, rate: float) -> None:
        """Goes one step of size `rate` downhill."""
        self._steps += 1
        decay_first, decay_second = self._decays
        for name, gradient in gradients.items():
            first, second = self._first[name], self._second[name]
            first += (1 - decay_first) * (gradient - first)
            second += (1 - decay_second) * (gradient * gradient - second)
            unbiased_first = first / (1 - decay_first**self._steps)
            unbiased_second = second / (1 - decay_second**self._steps)
            self._parameters[name] -= rate * unbiased_first / (np.sqrt(unbiased_second) + 1e-8)


def glorot(random: np.random.Generator, *shape: int, fan_in: int, fan_out: int) -> FloatArray:
    """Draws a float32 weight of `shape`, uniform within the Glorot bound of its fans."""
    bound = float(np.sqrt(6.0 / (fan_in + fan_out)))
    return random.uniform(-bound, bound, shape).astype(np.float32)
