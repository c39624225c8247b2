"""Compiled code that only wrappers need is linked, and so compiled, only for policies whose wrappers need it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx.parser
import pytest

import cervello
from cervello.codegen import linker
from cervello.spec import Wrapper

MODEL = """<ir_version: 10, opset_import: ["" : 21]>
policy (float[N, 2] x, float[N, 1] epsilon, float[N, 2] h_in) => (float[N, 2] y, float[N, 2] h_out)
{ s = Add(x, h_in)  y = Add(s, epsilon)  h_out = Tanh(s) }"""
FILL, STORE = "cervello.native.kernels.filling:fill_inputs", "cervello.native.kernels.storing:store_state"


@pytest.mark.parametrize(("wrappers", "wanted"), [
    ((), set()), ((cervello.Epsilon("epsilon"),), {FILL}), ((cervello.Epsilon("epsilon"), cervello.Recurrent()), {FILL, STORE})],
    ids=("no wrappers", "an input", "a state"))
def test_code_for_wrappers_is_linked_only_where_it_is_needed(
        monkeypatch: pytest.MonkeyPatch, wrappers: Sequence[Wrapper], wanted: set[str]) -> None:
    asked: list[str] = []
    address = linker.address
    monkeypatch.setattr(linker, "address", lambda reference: (asked.append(reference), address(reference))[1])
    policy = cervello.Policy(cervello.Model.load(onnx.parser.parse_model(MODEL)), wrappers=wrappers, seed=1)
    policy.begin_agent(1)
    policy.infer_batch([1], {name: np.ones(spec.batched(1), spec.dtype) for name, spec in policy.inputs.items()})
    assert {FILL, STORE} & set(asked) == wanted
