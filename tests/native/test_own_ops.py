"""Ops that users register: kernels, spellings, patterns."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest

from cervello import ops
from cervello.errors import CompilationError, ConfigurationError, UnsupportedError
from cervello.native import Model
from cervello.native.passes.graph_builder import DECOMPOSITIONS

ROOT = Path(__file__).resolve().parents[2]
HEAD = '<ir_version: 10, opset_import: ["" : 21, "test.own" : 1]>\n'


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = dict(DECOMPOSITIONS)
    yield
    DECOMPOSITIONS.clear()
    DECOMPOSITIONS.update(before)


def _loaded(text: str, **options: Any) -> Model:
    return Model.load(onnx.parser.parse_model(HEAD + text), **options)


def _module(tmp_path: Path, text: str, name: str) -> Any:
    """A module of a user, from a file."""
    path = tmp_path / f"{name}.py"
    path.write_text("import numpy as np\nfrom cervello import ops\n" + text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENT = """
@ops.elementwise("test.own", "Bent", slope=0.5, limit=2.0)
def bent(x, slope, limit):
    return ops.select(x > limit, limit + slope * (x - limit), ops.tanh(x))
"""


def _bent(x: Any, slope: float = 0.5, limit: float = 2.0) -> Any:
    x = x.astype(np.float64)
    return np.where(x > limit, limit + slope * (x - limit), np.tanh(x))


def test_a_kernel_of_ones_own_runs_alone_and_behind_a_product(tmp_path: Path) -> None:
    _module(tmp_path, BENT, "bent_alone")
    model = _loaded("g (float[N, 5] x) => (float[N, 5] y) { y = test.own.Bent<slope: float = 0.25>(x) }", strict=True)
    x = (np.random.default_rng(0).standard_normal((33, 5)) * 4).astype(np.float32)
    found = model.run({"x": x})["y"]
    np.testing.assert_allclose(found, _bent(x, 0.25), rtol=1e-6, atol=1e-7)
    alone = np.concatenate([model.run({"x": x[i:i + 1]})["y"] for i in range(33)])
    assert found.tobytes() == alone.tobytes()
    fused = _loaded("g (float[N, 2] x) => (float[N, 2] y) <float[2, 2] w = {1, 2, 3, 4}> { h = MatMul(x, w) y = test.own.Bent(h) }")
    assert [step.op for step in fused.plan(1).steps] == ["MatMul"]
    w = np.array([[1, 2], [3, 4]], np.float64)
    np.testing.assert_allclose(fused.run({"x": x[:, :2]})["y"], _bent(x[:, :2] @ w), rtol=1e-5, atol=1e-6)


def test_a_kernel_folds_constants(tmp_path: Path) -> None:
    _module(tmp_path, BENT, "bent_folds")
    model = _loaded("g (float[N, 3] x) => (float[N, 3] y) <float[3] c = {-1, 1, 5}> { d = test.own.Bent(c) y = Add(x, d) }")
    found = model.run({"x": np.zeros((1, 3), np.float32)})["y"]
    np.testing.assert_allclose(found[0], _bent(np.array([-1, 1, 5])), rtol=1e-6)


def test_an_edited_kernel_is_compiled_again(tmp_path: Path) -> None:
    program = """
import sys; sys.path.insert(0, {folder!r})
import numpy as np, onnx.parser, edited, cervello
model = cervello.Model.load(onnx.parser.parse_model({text!r}))
print(model.run({{"x": np.ones((1, 1), np.float32)}})["y"][0, 0])
"""
    text = HEAD + "g (float[N, 1] x) => (float[N, 1] y) { y = test.own.Times(x) }"
    for factor in (3, 7):
        (tmp_path / "edited.py").write_text(f"""import numpy as np
from cervello import ops

@ops.elementwise("test.own", "Times")
def times(x):
    return x * ops.splat(np.float32({factor}))
""")
        run = subprocess.run([sys.executable, "-B", "-c", program.format(folder=str(tmp_path), text=text)], capture_output=True, text=True,
                             check=True, cwd=ROOT)
        assert float(run.stdout) == factor


def test_a_spelling_is_planned_and_freed_like_any_ops() -> None:
    @ops.decompose("test.own", "Doubled")
    def doubled(sketch: ops.GraphBuilder) -> bool:
        sketch.set_outputs(sketch.add("Mul", sketch.input(0), sketch.constant(2.0, np.float32)))
        return True

    model = _loaded("g (float[1, 3] x) => (float[1, 3] y) { y = test.own.Doubled(x) }", strict=True)
    assert model.batched
    assert model.run({"x": np.ones((4, 3), np.float32)})["y"].tolist() == [[2.0] * 3] * 4


def test_a_pattern_takes_the_place_of_a_chain_that_nobody_else_reads() -> None:
    @ops.decompose("", "Add")
    def fuse(sketch: ops.GraphBuilder) -> bool:
        maker = sketch.maker(0)
        if maker is None or maker.op != "Sin":
            return False
        sketch.set_outputs(sketch.add("Cos", maker.inputs[0]))  # not the same: so that it shows
        return True

    x = np.linspace(-1, 1, 3, dtype=np.float32)[None]
    once = _loaded("g (float[N, 3] x) => (float[N, 3] y) { s = Sin(x) y = Add(s, x) }")
    np.testing.assert_allclose(once.run({"x": x})["y"], np.cos(x), rtol=1e-6)
    assert [step.op for step in once.plan(1).steps] == ["Cos"]
    twice = _loaded("g (float[N, 3] x) => (float[N, 3] y, float[N, 3] s) { s = Sin(x) y = Add(s, x) }")
    np.testing.assert_allclose(twice.run({"x": x})["y"], np.sin(x) + x, rtol=1e-6)


def test_the_last_one_registered_comes_first() -> None:
    for factor in (2.0, 3.0):
        @ops.decompose("test.own", "Scaled")
        def scaled(sketch: ops.GraphBuilder, factor: float = factor) -> bool:
            sketch.set_outputs(sketch.add("Mul", sketch.input(0), sketch.constant(factor, np.float32)))
            return True

    model = _loaded("g (float[N, 1] x) => (float[N, 1] y) { y = test.own.Scaled(x) }")
    assert model.run({"x": np.ones((1, 1), np.float32)})["y"][0, 0] == 3


def test_a_form_that_does_not_apply_leaves_the_op_unknown() -> None:
    ops.decompose("test.own", "Never")(lambda sketch: False)
    with pytest.raises(UnsupportedError, match=r"test\.own\.Never"):
        _loaded("g (float[N, 1] x) => (float[N, 1] y) { y = test.own.Never(x) }")


def test_bad_registrations_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="a domain of your own"):
        ops.elementwise("", "Relu")
    with pytest.raises(ConfigurationError, match="at most 3 attributes"):
        ops.elementwise("test.own", "Many", a=1.0, b=1.0, c=1.0, d=1.0)

    def local(x: Any) -> Any:
        return x

    with pytest.raises(ConfigurationError, match="top level of a module"):
        ops.elementwise("test.own", "Local")(local)


def test_a_kernel_that_does_not_compile_is_named(tmp_path: Path) -> None:
    _module(tmp_path, '@ops.elementwise("test.own", "Bad")\ndef bad(x):\n    return x.nothing()\n', "bad_kernel")
    with pytest.raises(CompilationError, match="bad_kernel:bad"):
        _loaded("g (float[N, 1] x) => (float[N, 1] y) { y = test.own.Bad(x) }")
