"""The sizes that kernels, lowering and verifier share: of packed weights, of what is computed together, and of scratch memory.

None depends on the CPU, so packed weights are portable. This module does not import numba, which takes a second.
"""

from __future__ import annotations

from typing import Final

LANES: Final = 16  # of a vector
PANEL: Final = 32  # columns of a packed panel
FILTERS: Final = 8  # filters of a packed block
PIXELS: Final = 48  # pixels of a convolution whose results are transposed together
SCORE_ROWS: Final = 48  # rows of attention scores that are computed together
TREE_ROWS: Final = 16  # rows that walk through a tree one after the other
SHORT_ROW: Final = 64  # elements of the longest row that `reduce_short` transposes as a whole
FEW_CLASSES: Final = 16  # most classes of a distribution that `multinomial` draws from together with fifteen others
FEW_CLASSES_SCRATCH: Final = (FEW_CLASSES + 2) * LANES  # float32 in which it does that


def row_scratch(count: int) -> int:
    """float32 in which rows of `count` elements are reduced sixteen at a time: `reduce_batched` takes 26 vectors, `reduce_short` 24 and
    the row."""
    return LANES * (max(26, 24 + count) if count <= SHORT_ROW else 26)
