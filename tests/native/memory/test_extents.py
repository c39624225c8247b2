"""Every kernel declares what it touches, and the verifier refuses a step whose words would let it touch more."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from native_cases import named
from native_graphs import Chain, one, rows, weights

from cervello.errors import PlanError
from cervello.native import Model, kernels
from cervello.native.graph.dims import affine, parts
from cervello.native.graph.tensors import Address, Jump, PackedWeight, Step
from cervello.native.kernels.sizes import SHORT_ROW
from cervello.native.memory.extents import check_extents
from cervello.native.memory.extents.blocks import BLOCKS
from cervello.native.memory.extents.declaration import KERNELS
from cervello.native.memory.extents.products import packed
from cervello.native.memory.verifier import verify

_BLOCK_ARGUMENTS = {("target", "source"): 1, ("target", "a", "b"): 2, ("target", "a", "b", "c"): 3, ("target", "condition", "a", "b"): 3}


def _functions() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Functions of the kernels' rooms with their arguments' names, by reference."""
    for found in pkgutil.iter_modules(kernels.__path__, f"{kernels.__name__}."):
        for name, function in vars(importlib.import_module(found.name)).items():
            if inspect.isfunction(function) and not name.startswith("_"):
                yield f"{found.name}:{name}", tuple(inspect.signature(function).parameters)


def test_every_kernel_of_a_step_has_a_declaration() -> None:
    steps = {reference for reference, arguments in _functions() if arguments == ("step", "ctx")}
    assert len(steps) > 40
    assert steps == set(KERNELS)


def test_every_block_has_a_declaration_with_as_many_sources() -> None:
    blocks = {reference: _BLOCK_ARGUMENTS[arguments[:-2]] for reference, arguments in _functions()
              if arguments[-2:] == ("count", "parameters")}
    assert len(blocks) > 100
    assert blocks == {reference: block.n_sources for reference, block in BLOCKS.items()}


def _numbers(step: Step) -> list[int]:
    """Words that are numbers."""
    return [i for i, word in enumerate(step.words) if not isinstance(word, (Address, Jump, PackedWeight))]


def _grown(step: Step, i: int) -> bool:
    """Whether the verifier refuses a step whose word is a million times larger, and still takes it when it is put back."""
    word = step.words[i]
    const, slope = parts(word)
    step.words[i] = affine(const * 1_000_003 + 1_000_003, slope)
    try:
        check_extents([step], True)
    except PlanError:
        return True
    finally:
        step.words[i] = word
    return False


@pytest.mark.parametrize(("name", "kernel", "least"), [
    ("Gemm-257-terms", "gemm:gemm", 6), ("MatMul-computed-heads", "products:product", 9), ("Softmax-last", "reduce_short:softmax", 2),
    ("ReduceSum-middle", "reduce_inner:sum_", 3), ("LSTM-forward-state", "recurrent:lstm", 6), ("GRU-linear", "recurrent:gru", 6),
    ("attention", "attention:attend", 10), ("MaxPool", "pooling:max_pool", 8), ("TopK", "gather_scatter:top_k", 3),
    ("GatherND", "gather_scatter:gather_nd", 5), ("GatherElements", "gather_scatter:gather_elements", 5),
    ("TreeEnsembleRegressor-average", "trees:trees", 5),
    ("Multinomial", "multinomial:multinomial", 4), ("RandomNormalLike", "random:normal", 2)])
def test_sizes_and_strides_that_grow_are_refused(name: str, kernel: str, least: int) -> None:
    model = Model.load(named(name).build(17))
    step = next(step for step in model.program.steps if step.kernel.endswith(f".{kernel}"))
    check_extents([step], True)
    refused = [i for i in _numbers(step) if _grown(step, i)]
    assert len(refused) >= least, refused
    check_extents([step], True)


def _load(*nodes: Any) -> Model:
    return Model.load(one(*nodes))


def _gemm() -> tuple[Model, Step]:
    model = _load("Gemm", rows(6), weights(6, 40), weights(40))
    return model, next(step for step in model.program.steps if step.kernel.endswith("gemm:gemm"))


@pytest.mark.parametrize(("i", "word", "message"), [
    (2, affine(0, 2), r"operand 'a', 'x0': expected bytes within \[0, 24\) of its address, got \[0, 48\)"),
    (2, affine(1, 1), r"at N = 1: operand 'a'"), (2, -1, "word 'rows' to be at least 0"),
    (2, affine(5, -1), "word 'rows' to be at least 0"),
    (3, 7, "operand 'a'.*got"), (3, affine(6, 1), "word 'k' not to depend on N"), (4, 41, "operand 'c', 'y0'"), (5, 28, "operand 'a'"),
    (5, -24, r"at N = 1099511627776: operand 'a'"), (5, affine(-24, 24), "word 'lda' to be a stride of one sign"),
    (6, affine(160, 4), "at N = 1099511627776: operand 'c'"), (7, 3, "expected 1, 2 or 4 segments of 6 terms, none of them empty, got 3"),
    (7, 0, "expected 1, 2 or 4 segments"), (0, 5, "expected word 'weights' to be a weight, got 5"), (8, 5, "to be a block, got 5"),
    (3, Address("m:f"), "expected word 'k' to be a number")])
def test_a_product_with_a_wrong_word_is_refused_with_its_place(i: int, word: Any, message: str) -> None:
    model, step = _gemm()
    step.words[i] = word
    with pytest.raises(PlanError, match=message) as refused:
        verify(model.program.steps, model.program.layout, True)
    assert str(refused.value).startswith("step Gemm → 'y0', kernel 'gemm:gemm' at N = ")


def test_segments_without_terms_are_refused() -> None:
    assert packed(6, 40, 4) == (0, 6 * 64 * 4)
    with pytest.raises(PlanError, match="expected 1, 2 or 4 segments of 5 terms, none of them empty, got 4"):
        packed(5, 40, 4)


def test_constants_that_are_too_short_are_refused() -> None:
    model, step = _gemm()
    for i, name in ((0, "weights"), (1, "bias")):
        word = step.words[i]
        step.words[i] = PackedWeight(np.ascontiguousarray(word.array.reshape(-1)[:-1]), word.shape, word.kind)
        with pytest.raises(PlanError, match=f"constant '{name}': expected bytes within"):
            verify(model.program.steps, model.program.layout, True)
        step.words[i] = word
    verify(model.program.steps, model.program.layout, True)


def test_rows_too_long_for_the_kernel_of_short_ones_are_refused() -> None:
    model = _load("Softmax", rows(SHORT_ROW))
    step = next(step for step in model.program.steps if step.kernel.endswith("reduce_short:softmax"))
    check_extents([step], True)
    step.words[1] = SHORT_ROW + 1
    with pytest.raises(PlanError, match=f"expected rows of at most {SHORT_ROW} elements, got {SHORT_ROW + 1}"):
        check_extents([step], True)


def test_taps_outside_an_image_are_refused() -> None:
    model = _load("Conv", rows(2, 5, 9), weights(3, 2, 3, 3))
    step = next(step for step in model.program.steps if "convolution:" in step.kernel)
    i = 2
    word = step.words[i]
    for by in (-4, 4):
        step.words[i] = PackedWeight(word.array + by, word.shape, word.kind)
        with pytest.raises(PlanError, match="operand 'x', 'x0'"):
            verify(model.program.steps, model.program.layout, True)


def test_missing_words_and_operands_are_refused() -> None:
    model, step = _gemm()
    steps, layout = model.program.steps, model.program.layout
    kept = step.words.pop()
    with pytest.raises(PlanError, match="expected 9 words or more, got 8"):
        verify(steps, layout, True)
    step.words.append(kept)
    step.reads = (*step.reads, *step.reads)
    with pytest.raises(PlanError, match="expected operands a, got 2"):
        verify(steps, layout, True)


def test_parameters_of_a_block_belong_to_its_words() -> None:
    model = _load("LayerNormalization", rows(9), weights(9), weights(9))
    step = next(step for step in model.program.steps if step.kernel.endswith("layer_norm"))
    scale = step.words[-3]
    step.words[-3] = PackedWeight(scale.array[:8].copy(), scale.shape, scale.kind)
    with pytest.raises(PlanError, match="expected a constant of 9 float32, got 32 bytes"):
        check_extents([step], True)
    step.words[-3:] = [scale]
    with pytest.raises(PlanError, match="expected 3 parameters of a block, got 1"):
        check_extents([step], True)


def test_a_jump_out_of_the_program_is_refused() -> None:
    label = Step("cervello.native.kernels.control_flow:label", (), (), [], "label", "")
    jump = Step("cervello.native.kernels.control_flow:jump", (), (), [Jump(label)], "jump", "")
    check_extents([jump, label], False)
    with pytest.raises(PlanError, match="expected to jump within the program, got another step"):
        check_extents([jump], False)
    jump.words[0] = 12
    with pytest.raises(PlanError, match="expected word 'to' to be a jump, got 12"):
        check_extents([jump, label], False)


def test_a_users_kernel_is_checked_by_its_tensors_only() -> None:
    _, step = _gemm()
    step.kernel, step.words = "my.module:kernel", ["anything"]
    check_extents([step], True)


@pytest.mark.parametrize("n_rows", [1, 7, 48, 64])
@pytest.mark.parametrize("k", [16, 40, 70])
def test_products_of_one_panel_read_no_second_one(n_rows: int, k: int) -> None:
    """Declared, and watched in `test_guard_pages`: one row in two segments once read a panel behind the last."""
    c = Chain(x=rows(k))
    model = Model.load(c.model(c.dense("x", k, 20)))
    check_extents(model.program.steps, True)
    assert model.run({"x": np.ones((n_rows, k), np.float32)})
