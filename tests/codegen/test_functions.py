"""Elementary functions against numpy and scipy in float64, their special values, and equal bits on all CPUs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))  # kernels are found by module name, also in a fresh process

import function_kernels
from function_kernels import UNARY, bits, poisoned, run

from cervello.codegen import entry, functions

INF, NAN = float("inf"), float("nan")
TINY = 1e-45  # the smallest denormal
EVERY_EXPONENT = (np.arange(2**32 // 4099, dtype=np.uint64) * 4099).astype(np.uint32).view(np.float32)
RANDOM = np.random.default_rng(11)
USUAL = np.concatenate([RANDOM.uniform(-110, 110, 300_000), RANDOM.uniform(-4, 4, 300_000)]).astype(np.float32)


def _mish(x):
    e = np.exp(np.minimum(x, 50.0))
    return np.where(x == -INF, -0.0, x * (e * (e + 2) / (e * (e + 2) + 2)))


TRUE = {
    "acos": np.arccos, "acosh": np.arccosh, "asin": np.arcsin, "asinh": np.arcsinh, "atan": np.arctan, "atanh": np.arctanh,
    "cosh": np.cosh, "sinh": np.sinh, "tan": np.tan,
    "cos": np.cos, "erf": scipy.special.erf, "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
    "mish": _mish, "sigmoid": scipy.special.expit, "sin": np.sin, "softplus": lambda x: np.logaddexp(0.0, x),
    "tanh": np.tanh}
# Results for -inf, -0, +0, the smallest denormal and +inf.
SPECIAL = {
    "acos": (NAN, 1.5707964, 1.5707964, 1.5707964, NAN),
    "acosh": (NAN, NAN, NAN, NAN, INF),
    "asin": (NAN, -0.0, 0.0, TINY, NAN),
    "asinh": (-INF, -0.0, 0.0, TINY, INF),
    "atan": (-1.5707964, -0.0, 0.0, TINY, 1.5707964),
    "atanh": (NAN, -0.0, 0.0, TINY, NAN),
    "cosh": (INF, 1.0, 1.0, 1.0, INF),
    "sinh": (-INF, -0.0, 0.0, TINY, INF),
    "tan": (NAN, -0.0, 0.0, TINY, NAN),
    "cos": (NAN, 1.0, 1.0, 1.0, NAN),
    "erf": (-1.0, -0.0, 0.0, TINY, 1.0),
    "exp": (0.0, 1.0, 1.0, 1.0, INF),
    "expm1": (-1.0, -0.0, 0.0, TINY, INF),
    "log": (NAN, -INF, -INF, -103.27893, INF),
    "log1p": (NAN, -0.0, 0.0, TINY, INF),
    "mish": (-0.0, -0.0, 0.0, TINY, INF),
    "sigmoid": (0.0, 0.5, 0.5, 0.5, 1.0),
    "sin": (NAN, -0.0, 0.0, TINY, NAN),
    "softplus": (0.0, 0.6931472, 0.6931472, 0.6931472, INF),
    "tanh": (-1.0, -0.0, 0.0, TINY, 1.0),
}


def _promised_ulp(name):
    """The N of "within N ulp" in the function's docstring."""
    found = re.search(r"within ([\d.]+) ulp", getattr(functions, name).py_func.__doc__)
    assert found, f"{name}: the docstring promises no accuracy"
    return float(found[1])


def _assert_within(result, true, ulp, *arguments):
    """Every result lies within `ulp` units in the last place of the float64 truth, and is NaN exactly where that is."""
    with np.errstate(over="ignore"):
        rounded = true.astype(np.float32)
    unit = np.ldexp(1.0, np.maximum(np.frexp(true)[1] - 24, -149))
    with np.errstate(invalid="ignore"):
        error = np.abs(result.astype(np.float64) - true) / unit
    same = (result == rounded) | (np.isnan(result) & np.isnan(true))
    error[~np.isfinite(true) | np.isinf(rounded)] = INF  # infinite results must be equal
    error[same & ~np.isfinite(error)] = 0
    worst = np.argmax(np.where(np.isnan(error), INF, error))
    at = [float(a[worst]) for a in arguments]
    found = f"got {result[worst]}, {error[worst]} ulp off"
    assert error[worst] <= ulp, f"at {at}: expected {true[worst]} within {ulp} ulp, {found}"


def _assert_same(result, expected):
    np.testing.assert_array_equal(bits(np.asarray(result, np.float32)), bits(np.asarray(expected, np.float32)))


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("sample", [EVERY_EXPONENT, USUAL], ids=["every exponent", "usual range"])
def test_error_stays_within_the_docstrings_ulp(name, sample):
    with np.errstate(all="ignore"):
        true = TRUE[name](sample.astype(np.float64))
    _assert_within(run(name, sample), true, _promised_ulp(name), sample)


@pytest.mark.parametrize("name", ["cos", "sin"])
def test_trigonometric_functions_are_right_next_to_multiples_of_half_pi(name):
    k = np.arange(1, 800_000, dtype=np.float64)
    hardest = np.ldexp(16367173.0, 72)  # the float32 that comes closest to one, Muller et al., table 11.1
    x = np.append((k * np.pi / 2).astype(np.float32), np.float32(hardest))
    _assert_within(run(name, x), TRUE[name](x.astype(np.float64)), _promised_ulp(name), x)


def test_the_exponential_of_nonpositive_numbers_ends_before_denormals():
    x = -np.abs(np.concatenate([USUAL, np.linspace(0, 80, 200_001, dtype=np.float32)]))
    x = x[x >= -80]
    _assert_within(run("exp_nonpositive", x), np.exp(x.astype(np.float64)), _promised_ulp("exp_nonpositive"), x)
    below = np.array([np.nextafter(np.float32(-80), np.float32(-81)), -104, -1e9, -3e38, -INF, NAN, -0.0, -TINY], np.float32)
    _assert_same(run("exp_nonpositive", below), [0, 0, 0, 0, 0, NAN, 1, 1])


def test_expm1_of_nonpositive_numbers_keeps_small_results():
    x = -np.abs(np.concatenate([USUAL, EVERY_EXPONENT[np.isfinite(EVERY_EXPONENT)]]))
    _assert_within(run("expm1_nonpositive", x), np.expm1(x.astype(np.float64)), _promised_ulp("expm1_nonpositive"), x)
    ends = np.array([-20, -30, -31, -3e38, -INF, NAN, 0.0, -0.0, -TINY, -1e-40], np.float32)
    _assert_same(run("expm1_nonpositive", ends), [-1, -1, -1, -1, -1, NAN, 0, 0, -TINY, -1e-40])


@pytest.mark.parametrize("name", UNARY)
def test_special_values(name):
    _assert_same(run(name, np.array([-INF, -0.0, 0.0, TINY, INF], np.float32)), SPECIAL[name])


@pytest.mark.parametrize("name", UNARY)
def test_nan_gives_nan(name):
    patterns = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(run(name, patterns)).all()


@pytest.mark.parametrize(("name", "x", "expected"), [
    ("exp", -100.0, 3.783506e-44), ("exp", -103.9, TINY), ("exp", -104.1, 0.0), ("exp", 88.72283, 3.4027985e38),
    ("exp", 88.72284, INF), ("sigmoid", -100.0, 3.783506e-44), ("softplus", -100.0, 3.783506e-44),
    ("tanh", 1e-40, 1e-40), ("log", 1e-40, -92.103409), ("log", -TINY, NAN), ("log1p", -1.0, -INF),
    ("log1p", -1.0000001, NAN), ("expm1", -200.0, -1.0),
    ("erf", 1e-40, 1.12837e-40), ("mish", -100.0, -3.720076e-42), ("mish", 3e38, 3e38), ("softplus", 3e38, 3e38)])
def test_denormal_and_extreme_results(name, x, expected):
    _assert_same(run(name, np.array([x], np.float32)), [expected])


@pytest.mark.parametrize("name", ["erf", "sigmoid", "tanh"])
def test_bounded_functions_never_leave_their_range(name):
    assert np.nanmax(np.abs(run(name, np.concatenate([EVERY_EXPONENT, USUAL])))) == 1.0


@pytest.mark.parametrize("name", [*UNARY, "power"])
def test_bits_are_the_same_at_every_lane_and_in_remainders(name):
    x = np.append(RANDOM.uniform(-20, 20, 66), [INF, NAN, 1e9, -0.0]).astype(np.float32)
    arguments = [x] if name in UNARY else [x, np.roll(x, 9)]
    alone = np.concatenate([run(name, *(a[i : i + 1] for a in arguments)) for i in range(70)])
    call = entry.fastcall_ints(f"function_kernels:{name}")
    for size in range(1, 71):
        for offset in (0, 1, 7, 13):
            part = [a[offset : offset + size] for a in arguments]
            target = poisoned(70 + offset)[offset:]  # at an odd address too
            call(target.ctypes.data, *(a.ctypes.data for a in part), len(part[0]))
            _assert_same(target[: len(part[0])], alone[offset : offset + size])
            np.testing.assert_array_equal(target[len(part[0]) :].view(np.uint32), 0x7FDEADBE)


def test_power_special_values_are_those_of_numpy():
    values = [0.0, TINY, 1e-40, 0.3, 0.5, 1.0, 1.0000001, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 127.0, 128.0, 149.0, 150.0,
              8388609.0, 16777215.0, 16777216.0, 3e9, 3e38, INF]
    values = np.array([*values, *(-v for v in values), NAN, -NAN], np.float32)
    x, y = (np.ascontiguousarray(v.ravel()) for v in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        true = np.power(x.astype(np.float64), y.astype(np.float64))
    result = run("power", x, y)
    _assert_within(result, true, _promised_ulp("power"), x, y)
    signed = ~np.isnan(true)
    np.testing.assert_array_equal(np.signbit(result)[signed], np.signbit(true)[signed])


@pytest.mark.parametrize("spread", [0.001, 0.1, 1.0, 30.0, 1000.0])
def test_power_error_stays_within_the_docstrings_ulp(spread):
    x = np.abs(EVERY_EXPONENT) if spread < 1000 else RANDOM.uniform(0.9, 1.1, 1_000_000).astype(np.float32)
    y = (RANDOM.standard_normal(len(x)) * spread).astype(np.float32)
    with np.errstate(all="ignore"):
        true = np.power(x.astype(np.float64), y.astype(np.float64))
    _assert_within(run("power", x, y), true, _promised_ulp("power"), x, y)


def test_power_of_two_is_the_exact_product():
    with np.errstate(all="ignore"):
        _assert_same(run("power", EVERY_EXPONENT, np.full_like(EVERY_EXPONENT, 2.0)), EVERY_EXPONENT * EVERY_EXPONENT)


def test_power_is_exact_where_the_result_is_a_small_integer():
    x, y = np.meshgrid(np.arange(-300.0, 301.0), np.arange(0.0, 25.0))
    exact = x**y
    kept = np.abs(exact) <= 2**24
    _assert_same(run("power", x[kept].astype(np.float32), y[kept].astype(np.float32)), exact[kept])


@given(st.floats(width=32), st.one_of(st.floats(width=32), st.integers(-300, 300).map(float)))
def test_power_follows_float64_for_any_pair(x, y):
    pair = [np.array([v], np.float32) for v in (x, y)]
    with np.errstate(all="ignore"):
        true = np.power(pair[0].astype(np.float64), pair[1].astype(np.float64))
    _assert_within(run("power", *pair), true, _promised_ulp("power"), *pair)


def _older_cpus():
    """Names and features of CPUs with narrower vectors whose code this machine can run."""
    features = llvm.get_host_cpu_features()
    if not (features.get("avx2") and features.get("fma")):
        return []
    wide = ("avx512", "amx", "avx10")
    return [("haswell", ",".join(f"{'+' if on and not f.startswith(wide) else '-'}{f}" for f, on in features.items()))]


@pytest.mark.parametrize(("cpu", "features"), _older_cpus())
def test_bits_are_the_same_when_compiled_for_an_older_cpu(cpu, features, tmp_path):
    root = Path(functions.__file__).parents[2]
    environment = os.environ | {
        "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "CERVELLO_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(root)])}
    command = [sys.executable, "-c", "import function_kernels; print(function_kernels.digest())"]
    there = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    assert there == function_kernels.digest()
