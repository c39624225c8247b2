"""Sizes that kernels, lowering and verifier share: of packed weights, of tiles, and of scratch memory.

They do not depend on the CPU, so packed weights are portable. This module does not import numba, because that takes a second.
"""

from __future__ import annotations

from typing import Final

LANES: Final = 16  # of a vector
PANEL: Final = 32  # columns of a packed panel
FILTERS: Final = 8  # filters of a packed block
PIXELS: Final = 48  # output pixels of `by_filters` per block
SCORE_ROWS: Final = 48  # rows of attention scores per block
TREE_ROWS: Final = 16  # rows per block in tree ensembles
SHORT_ROW: Final = 64  # most elements of a row in `reduce_short`
FEW_CLASSES: Final = 16  # most classes for which `multinomial` processes sixteen distributions at a time
FEW_CLASSES_SCRATCH: Final = (FEW_CLASSES + 2) * LANES  # its scratch, in float32


def row_scratch(count: int) -> int:
    """Scratch for rows of `count` elements, sixteen at a time, in float32: `reduce_batched` uses 26 vectors, `reduce_short` count + 24."""
    return LANES * (max(26, 24 + count) if count <= SHORT_ROW else 26)
