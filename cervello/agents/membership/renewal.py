"""Restarts agents in their slots in one compiled call: all or none, also when interrupted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cervello.codegen import entry, linker
from cervello.noise import layout
from cervello.spec import Array
from cervello.wrappers.slab import Slab


class InitialRows:
    """Addresses of the slabs' rows and of their initial rows. Valid until the slabs are reallocated.

    Attributes:
      address: of the words that `kernels.renew` reads.
    """

    __slots__ = ("_keep", "address")

    def __init__(self, slabs: Sequence[Slab]):
        rows = [slab.rows for slab in slabs]
        initial = [np.ascontiguousarray(slab.initial) for slab in slabs]
        words = [word for row, first in zip(rows, initial, strict=True) for word in (row.ctypes.data, first.ctypes.data, first.nbytes)]
        facts = np.array([len(slabs), *words], np.int64)
        self._keep = facts, rows, initial
        self.address: int = facts.ctypes.data


class Renewal:
    """The compiled restart for the arrays of a table of agents. Use `renewal_of`.

    Args:
      seed: of all noise.
      keys, steps, noise, generations: see `AgentTable`.
    """

    __slots__ = ("_call",)

    def __init__(self, seed: int, keys: Array, steps: Array, noise: Array, generations: Array):
        word = seed - (1 << 64) if seed >> 63 else seed
        context = np.array([word, keys.ctypes.data, steps.ctypes.data, noise[0].ctypes.data, noise[1].ctypes.data, generations.ctypes.data,
                            linker.address("cervello.noise.kernels:derive")], np.int64)
        self._call = entry.fastcall_objects("cervello.agents.membership.table_kernels:renew", context.ctypes.data, keep=(context, keys,
                                                                                                                         steps, noise,
                                                                                                                         generations))

    def __call__(self, begun: int, rows: InitialRows, slots: Array, numbers: Array, streams: Array, episodes: Array) -> None:
        """Begins episodes.

        Args:
          begun: agents so far; these get the generation numbers after it.
          rows: of the wrappers' slabs.
          slots, streams, episodes: [n] int64; numbers: [n] uint64, which key the agents' noise; all contiguous.
        """
        self._call(begun, rows.address, slots, numbers, streams, episodes)


def renewal_of(seed: int, keys: Array, steps: Array, noise: Array, generations: Array) -> Renewal | None:
    """A `Renewal`; None if compiled code cannot read the interpreter's objects."""
    return Renewal(seed, keys, steps, noise, generations) if layout.is_known() else None
