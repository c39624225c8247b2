"""Noise that depends on seed, stream, agent, episode, step, site and element, and on nothing else.

    definition              what every number is, in plain Python
    streams                 fills for many agents, keys in bulk
    generators              what the Epsilon wrapper may be given
    draws                   the same numbers for random ops inside a graph (device functions)

Below them: `philox`, `turn` and `lane_ops` (mathematics on sixteen lanes), `kernels` and `door` (compiled functions),
`layout` (reading arrays in place). `draws`, `philox`, `turn`, `lane_ops`, `kernels` and `door` import numba; a process
with a warm cache imports none of them.
"""

from __future__ import annotations

from cervello.noise.generators import Constant, FastNormal, Generator, Normal
from cervello.noise.reference import agent_key, agent_number
from cervello.noise.streams import KERNELS, Streams, derive_keys

__all__ = [
    "KERNELS",
    "Constant",
    "FastNormal",
    "Generator",
    "Normal",
    "Streams",
    "agent_key",
    "agent_number",
    "derive_keys",
]
