"""Noise that depends only on seed, stream, agent, episode, step, site and element.

    reference               the definition of every number, in plain Python
    streams                 fills for many agents, keys in bulk
    generators              generators for the noise wrapper `Epsilon`
    draws                   the same numbers for random ops inside a graph (device functions)

Below them: `philox`, `sincos_turns` and `lane_ops` (mathematics on sixteen lanes), `kernels` and `arguments` (compiled functions),
`layout` (reading arrays in place). `draws`, `philox`, `sincos_turns`, `lane_ops`, `kernels` and `arguments` import numba; a process
with a warm cache imports none of them.
"""

from __future__ import annotations

from cervello.noise.generators import Constant, FastNormal, Generator, Normal
from cervello.noise.reference import agent_key, agent_number
from cervello.noise.streams import KERNELS, BoundKeys, SeedKeys, Streams, derive_keys

__all__ = [
    "KERNELS",
    "BoundKeys",
    "Constant",
    "FastNormal",
    "Generator",
    "Normal",
    "SeedKeys",
    "Streams",
    "agent_key",
    "agent_number",
    "derive_keys",
]
