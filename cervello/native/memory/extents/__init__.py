"""Extents: for every kernel, the byte range of each operand that it reads or writes, computed from its words.

One file per family registers its kernels. The verifier calls `check_extents`.
"""

from cervello.native.memory.extents import (  # noqa: F401  (importing a module registers its kernels)
    control_flow,
    gather_scatter,
    loops,
    products,
    traditional,
    windows,
)
from cervello.native.memory.extents.check import check_extents

__all__ = ["check_extents"]
