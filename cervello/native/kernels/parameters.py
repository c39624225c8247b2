"""Schemas of the parameters of blocks: the words after those of the loop that calls the block, in the notation of `codegen.schema`.

Blocks read parameters by name, lowering orders them by name (`arrange`), and the verifier checks them (`memory.extents.blocks`). A block
that is not listed has no parameters.
"""

from __future__ import annotations

from typing import Any, Final

from cervello.codegen.schema import Schema, record
from cervello.native.kernels.schema import PREFIX

PARAMETERS: Final[dict[str, Schema]] = {}
NONE: Final = record("no parameters", "")


def _parameters(module: str, names: str, words: str) -> Schema:
    """Registers one schema for blocks of a module."""
    found = record(f"parameters of {module}:{names}", words)
    PARAMETERS.update((f"{PREFIX}{module}:{name}", found) for name in names.split())
    return found


def arrange(block: str, **words: Any) -> list[Any]:
    """Orders the parameters of a block "package.module:name".

    Raises:
      PlanError: the block has other parameters.
    """
    return PARAMETERS.get(block, NONE).arrange(words)


ALPHA: Final = _parameters("unary", "leaky_relu elu celu swish thresholded_relu", "alpha:float")
SELU: Final = _parameters("unary", "selu", "alpha:float gamma:float")
HARD_SIGMOID: Final = _parameters("unary", "hard_sigmoid", "alpha:float beta:float")
CLIP: Final = _parameters("unary", "clip", "low:float high:float")
CLIP_INTEGERS: Final = _parameters("integers", "clip_i64 clip_i32", "low:int high:int")
IS_INF: Final = _parameters("unary", "is_inf", "negative positive")  # 1: infinities of this sign give true

# mask: broadcast mask; bit 0: operand a is broadcast (stride 0), bit 1: b, bit 2: c.
_INTEGERS: Final = ["add", "sub", "mul", "div", "mod", "fmod", "max", "min", "less", "less_equal", "greater", "greater_equal", "equal"]
BROADCAST: Final = _parameters("binary", "add sub mul div max_ min_ pow_ prelu div_or_zero less less_equal greater greater_equal equal "
                               "and_ or_ xor where", "mask:int")
_parameters("integers", " ".join(["equal_bool", *(f"{name}_{kind}" for name in _INTEGERS for kind in ("i64", "i32"))]), "mask:int")
_KINDS: Final = ("u8", "i8", "u16", "i16")
_parameters("quantisation", " ".join(["dequantize_i32", *(f"{name}_{kind}" for name in ("quantize", "requantize", "dequantize")
                                                         for kind in _KINDS)]), "mask:int")
WHERE: Final = _parameters("integers", "where", "mask:int itemsize")
# times_scale: 1: the dequantized value, 0: the integer minus its zero point; both as float32
FAKE_QUANTIZE: Final = _parameters(
    "quantisation", " ".join(f"{name}_{kind}" for name in ("fake_quantize", "fake_requantize") for kind in _KINDS), "mask:int times_scale")

LAYER_NORM: Final = _parameters("normalize_last", "layer_norm", "scale:weight bias:weight? epsilon:float")
RMS_NORM: Final = _parameters("normalize_last", "rms_norm", "epsilon:float")
ARG_MAX: Final = _parameters("reduce_last", "arg_max arg_min", "last")  # 1: the last of equal extremes, 0: the first
CUM_SUM: Final = _parameters("reduce_last", "cum_sum", "exclusive reverse")
