"""Trains small policies with Stable-Baselines3 and sb3-contrib, exports them, and records what `predict` says of fixed observations.

    pip install torch stable-baselines3 sb3-contrib onnx onnxscript
    python scripts/train_sb3_policies.py [--only ppo_box,sac] [--output tests/data/sb3]

Writes NAME.onnx, NAME.npz (observations, masks, starts, and the actions of the library's own `predict`) and, for policies trained within
VecNormalize, NAME.pkl. They are trained for seconds: what they are good at does not matter, that two programs agree on them does. Needs
packages that the project itself does not; the files it wrote are in the repository. Seeds are fixed; the weights still depend on the
versions of the packages.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import onnx
import torch
from gymnasium.wrappers import TransformObservation
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

ROOT = Path(__file__).resolve().parent.parent
ROWS, STEPS = 64, 24  # rows of a fixed batch; steps of the recurrent policy's 4 rows
Array = np.ndarray[Any, Any]


class Masked(gymnasium.Env[Any, Any]):
    """Rewards the largest of 6 numbers among those that are allowed just now."""

    observation_space = gymnasium.spaces.Box(-1, 1, (6,), np.float32)
    action_space = gymnasium.spaces.Discrete(6)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._left = 8
        return self._next(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward, self._left = float(self._seen[action]), self._left - 1
        return self._next(), reward, self._left == 0, False, {}

    def action_masks(self) -> Array:
        return self._allowed

    def _next(self) -> Array:
        self._seen = self.np_random.uniform(-1, 1, 6).astype(np.float32)
        self._allowed = self.np_random.random(6) < 0.6
        self._allowed[self.np_random.integers(6)] = True
        return self._seen


def blind_cartpole() -> gymnasium.Env[Any, Any]:
    """CartPole's position and angle alone, so that memory is needed."""
    env = gymnasium.make("CartPole-v1")
    return TransformObservation(env, lambda obs: obs[[0, 2]].astype(np.float32), gymnasium.spaces.Box(-10, 10, (2,), np.float32))


def cartpole() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("CartPole-v1")


def pendulum() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("Pendulum-v1")


class Exported(torch.nn.Module):
    """Observations → one output."""

    def __init__(self, policy: Any, of: Callable[..., Any]):
        super().__init__()
        self.policy, self._of = policy, of

    def forward(self, *given: torch.Tensor) -> Any:
        return self._of(self.policy, *given)


def mean_or_logits(policy: Any, obs: torch.Tensor) -> torch.Tensor:
    """Of PPO, A2C and MaskablePPO: the mean of a Gaussian, or logits."""
    features = policy.extract_features(obs, policy.pi_features_extractor)
    return policy.action_net(policy.mlp_extractor.forward_actor(features))  # type: ignore[no-any-return]


def squashed(policy: Any, obs: torch.Tensor) -> torch.Tensor:
    """Of SAC and TD3: actions in -1 to 1."""
    return policy.actor(obs, deterministic=True) if hasattr(policy.actor, "log_std") else policy.actor(obs)  # type: ignore[no-any-return]


def recurrent(policy: Any, obs: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, starts: torch.Tensor) -> Any:
    keep = (1.0 - starts).view(1, -1, 1)
    features, (hidden, cell) = policy.lstm_actor(obs.unsqueeze(0), (keep * hidden, keep * cell))
    return policy.action_net(policy.mlp_extractor.forward_actor(features.squeeze(0))), hidden, cell


class Recipe(NamedTuple):
    """How a policy is trained and what of it is exported."""

    algorithm: Any
    environment: Callable[[], gymnasium.Env[Any, Any]]
    output: str
    of: Callable[..., Any]
    normalized: bool = False
    steps: int = 2048
    options: dict[str, Any] = {}  # noqa: RUF012  (read only)
    network: str = "MlpPolicy"


_SMALL = {"policy_kwargs": {"net_arch": [32, 32]}}
RECIPES = {
    "ppo_box": Recipe(PPO, pendulum, "action", mean_or_logits, True, options={"n_steps": 512, **_SMALL}),
    "ppo_discrete": Recipe(PPO, cartpole, "logits", mean_or_logits, True, options={"n_steps": 512, **_SMALL}),
    "a2c": Recipe(A2C, cartpole, "logits", mean_or_logits, options=_SMALL),
    "sac": Recipe(SAC, pendulum, "action", squashed, True, 300, {"learning_starts": 100, **_SMALL}),
    "td3": Recipe(TD3, pendulum, "action", squashed, False, 300, {"learning_starts": 100, **_SMALL}),
    "dqn": Recipe(DQN, cartpole, "q_values", lambda policy, obs: policy.q_net(obs), steps=3000, options={
        "learning_starts": 100, "learning_rate": 3e-3, "target_update_interval": 200, **_SMALL}),
    "recurrent_ppo": Recipe(RecurrentPPO, blind_cartpole, "logits", recurrent, True, 1024, {"n_steps": 128, "policy_kwargs": {
        "lstm_hidden_size": 16, "net_arch": [16]}}, "MlpLstmPolicy"),
    "maskable_ppo": Recipe(MaskablePPO, Masked, "logits", mean_or_logits, True, options={"n_steps": 256, **_SMALL}),
}


def train(recipe: Recipe) -> tuple[Any, Any]:
    """The trained algorithm and its environment."""
    env: Any = DummyVecEnv([recipe.environment])
    if recipe.normalized:
        env = VecNormalize(env, norm_reward=False)
    model = recipe.algorithm(recipe.network, env, seed=0, device="cpu", **recipe.options)
    model.learn(recipe.steps)
    return model, env


def export(model: Any, recipe: Recipe, path: Path) -> None:
    """Writes the ONNX file, with a free batch."""
    n_seen = model.observation_space.shape[0]
    given: tuple[torch.Tensor, ...] = (torch.zeros(2, n_seen),)
    inputs, outputs = ["obs"], [recipe.output]
    batch = torch.export.Dim("n_envs")
    axes: tuple[dict[int, Any], ...] = ({0: batch},)
    if recipe.of is recurrent:
        state = torch.zeros(1, 2, model.policy.lstm_actor.hidden_size)
        given, axes = (*given, state, state.clone(), torch.zeros(2)), ({0: batch}, {1: batch}, {1: batch}, {0: batch})
        inputs, outputs = ["obs", "h_in", "c_in", "episode_starts"], ["logits", "h_out", "c_out"]
    exported = Exported(model.policy.eval(), recipe.of).eval()
    program = torch.onnx.export(exported, given, dynamo=True, input_names=inputs, output_names=outputs, opset_version=18, verbose=False,
                                dynamic_shapes=(axes,))
    proto = program.model_proto
    del proto.metadata_props[:]
    for node in proto.graph.node:  # the exporter's own notes, with its paths
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    onnx.save(proto, path)


def predictions(model: Any, env: Any, recipe: Recipe) -> dict[str, Array]:
    """Observations of the game, and what the library does in them."""
    rng = np.random.default_rng(0)
    low, high = (np.clip(bound, -3, 3) for bound in (model.observation_space.low, model.observation_space.high))
    seen = rng.uniform(low, high, (ROWS, *low.shape)).astype(np.float32)
    normal = env.normalize_obs if recipe.normalized else np.asarray
    if recipe.of is recurrent:
        seen = rng.uniform(low, high, (STEPS, 4, *low.shape)).astype(np.float32)
        starts = rng.random((STEPS, 4)) < 0.15
        starts[0] = True
        state, actions = None, []
        for obs, flags in zip(seen, starts, strict=True):
            action, state = model.predict(normal(obs), state, flags, deterministic=True)
            actions.append(action)
        return {"observations": seen, "starts": starts, "actions": np.stack(actions)}
    found: dict[str, Array] = {"observations": seen}
    options: dict[str, Any] = {}
    if recipe.algorithm is MaskablePPO:
        masks = rng.random((ROWS, 6)) < 0.5
        masks[np.arange(ROWS), rng.integers(6, size=ROWS)] = True
        found["masks"] = options["action_masks"] = masks
    found["actions"] = model.predict(normal(seen), deterministic=True, **options)[0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default=",".join(RECIPES), help="names, by comma (default: all)")
    parser.add_argument("--output", type=Path, default=ROOT / "tests" / "data" / "sb3")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # networks this small only wait for each other
    torch.distributions.Distribution.set_default_validate_args(False)  # the exporter cannot trace the checks
    for name in arguments.only.split(","):
        recipe = RECIPES[name]
        model, env = train(recipe)
        path = arguments.output / f"{name}.onnx"
        export(model, recipe, path)
        if recipe.normalized:
            env.save(str(path.with_suffix(".pkl")))
        np.savez_compressed(path.with_suffix(".npz"), **predictions(model, env, recipe))
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
