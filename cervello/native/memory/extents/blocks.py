"""Extents of blocks: compiled functions on contiguous elements, which loops, products and convolutions call by address.

A block's declaration gives the byte ranges of its target and sources from its element count and parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from cervello.errors import PlanError
from cervello.native.memory.extents.spans import Span, dense

Reach = Callable[[int, Sequence[Any]], tuple[Span, ...]]


@dataclass(frozen=True, slots=True)
class Block:
    """A block's declaration.

    Attributes:
      n_sources: operands besides the target.
      n_parameters: words it reads after the loop's own.
      reach: (count, parameters) → spans of target and sources.
      each: whether it maps float32 elements one by one, so that it may run in place on what a product wrote.
      weights: parameters that are addresses of `count` float32; those that may be 0 instead are named in `optional`.
    """

    n_sources: int
    n_parameters: int
    reach: Reach
    each: bool = False
    weights: tuple[int, ...] = ()
    optional: tuple[int, ...] = ()

    def spans(self, count: int, parameters: Sequence[Any]) -> tuple[Span, ...]:
        """Bytes of target and sources.

        Raises:
          PlanError: parameters are missing.
        """
        if len(parameters) < self.n_parameters:
            raise PlanError(f"expected {self.n_parameters} parameters of a block, got {len(parameters)}")
        return self.reach(count, parameters)


BLOCKS: dict[str, Block] = {}


def _elements(target: int, *sources: int) -> Reach:
    """Contiguous elements of these sizes in bytes."""
    return lambda count, parameters: (dense(count * target), *(dense(count * source) for source in sources))


def _broadcast_mask(parameters: Sequence[Any]) -> int:
    word = parameters[0]
    if type(word) is not int:
        raise PlanError(f"expected bits that tell which operands stand still, got {word!r}")
    return word


def _float_pair(count: int, parameters: Sequence[Any]) -> tuple[Span, ...]:
    """Like `kernels.binary._block`: at most one operand is broadcast; a broadcast operand is read even for 0 elements."""
    broadcast_mask, run = _broadcast_mask(parameters), dense(count * 4)
    return run, (run if broadcast_mask in (0, 2) else (0, 4)), ((0, 4) if broadcast_mask == 2 else run)


def _pair(item: int, result: int) -> Reach:
    def reach(count: int, parameters: Sequence[Any]) -> tuple[Span, ...]:
        broadcast_mask, run = _broadcast_mask(parameters), dense(count * item)
        a, b = (dense(item) if run and broadcast_mask & bit else run for bit in (1, 2))
        return dense(count * result), a, b

    return reach


def _choice(item: int | None) -> Reach:
    def reach(count: int, parameters: Sequence[Any]) -> tuple[Span, ...]:
        broadcast_mask, size = _broadcast_mask(parameters), parameters[1] if item is None else item
        if type(size) is not int or size < 1:
            raise PlanError(f"expected the size of an element, got {size!r}")
        spans = [dense(count * size)]
        for bit, n_bytes in ((1, 1), (2, size), (4, size)):
            spans.append(dense(n_bytes) if count > 0 and broadcast_mask & bit else dense(count * n_bytes))
        return tuple(spans)

    return reach


def _triple(result: int, *items: int) -> Reach:
    """Three operands of these sizes in bytes, each of which may be broadcast; nothing is read for 0 elements."""
    def reach(count: int, parameters: Sequence[Any]) -> tuple[Span, ...]:
        broadcast_mask = _broadcast_mask(parameters)
        return dense(count * result), *(dense(item if count > 0 and broadcast_mask & bit else count * item)
                                        for bit, item in zip((1, 2, 4), items, strict=True))

    return reach


def _row_to(n_bytes: int, least: int = 0, item: int = 4) -> Reach:
    """Reduces a row to one result; `least`: elements that are always read, `item`: bytes of each."""
    return lambda count, parameters: (dense(n_bytes), dense(max(count, least) * item))


def _declare(module: str, names: str, block: Block) -> None:
    for name in names.split():
        BLOCKS[f"cervello.native.kernels.{module}:{name}"] = block


_FLOATS = _elements(4, 4)
_declare("unary", "tanh sigmoid exp log erf softplus sin cos mish tan asin acos atan sinh cosh asinh acosh atanh sqrt abs_ floor ceil "
         "round_ relu neg reciprocal hard_swish softsign gelu gelu_tanh sign", Block(1, 0, _FLOATS, each=True))
_declare("unary", "leaky_relu elu celu swish thresholded_relu scale", Block(1, 1, _FLOATS, each=True))
_declare("unary", "selu clip hard_sigmoid", Block(1, 2, _FLOATS, each=True))
_declare("unary", "not_", Block(1, 0, _elements(1, 1)))
_declare("unary", "is_nan", Block(1, 0, _elements(1, 4)))
_declare("unary", "is_inf", Block(1, 2, _elements(1, 4)))
_SIZES = {"bool": 1, "u8": 1, "i8": 1, "i32": 4, "i64": 8, "f32": 4, "f64": 8}
for _source, _target in permutations(_SIZES, 2):
    _declare("casts", f"{_source}_to_{_target}", Block(1, 0, _elements(_SIZES[_target], _SIZES[_source])))
for _kind in ("f16", "bf16"):
    _declare("casts", f"{_kind}_to_f32", Block(1, 0, _elements(4, 2)))
    _declare("casts", f"f32_to_{_kind}", Block(1, 0, _elements(2, 4)))
_declare("binary", "add sub mul div max_ min_ pow_ prelu div_or_zero", Block(2, 1, _float_pair, each=True))
_declare("binary", "less less_equal greater greater_equal equal", Block(2, 1, _pair(4, 1)))
_declare("binary", "and_ or_ xor", Block(2, 1, _pair(1, 1)))
_declare("binary", "where", Block(3, 1, _choice(4)))
for _item, _kind in ((8, "i64"), (4, "i32")):
    for _name in ("add", "sub", "mul", "div", "mod", "fmod", "max", "min"):
        _declare("integers", f"{_name}_{_kind}", Block(2, 1, _pair(_item, _item)))
    for _name in ("less", "less_equal", "greater", "greater_equal", "equal"):
        _declare("integers", f"{_name}_{_kind}", Block(2, 1, _pair(_item, 1)))
    for _name in ("neg", "abs", "sign", "relu"):
        _declare("integers", f"{_name}_{_kind}", Block(1, 0, _elements(_item, _item)))
    _declare("integers", f"clip_{_kind}", Block(1, 2, _elements(_item, _item)))
    for _name in ("sum", "prod", "largest", "smallest", "l1", "sum_square"):
        _declare("integers", f"row_{_name}_{_kind}", Block(1, 0, _row_to(_item, item=_item)))
_declare("integers", "equal_bool", Block(2, 1, _pair(1, 1)))
_declare("integers", "where", Block(3, 2, _choice(None)))
for _kind, _item in (("u8", 1), ("i8", 1), ("u16", 2), ("i16", 2), ("i32", 4)):
    _declare("quantisation", f"dequantize_{_kind}", Block(3, 1, _triple(4, _item, 4, _item)))
    if _kind != "i32":
        _declare("quantisation", f"quantize_{_kind} requantize_{_kind}", Block(3, 1, _triple(_item, 4, 4, _item)))
        _declare("quantisation", f"snap_{_kind} resnap_{_kind}", Block(3, 2, _triple(4, 4, 4, _item)))
_declare("quantisation", "range_scale", Block(1, 0, _row_to(4)))
_declare("quantisation", "range_zero", Block(1, 0, _row_to(1)))
_declare("reduce_last", "sum_ mean max_ min_ prod sum_square l1 l2 log_sum log_sum_exp", Block(1, 0, _row_to(4)))
_declare("reduce_last", "softmax log_softmax", Block(1, 0, _FLOATS))
_declare("reduce_last", "layer_norm", Block(1, 3, _FLOATS, weights=(0, 1), optional=(1,)))
_declare("reduce_last", "rms_norm", Block(1, 1, _FLOATS))
_declare("reduce_last", "arg_max arg_min", Block(1, 1, _row_to(8, least=1)))
_declare("reduce_last", "cum_sum", Block(1, 2, _FLOATS))

_OWN = Block(1, 0, _FLOATS, each=True)


def block_at(reference: str) -> Block:
    """The declaration of a block; a user's block maps float32 elements, as `ops.elementwise` defines.

    Raises:
      PlanError: a block of the package has none.
    """
    found = BLOCKS.get(reference)
    if found is None and reference.startswith("cervello.native."):
        raise PlanError(f"expected a declaration of block {reference!r}, found none")
    return found or _OWN
