"""The words of the compiled functions of noise. They have their own file because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# The block of a fill (`kernels`). out: address of row 0; row_stride: bytes from row to row; width: float32 per row; slots: address of
# n_rows int64; keys: of [capacity, 2] uint64; steps: of [capacity] int64; site: the low 32 bits count; scale: rounded to float32 under the
# pinned rounding mode; deterministic: address of n_rows bool bytes, 0 for none: these rows get zeros.
FILL: Final = record("block of a fill", "out row_stride n_rows width slots keys steps site scale:float64 deterministic")

# The block of a derivation of keys. numbers, streams, episodes, slots: addresses of n int64; keys: of [capacity, 2] uint64.
DERIVE: Final = record("block of a key derivation", "seed numbers streams episodes slots n keys")

# The context of the argument checks (`arguments`): addresses of types, dtypes and None; then, of fills, keys, steps, the number of slots,
# and the kernels by kind, 0 until linked; of derivations, `kernels` begins with theirs.
CHECK: Final = record("context of an argument check", "array_type float32 int64 uint64 bool float_type none keys steps capacity kernels*3")
