"""Common base of all heads: tensors by name in, columns out, and argument checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from cervello.errors import ConfigurationError, InputError
from cervello.native.execution.chained import Feed, Stage
from cervello.spec import Array, Specs, TensorSpec

FLOAT32 = np.dtype(np.float32)
ALL_RESULTS = ("action", "log_prob", "entropy")
COMMON_EXTRAS = ("deterministic",)  # extras of every distribution
_METHODS = {"specs": "specs(given)", "noise_width": "noise_width(given)", "mask_width": "mask_width(given)",
            "act": "act(columns, noise, deterministic, wanted, rng)", "log_prob": "log_prob(columns, action)"}
Rng: TypeAlias = "np.random.Generator | int | None"  # as text: numpy loads its random module on first access


class Head:
    """A distribution of actions that a policy's tensors describe. Immutable and stateless: noise is an argument, and a row's results depend
    on this row alone, bit for bit.

    Columns are [N, …] arrays by name of tensor, row i for agent i; a tensor that all rows share may come without N.

    Attributes:
      tensors: names of the tensors it reads, without the mask.
      mask: name of a mask of allowed actions, bool or numbers of which nonzero ones allow; None without.
      noise: "uniform" or "normal" numbers that a draw needs, or None.
      supports: which of "action", "log_prob" and "entropy" it supports.
      extras: further results by name: "deterministic" [N] bool, the rows that did not draw; see the description of each head.
    """

    tensors: tuple[str, ...] = ()
    mask: str | None = None
    noise: str | None = None
    supports: tuple[str, ...] = ALL_RESULTS
    extras: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.tensors))})"

    # Implemented by each head --------------------------------------------------------------------------------------------

    def specs(self, given: Specs) -> Specs:
        """Row specs of the supported ones of "action", "log_prob" and "entropy".

        Args:
          given: the specs of its tensors.
        Raises:
          ConfigurationError: tensors that do not fit.
        """
        raise self._missing_method("specs")

    def noise_width(self, given: Specs) -> int:
        """Number of random numbers that a row's draw needs, for tensors of the specs `given`."""
        raise self._missing_method("noise_width")

    def mask_width(self, given: Specs) -> int:
        """Elements of a row's mask, for tensors of the specs `given`."""
        raise self._missing_method("mask_width")

    def act(self, columns: Mapping[str, Any], noise: Array | None = None, deterministic: Array | None = None,
            wanted: tuple[str, ...] | None = None, rng: Rng = None) -> dict[str, Array]:
        """Actions with their log-probabilities and the distributions' entropies.

        Args:
          columns: [N, …] by name of tensor and mask.
          noise: [N, width] float32 of the head's kind; may be omitted if no row draws.
          deterministic: [N] bool, rows that take the mode; None for no row.
          wanted: names of supported results and extras; None for all supported results.
          rng: source of the draws without noise: a numpy Generator, or a seed, with which every call draws the same.
        Returns:
          action [N, …]; log_prob [N] float32, of the returned action, and 0 in deterministic rows, which have not drawn from the
          distribution (`log_prob` of their action computes its log-probability); entropy [N] float32, in nats, of the distribution in any
          case.
        Raises:
          InputError: arrays that do not fit.
        """
        raise self._missing_method("act")

    def log_prob(self, columns: Mapping[str, Any], action: Any) -> Array:
        """[N] float32, log-probability (or log-density) of given actions.

        Args:
          columns: the head's tensors by name, [N, …].
          action: rows as `act` returns them.
        Raises:
          InputError: arrays that do not fit.
          ConfigurationError: the head has no probabilities.
        """
        raise self._missing_method("log_prob")

    def stages(self, given: Specs, wanted: tuple[str, ...]) -> tuple[Stage, ...] | None:
        """The computation of `act` as graphs that run after a model's own in one compiled call; None if `act` is the only way.

        Args:
          given: the specs of its tensors.
          wanted: names of supported results and extras.
        Returns:
          stages whose feeds name the head's tensors, and whose results have the names in `wanted`.
        """
        return None

    # Derived methods ------------------------------------------------------------------------------------------------------

    def sample(self, columns: Mapping[str, Any], noise: Array | None = None, deterministic: Array | None = None, rng: Rng = None) -> Array:
        """Actions alone, [N, …].

        Args:
          columns, noise, deterministic, rng: as in `act`.
        """
        if rng is None:
            return self.act(columns, noise, deterministic, ("action",))["action"]
        return self.act(columns, noise, deterministic, ("action",), rng=rng)["action"]

    def mode(self, columns: Mapping[str, Any]) -> Array:
        """The actions that deterministic rows take, [N, …], from `columns`, the head's tensors by name."""
        n_rows = len(self._rows(columns, self.tensors[0]))
        return self.act(columns, None, np.ones(n_rows, np.bool_), ("action",))["action"]

    def entropy(self, columns: Mapping[str, Any]) -> Array:
        """[N] float32, in nats.

        Args:
          columns: the head's tensors by name, [N, …].
        Raises:
          ConfigurationError: the head does not support it.
        """
        self._check_supported("entropy")
        n_rows = len(self._rows(columns, self.tensors[0]))
        return self.act(columns, None, np.ones(n_rows, np.bool_), ("entropy",))["entropy"]

    def extra_specs(self, given: Specs) -> Specs:
        """Row specs of its extras, for tensors of the specs `given`; as `specs` for its other results."""
        if not self.extras:
            return Specs([])
        every = {"deterministic": TensorSpec("deterministic", (), np.dtype(np.bool_)),
                 "pre_tanh": replace(self.specs(given)["action"], name="pre_tanh")}
        return Specs([every[name] for name in self.extras])

    # Checks of the head itself --------------------------------------------------------------------------------------------

    def check_methods(self) -> None:
        """Checks that a class of one's own has the methods that draws need.

        Raises:
          ConfigurationError: one is missing.
        """
        needed = ["specs", *(["noise_width"] if self.noise else []), *(["mask_width"] if self.mask is not None else []), "act"]
        for name in needed:
            if getattr(type(self), name) is getattr(Head, name):
                raise self._missing_method(name)

    def _missing_method(self, name: str) -> ConfigurationError:
        return ConfigurationError(f"head {type(self).__name__}: expected a method {_METHODS[name]}; see cervello.heads.Head")

    # Argument checks ------------------------------------------------------------------------------------------------------

    def _check_supported(self, what: str) -> None:
        if what not in self.supports and what not in self.extras:
            raise ConfigurationError(f"head {self!r}: expected one of {[*self.supports, *self.extras]}, got {what!r}, which it does not "
                                     "have; leave it out")

    def _wanted(self, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
        """The names of the results to return; None for all supported ones."""
        if wanted is None:
            return self.supports
        if not isinstance(wanted, tuple | list):
            raise ConfigurationError(f"head {self!r}, wanted: expected a tuple of names, got {wanted!r:.200}")
        for each in wanted:
            self._check_supported(each)
        return tuple(wanted)

    def _column(self, columns: Mapping[str, Any], name: str) -> Any:
        if not isinstance(columns, Mapping) or name not in columns:
            got = list(columns) if isinstance(columns, Mapping) else type(columns).__name__
            raise InputError(f"head {self!r}: expected columns of {[*self.tensors, *filter(None, [self.mask])]}, got {got}")
        return columns[name]

    def _array(self, what: str, value: Any) -> Array:
        try:
            return np.asarray(value)
        except ValueError as error:
            raise InputError(f"head {self!r}, {what}: expected an array, got a ragged sequence") from error

    def _rows(self, columns: Mapping[str, Any], name: str) -> Array:
        """A tensor as float32 [N, width]."""
        column = self._array(repr(name), self._column(columns, name))
        if column.ndim < 1 or column.dtype.kind not in "fiub":
            raise InputError(f"head {self!r}, {name!r}: expected numbers [N, …], got {column.shape} {column.dtype}")
        with np.errstate(over="ignore"):  # a float64 may be too large for a float32
            return np.ascontiguousarray(column, np.float32).reshape(len(column), math.prod(column.shape[1:]))

    def _rows_like(self, columns: Mapping[str, Any], name: str, first: Array) -> Array:
        """A tensor with one element for each of `first`'s, [N, width]; one without N applies to every row."""
        column = self._array(repr(name), self._column(columns, name))
        if column.size == first.shape[1]:  # also for one row, where both are the same
            column = np.broadcast_to(column.reshape(1, -1), first.shape)
        if column.ndim and len(column) == len(first) and column.size == first.size:
            return self._rows({name: column}, name)
        raise InputError(f"head {self!r}, {name!r}: expected {first.shape} or ({first.shape[1]},), got {column.shape}")

    def _mask(self, columns: Mapping[str, Any], shape: tuple[int, int]) -> Array | None:
        """[N, width] bool, or None without a mask."""
        if self.mask is None:
            return None
        mask = self._array(f"mask {self.mask!r}", self._column(columns, self.mask))
        if mask.dtype.kind not in "fiub" or mask.ndim < 1 or len(mask) != shape[0] or mask.size != shape[0] * shape[1]:
            raise InputError(f"head {self!r}, mask {self.mask!r}: expected {shape} bool or numbers, got {mask.shape} {mask.dtype}")
        return np.ascontiguousarray(mask.reshape(shape) != 0)

    def _graph_results(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The wanted results that have to be computed; at least one."""
        return tuple(name for name in names if name not in COMMON_EXTRAS) or ("action",)

    def _with_flags_stage(self, *stages: Stage, wanted: tuple[str, ...]) -> tuple[Stage, ...]:
        """Stages, with one for the rows that did not draw if these are wanted."""
        if "deterministic" not in wanted:
            return stages
        return (*stages, Stage(None, {"": Feed("flags")}, {"": "deterministic"}, row_bytes=1))

    def _with_flags(self, found: dict[str, Array], names: tuple[str, ...], flags: Array) -> dict[str, Array]:
        """The results of these names, of those that were computed and "deterministic"."""
        return {name: flags.copy() if name == "deterministic" else found[name] for name in names}

    def _check_size(self, given: Specs, name: str, width: int) -> None:
        """Raises ConfigurationError unless a tensor's row has the given number of elements."""
        spec = self._spec(given, name)
        if spec.size != width:
            raise ConfigurationError(f"head {self!r}: expected {name!r} with {width} elements, got {spec}")

    def _noise(self, noise: Array | None, flags: Array, width: int, rng: Rng = None) -> Array:
        """[N, width] float32; zeros for rows that do not draw."""
        shape = (len(flags), width)
        if rng is not None:
            if noise is not None:
                raise InputError(f"head {self!r}: expected either noise or rng, got both; leave one out")
            return self._draw_noise(rng, shape)
        if noise is None:
            if not flags.all():
                raise InputError(f"head {self!r}, noise: expected {shape} {self.noise} numbers, got none; give them or rng=, or let all "
                                 "rows be deterministic")
            return np.zeros(shape, np.float32)
        if not isinstance(noise, np.ndarray) or noise.shape != shape or noise.dtype != np.float32:
            got = f"{noise.shape} {noise.dtype}" if isinstance(noise, np.ndarray) else type(noise).__name__
            raise InputError(f"head {self!r}, noise: expected {shape} float32, got {got}")
        return noise

    def _draw_noise(self, rng: Any, shape: tuple[int, int]) -> Array:
        """Noise of the head's kind, from a generator or a seed."""
        if not isinstance(rng, np.random.Generator):
            if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)) or rng < 0:
                raise InputError(f"head {self!r}, rng: expected a numpy Generator or a seed from 0, got {rng!r}")
            rng = np.random.default_rng(int(rng))
        if self.noise == "normal":
            return np.asarray(rng.standard_normal(shape, np.float32))
        return np.asarray(rng.integers(0, 1 << 24, shape) * 2.0 ** -24, np.float32)

    def _flags(self, deterministic: Array | None, n_rows: int) -> Array:
        if deterministic is None:
            return np.zeros(n_rows, np.bool_)
        flags = self._array("deterministic", deterministic)
        if flags.shape != (n_rows,) or flags.dtype != np.bool_:
            raise InputError(f"head {self!r}, deterministic: expected ({n_rows},) bool, got {flags.shape} {flags.dtype}")
        return flags

    def _spec(self, given: Specs, name: str) -> TensorSpec:
        spec = given.get(name)
        if spec is None:
            raise ConfigurationError(f"head {self!r}: expected a tensor among {list(given)}, got {name!r}")
        if spec.dtype.kind in "iu":
            raise ConfigurationError(f"head {self!r}: expected floats with the batch on axis 0, got {spec}; an output of integers is the "
                                     "action itself: name the logits, or the mean, that it was made of, or take heads.Deterministic "
                                     f"(--head deterministic:{name})")
        if spec.dtype.kind != "f" or spec.batch_axis not in (0, None):
            raise ConfigurationError(f"head {self!r}: expected floats with the batch on axis 0, got {spec}")
        return spec


def scalars(action: TensorSpec, supported: tuple[str, ...]) -> Specs:
    """Specs of a head's results: an action, and scalars."""
    every = {"action": action, "log_prob": TensorSpec("log_prob", (), FLOAT32), "entropy": TensorSpec("entropy", (), FLOAT32)}
    return Specs([every[name] for name in supported])


def tensor_name(head: str, what: str, value: Any) -> str:
    """The name of a tensor, as given to a head.

    Raises:
      ConfigurationError: it is no string.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{head}: expected the name of a tensor as {what}, got {value!r}")
    return value
