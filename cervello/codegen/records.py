"""Words at an address, read by name: how kernels read a step.

    words = reader(SCHEMA)          once, beside the kernel
    w = words(step, ctx)            in the kernel: no code
    w.rows, w.lda                   a load each, where it is written
    w.sizes                         as many loads as the name stands for words, a tuple
    w.source                        an operand's address: the base of its space in `ctx`, and its offset
    w.sizes_at, w.more              addresses of words, to index them
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model

from cervello.codegen.memory import F32, I32, I64

Layout = Mapping[str, tuple[int, str, int]]  # (position in words, kind, how many words: 0 for one that is no tuple) by name


class _Record(types.Type):
    """The words of one layout."""

    def __init__(self, name: str, layout: Layout):
        self.layout = layout
        super().__init__(f"Record({name})")

    @property
    def key(self) -> Any:
        return self.name, tuple(self.layout.items())

    def find(self, attribute: str) -> tuple[int, str, int] | None:
        found = self.layout.get(attribute)
        if found is None and attribute.endswith("_at"):
            found = self.layout.get(attribute.removesuffix("_at"))
            return None if found is None else (found[0], "address", 0)
        return found


@register_model(_Record)
class _Model(models.StructModel):
    def __init__(self, manager: Any, kind: Any):
        super().__init__(manager, kind, [("step", types.int64), ("ctx", types.int64)])


@infer_getattr
class _Attributes(AttributeTemplate):
    key = _Record

    def generic_resolve(self, kind: Any, attribute: str) -> Any:
        found = kind.find(attribute)
        if found is None:
            return None
        one = types.float32 if found[1] == "float" else types.int64
        return types.UniTuple(one, found[2]) if found[2] else one


@lower_getattr_generic(_Record)
def _read(context: Any, builder: Any, kind: Any, value: Any, attribute: str) -> Any:
    position, what, count = kind.find(attribute)
    record = cgutils.create_struct_proxy(kind)(context, builder, value=value)

    def load(address: Any, index: Any) -> Any:
        return builder.load(builder.gep(builder.inttoptr(address, I64.as_pointer()), [index], inbounds=True), align=8)

    if what == "address":
        return builder.add(record.step, I64(8 * position))
    words = [load(record.step, I64(position + i)) for i in range(2 if what == "operand" else count or 1)]
    if what == "operand":
        return builder.add(load(record.ctx, words[0]), words[1])
    if what == "float":
        words = [builder.bitcast(builder.trunc(word, I32), F32) for word in words]
    return cgutils.pack_array(builder, words) if count else words[0]


class Schema(Protocol):
    """What words are called."""

    @property
    def name(self) -> str: ...

    @property
    def layout(self) -> Layout: ...


def reader(schema: Schema) -> Any:
    """A function of a step's and a context's address, for kernels: the step's words by name."""
    record = _Record(schema.name, schema.layout)

    @intrinsic
    def words(typing_context, step, ctx):
        def codegen(context, builder, sig, args):
            made = cgutils.create_struct_proxy(sig.return_type)(context, builder)
            made.step, made.ctx = args
            return made._getvalue()
        return record(types.int64, types.int64), codegen

    return words
