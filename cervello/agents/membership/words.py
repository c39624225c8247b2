"""The words of the compiled restart of agents (`table_kernels.renew`) and of the compiled decision for the agents of the last batch
(`table_kernels.decide_prepared`). They have their own file because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# seed: of all noise; keys, steps, streams, episodes, generations: addresses of these by slot; derive: of the kernel that derives keys
RENEWAL: Final = record("renewal of agents", "seed keys steps streams episodes generations derive")
SLABS: Final = record("slabs of a renewal", "n_slabs ...")
# Addresses of a slab's rows and of its initial row, and the bytes of a row.
SLAB_ROWS: Final = record("rows of a slab", "rows initial row_bytes")
# run, context: addresses of the compiled `control.run_named` and of the context that it runs in
# current: address of two words: of the plan that the context is prepared for, 0 for none, and its number of rows
# holder: address of the dict that is not empty while a thread holds the exclusive lock
# versions: address of the table's words: version of the slots, membership version
# dict_size, list_type: addresses of PyDict_Size and of the type list; size_at: bytes from the start of a list or tuple to its length
# ids: address of the list or tuple of ids, 0 for none; slots: of their slots; steps, keys: of step counters and noise keys, by slot
# slots_version: at the lookup of the slots
PREPARED: Final = record("prepared batch",
                         "run context current holder versions dict_size list_type size_at ids slots steps keys slots_version")
