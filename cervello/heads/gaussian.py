"""Normal distributions with independent elements, plain or squashed by tanh."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from cervello.errors import ConfigurationError, InputError
from cervello.heads.base import COMMON_EXTRAS, FLOAT32, Head, Rng, scalars, tensor_name
from cervello.heads.graph_builder import GraphBuilder, Port
from cervello.heads.graph_stages import FLAGS, NOISE, run, stage
from cervello.native import Model
from cervello.native.execution.chained import Feed, Stage
from cervello.spec import Array, Specs, TensorSpec

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_ALMOST_ONE = 1.0 - 2.0 ** -24  # the largest float32 below 1: the maximum used for tanh of a finite number


class Gaussian(Head):
    """Normal actions, float32 of the mean's shape: mean + std · noise. They are not clipped: a bounded space clips the executed action, and
    the log-probability is that of the drawn one.

    The log-probability is that of the action rounded to float32: `log_prob` of an action that `act` returned is the same, bit for
    bit. It is a density, so it may be positive.

    Args:
      mean: name of a tensor [N, …].
      std: positive standard deviations: name of a tensor like the mean (or a row that all agents share), a number, or an array of one
        row.
      log_std: their logarithms instead; exactly one of the two is given.
    Raises:
      ConfigurationError: both or neither of std and log_std, or deviations that are not positive.

    Attributes:
      spread: the given one of std and log_std.
    """

    noise = "normal"
    extras: tuple[str, ...] = COMMON_EXTRAS
    _squashed = False

    def __init__(self, mean: str, std: str | float | Array | None = None, log_std: str | float | Array | None = None):
        kind = type(self).__name__
        self.mean = tensor_name(kind, "mean", mean)
        if (std is None) == (log_std is None):
            raise ConfigurationError(f"{kind}({mean!r}): expected either std or log_std, got {'both' if std is not None else 'neither'}")
        self._logarithmic = std is None
        spread = log_std if std is None else std
        self.spread: str | Array = spread if isinstance(spread, str) else _constant(kind, mean, spread, self._logarithmic)
        self.tensors = (mean, spread) if isinstance(spread, str) else (mean,)

    def __repr__(self) -> str:
        name = "log_std" if self._logarithmic else "std"
        value = repr(self.spread) if isinstance(self.spread, str) else self.spread.tolist()
        return f"{type(self).__name__}({self.mean!r}, {name}={value})"

    def specs(self, given: Specs) -> Specs:
        spec = self._spec(given, self.mean)
        spread = self._spec(given, self.spread).size if isinstance(self.spread, str) else self.spread.size
        if spread != spec.size and (spread != 1 or isinstance(self.spread, str)):
            raise ConfigurationError(f"head {self!r}: expected a deviation for each of {spec.size} elements, got {spread}")
        return scalars(TensorSpec("action", spec.shape, FLOAT32), self.supports)

    def noise_width(self, given: Specs) -> int:
        """One number per element of the action, by the specs `given`."""
        return self._spec(given, self.mean).size

    def act(self, columns: Mapping[str, Any], noise: Array | None = None, deterministic: Array | None = None,
            wanted: tuple[str, ...] | None = None, rng: Rng = None) -> dict[str, Array]:
        mean, spread = self._parameters(columns)
        flags = self._flags(deterministic, len(mean))
        names = self._wanted(wanted)
        model = _sampling_model(mean.shape[1], self._logarithmic, self._squashed, self._graph_results(names))
        found = run(model, mean=mean, spread=spread, normal=self._noise(noise, flags, mean.shape[1], rng), deterministic=flags[:, None])
        for name in ("action", "pre_tanh"):
            if name in found:
                found[name] = found[name].reshape(np.shape(columns[self.mean]))
        return self._with_flags(found, names, flags)

    def stages(self, given: Specs, wanted: tuple[str, ...]) -> tuple[Stage, ...] | None:
        if type(self) not in (Gaussian, TanhGaussian):
            return None
        width = self.noise_width(given)
        model = _sampling_model(width, self._logarithmic, self._squashed, self._graph_results(wanted))
        own = None if isinstance(self.spread, str) else np.broadcast_to(self.spread.reshape(-1), (width,))
        spread = Feed("output", self.spread) if isinstance(self.spread, str) else Feed("row", row=own)
        drawn = stage(model, mean=Feed("output", self.mean), spread=spread, normal=NOISE, deterministic=FLAGS)
        return self._with_flags_stage(drawn, wanted=wanted)

    def log_prob(self, columns: Mapping[str, Any], action: Any) -> Array:
        return self._log_density_of(columns, "action", action)

    def _log_density_of(self, columns: Mapping[str, Any], what: str, action: Any) -> Array:
        """[N] float32, the log-density of actions, given directly or before tanh."""
        mean, spread = self._parameters(columns)
        actions = self._array(what, action)
        if actions.dtype.kind not in "fiu" or actions.ndim < 1 or actions.size != mean.size or len(actions) != len(mean):
            raise InputError(f"head {self!r}, {what}: expected numbers of {np.shape(columns[self.mean])}, got {actions.shape} "
                             f"{actions.dtype}")
        rows = np.ascontiguousarray(actions, np.float32).reshape(mean.shape)
        model = _log_prob_model(mean.shape[1], self._logarithmic, self._squashed, what == "action")
        return run(model, mean=mean, spread=spread, action=rows)["log_prob"]

    def _parameters(self, columns: Mapping[str, Any]) -> tuple[Array, Array]:
        mean = self._rows(columns, self.mean)
        if isinstance(self.spread, str):
            return mean, self._rows_like(columns, self.spread, mean)
        if self.spread.size not in (1, mean.shape[1]):
            raise InputError(f"head {self!r}: expected a deviation for each of {mean.shape[1]} elements, got {self.spread.size}")
        return mean, np.ascontiguousarray(np.broadcast_to(self.spread.reshape(1, -1), mean.shape))


class TanhGaussian(Gaussian):
    """Normal actions squashed to (-1, 1): tanh(mean + std · noise), as in soft actor-critic. Deterministic rows take tanh(mean).

    `act` has the number before tanh and returns its exact log-probability. `log_prob` of a given action has to invert tanh, which loses
    digits near ±1: an action there counts as the float32 next to it, and far out the error of the result is unbounded. `act` therefore also
    returns "pre_tanh" on request, the number before tanh, float32 like the action; `log_prob(columns, pre_tanh=…)` of it is the
    log-probability that `act` returned, bit for bit. The entropy has no closed form and is not supported; -log_prob is an estimate of it.

    Args:
      mean, std, log_std: as in `Gaussian`, before tanh.
    """

    supports = ("action", "log_prob")
    extras = (*COMMON_EXTRAS, "pre_tanh")
    _squashed = True

    def log_prob(self, columns: Mapping[str, Any], action: Any = None, *, pre_tanh: Any = None) -> Array:
        """[N] float32, log-density of given actions.

        Args:
          action: as `act` returns it; may be omitted with pre_tanh.
          pre_tanh: the numbers before tanh, as `act` returns them: exact where tanh is ±1. Taken from `columns` if present, as the
            outputs of a policy with `Sample(…, extra={"pre_tanh": "pre_tanh"})`.
        Raises:
          InputError: arrays that do not fit, an action that is not tanh(pre_tanh), or neither of the two.
        """
        if pre_tanh is None and "pre_tanh" in columns and "pre_tanh" not in self.tensors:
            pre_tanh = columns["pre_tanh"]
        if pre_tanh is None:
            if action is None:
                raise InputError(f"head {self!r}, log_prob: expected action or pre_tanh, got neither")
            return self._log_density_of(columns, "action", action)
        found = self._log_density_of(columns, "pre_tanh", pre_tanh)
        if action is not None:
            squashed = np.tanh(np.asarray(pre_tanh, np.float64)).reshape(-1)
            given = self._array("action", action)
            if given.size != squashed.size or not np.allclose(given.reshape(-1), squashed, rtol=0, atol=1e-5, equal_nan=True):
                raise InputError(f"head {self!r}, log_prob: expected action = tanh(pre_tanh), got others; leave action out")
        return found


def _constant(kind: str, mean: str, value: Any, logarithmic: bool) -> Array:
    try:
        row = np.array(value, np.float64)
    except (TypeError, ValueError):
        row = np.array(np.nan)
    if row.size == 0 or not np.isfinite(row).all() or (not logarithmic and not (row > 0).all()):
        name, what = ("log_std", "finite") if logarithmic else ("std", "positive, finite")
        raise ConfigurationError(f"{kind}({mean!r}): expected {name} as a tensor's name, a {what} number or an array of such, got "
                                 f"{value!r}")
    with np.errstate(over="ignore", under="ignore"):
        return row.astype(np.float32)


# Graphs -------------------------------------------------------------------------------------------------------------------


class _Normal:
    """The nodes of a normal distribution [N, width]."""

    def __init__(self, g: GraphBuilder, width: int, logarithmic: bool):
        self.g = g
        self.mean = g.input("mean", "float32", width)
        spread = g.input("spread", "float32", width)
        self.std = g.add("Exp", spread) if logarithmic else spread
        self.log_std = spread if logarithmic else g.add("Log", spread)

    def log_density(self, value: str) -> str:
        """[N, width]."""
        g = self.g
        z = g.add("Div", g.add("Sub", value, self.mean), self.std)
        return g.add("Sub", g.add("Mul", g.add("Mul", z, z), -0.5), g.add("Add", self.log_std, _HALF_LOG_2PI))

    def entropy(self) -> str:
        """[N]."""
        return self.g.reduce_row("ReduceSum", self.g.add("Add", self.log_std, 0.5 + _HALF_LOG_2PI))


def _log_tanh_derivative(g: GraphBuilder, value: str) -> str:
    """log(1 - tanh²u) as 2 (log 2 - |u| - softplus(-2 |u|)), without loss of digits where tanh is ±1."""
    size = g.add("Abs", value)
    tail = g.add("Softplus", g.add("Mul", size, -2.0))
    return g.add("Mul", g.add("Sub", g.add("Sub", math.log(2), size), tail), 2.0)


@lru_cache(maxsize=128)
def _sampling_model(width: int, logarithmic: bool, squashed: bool, wanted: tuple[str, ...]) -> Model:
    g = GraphBuilder()
    normal = _Normal(g, width, logarithmic)
    outputs: dict[str, Port] = {}
    if {"action", "log_prob", "pre_tanh"} & set(wanted):
        drawn = g.add("Add", normal.mean, g.add("Mul", normal.std, g.input("normal", "float32", width)))
        flag = g.input("deterministic", "bool", 1)
        action = g.add("Where", flag, normal.mean, drawn)
        if "action" in wanted:
            outputs["action"] = (g.add("Tanh", action) if squashed else action), "float32", (width,)
        if "pre_tanh" in wanted:
            outputs["pre_tanh"] = action, "float32", (width,)
        if "log_prob" in wanted:
            density = normal.log_density(action)
            total = g.reduce_row("ReduceSum", g.add("Sub", density, _log_tanh_derivative(g, action)) if squashed else density)
            outputs["log_prob"] = g.zero_where(flag, total), "float32", ()
    if "entropy" in wanted:
        outputs["entropy"] = normal.entropy(), "float32", ()
    return g.model("normal head", outputs)


@lru_cache(maxsize=128)
def _log_prob_model(width: int, logarithmic: bool, squashed: bool, inverts_tanh: bool) -> Model:
    g = GraphBuilder()
    normal = _Normal(g, width, logarithmic)
    value = action = g.input("action", "float32", width)
    if squashed and inverts_tanh:
        value = g.add("Atanh", g.add("Clip", action, -_ALMOST_ONE, _ALMOST_ONE))
    density = normal.log_density(value)
    found = g.reduce_row("ReduceSum", g.add("Sub", density, _log_tanh_derivative(g, value)) if squashed else density)
    return g.model("normal head", {"log_prob": (found, "float32", ())})
