"""Result shapes of ops that slide a window over an image, or take all of it."""

from __future__ import annotations

from cervello.errors import UnsupportedError
from cervello.native.graph.dims import depends_on_rows
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value
from cervello.native.graph.windows import Window, geometry
from cervello.native.shapes.rules.basic import Result, Unknown, dtype_of, rule, shape_of

__all__ = ["Window", "window"]


def window(node: Node, x: Value, kernel: tuple[int, ...] | None = None) -> Window:
    """The geometry of a node over an input [N, C, spatial…]."""
    shape = shape_of(x)
    if not shape[2:] or depends_on_rows(shape[1:]):
        raise Unknown("spatial sizes")
    return geometry(node, tuple(int(d) for d in shape[2:]), kernel)  # type: ignore[arg-type]


@rule("Conv")
def _conv(node: Node, x: Value, w: Value, b: Value | None = None) -> Result:
    weights = shape_of(w)
    if depends_on_rows(weights):
        raise Unknown("weights")
    geometry = window(node, x, weights[2:])  # type: ignore[arg-type]
    return [((shape_of(x)[0], weights[0], *geometry.outputs), dtype_of(x))]


@rule("MaxPool", "AveragePool")
def _pool(node: Node, x: Value) -> Result:
    if len([o for o in node.outputs if o]) > 1:
        raise UnsupportedError(f"node {node}: expected its largest elements only, got a reader of their indices")
    return [((*shape_of(x)[:2], *window(node, x).outputs), dtype_of(x))]


@rule("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: Node, x: Value) -> Result:
    shape = shape_of(x)
    return [((*shape[:2], *(1,) * (len(shape) - 2)), dtype_of(x))]
