"""Restarts agents in their slots in one compiled call: all or none, also when interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from cervello.agents.membership.words import RESTART, SLAB_ROWS, SLABS
from cervello.codegen import entry, linker
from cervello.noise import layout
from cervello.spec import Array
from cervello.wrappers.slab import Slab


class InitialRows:
    """Addresses of the slabs' rows and of their initial rows. Valid until the slabs are reallocated.

    Attributes:
      address: of the words that `kernels.restart_in_place` reads.
    """

    __slots__ = ("_keep", "address")

    def __init__(self, slabs: Sequence[Slab]):
        rows = [slab.rows for slab in slabs]
        initial = [np.ascontiguousarray(slab.initial) for slab in slabs]
        words = chain.from_iterable(SLAB_ROWS.filled(rows=row.ctypes.data, initial=first.ctypes.data, row_bytes=first.nbytes)
                                    for row, first in zip(rows, initial, strict=True))
        facts = np.array(SLABS.filled(n_slabs=len(slabs), more=words), np.int64)
        self._keep = facts, rows, initial
        self.address: int = facts.ctypes.data


class InPlaceRestart:
    """The compiled restart for the arrays of a table of agents. Use `in_place_restart`.

    Args:
      seed: of all noise.
      keys, steps, noise, generations: see `AgentTable`.
    """

    __slots__ = ("_call",)

    def __init__(self, seed: int, keys: Array, steps: Array, noise: Array, generations: Array):
        word = seed - (1 << 64) if seed >> 63 else seed
        context = np.array(RESTART.filled(
            seed=word, keys=keys.ctypes.data, steps=steps.ctypes.data, streams=noise[0].ctypes.data, episodes=noise[1].ctypes.data,
            generations=generations.ctypes.data, derive=linker.address("cervello.noise.kernels:derive")), np.int64)
        keep = context, keys, steps, noise, generations
        self._call = entry.fastcall_objects("cervello.agents.membership.table_kernels:restart_in_place", context.ctypes.data, keep)

    def __call__(self, begun: int, rows: InitialRows, slots: Array, numbers: Array, streams: Array, episodes: Array) -> None:
        """Begins episodes.

        Args:
          begun: agents so far; these get the generation numbers after it.
          rows: of the wrappers' slabs.
          slots, streams, episodes: [n] int64; numbers: [n] uint64, which key the agents' noise; all contiguous.
        """
        self._call(begun, rows.address, slots, numbers, streams, episodes)


def in_place_restart(seed: int, keys: Array, steps: Array, noise: Array, generations: Array) -> InPlaceRestart | None:
    """An `InPlaceRestart`; None if compiled code cannot read the interpreter's objects."""
    return InPlaceRestart(seed, keys, steps, noise, generations) if layout.is_known() else None
