"""Attention: heads, caches and masks that must fit each other. Source: ONNX operator specification, Attention-23 to 25."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of
from cervello.native.graph.dims import Dim, Shape, parts, written

_NAMES = ("queries", "keys", "values")


def _heads(o: Operands, index: int, count: int | None) -> tuple[Dim, Dim, Dim, Dim]:
    """[batch, heads, length, size] of queries, keys or values."""
    shape = o.shape(index)
    if len(shape) == 4:
        if count is not None and parts(shape[1]) != (count, 0):
            o.fail(f"{count} heads of {_NAMES[index]}, as its attribute says", written(shape))
        return shape
    if count is None:
        o.fail(f"the number of heads of {_NAMES[index]}, which have 3 axes", "none")
    width, slope = parts(shape[2])
    if width % count or slope % count:
        o.fail(f"{_NAMES[index]} whose last axis {count} heads share evenly", written(shape))
    return shape[0], count, shape[1], shape[2] // count


@operands_of("Attention")
def _attention(o: Operands) -> None:
    for name in ("q_num_heads", "kv_num_heads"):
        if o.attribute(name) is not None:
            o.at_least(name, 1)
    ranks = {o.rank(index, _NAMES[index], 3, 4) for index in range(3)}
    if len(ranks) > 1:
        o.fail("queries, keys and values of one rank", " and ".join(written(o.shape(index)) for index in range(3)))
    kv = o.attribute("kv_num_heads")
    (batch, heads, length, size), k, v = (_heads(o, index, count) for index, count in enumerate((o.attribute("q_num_heads"), kv, kv)))
    if not batch == k[0] == v[0] or k[1] != v[1] or k[2] != v[2] or k[3] != size:
        o.fail("one batch; keys and values of equal number; keys as long as queries",
               " and ".join(written(o.shape(index)) for index in range(3)))
    (count, slope), (each, other) = parts(heads), parts(k[1])
    if slope or other or each < 1 or count % each:
        o.fail("heads of queries that are a multiple of those of keys", f"{heads} and {k[1]}")
    past: Dim = 0
    if o.given(4) != o.given(5):
        o.fail("past keys and past values, or neither", "one of them")
    if o.given(4):
        past = o.shape(4)[2] if o.rank(4, "past keys", 4, 4) else 0
        o.has_shape(4, "past keys", (batch, k[1], past, size))
        o.has_shape(5, "past values", (batch, k[1], past, v[3]))
    if o.given(3):
        _mask(o, (batch, heads, length, k[2] + past))
    o.is_list(6, "lengths of keys", batch)
    o.choice("qk_matmul_output_mode", 0, (0, 1, 2, 3))
    o.choice("softmax_precision", 1, (0, 1, 10, 11, 16))
    if o.attribute("softcap", 0.0) < 0:
        o.fail("a softcap of at least 0", o.attribute("softcap"))
    for name in ("left_window_size", "right_window_size"):
        o.at_least(name, -1, -1)


def _mask(o: Operands, scores: Shape) -> None:
    """A mask broadcasts to the scores; its last axis may be shorter."""
    o.rank(3, "a mask", 1, 4)
    dtype = o.value(3).dtype
    if dtype is not None and dtype.kind in "iu":  # what -inf is among integers, which stands for keys that are missing, ONNX leaves open
        o.fail("a mask of bool or of floats", dtype)
    shape = o.shape(3)
    last, most = parts(shape[-1]), parts(scores[-1])
    if last[1] != most[1] or last[0] > most[0]:
        o.fail(f"a mask of at most {scores[-1]} keys", written(shape))
    if any(have not in (1, size) for have, size in zip(shape[-2::-1], scores[-2::-1], strict=False)):
        o.fail(f"a mask of a shape that broadcasts to {written(scores)}", written(shape))
