"""Graphs of one op or a few, at any width: the law harness and the comparisons with onnxruntime run over the same list."""

from native_cases import (
    elementwise,
    gather_scatter,
    indexing,
    movement,
    products,
    quantised,
    random,
    recurrent,
    reductions,
    support_vectors,
    traditional,
    windows,
)
from native_cases.case import Case

FAMILIES: dict[str, list[Case]] = {
    "elementwise": elementwise.CASES, "products": products.CASES, "reductions": reductions.CASES, "windows": windows.CASES,
    "movement": movement.CASES, "recurrent": recurrent.CASES, "random": random.CASES, "quantised": quantised.CASES,
    "traditional": [*traditional.CASES, *support_vectors.CASES],
    "gather_scatter": [*gather_scatter.CASES, *indexing.CASES]}
ALL = [case for cases in FAMILIES.values() for case in cases]
WIDTHS = (1, 3, 5, 17, 31, 33)


def named(name: str) -> Case:
    """One case."""
    return next(case for case in ALL if case.name == name)


__all__ = ["ALL", "FAMILIES", "WIDTHS", "Case", "named"]
