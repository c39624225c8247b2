"""Programs: words for a batch size never seen are those that symbolic evaluation gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_cases import named
from native_graphs import I64, Chain, In, policy, rows

from cervello.codegen import linker
from cervello.errors import ExecutionError
from cervello.native import Model
from cervello.native.graph.dims import at
from cervello.native.graph.tensors import Address, PackedWeight, Space, Weight
from cervello.native.kernels import abi

NAMES = ("Gemm-tanh", "attention", "LSTM-bidirectional-state", "Conv-groups", "Softmax-middle", "shape-arithmetic", "Concat",
         "Slice-negative-steps", "RandomNormalLike", "LayerNormalization-two-axes", "Pad")


def _symbolic(model: Model, n_rows: int) -> list[int]:
    """The words of a program, evaluated from its steps in plain Python."""
    program, words = model.program, []
    offsets, _ = program.layout.offsets(n_rows)
    for step in program.steps:
        operands: list[int] = []
        for tensor in (*step.reads, *step.writes, *step.scratch):
            buffer, offset = tensor.buffer, at(tensor.offset, n_rows)
            if buffer.space is Space.ARENA:
                operands += [abi.SPACES + abi.ARENA, offsets[program.layout.index[id(buffer)]] + offset]
            elif buffer.space is Space.CONSTANT:
                operands += [abi.SPACES, model.weights.store(Weight(buffer.data)).ctypes.data + offset]
            else:
                number = buffer.index + (program.n_inputs if buffer.space is Space.OUTPUT else 0)
                operands += [abi.SPACES + abi.FIRST_BUFFER + number, offset]
        rest: list[int] = []
        for word in step.words:
            if isinstance(word, Address):
                rest.append(linker.address(word.reference))
            elif isinstance(word, PackedWeight):
                rest.append(word.array.ctypes.data)
            else:
                rest.append(at(word, n_rows))
        words += [linker.address(step.kernel), 2 + len(operands) + len(rest), *operands, *rest]
    return words


@pytest.mark.parametrize("name", NAMES)
def test_resolved_words_are_those_of_symbolic_evaluation(name: str) -> None:
    model = Model.load(named(name).build(17))
    for n_rows in (1, 2, 15, 16, 17, 63, 100, 12_345):
        plan = model.program.resolve(n_rows)
        assert plan.words.tolist() == _symbolic(model, n_rows)
        assert plan.arena_bytes == model.program.layout.arena_bytes(n_rows)


def test_a_plan_is_resolved_into_the_memory_of_another() -> None:
    model = Model.load(policy())
    plan = model.resolve(5)
    again = model.program.resolve(77, into=plan)
    assert again.address == plan.address
    assert again.words is plan.words
    assert again.words.tolist() == _symbolic(model, 77)
    assert again.header.tolist()[2] == 77


def test_a_batch_size_never_seen_compiles_nothing() -> None:
    model = Model.load(policy())
    before = dict(linker._linked)
    for n_rows in (1, 3, 1001):
        model.run({"obs": np.zeros((n_rows, 4), np.float32)})
    assert linker._linked == before


def test_more_batch_sizes_than_plans_are_kept() -> None:
    model = Model.load(policy())
    obs = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    whole = model.run({"obs": obs})["action"]
    for n_rows in range(1, 200):
        np.testing.assert_array_equal(model.run({"obs": obs[:n_rows]})["action"], whole[:n_rows])
    assert len(model._plans) <= 64


def test_a_failing_step_is_named() -> None:
    model = Model.load(named("Gather-table").build(3))
    with pytest.raises(ExecutionError, match=r"node Gather.*expected to run, got an index outside its table"):
        model.run({"x1": np.array([[0, 7]], np.int64)})
    found: Any = model.run({"x1": np.array([[0, -7]], np.int64)})["y0"]
    np.testing.assert_array_equal(found[0, 0], found[0, 1])


def test_a_failing_step_of_a_slower_tier_is_named() -> None:
    c = Chain(x=rows(6), shape=In((2,), I64))
    model = Model.load(c.model(c.add("Reshape", "x", "shape")))
    with pytest.raises(ExecutionError, match=rf"^policy '{model.name}', node Reshape.*expected to run, got ValueError: cannot reshape"):
        model.run({"x": np.zeros((1, 6), np.float32), "shape": np.array([4, 4])})
