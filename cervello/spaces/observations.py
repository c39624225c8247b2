"""Converts observations of a space to columns of a policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from cervello.array_like import castable
from cervello.codegen import entry
from cervello.errors import ConfigurationError, InputError
from cervello.native.kernels.row_words import STACK
from cervello.noise import layout
from cervello.spaces.description import Spaces
from cervello.spaces.kinds import kind
from cervello.spec import Array, Specs, TensorSpec

MASK_KEY = "action_mask"
"""The key of an observation or info for the mask of allowed actions in PettingZoo and Gymnasium."""
_LEAVES = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")
Convert = Callable[[Array], Array]


class _Leaf:
    """One part of an observation and the input that it feeds.

    Attributes:
      key: in a Dict or Tuple; None for a plain space.
      shape: of the part for one agent.
      dtype: of the space.
      convert: [N, *shape] to [N, *row of the input]; None where no conversion is needed.
    """

    __slots__ = ("_stack", "convert", "dtype", "input", "key", "ndim", "shape", "where")

    def __init__(self, where: str, key: Any, space: Any, spec: TensorSpec):
        self.key, self.input, self.shape = key, spec.name, tuple(space.shape or ())
        self.ndim = len(self.shape)
        self.where = where if key is None else f"{where}, observation {key!r}"
        self.convert = _conversion(self.where, space, spec)
        self.dtype = np.dtype(space.dtype)
        self._stack = _stacker(self.shape, self.dtype)

    def stacked(self, parts: Sequence[Any]) -> Array:
        """[N, *shape] of separate parts.

        Raises:
          InputError: one of another shape.
        """
        if self._stack is not None and parts:
            found = np.empty((len(parts), *self.shape), self.dtype)
            if self._stack(0, 0, found, *parts) == 0:
                return found
        try:
            arrays = [part if type(part) is np.ndarray else np.asarray(part) for part in parts]
        except ValueError as error:
            raise InputError(f"{self.where}: expected an array for every agent, got something ragged") from error
        shapes = {array.shape for array in arrays}
        if shapes - {self.shape}:
            raise InputError(f"{self.where}: expected {self.shape} for every agent, got {sorted(shapes - {self.shape})[:8]}")
        if not self.ndim or not arrays:
            return np.array(arrays).reshape(len(arrays), *self.shape)
        return np.concatenate(arrays).reshape(len(arrays), *self.shape)

    def column(self, given: Any, n_rows: int | None) -> Array:
        """[N, *row] of [N, *shape], or of one agent's observation, which becomes one row."""
        try:
            array = given if type(given) is np.ndarray else np.asarray(given)
        except ValueError as error:
            raise InputError(f"{self.where}: expected an array, got something ragged") from error
        if array.ndim == self.ndim:
            array = array[None]
        if array.shape[1:] != self.shape or (n_rows is not None and len(array) != n_rows):
            rows = "N" if n_rows is None else n_rows
            raise InputError(f"{self.where}: expected {self.shape} or ({', '.join(map(str, (rows, *self.shape)))}), got "
                             f"{np.shape(given)}; check the environment's observation_space")
        return array if self.convert is None else self.convert(array)


class ObservationEncoder:
    """Turns observations of a space into columns by input. Immutable.

    Args:
      where: prefix of messages.
      spaces: the game.
      inputs: required inputs of the policy.
      mask: name of the input that takes masks of actions, which is not among `inputs`; None where there is none.

    Attributes:
      masked: whether observations hold a mask of actions.

    Raises:
      ConfigurationError: a key without an input, an input without a key, or two that do not fit.
    """

    def __init__(self, where: str, spaces: Spaces, inputs: Specs, mask: str | None = None):
        self._where = f"{where}, spaces"
        space = spaces.observation_space
        self._kind = kind(space)
        parts = self._parts(space, spaces.keys)
        self._mask, self._mask_key = mask, None
        self._leaves: list[_Leaf] = []
        self._all_keys = tuple(parts)
        for key, part in parts.items():
            name = self._choose_input(key, part, spaces.keys, inputs)
            if name is not None:
                self._leaves.append(_Leaf(self._where, key, part, inputs[name]))
        self.masked = self._mask_key is not None
        self._only_leaf = self._leaves[0] if len(self._leaves) == 1 and self._leaves[0].key is None else None
        fed = [leaf.input for leaf in self._leaves]
        twice = next((name for name in fed if fed.count(name) > 1), None)
        if twice is not None:
            raise ConfigurationError(f"{self._where}, keys: expected one key for each input, got two for {twice!r}")
        missing = [name for name in inputs if name not in fed and inputs[name].default is None]
        if missing:
            raise ConfigurationError(f"{self._where}: expected a part of the observation for every input, got none for {missing} from "
                                     f"{space}; say which with keys={{key: {missing[0]!r}}}, or let a wrapper provide it")

    def _parts(self, space: Any, keys: Mapping[Any, str | None]) -> dict[Any, Any]:
        """Spaces by key."""
        if self._kind == "Dict":
            parts = dict(space.spaces)
        elif self._kind == "Tuple":
            parts = dict(enumerate(space.spaces))
        else:
            parts = {None: space}
        unknown = [key for key in keys if key not in parts]
        if unknown:
            raise ConfigurationError(f"{self._where}, keys: expected keys among {list(parts)}, got {unknown[0]!r}")
        return parts

    def _choose_input(self, key: Any, part: Any, keys: Mapping[Any, str | None], inputs: Specs) -> str | None:
        """The input that a part feeds, or None when it is left out."""
        names = [name for name, spec in inputs.items() if spec.default is None]
        if key in keys:
            name = keys[key]
            if name is None:
                return None
            if name == self._mask:
                self._mask_key = key
                return None
            if name not in inputs:
                raise ConfigurationError(f"{self._where}, keys[{key!r}]: expected an input among {list(inputs)}, got {name!r}")
        elif key is None:
            if len(names) != 1:
                raise ConfigurationError(f"{self._where}: expected a policy with one input for {part}, got {names}; say which one the "
                                         f"observation is with keys={{None: {names[0] if names else 'name'!r}}}, and let wrappers provide "
                                         "the others")
            name = names[0]
        elif key in inputs and isinstance(key, str):
            name = key
        elif kind(part) == "Text":
            return None
        elif key in (MASK_KEY, self._mask):
            self._mask_key = key
            return None
        else:
            free = [each for each in names if each not in (*keys.values(), *self._all_keys)] or ["name of an input"]
            raise ConfigurationError(f"{self._where}: expected an input for every key of the observation, got none for {key!r}; say which "
                                     f"with keys={{{key!r}: {free[0]!r}}}, or leave it out with keys={{{key!r}: None}}")
        if kind(part) not in _LEAVES:
            raise ConfigurationError(f"{self._where}: expected one of {', '.join(_LEAVES)} for input {name!r}, got {part}; flatten "
                                     "it in the environment (gymnasium.wrappers.FlattenObservation), or leave it out with keys={…: None}")
        return name

    # At the run ---------------------------------------------------------------------------------------------------------

    def encode(self, observation: Any) -> tuple[dict[str, Array], int, bool]:
        """Columns of one observation or of a batch of them.

        Returns:
          columns: [N, *row] by input.
          n_rows: N.
          single: whether it was one agent's observation, without N.
        Raises:
          InputError: the observation does not fit the space.
        """
        leaf = self._only_leaf
        if leaf is not None and type(observation) is np.ndarray:  # the usual case, which fits
            shape = observation.shape
            if shape == leaf.shape:
                column = observation[None]
                return {leaf.input: column if leaf.convert is None else leaf.convert(column)}, 1, True
            if shape[1:] == leaf.shape:
                return {leaf.input: observation if leaf.convert is None else leaf.convert(observation)}, shape[0], False
        columns: dict[str, Array] = {}
        n_rows: int | None = None
        single = False
        for leaf in self._leaves:
            part = observation if leaf.key is None else self._part(observation, leaf.key)
            column = columns[leaf.input] = leaf.column(part, n_rows)
            if n_rows is None:
                n_rows = len(column)
                single = n_rows == 1 and (part.ndim if type(part) is np.ndarray else np.ndim(part)) == leaf.ndim
        if n_rows is None:  # nothing of the observation reaches the policy: it is a single one
            return columns, 1, True
        return columns, n_rows, single

    def encode_rows(self, observations: Sequence[Any]) -> dict[str, Array]:
        """Columns of separate observations, one per agent.

        Raises:
          InputError: one that does not fit the space.
        """
        columns = {}
        for leaf in self._leaves:
            parts = observations if leaf.key is None else [self._part(each, leaf.key) for each in observations]
            columns[leaf.input] = leaf.column(leaf.stacked(parts), len(parts))
        return columns

    def mask(self, observation: Any) -> Any:
        """The mask in an observation or a batch of them; None when there is none."""
        return None if self._mask_key is None else self._part(observation, self._mask_key)

    def _part(self, observation: Any, key: Any) -> Any:
        try:
            return observation[key]
        except (KeyError, IndexError, TypeError) as error:
            got = list(observation) if isinstance(observation, Mapping) else type(observation).__name__
            raise InputError(f"{self._where}: expected an observation with {list(self._all_keys)}, got {got}") from error


@lru_cache(maxsize=128)
def _stacker(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[..., int] | None:
    """f(0, 0, out, *arrays) of `native.kernels.observations`; None where it does not apply."""
    if not layout.is_known() or not shape or dtype.kind not in "fiub":
        return None
    context = np.array(STACK.filled(array_type=id(np.ndarray), dtype=id(dtype), rank=len(shape),
                                    row_bytes=math.prod(shape) * dtype.itemsize, more=shape), np.int64)
    return entry.fastcall_objects("cervello.native.kernels.observations:stack", context.ctypes.data, keep=(context, dtype))


def _conversion(where: str, space: Any, spec: TensorSpec) -> Convert | None:
    """The conversion of [N, *shape of the space] to [N, *row of the input]."""
    what = kind(space)
    if spec.batch_axis != 0:
        raise ConfigurationError(f"{where}: expected an input with the batch on axis 0, got {spec}; let a wrapper provide it")
    if what in ("Discrete", "MultiDiscrete"):
        sizes = np.atleast_1d(np.asarray(space.n if what == "Discrete" else space.nvec, np.int64)).reshape(-1)
        start = np.atleast_1d(np.asarray(getattr(space, "start", 0), np.int64)).reshape(-1)
        width = spec.size
        if spec.dtype.kind in "iu" and width == len(sizes):
            return _IntegerEncoder(where, sizes, start, spec).indices
        if spec.dtype.kind == "f" and width == int(sizes.sum()):
            return _IntegerEncoder(where, sizes, start, spec).one_hot
        raise ConfigurationError(f"{where}: expected an integer input of {len(sizes)} element(s), or a float one of {int(sizes.sum())} for "
                                 f"one-hot vectors, to take {space}, got {spec}")
    shape = tuple(space.shape)
    if not castable(np.dtype(space.dtype), spec.dtype):
        raise ConfigurationError(f"{where}: expected an input that {space.dtype} can be cast to, got {spec}")
    if shape == spec.shape:
        return None
    if math.prod(shape) == spec.size and len(spec.shape) <= 1:
        return lambda array: array.reshape(len(array), *spec.shape)
    raise ConfigurationError(f"{where}: expected an input of {shape} for {space}, got {spec}; change the environment's "
                             "observations, or wrap the policy (wrappers.Image turns pictures)")


class _IntegerEncoder:
    """Converts integers of a Discrete or MultiDiscrete to an input."""

    def __init__(self, where: str, sizes: Array, start: Array, spec: TensorSpec):
        self._where, self._sizes, self._start, self._spec = where, sizes, start, spec
        self._edges = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def _zero_based(self, array: Array) -> Array:
        if array.dtype.kind not in "iub":
            raise InputError(f"{self._where}: expected integers, got {array.dtype}")
        found = array.reshape(len(array), len(self._sizes)).astype(np.int64) - self._start
        if ((found < 0) | (found >= self._sizes)).any():
            raise InputError(f"{self._where}: expected values from {self._start.tolist()} below "
                             f"{(self._start + self._sizes).tolist()}, got {array.min()} to {array.max()}")
        return found

    def indices(self, array: Array) -> Array:
        """[N, *row] integers from 0."""
        return self._zero_based(array).astype(self._spec.dtype).reshape(len(array), *self._spec.shape)

    def one_hot(self, array: Array) -> Array:
        """[N, *row] floats, one 1 for each number."""
        found = self._zero_based(array)
        hot = np.zeros((len(array), int(self._sizes.sum())), self._spec.dtype)
        np.put_along_axis(hot, found + self._edges, 1, axis=1)
        return hot.reshape(len(array), *self._spec.shape)
