"""The words of the compiled copies of `kernels`. They have their own file because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# A slab's address and the bytes of a row; then what a column must be: addresses of its type and dtype, its rank, and as `more` its sizes
# after the first.
SLAB: Final = record("slab", "rows row_bytes array_type dtype rank ...")
