"""numba types for records of int64 words at an address, whose words are attributes.

    words = reader(SCHEMA)          at module level, beside the kernel of a step
    w = words(step, ctx)            in the kernel; generates no code
    w.rows, w.lda                   one load each
    w.sizes                         a tuple; one load per word
    w.source                        an operand's address: the base of its space in `ctx` plus its offset
    w.sizes_at                      the address of a word, for indexing; words of another schema are addresses as they are
    w.rows = 3                      a store of one word

    block = view(RECORD)            the same for records without operands: block(address)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_setattr_generic
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model

from cervello.codegen.memory import F32, F64, I32, I64

Layout = Mapping[str, tuple[int, str, int]]  # by name: (position in words, kind, number of words; 0 for a scalar)


class _Record(types.Type):
    """The numba type of a record with this layout."""

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
        one = _TYPES.get(found[1], types.int64)
        return types.UniTuple(one, found[2]) if found[2] else one


_TYPES = {"float": types.float32, "float64": types.float64}


def _word_pointer(builder: Any, address: Any, index: Any) -> Any:
    return builder.gep(builder.inttoptr(address, I64.as_pointer()), [index], inbounds=True)


@lower_getattr_generic(_Record)
def _read(context: Any, builder: Any, kind: Any, value: Any, attribute: str) -> Any:
    position, kind_of_word, count = kind.find(attribute)
    record = cgutils.create_struct_proxy(kind)(context, builder, value=value)

    def load(address: Any, index: Any) -> Any:
        return builder.load(_word_pointer(builder, address, index), align=8)

    if kind_of_word == "address":
        return builder.add(record.step, I64(8 * position))
    words = [load(record.step, I64(position + i)) for i in range(2 if kind_of_word == "operand" else count or 1)]
    if kind_of_word == "operand":
        return builder.add(load(record.ctx, words[0]), words[1])
    if kind_of_word == "float":
        words = [builder.bitcast(builder.trunc(word, I32), F32) for word in words]
    elif kind_of_word == "float64":
        words = [builder.bitcast(word, F64) for word in words]
    return cgutils.pack_array(builder, words) if count else words[0]


@lower_setattr_generic(_Record)
def _write(context: Any, builder: Any, sig: Any, args: Any, attribute: str) -> None:
    kind, word = sig.args
    position, kind_of_word, count = kind.find(attribute)
    if kind_of_word in ("address", "operand", "float") or count:
        raise NotImplementedError(f"{kind}: expected the name of a single word that can be written, got {attribute!r}")
    record = cgutils.create_struct_proxy(kind)(context, builder, value=args[0])
    value = builder.bitcast(args[1], I64) if word == types.float64 else args[1]
    builder.store(value, _word_pointer(builder, record.step, I64(position)), align=8)


class Schema(Protocol):
    """The part of `codegen.schema.Schema` that this module needs."""

    @property
    def name(self) -> str: ...

    @property
    def layout(self) -> Layout: ...


def reader(schema: Schema) -> Any:
    """A function (address of a step, address of a context) → the step's words by name, for kernels."""
    record = _Record(schema.name, schema.layout)

    @intrinsic
    def words(typing_context, step, ctx):
        def codegen(context, builder, sig, args):
            return _at(context, builder, sig, *args)
        return record(types.int64, types.int64), codegen

    return words


def view(schema: Schema) -> Any:
    """A function (address) → the words at the address by name, for kernels."""
    record = _Record(schema.name, schema.layout)

    @intrinsic
    def words(typing_context, address):
        def codegen(context, builder, sig, args):
            return _at(context, builder, sig, args[0], I64(0))
        return record(types.int64), codegen

    return words


def _at(context: Any, builder: Any, sig: Any, step: Any, ctx: Any) -> Any:
    record = cgutils.create_struct_proxy(sig.return_type)(context, builder)
    record.step, record.ctx = step, ctx
    return record._getvalue()
