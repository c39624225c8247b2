"""What kernels touch: for every kernel the bytes of each operand that its words let it read and write.

One file per family, each registers its kernels; `check_extents` is what the verifier calls.
"""

from cervello.native.memory.extents import (  # noqa: F401  (each registers its kernels)
    coupling,
    flow,
    loops,
    picking,
    products,
    trees,
    windows,
)
from cervello.native.memory.extents.check import check_extents

__all__ = ["check_extents"]
