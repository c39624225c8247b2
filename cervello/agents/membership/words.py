"""The words of the compiled restart of agents (`table_kernels.restart_in_place`) and of the compiled decision for the agents of the last
batch (`table_kernels.decide_prepared`). They have their own file because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# seed: of all noise; keys, steps, streams, episodes, generations: addresses of these by slot; derive: of the kernel that derives keys
RESTART: Final = record("restart of agents", "seed keys steps streams episodes generations derive")
SLABS: Final = record("slabs of a restart", "n_slabs ...")
# Addresses of a slab's rows and of its initial row, and the bytes of a row.
SLAB_ROWS: Final = record("rows of a slab", "rows initial row_bytes")
# run, context: addresses of the compiled `control.run_named` and of the context that it runs in
# readiness: address of the words READINESS of `native.kernels.readiness_words`
# list_type: address of the type list; size_at: bytes from the start of a list or tuple to its length
# ids: address of the list or tuple of ids, 0 for none; slots: of their slots; steps, keys: of step counters and noise keys, by slot
PREPARED: Final = record("prepared batch", "run context readiness list_type size_at ids slots steps keys")
