"""Callables for compiled functions: words in, a word out, and no crash for any Python arguments."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys

import numpy as np
import pytest

from cervello.codegen import entry

COPY = "cervello.native.kernels.casts:i32_to_i64"  # (target, source, count, parameters)
RESOLVE = "cervello.native.kernels.runtime.control:resolve"  # seven words


def _tables() -> tuple[np.ndarray, ...]:
    return np.zeros(3, np.int64), np.array([1, -2, 1 << 40]), np.array([1, 2, 3]), np.array([0, 1, 1]), np.array([0, -640])


def test_words_pass_in_both_directions() -> None:
    target, const, slopes, owners, places = _tables()
    addresses = [table.ctypes.data for table in (target, const, slopes, owners, places)]
    assert entry.fastcall_ints(RESOLVE)(*addresses, 3, 5) == 0
    np.testing.assert_array_equal(target, const + slopes * 5 + places[owners])


def test_minus_one_is_a_legal_word() -> None:
    target, const, slopes, owners, places = _tables()
    entry.fastcall_ints(RESOLVE)(*[table.ctypes.data for table in (target, const, slopes, owners, places)], 3, -1)
    np.testing.assert_array_equal(target, const - slopes + places[owners])


@pytest.mark.parametrize("arguments", [(), (0,), (0,) * 6, (0,) * 8])
def test_a_wrong_number_of_words_is_a_type_error(arguments: tuple[int, ...]) -> None:
    with pytest.raises(TypeError, match="wrong number of arguments"):
        entry.fastcall_ints(RESOLVE)(*arguments)


@pytest.mark.parametrize(("wrong", "error"), [("x", TypeError), (None, TypeError), (1.5, TypeError), (1 << 64, OverflowError)])
def test_a_word_that_is_no_integer_is_refused_before_the_call(wrong: object, error: type[Exception]) -> None:
    target = np.full(2, 7, np.int64)
    source = np.zeros(2, np.int32)
    for place in range(4):
        words: list[object] = [target.ctypes.data, source.ctypes.data, 2, 0]
        words[place] = wrong
        with pytest.raises(error):
            entry.fastcall_ints(COPY)(*words)
    assert target.tolist() == [7, 7]


def test_keywords_are_refused() -> None:
    with pytest.raises(TypeError):
        entry.fastcall_ints(COPY)(0, 0, 0, count=0)


def test_one_callable_serves_all() -> None:
    assert entry.fastcall_ints(COPY) is entry.fastcall_ints(COPY)
    assert entry.fastcall_ints(COPY).__name__ == "i32_to_i64"


def test_calls_leave_reference_counts_as_they_were() -> None:
    target, source = np.zeros(4, np.int64), np.zeros(4, np.int32)
    big = (1 << 62) + 1
    words = (target.ctypes.data, source.ctypes.data, 4, big)
    call = entry.fastcall_ints(COPY)
    before = [sys.getrefcount(word) for word in words]
    for _ in range(1000):
        call(*words)
    assert [sys.getrefcount(word) for word in words] == before


def test_calls_allocate_nothing() -> None:
    target, source = np.zeros(4, np.int64), np.zeros(4, np.int32)
    call, words = entry.fastcall_ints(COPY), (target.ctypes.data, source.ctypes.data, 4, 0)
    gc.collect()
    for _ in range(100):
        call(*words)
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        call(*words)
    assert abs(sys.getallocatedblocks() - before) < 20


def test_a_bound_context_keeps_what_it_needs_alive() -> None:
    kept = np.zeros(64, np.int64)
    before = sys.getrefcount(kept)
    call = entry.fastcall_objects("cervello.native.kernels.runtime.control:run", kept.ctypes.data, (kept,))
    assert sys.getrefcount(kept) == before + 1
    assert call(0, 0) == 0  # no plan, no arrays: nothing to check
    with pytest.raises(TypeError, match="wrong number of arguments"):
        call(0)
    with pytest.raises(TypeError):
        call("plan", 0)
    del call
    gc.collect()
    assert sys.getrefcount(kept) == before


def test_argument_types_that_other_libraries_set_for_the_c_api_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PyCapsule_New", "PyCFunction_NewEx"):
        monkeypatch.setattr(getattr(ctypes.pythonapi, name), "argtypes", (ctypes.c_size_t,))
    assert entry.fastcall_objects("cervello.native.kernels.runtime.control:run", np.zeros(64, np.int64).ctypes.data)(0, 0) == 0
    for name in ("PyCapsule_New", "PyCFunction_NewEx"):
        assert getattr(ctypes.pythonapi, name).argtypes == (ctypes.c_size_t,)


def test_without_words_a_callable_takes_objects_only() -> None:
    equal_ids, lists_begin = "cervello.agents.membership.table_kernels:equal_ids", 16
    with_words, without = (entry.fastcall_objects(equal_ids, lists_begin, words=words) for words in (True, False))
    one, other = object(), object()
    for second, expected in ((one, 2), (other, 1), ("text", 0)):
        assert with_words(0, 0, [one], [second]) == without([one], [second]) == expected
    with pytest.raises(TypeError):
        without([one], second=[one])


def test_a_function_of_too_many_words_is_refused() -> None:
    from cervello.codegen import linker

    found = linker.linked(RESOLVE)
    linker._linked["many:words"] = found._replace(arity=9)
    try:
        with pytest.raises(ValueError, match="function 'many:words': expected at most 8 words, got 9"):
            entry.fastcall_ints("many:words")
    finally:
        del linker._linked["many:words"]


def test_a_callable_outlives_the_globals_of_its_module() -> None:
    """As when the interpreter ends: modules lose their names first, and garbage is collected once more."""
    script = (
        "import gc\n"
        "from cervello.codegen import entry\n"
        f"words, objects = entry.fastcall_ints({RESOLVE!r}), entry.fastcall_objects('cervello.native.kernels.runtime.control:run', 0)\n"
        "for kept in vars(entry).values():\n"
        "    if isinstance(kept, (list, dict)) and kept is not vars(entry)['__builtins__']:\n"
        "        kept.clear()\n"
        "gc.collect()\n"
        "filler = [b'x' * size for _ in range(20_000) for size in (20, 40, 70, 200)]\n"
        "gc.collect()\n"
        "print(words.__name__, objects.__name__)\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["resolve", "run"]


@pytest.mark.parametrize("reference", [RESOLVE, "cervello.native.kernels.runtime.control:run"])
def test_numbas_symbol_of_type_error_does_not_matter(reference: str) -> None:
    """numba gives LLVM's symbol PyExc_TypeError the address of the class; in CPython it is that of a pointer to the class."""
    kind = "fastcall_ints" if reference == RESOLVE else "fastcall_objects"
    arguments = "" if reference == RESOLVE else ", 0"
    script = ("import llvmlite.binding as llvm\nfrom cervello.codegen import entry\nentry._shim_address(3)\n"
              "llvm.add_symbol('PyExc_TypeError', id(TypeError))\n"
              f"try:\n    entry.{kind}({reference!r}{arguments})()\nexcept TypeError as error:\n    print(error)\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "wrong number of arguments"
