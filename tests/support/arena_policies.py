"""Policies for the demo's arena as an environment, by name pattern."""

from __future__ import annotations

from typing import Any

import cervello
from cervello import envs
from cervello.demo import policy_path


def arena_policies(env: Any) -> dict[str, cervello.Policy]:
    """{species_*: policy}, loaded for the spaces of an `ArenaEnv`."""
    found = {}
    for species, options in (("grazer", {"box": "clip"}), ("hunter", {"box": "clip"}), ("scout", {"action": "logits"})):
        game = envs.Spaces((env.observation_space(f"{species}_0"), env.action_space(f"{species}_0")), **options)
        found[f"{species}_*"] = cervello.load(policy_path(species), wrappers="auto", spaces=game)
    return found
