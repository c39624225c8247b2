"""The words of the compiled restart of agents (`table_kernels.renew`). They have their own file because importing compiled code takes a
second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# seed: of all noise; keys, steps, streams, episodes, generations: addresses of these by slot; derive: of the kernel that derives keys
RENEWAL: Final = record("renewal of agents", "seed keys steps streams episodes generations derive")
SLABS: Final = record("slabs of a renewal", "n_slabs ...")
# Addresses of a slab's rows and of its initial row, and the bytes of a row.
SLAB_ROWS: Final = record("rows of a slab", "rows initial row_bytes")
