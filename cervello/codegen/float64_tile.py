"""Sizes of a register tile of float64 sums. A separate module, because importing the compiled code takes a second."""

from __future__ import annotations

from typing import Final

TILE_ROWS: Final = 4  # 4 × 12 sums in 12 registers of 4 lanes; 3 registers hold columns, 1 a row
TILE_COLUMNS: Final = 12
BLOCK_TERMS: Final = 128  # terms of a sum per block; the operands of a block stay in the L1 cache
