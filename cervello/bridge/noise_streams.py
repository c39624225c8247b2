"""Derives noise streams where a client gives none."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from cervello.spec import Array

_HIGHEST = (1 << 63) - 1


def derive(client: str, before: int, policy: str, ids: Sequence[int], begun: Sequence[int]) -> Array:
    """[n] int64, below 2⁶³: a stream for each agent, a function of the arguments only.

    Args:
      client: its name. before: earlier connections with that name.
      ids: the agents. begun: earlier begins of each by this connection.
    """
    name, of = client.encode(), policy.encode()
    prefix = blake2b(b"cervello.stream.1" + len(name).to_bytes(4, "little") + name + before.to_bytes(8, "little") + of, digest_size=8)
    found = []
    for agent, times in zip(ids, begun, strict=True):
        one = prefix.copy()
        one.update(agent.to_bytes(8, "little") + times.to_bytes(8, "little"))
        found.append(int.from_bytes(one.digest(), "little") & _HIGHEST)
    return np.array(found, np.int64)


def packed(streams: Array) -> bytes:
    """Encodes integers in 8 bytes each, little-endian."""
    return streams.astype("<u8").tobytes()
