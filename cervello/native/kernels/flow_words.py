"""The words of `visit_flow.add_flow`. They have their own file because importing compiled code takes a second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# phi: address of φ [rows + 1, width], the row before the first one first; d, b: of d and b [rows]; o: of o [K, …], of the row before;
# scratch: of (high + width) · MOST_ROWS float64; sums: of the sums [K, high, width]. rows; features: F; width: a multiple of 12 above F;
# high: a multiple of 4 from F; candidates: K; stride: numbers between two candidates' o.
FLOW: Final = record("flow of visits", "phi d b o scratch sums rows features width high candidates stride")
