"""Cost of a step in operations, used to classify long runs, to profile, and to compare with the machine's roofline."""

from __future__ import annotations

from math import prod

from cervello.native.graph.dims import Dim, NotAffine, product
from cervello.native.graph.tensors import PackedWeight, Step, Weight

_PER_ELEMENT = 4  # multiply-adds counted per element of any other step; an estimate


def operations(step: Step) -> Dim:
    """Multiply-adds of a product; for any other step, four per element written. An estimate where kernels share words."""
    return multiply_adds(step) or elements(step) * _PER_ELEMENT


def multiply_adds(step: Step) -> Dim:
    """Multiply-adds of products, convolutions and recurrent layers; 0 for any other step."""
    try:
        if step.kernel.rpartition(".")[2].startswith("recurrent:"):  # reads[0] is [time steps * rows, features]
            size: int = sum(prod(word.shape) for word in step.words if _kind(word) == "panels")
            return step.reads[0].shape[0] * size
        for word in step.words:
            if _kind(word) in ("panels", "filters", "columns"):
                terms: int = word.shape[0 if _kind(word) == "panels" else 1]
                return terms * product(step.writes[0].shape)
        if step.kernel.endswith("products:product"):
            return product(step.writes[0].shape) * step.reads[0].shape[-1]
        return 0
    except NotAffine:
        return 0


def elements(step: Step) -> Dim:
    """Elements that a step writes; 0 if their number is not affine in N."""
    try:
        return sum((product(tensor.shape) for tensor in step.writes[:1]), 0)
    except NotAffine:
        return 0


def _kind(word: object) -> str:
    return word.kind if isinstance(word, (Weight, PackedWeight)) else ""
