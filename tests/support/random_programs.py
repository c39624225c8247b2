"""Programs of random steps, for planners: nothing runs, steps only read, write and use scratch."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from cervello.native.graph.dims import ROWS
from cervello.native.graph.tensors import Buffer, Space, Step, Tensor, dense

F32 = np.dtype(np.float32)


def tensor(name: str, width: int, by_rows: bool, extra: int = 0) -> Tensor:
    """An arena tensor [N + extra, width], or [1, width]."""
    n: Any = ROWS + extra if by_rows else 1
    return dense(name, F32, (n, width), Buffer(name, Space.ARENA, n * width * 4))


def random_program(seed: int, most_steps: int = 80) -> list[Step]:
    """Steps in which each writes a value and reads one to three earlier ones.

    Seeds differ in length, in how far back steps read (chains, residual blocks, anything at all), in sizes (powers of two or any, narrow
    or wide), in how many values do not grow with N, and in scratch.
    """
    chance = random.Random(seed)
    n_steps = chance.choice([n for n in (3, 6, 10, 15, 20, 40, 80, 200) if n <= most_steps])
    fixed, widest, reach = chance.choice([0, 0, 0.1, 0.5]), chance.choice([20, 64, 512, 4000]), chance.choice([2, 4, 10, 1000])
    powers, scratch = chance.random() < 0.5, chance.choice([0, 0.3, 0.8])

    def width() -> int:
        return 2 ** chance.randrange(1, 12) if powers else chance.randint(1, widest)

    values: list[Tensor] = []
    steps = []
    for i in range(n_steps):
        value = tensor(f"value {i}", width(), chance.random() >= fixed, chance.choice([0, 0, 0, 1, 2]))
        read = sorted({chance.randrange(max(0, i - reach), i) for _ in range(chance.randint(1, 3))}) if i else []
        room = (tensor(f"scratch {i}", width(), chance.random() >= fixed),) if chance.random() < scratch else ()
        values.append(value)
        steps.append(Step("kernel", tuple(values[j] for j in read), (value,), [], "op", f"node {i}", scratch=room))
    return steps
