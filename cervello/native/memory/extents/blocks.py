"""Extents of blocks: compiled functions on contiguous elements, which loops, products and convolutions call by address.

A block's declaration gives the byte ranges of its target and sources from its element count and parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from cervello.codegen.schema import Schema
from cervello.errors import PlanError
from cervello.native.kernels.parameters import NONE, PARAMETERS
from cervello.native.kernels.schema import PREFIX
from cervello.native.memory.extents.spans import Span, dense

Reach = Callable[[int, Mapping[str, Any]], tuple[Span, ...]]


@dataclass(frozen=True, slots=True)
class Block:
    """A block's declaration.

    Attributes:
      n_sources: operands besides the target.
      reach: (count, parameters by name) → spans of target and sources.
      elementwise: whether it maps float32 elements one by one, so that it may run in place on what a product wrote.
      parameters: the words that it reads after those of the loop; a word of kind `weight` is the address of `count` float32.
    """

    n_sources: int
    reach: Reach
    elementwise: bool = False
    parameters: Schema = NONE

    def named(self, words: Sequence[Any]) -> dict[str, Any]:
        """The block's parameters by name.

        Raises:
          PlanError: parameters are missing.
        """
        fields = self.parameters.fields
        if len(words) < len(fields):
            raise PlanError(f"expected {len(fields)} parameters of a block, got {len(words)}")
        return {field.name: word for field, word in zip(fields, words, strict=False)}


BLOCKS: dict[str, Block] = {}


def _elements(target: int, *sources: int) -> Reach:
    """Contiguous elements of these sizes in bytes."""
    return lambda count, parameters: (dense(count * target), *(dense(count * source) for source in sources))


def _broadcast_mask(parameters: Mapping[str, Any]) -> int:
    word = parameters["mask"]
    if type(word) is not int:
        raise PlanError(f"expected a broadcast mask, got {word!r}")
    return word


def _float_pair(count: int, parameters: Mapping[str, Any]) -> tuple[Span, ...]:
    """Spans of `kernels.binary._block`: at most one operand is broadcast, and it is read even for 0 elements."""
    broadcast_mask, run = _broadcast_mask(parameters), dense(count * 4)
    return run, (run if broadcast_mask in (0, 2) else (0, 4)), ((0, 4) if broadcast_mask == 2 else run)


def _broadcasting(result: int | None, *items: int | None) -> Reach:
    """Operands of these bytes per element, each of which may be broadcast; None: as the parameter `itemsize` says. Nothing is read for 0
    elements.
    """
    def reach(count: int, parameters: Mapping[str, Any]) -> tuple[Span, ...]:
        broadcast_mask, size = _broadcast_mask(parameters), parameters["itemsize"] if result is None else result
        if type(size) is not int or size < 1:
            raise PlanError(f"expected the size of an element, got {size!r}")
        spans = [dense(count * size)]
        for i, item in enumerate(items):
            n_elements = min(count, 1) if broadcast_mask >> i & 1 else count
            spans.append(dense(n_elements * (size if item is None else item)))
        return tuple(spans)

    return reach


def _row_to(n_bytes: int, least: int = 0, item: int = 4) -> Reach:
    """A reduction of a row to n_bytes; `least`: minimal number of elements that are read; `item`: bytes of an element."""
    return lambda count, parameters: (dense(n_bytes), dense(max(count, least) * item))


def _declare(module: str, names: str, n_sources: int, reach: Reach, elementwise: bool = False) -> None:
    for name in names.split():
        reference = f"{PREFIX}{module}:{name}"
        BLOCKS[reference] = Block(n_sources, reach, elementwise, PARAMETERS.get(reference, NONE))


_FLOATS = _elements(4, 4)
_declare("unary", "tanh sigmoid exp log erf softplus sin cos mish tan asin acos atan sinh cosh asinh acosh atanh sqrt abs_ floor ceil "
         "round_ relu neg reciprocal hard_swish softsign gelu gelu_tanh sign", 1, _FLOATS, elementwise=True)
_declare("unary", "leaky_relu elu celu swish thresholded_relu", 1, _FLOATS, elementwise=True)
_declare("unary", "selu clip hard_sigmoid", 1, _FLOATS, elementwise=True)
_declare("unary", "not_", 1, _elements(1, 1))
_declare("unary", "is_nan", 1, _elements(1, 4))
_declare("unary", "is_inf", 1, _elements(1, 4))
_SIZES = {"bool": 1, "u8": 1, "i8": 1, "i32": 4, "i64": 8, "f32": 4, "f64": 8}
for _source, _target in permutations(_SIZES, 2):
    _declare("casts", f"{_source}_to_{_target}", 1, _elements(_SIZES[_target], _SIZES[_source]))
for _kind in ("f16", "bf16"):
    _declare("casts", f"{_kind}_to_f32", 1, _elements(4, 2))
    _declare("casts", f"f32_to_{_kind}", 1, _elements(2, 4))
_declare("binary", "add sub mul div max_ min_ pow_ prelu div_or_zero", 2, _float_pair, elementwise=True)
_declare("binary", "less less_equal greater greater_equal equal", 2, _broadcasting(1, 4, 4))
_declare("binary", "and_ or_ xor", 2, _broadcasting(1, 1, 1))
_declare("binary", "where", 3, _broadcasting(4, 1, 4, 4))
for _item, _kind in ((8, "i64"), (4, "i32")):
    for _name in ("add", "sub", "mul", "div", "mod", "fmod", "max", "min"):
        _declare("integers", f"{_name}_{_kind}", 2, _broadcasting(_item, _item, _item))
    for _name in ("less", "less_equal", "greater", "greater_equal", "equal"):
        _declare("integers", f"{_name}_{_kind}", 2, _broadcasting(1, _item, _item))
    for _name in ("neg", "abs", "sign", "relu"):
        _declare("integers", f"{_name}_{_kind}", 1, _elements(_item, _item))
    _declare("integers", f"clip_{_kind}", 1, _elements(_item, _item))
    for _name in ("sum", "prod", "max", "min", "l1", "sum_square"):
        _declare("integers", f"row_{_name}_{_kind}", 1, _row_to(_item, item=_item))
_declare("integers", "equal_bool", 2, _broadcasting(1, 1, 1))
_declare("integers", "where", 3, _broadcasting(None, 1, None, None))
for _kind, _item in (("u8", 1), ("i8", 1), ("u16", 2), ("i16", 2), ("i32", 4)):
    _declare("quantisation", f"dequantize_{_kind}", 3, _broadcasting(4, _item, 4, _item))
    if _kind != "i32":
        _declare("quantisation", f"quantize_{_kind} requantize_{_kind}", 3, _broadcasting(_item, 4, 4, _item))
        _declare("quantisation", f"fake_quantize_{_kind} fake_requantize_{_kind}", 3, _broadcasting(4, 4, 4, _item))
_declare("quantisation", "dynamic_scale", 1, _row_to(4))
_declare("quantisation", "dynamic_zero_point", 1, _row_to(1))
_declare("reduce_last", "sum_ mean max_ min_ prod sum_square l1 l2 log_sum log_sum_exp", 1, _row_to(4))
_declare("reduce_last", "arg_max arg_min", 1, _row_to(8, least=1))
_declare("reduce_last", "cum_sum", 1, _FLOATS)
_declare("normalize_last", "softmax log_softmax layer_norm rms_norm", 1, _FLOATS)

_USER_BLOCK = Block(1, _FLOATS, elementwise=True)


def block_at(reference: str) -> Block:
    """The declaration of a block; a user's block maps float32 elements, by the definition of `ops.elementwise`.

    Raises:
      PlanError: a block of the package has no declaration.
    """
    found = BLOCKS.get(reference)
    if found is None and reference.startswith("cervello.native."):
        raise PlanError(f"expected a declaration of block {reference!r}, found none")
    return found or _USER_BLOCK
