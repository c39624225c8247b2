"""The sizes of a tile of float64 sums. They have their own file because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

TILE_ROWS: Final = 4  # rows, and columns: 12 registers of sums, 3 of columns, 1 of a row
TILE_COLUMNS: Final = 12
BLOCK_TERMS: Final = 128  # of a tile's operands at a time, which stay in the nearest cache
