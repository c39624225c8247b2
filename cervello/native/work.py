"""How much a step does: the measure by which runs are called long, profiled and compared with the machine's limit."""

from __future__ import annotations

from cervello.native.dims import Dim, NotAffine, product
from cervello.native.tensors import Step, Weight


def operations(step: Step) -> Dim:
    """Multiply-adds of a product, elements written by anything else; an estimate where kernels share words."""
    try:
        written = product(step.writes[0].shape) if step.writes else 0
        for word in step.words:
            if isinstance(word, Weight) and word.kind in ("panels", "filters", "columns"):
                terms: int = word.data.shape[0 if word.kind == "panels" else 1]
                return terms * written
        if step.kernel.endswith("products:product"):
            return written * step.reads[0].shape[-1]
        return written * 4
    except NotAffine:
        return 0
