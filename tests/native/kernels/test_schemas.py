"""Kernels, lowering and verifier use one schema for the words of a kernel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import cervello
from cervello.codegen import records
from cervello.codegen.bits import float_word
from cervello.codegen.memory import read_i64, write_f64, write_i64
from cervello.codegen.schema import Schema, record
from cervello.errors import PlanError
from cervello.native import kernels
from cervello.native.kernels.parameters import PARAMETERS, arrange
from cervello.native.kernels.schema import SCHEMAS, schema
from cervello.native.kernels.schemas import MAP_UNARY
from cervello.native.memory.extents.blocks import BLOCKS
from cervello.native.memory.extents.declaration import KERNELS

_FIELDS = record("test fields", "rows:rows scale:float sizes:rows*3 last ...")
_STEP = Schema("test step", ("a",), ("b",), (), _FIELDS.fields, True, 6)
_of_fields, _of_step = records.view(_FIELDS), records.reader(_STEP)


_WRITTEN = record("written fields", "count scale:float64 sizes*2 last")
_written = records.view(_WRITTEN)


@numba.njit
def _write_fields(address):
    w = _written(address)
    w.count, w.scale = 7, -0.5


@numba.njit
def _read_fields(step, ctx):
    w = _of_fields(step)
    target = w.last
    write_i64(target, 0, w.rows)
    write_f64(target, 1, np.float64(w.scale))
    for i in range(3):
        write_i64(target, 2 + i, read_i64(w.sizes_at, i))
    write_i64(target, 5, w.sizes[0] * 100 + w.sizes[1] * 10 + w.sizes[2])
    write_i64(target, 6, read_i64(w.more, 1))
    return 0


@numba.njit
def _read_operands(step, ctx):
    w = _of_step(step, ctx)
    write_i64(w.b, 0, read_i64(w.a, 0) + w.rows)
    return w.last


def _run(kernel: Any, words: list[int], context: list[int]) -> int:
    step, ctx = np.array(words, np.int64), np.array(context, np.int64)
    return int(kernel(step.ctypes.data, ctx.ctypes.data))


def test_words_are_read_by_name() -> None:
    found = np.zeros(7, np.int64)
    words = _FIELDS.arrange({"last": found.ctypes.data, "sizes": (2, 3, 4), "scale": float_word(-1.5), "rows": 17, "more": [8, 9]})
    assert words == [17, float_word(-1.5), 2, 3, 4, found.ctypes.data, 8, 9]
    assert _run(_read_fields, words, [0]) == 0
    assert found.tolist() == [17, np.array(-1.5).view(np.int64), 2, 3, 4, 234, 9]


def test_operands_are_addresses_of_a_space_and_an_offset() -> None:
    memory = np.array([5, 40, 0], np.int64)
    words = [0, 13, 1, 8, 1, 16, *_STEP.arrange({"rows": 2, "scale": 0, "sizes": (0, 0, 0), "last": 7})]
    assert _run(_read_operands, words, [0, memory.ctypes.data]) == 7
    assert memory.tolist() == [5, 40, 42]


def test_every_kernel_has_a_schema_and_bounds() -> None:
    assert set(KERNELS) <= set(SCHEMAS)
    own = {name for name in SCHEMAS if name.startswith(f"{kernels.__name__}.")}
    assert own == set(KERNELS)
    for each in SCHEMAS.values():
        names = [*each.operands, *(field.name for field in each.fields)]
        assert len(names) == len(set(names)), each.name


_WORDS: dict[str, Any] = {"block": 1, "count": 2, "sizes": [3, 4, 5], "source_by": [6, 7, 8], "target_by": [9, 10, 11]}


def test_words_are_arranged_in_the_kernels_order() -> None:
    assert MAP_UNARY.arrange(dict(reversed(_WORDS.items()))) == list(range(1, 12))
    assert MAP_UNARY.arrange(_WORDS | {"parameters": [12, 13]}) == list(range(1, 14))
    assert len(MAP_UNARY.arrange(_WORDS)) == MAP_UNARY.n_words
    assert MAP_UNARY.layout["source"] == (2, "operand", 0)
    assert MAP_UNARY.layout["target_by"] == (14, "stride", 3)


@pytest.mark.parametrize(("words", "message"), [
    ({name: word for name, word in _WORDS.items() if name != "count"}, "expected words block count sizes source_by target_by, got block"),
    (_WORDS | {"counts": 1}, "expected words .*, got block count sizes source_by target_by counts"),
    (_WORDS | {"sizes": [3, 4]}, "expected 3 words 'sizes', got 2")])
def test_missing_and_unknown_words_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        MAP_UNARY.arrange(words)


def test_parameters_are_refused_by_a_kernel_without_any() -> None:
    with pytest.raises(PlanError, match="expected words to, got to parameters"):
        SCHEMAS["cervello.native.kernels.control_flow:jump"].arrange({"to": 0, "parameters": [1]})


def test_a_schema_is_known_by_each_of_its_kernels() -> None:
    try:
        found = schema("tested:one tested:two", "-> target", "count")
        assert SCHEMAS["cervello.native.kernels.tested:one"] is SCHEMAS["cervello.native.kernels.tested:two"] is found
    finally:
        for name in ("one", "two"):
            SCHEMAS.pop(f"cervello.native.kernels.tested:{name}", None)


def test_words_are_written_by_name() -> None:
    words = np.array(_WRITTEN.filled(last=5), np.int64)
    assert words.tolist() == [0, 0, 0, 0, 5]
    _write_fields(words.ctypes.data)
    assert words.tolist() == [7, np.array(-0.5).view(np.int64), 0, 0, 5]


def test_an_index_finds_the_first_word_of_a_name() -> None:
    assert (_WRITTEN.index.count, _WRITTEN.index.scale, _WRITTEN.index.sizes, _WRITTEN.index.last) == (0, 1, 2, 4)
    assert _WRITTEN.n_bytes == 8 * _WRITTEN.n_words == 40


def test_every_parameter_of_a_block_belongs_to_a_block_that_is_declared() -> None:
    assert set(PARAMETERS) <= set(BLOCKS)
    assert all(BLOCKS[name].parameters is words for name, words in PARAMETERS.items())
    with pytest.raises(PlanError, match="expected words mask times_scale, got mask"):
        arrange("cervello.native.kernels.quantisation:fake_quantize_u8", mask=0)


def test_no_kernel_reads_a_numbered_word() -> None:
    """The first two words of a step are read in `runtime`, by the code that runs programs; elements of arrays are not words."""
    root = Path(cervello.__file__).parent
    places = [*Path(kernels.__path__[0]).rglob("*.py"), *(root / "noise").glob("*.py"), root / "wrappers" / "kernels.py",
              root / "agents" / "membership" / "table_kernels.py"]
    names = "step|ctx|context|block|parameters|words|reader|link|functions"
    pattern = rf"\b(word(_f32)?|(read|write)_[iuf]\d+)\(({names}), ?\d|\bstep \+ \d+ \* 8"
    numbered = [f"{path.name}: {line}" for path in places for line in path.read_text().splitlines() if re.search(pattern, line)]
    assert numbered == []
