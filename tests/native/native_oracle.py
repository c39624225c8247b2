"""Comparisons with onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest

Array = np.ndarray[Any, Any]


def foreign(model: onnx.ModelProto | str, given: Mapping[str, Array]) -> dict[str, Array]:
    """What onnxruntime gives; skips the test when it is not installed."""
    return running(model)(given)


def running(model: onnx.ModelProto | str) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """A graph in onnxruntime, to be run; skips the test when it is not installed."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: nothing to compare with")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = runtime.InferenceSession(model if isinstance(model, str) else model.SerializeToString(), options,
                                       providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda given: dict(zip(names, session.run(None, dict(given)), strict=True))


def assert_near(found: Array, expected: Array, relative: float, where: str, absolute: float = 0.0) -> None:
    """Equal types, shapes, NaN and infinities; numbers within `relative` of the largest magnitude, or within `absolute`."""
    assert found.dtype == expected.dtype, f"{where}: {found.dtype} for {expected.dtype}"
    assert found.shape == expected.shape, f"{where}: {found.shape} for {expected.shape}"
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=where)
        return
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.where(finite, 0, found), np.where(finite, 0, expected), err_msg=where)
    if finite.any():
        scale = float(np.abs(expected[finite]).max())
        worst = float(np.abs(found[finite].astype(np.float64) - expected[finite]).max())
        assert worst <= max(relative * scale, absolute), f"{where}: {worst} off, largest magnitude {scale}"
