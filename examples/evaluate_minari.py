"""A policy of Stable-Baselines3 plays Blackjack into a Minari dataset; three ONNX policies are evaluated on it, and the best is swapped in.

    pip install '.[envs-test]' && python examples/evaluate_minari.py [HANDS]

The dataset is written by Minari's own DataCollector. Its infos hold the propensity of each action, `behavior_logp`, as the library computes
it when it draws: without it nothing could be said of other policies. The candidates are younger and older than the policy that played
(scripts/train_blackjack.py). Offline, nobody plays them; their true values come from hands that they do play.
"""

import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import minari
import torch
from gymnasium.wrappers import FlattenObservation
from stable_baselines3.common.policies import ActorCriticPolicy

import cervello
from cervello import envs, evaluation, heads

POLICIES = Path(__file__).resolve().parent / "blackjack"
CANDIDATES = {name: POLICIES / f"{name}.onnx" for name in ("early", "later", "latest")}
DATASET = "blackjack/ppo-v0"


def blackjack() -> gymnasium.Env[Any, Any]:
    return FlattenObservation(gymnasium.make("Blackjack-v1", sab=True))


class Propensities(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Adds `behavior_logp` to the infos: the logarithm of the probability with which the next action is drawn. A reset has none."""

    log_prob = math.nan

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        return super().reset(**options)[0], {"behavior_logp": math.nan}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = super().step(action)
        return observation, reward, terminated, truncated, {"behavior_logp": self.log_prob}


@torch.no_grad()
def record(n_hands: int) -> None:
    """Plays so many hands by the policy of Stable-Baselines3 into a Minari dataset."""
    torch.manual_seed(0)
    policy = ActorCriticPolicy.load(POLICIES / "behavior.pt", device="cpu")
    env = Propensities(blackjack())
    collector = minari.DataCollector(env, record_infos=True)
    for hand in range(n_hands):
        observation, over = collector.reset(seed=hand)[0], False
        while not over:
            action, _, log_prob = policy(torch.as_tensor(observation)[None])
            env.log_prob = log_prob.item()
            observation, _, terminated, truncated, _ = collector.step(action.item())
            over = terminated or truncated
    collector.create_dataset(DATASET, algorithm_name="PPO", author="examples/evaluate_minari.py", author_email="-", code_permalink="-",
                             description="Blackjack by a policy of Stable-Baselines3", eval_env="Blackjack-v1")
    collector.close()


def main() -> None:
    n_hands = int(sys.argv[1]) if len(sys.argv) > 1 else 800
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINARI_DATASETS_PATH"] = folder
        record(n_hands)
        report = evaluation.evaluate(f"minari:{DATASET}", CANDIDATES, head=heads.Categorical("logits"), estimators=["wis", "pdis"])
    print(report)
    print()
    played = envs.play(blackjack, CANDIDATES, episodes=3000, seed=1_000_000, n_envs=64)
    for name in CANDIDATES:
        estimate, truth = report[name]["wis"], played[name]
        low, high = truth.interval
        print(f"{name}: offline {estimate.value:.3f} ({estimate.interval[0]:.3f} to {estimate.interval[1]:.3f}), by play {truth.mean:.3f} "
              f"({low:.3f} to {high:.3f}), off by {abs(estimate.value - truth.mean):.3f}, {estimate.verdict}")
    policy = cervello.load(CANDIDATES["early"], wrappers="auto")
    policy.replace(report.best.path)
    print(f"swapped in: {report.best.name}, version {policy.version}")


if __name__ == "__main__":
    main()
