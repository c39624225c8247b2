"""Writes running statistics of observations as Stable-Baselines3 saves them, and beside them what it makes of some observations.

    pip install torch stable-baselines3
    python scripts/export_vecnormalize.py [--output tests/data]

Needs packages that the project itself does not; the files it wrote are in the repository. Seeds are fixed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

ROOT = Path(__file__).resolve().parent.parent
SPACES: dict[str, gymnasium.Space[Any]] = {
    "box": gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32),
    "dict": gymnasium.spaces.Dict({"senses": gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32),
                                   "map": gymnasium.spaces.Box(-9.0, 9.0, (2, 4), np.float64)})}


class Wandering(gymnasium.Env[Any, Any]):
    """Observations whose elements differ in mean and spread."""

    def __init__(self, space: gymnasium.Space[Any]):
        self.observation_space = space
        self.action_space = gymnasium.spaces.Discrete(2)
        self._chance = np.random.default_rng(0)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return self._observed(self.observation_space), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._observed(self.observation_space), 1.0, False, False, {}

    def _observed(self, space: Any) -> Any:
        if isinstance(space, gymnasium.spaces.Dict):
            return {name: self._observed(part) for name, part in space.items()}
        grown = np.arange(1, 1 + int(np.prod(space.shape)), dtype=np.float64).reshape(space.shape)
        return (10 * grown + grown ** 3 * self._chance.standard_normal(space.shape)).astype(space.dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=500, help="of observation (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "tests" / "data")
    arguments = parser.parse_args()
    for name, space in SPACES.items():
        environment = VecNormalize(DummyVecEnv([lambda space=space: Wandering(space)] * 2), clip_obs=2.5)
        environment.reset()
        for _ in range(arguments.steps):
            environment.step(np.zeros(2, np.int64))
        environment.save(str(arguments.output / f"vecnormalize_{name}.pkl"))
        columns: dict[str, list[Any]] = {}
        for _ in range(16):
            seen, *_ = environment.venv.step_wait()
            for kind, found in (("given", seen), ("normal", environment.normalize_obs(seen))):
                for key, column in (found.items() if isinstance(found, dict) else [("obs", found)]):
                    columns.setdefault(f"{kind}_{key}", []).append(column.copy())
        np.savez(arguments.output / f"vecnormalize_{name}.npz", **{key: np.concatenate(parts) for key, parts in columns.items()})


if __name__ == "__main__":
    main()
