"""Numbers and bytes in the Lua client, whose floats are made of arithmetic, against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from languages import run

FLOATS = ("float16", "float32", "float64")
WHOLE = ("int8", "int16", "int32", "uint8", "uint16", "uint32")
SPECIAL = (0.0, -0.0, np.inf, -np.inf, 1.0, -2.5, 65504.0, 65519.9, 65520.0, 2.0**-24, 2.0**-25, 1.5 * 2.0**-25, 2.0**-14, 2.0**-149,
           2.0**-150, 1.5 * 2.0**-150, 2.0**-126, 3.4028234e38, 3.4028236e38, 2049.0, 2051.0, 16777217.0, 16777219.0, 5e-324, 1.7e308)


@pytest.fixture(scope="module", params=["lua5.1", "luajit"])
def lua(request: pytest.FixtureRequest, build: Callable[[str], list[str]]) -> list[str]:
    return build(request.param)


def test_bytes_become_the_same_bytes_again(lua: list[str]) -> None:
    random, lines = np.random.default_rng(0), []
    for name in (*FLOATS, *WHOLE):
        bits = random.integers(0, 256, 64 * np.dtype(name).itemsize, np.uint8)
        values = bits.view(name)
        lines.append((name, values[~np.isnan(values)].tobytes()))
    lines += [("int64", np.array([0, 1, -1, 2**53 - 1, -(2**53)], np.int64).tobytes()), ("bool", bytes([0, 1, 1])), ("float32", b"")]
    assert run(lua, "tensors", given="".join(f"{name} {data.hex()}\n" for name, data in lines)) == [data.hex() for _, data in lines]


@pytest.mark.parametrize("name", FLOATS)
def test_numbers_are_rounded_as_numpy_rounds_them(lua: list[str], name: str) -> None:
    drawn = np.ldexp(np.random.default_rng(1).standard_normal(200), np.random.default_rng(2).integers(-30, 18, 200))
    values = np.concatenate([SPECIAL, drawn])
    (line,) = run(lua, "tensors", given=f"{name} = {' '.join(map(repr, values.tolist()))}\n")
    with np.errstate(over="ignore"):
        assert line == values.astype(name).tobytes().hex()
    (nan,) = run(lua, "tensors", given=f"{name} = nan\n")
    assert np.isnan(np.frombuffer(bytes.fromhex(nan), name)).all()
