"""The words of `visit_flow.add_flow`. A separate module, because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# phi: address of φ [rows + 1, width], which begins with the row before the first; d, b: of d and b [rows]; o: of o [K, …], of the row
# before each; scratch: of (high + width) · BLOCK_TERMS float64; sums: of the sums [K, high, width]. rows: number of rows; features: F;
# width: a multiple of 12 above F; high: a multiple of 4 ≥ F; candidates: K; stride: float64 from one candidate's o to the next.
FLOW: Final = record("flow of visits", "phi d b o scratch sums rows features width high candidates stride")
