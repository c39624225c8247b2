"""Python callables for compiled functions, with the overhead of a C function call (about 25 ns).

A call through numba's dispatcher takes four times as long, one through ctypes longer still; both inspect the types of arguments. A shim is
a METH_FASTCALL builtin: it converts Python ints to words, or passes the addresses of its arguments on. Its self is a capsule with the
address of two words, the addresses of the compiled function and of its context: one call of the interpreter reads both.

    fastcall_ints(name)            f(1, 2) calls  int64 name(1, 2)
    fastcall_objects(name, self)   f(1, 2, a, b) calls  int64 name(self, 1, 2, pointer to [a, b], 2)
                                   without words, f(a, b) calls  int64 name(self, 0, 0, pointer to [a, b], 2)

Source: Python/C API, "Common Object Structures", METH_FASTCALL.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, Final

import llvmlite.binding as llvm
from llvmlite import ir

from cervello.codegen import cache, linker

_I32, _I64, _PTR = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
_MAX_WORDS = 8  # of a `fastcall_ints` function
_FASTCALL = 0x0080
_WORDS_AND_OBJECTS, _OBJECTS = -1, -2  # arities of `fastcall_objects`, with and without words
SHIMS: Final = {f"cervello.entry.shim{arity}": arity for arity in range(_OBJECTS, _MAX_WORDS + 1)}  # arities of `compile_shim` by name
_API = ("PyLong_AsLongLong", "PyLong_FromLongLong", "PyCapsule_GetPointer", "PyErr_Occurred", "PyErr_SetString")
_TYPE_ERROR: Final = "cervello_type_error"  # not PyExc_TypeError: numba defines that symbol differently
# Function objects of our own: the attributes of `ctypes.pythonapi` are shared with other libraries, and so are their argument types.
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(("PyCapsule_New", ctypes.pythonapi))
_new_builtin = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.py_object)(
    ("PyCFunction_NewEx", ctypes.pythonapi))


class _MethodDef(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]


_engines: list[Any] = []  # engines


def _shim(arity: int) -> ir.Module:
    """The module of one builtin: of `arity` words, of two words and objects, or of objects; self is a capsule, see `_builtin`."""
    module = ir.Module(f"shim_{arity}")
    name = "shim"
    function = ir.Function(module, ir.FunctionType(_PTR, [_PTR, _PTR.as_pointer(), _I64]), name)
    self, args, count = function.args
    api = {
        "PyLong_AsLongLong": ir.Function(module, ir.FunctionType(_I64, [_PTR]), "PyLong_AsLongLong"),
        "PyLong_FromLongLong": ir.Function(module, ir.FunctionType(_PTR, [_I64]), "PyLong_FromLongLong"),
        "PyCapsule_GetPointer": ir.Function(module, ir.FunctionType(_PTR, [_PTR, _PTR]), "PyCapsule_GetPointer"),
        "PyErr_Occurred": ir.Function(module, ir.FunctionType(_PTR, []), "PyErr_Occurred"),
        "PyErr_SetString": ir.Function(module, ir.FunctionType(ir.VoidType(), [_PTR, _PTR]), "PyErr_SetString"),
    }
    type_error = ir.GlobalVariable(module, _PTR, _TYPE_ERROR)
    text = bytearray(b"wrong number of arguments\0")
    message = ir.GlobalVariable(module, ir.ArrayType(ir.IntType(8), len(text)), "message")
    message.initializer = ir.Constant(message.value_type, text)
    message.linkage = "private"
    message.global_constant = True

    builder = ir.IRBuilder(function.append_basic_block("entry"))
    null = ir.Constant(_PTR, None)
    n_words = {_WORDS_AND_OBJECTS: 2, _OBJECTS: 0}.get(arity, arity)
    right_count, wrong_count = function.append_basic_block("good"), function.append_basic_block("bad_count")
    builder.cbranch(builder.icmp_signed(">=" if arity < 0 else "==", count, _I64(n_words)), right_count, wrong_count)
    builder.position_at_end(wrong_count)
    builder.call(api["PyErr_SetString"], [builder.load(type_error), builder.bitcast(message, _PTR)])
    builder.ret(null)

    builder.position_at_end(right_count)

    def unbox(item: Any) -> Any:
        return builder.call(api["PyLong_AsLongLong"], [item])

    words = [unbox(builder.load(builder.gep(args, [_I64(i)]))) for i in range(n_words)]
    if words:  # PyLong_AsLongLong returns -1 for -1 and for an error
        minus_one = _I64(-1)
        may_be_error = builder.icmp_signed("==", words[0], minus_one)
        for value in words[1:]:
            may_be_error = builder.or_(may_be_error, builder.icmp_signed("==", value, minus_one))
        check, call = function.append_basic_block("check"), function.append_basic_block("call")
        failed = function.append_basic_block("failed")
        builder.cbranch(may_be_error, check, call)
        builder.position_at_end(check)
        builder.cbranch(builder.icmp_unsigned("!=", builder.call(api["PyErr_Occurred"], []), null), failed, call)
        builder.position_at_end(failed)
        builder.ret(null)
        builder.position_at_end(call)
    own = builder.bitcast(builder.call(api["PyCapsule_GetPointer"], [self, null]), _I64.as_pointer())
    if arity < 0:
        context, objects = builder.load(builder.gep(own, [_I64(1)])), builder.ptrtoint(builder.gep(args, [_I64(n_words)]), _I64)
        words = [context, *(words or [_I64(0), _I64(0)]), objects, builder.sub(count, _I64(n_words))]
    result, error = builder.alloca(_I64), builder.alloca(_PTR)
    kind = ir.FunctionType(_I32, [_I64.as_pointer(), _PTR.as_pointer()] + [_I64] * len(words)).as_pointer()
    builder.call(builder.inttoptr(builder.load(own), kind), [result, error, *words])
    builder.ret(builder.call(api["PyLong_FromLongLong"], [builder.load(result)]))
    return module


def _machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(opt=2, jit=True)


def compile_shim(arity: int) -> cache.ObjectCode:
    """Object code of one builtin, for any CPU of this architecture; see `_shim`."""
    module = llvm.parse_assembly(str(_shim(arity)))
    module.verify()
    return cache.ObjectCode("shim", arity, _machine().emit_object(module))


@functools.cache
def _shim_address(arity: int) -> int:
    machine = _machine()
    if not _engines:
        for name in _API:
            address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
            llvm.add_symbol(name, address)
        llvm.add_symbol(_TYPE_ERROR, ctypes.addressof(ctypes.c_void_p.in_dll(ctypes.pythonapi, "PyExc_TypeError")))
    reference = f"cervello.entry.shim{arity}"
    entry = linker.stored(reference)
    if entry is None:
        entry = compile_shim(arity)
        cache.write(reference, entry)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(entry.code))
    engine.finalize_object()
    _engines.append(engine)
    return int(engine.get_function_address("shim"))


@functools.cache
def _definition(name: str, arity: int) -> _MethodDef:
    """The definition of builtins of this name and arity. It stays alive until the process ends: builtins refer to it by address, and the
    interpreter's final garbage collection inspects builtins after this module's globals are deleted."""
    definition = _MethodDef(name.encode(), _shim_address(arity), _FASTCALL, None)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(definition))
    return definition


def _builtin(definition: _MethodDef, function: int, context: int, keep: tuple[Any, ...]) -> Callable[..., int]:
    """A builtin that calls the compiled function at an address; it keeps the objects of `keep` alive."""
    words = (ctypes.c_int64 * 2)(function, context)
    capsule = _new_capsule(ctypes.addressof(words), None, None)
    # In the place of its module, the one object besides self that a builtin keeps alive and shows to the garbage collector.
    return _new_builtin(ctypes.addressof(definition), capsule, (words, *keep))  # type: ignore[no-any-return]


@functools.cache
def fastcall_ints(reference: str) -> Callable[..., int]:
    """A callable for a compiled function of int64 words.

    Raises:
      ValueError: the function has more than 8 words.
    """
    found = linker.linked(reference)
    if found.arity > _MAX_WORDS:
        raise ValueError(f"function {reference!r}: expected at most {_MAX_WORDS} words, got {found.arity}")
    return _builtin(_definition(reference.partition(":")[2], found.arity), found.address, 0, ())


def fastcall_objects(reference: str, context: int, keep: tuple[Any, ...] = (), *, words: bool = True) -> Callable[..., int]:
    """A callable for a compiled function (context, word, word, pointer to object pointers, their number).

    Args:
      context: the word that is passed as the first argument.
      keep: objects that stay alive as long as the callable.
      words: the callable takes two words before the objects; otherwise they are 0.
    """
    definition = _definition(reference.partition(":")[2], _WORDS_AND_OBJECTS if words else _OBJECTS)
    return _builtin(definition, linker.address(reference), context, keep)
