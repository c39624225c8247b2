"""The noise of many agents: a key and a step counter per slot, and fills of float32 rows from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cervello.codegen import entry, linker
from cervello.codegen.bits import float64_word
from cervello.errors import ConfigurationError, InputError
from cervello.noise import layout
from cervello.noise.words import CHECK, DERIVE, FILL

_NORMAL, _FAST_NORMAL, _UNIFORM = range(3)
_KERNELS_AT: Final[int] = CHECK.index.kernels
_SEED: Final[int] = DERIVE.index.seed
_FILLS: Final = tuple(f"cervello.noise.kernels:fill_{kind}" for kind in ("normal", "fast_normal", "uniform"))
_DERIVE: Final = "cervello.noise.kernels:derive"
_CHECKED_FILL, _CHECKED_DERIVE = "cervello.noise.arguments:fill", "cervello.noise.arguments:derive"

KERNELS: Final = (*_FILLS, _DERIVE, _CHECKED_FILL, _CHECKED_DERIVE)
"""Names of the compiled functions, which `cervello warmup` compiles ahead."""
DONE = 0  # status of a compiled argument check that has called the kernel


class Streams:
    """Draws for the agents of one table; immutable except for the arrays that it reads, which their owner changes.

    A draw is a function only of the slot's key, its step, the site and the element, not of the row, of other
    rows or of the width. Draws do not advance the step: the owner of `steps` increments it.

    Args:
      keys: [capacity, 2] uint64, C-contiguous; `derive_keys` writes it.
      steps: [capacity] int64, contiguous, the agents' steps in their episodes.
    Raises:
      InputError: an array of another shape, type or layout.
    """

    __slots__ = ("_checked_fill", "_context", "keys", "steps")

    def __init__(self, keys: NDArray[np.uint64], steps: NDArray[np.int64]):
        _check_keys(keys)
        good = isinstance(steps, np.ndarray) and steps.dtype == np.int64 and steps.shape == keys.shape[:1]
        if not good or not steps.flags.c_contiguous or not steps.flags.aligned:
            raise InputError(f"noise steps: expected a contiguous int64 ({len(keys)},) array, got {_described(steps)}")
        self.keys, self.steps = keys, steps
        self._checked_fill: Callable[..., int] | None = None
        if layout.is_known():
            self._context = _context(keys=keys.ctypes.data, steps=steps.ctypes.data, capacity=len(keys))
            self._checked_fill = entry.fastcall_objects(_CHECKED_FILL, self._context.ctypes.data, keep=(self._context, keys, steps))

    def __reduce__(self) -> tuple[type[Streams], tuple[NDArray[np.uint64], NDArray[np.int64]]]:
        return Streams, (self.keys, self.steps)

    def fill_normal(self, out: NDArray[np.float32], slots: NDArray[np.int64], site: int,
                    scale: float = 1.0, deterministic: NDArray[np.bool_] | None = None) -> None:
        """Fills rows with scale times standard normals (Box-Muller, tails to 6.66 standard deviations).

        Args:
          out: [n, width] float32; contiguous last axis and a Python float as `scale` are fastest.
          slots: [n] int64, 0 <= slot < capacity; slots may repeat.
          site: 0 <= site < 2**32, the graph node or wrapper that draws; two sites never share noise.
          deterministic: [n] bool, rows that get zeros; None for no row.
        Raises:
          InputError: an argument that does not fit; `out` is untouched.
        """
        fill = self._checked_fill
        if fill is None or fill(_NORMAL, site, out, slots, scale, deterministic):
            self._fill_general(_NORMAL, out, slots, site, scale, deterministic)

    def fill_fast_normal(self, out: NDArray[np.float32], slots: NDArray[np.int64], site: int,
                         scale: float = 1.0, deterministic: NDArray[np.bool_] | None = None) -> None:
        """Fills rows with scale times nearly normal numbers; `reference.fast_normal` describes their quality.

        Args:
          out, slots, site, scale, deterministic: as in `fill_normal`, with its errors.
        """
        fill = self._checked_fill
        if fill is None or fill(_FAST_NORMAL, site, out, slots, scale, deterministic):
            self._fill_general(_FAST_NORMAL, out, slots, site, scale, deterministic)

    def fill_uniform(self, out: NDArray[np.float32], slots: NDArray[np.int64], site: int,
                     scale: float = 1.0, deterministic: NDArray[np.bool_] | None = None) -> None:
        """Fills rows with scale times multiples of 2**-24 in [0, 1).

        Args:
          out, slots, site, scale, deterministic: as in `fill_normal`, with its errors.
        """
        fill = self._checked_fill
        if fill is None or fill(_UNIFORM, site, out, slots, scale, deterministic):
            self._fill_general(_UNIFORM, out, slots, site, scale, deterministic)

    def _fill_general(self, kind: int, out: NDArray[np.float32], slots: ArrayLike, site: int,
                        scale: float, deterministic: ArrayLike | None) -> None:
        """General path of a fill: converts arguments, raises errors, and fills by way of a copy."""
        if self._checked_fill is not None and self._context[_KERNELS_AT + kind] == 0:
            self._context[_KERNELS_AT + kind] = linker.address(_FILLS[kind])
            if self._checked_fill(kind, site, out, slots, scale, deterministic) == DONE:
                return
        if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.ndim != 2 or not out.flags.writeable:
            raise InputError(f"noise out: expected a writeable float32 (n, width) array, got {_described(out)}")
        if not 0 <= site < 1 << 32:
            raise InputError(f"noise site: expected 0 <= site < 2**32, got {site!r}")
        rows = _slots(slots, len(out), len(self.keys))
        zeroed = None
        if deterministic is not None:
            zeroed = np.ascontiguousarray(deterministic)
            if zeroed.dtype != np.bool_ or zeroed.shape != rows.shape:
                raise InputError(f"noise deterministic: expected bool {rows.shape}, got {_described(deterministic)}")
        fresh = np.empty(out.shape, np.float32)
        n_rows, width = out.shape
        _call(_FILLS[kind], FILL.filled(
            out=fresh.ctypes.data, row_stride=4 * width, n_rows=n_rows, width=width, slots=rows.ctypes.data, keys=self.keys.ctypes.data,
            steps=self.steps.ctypes.data, site=site, scale=float64_word(scale), deterministic=0 if zeroed is None else zeroed.ctypes.data))
        out[...] = fresh


def derive_keys(numbers: NDArray[Any], streams: NDArray[Any], episodes: NDArray[Any], seed: int,
                slots: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
    """Writes the keys of n agents: `reference.agent_key` in bulk.

    Args:
      numbers, streams, episodes: [n] int64 or uint64 whose 64 bits count, or one int for all; `agent_number` makes
        numbers.
      seed: 0 <= seed < 2**64.
      slots: [n] int64, rows of `keys`, different from each other.
      keys: [capacity, 2] uint64, C-contiguous; word 0 is the key, word 1 holds 32 further bits.
    Raises:
      ConfigurationError: the seed is out of range.
      InputError: an array that does not fit; `keys` is untouched.
    """
    if not 0 <= seed < 1 << 64:
        raise ConfigurationError(f"noise seed: expected 0 <= seed < 2**64, got {seed!r}")
    word = seed - (1 << 64) if seed >> 63 else seed
    derive = _checked_derive()
    if derive is not None and derive(word, 0, numbers, streams, episodes, slots, keys) == DONE:
        return
    _check_keys(keys)
    rows = _slots(slots, len(slots), len(keys))
    given = {"numbers": numbers, "streams": streams, "episodes": episodes}
    columns = {name: _numbers(name, column, len(rows)) for name, column in given.items()}
    addresses = {name: column.ctypes.data for name, column in columns.items()}
    _call(_DERIVE, DERIVE.filled(**addresses, seed=word, slots=rows.ctypes.data, n=len(rows), keys=keys.ctypes.data))


class BoundKeys:
    """`derive_keys` of arrays that are bound once: between calls only their contents change, so that a call checks nothing. Mutable.

    Args:
      numbers, streams, episodes, slots, keys: as in `derive_keys`; contiguous arrays of 64-bit integers. They must not be reallocated.
    Attributes:
      keys: as given.
    """

    __slots__ = ("_address", "_block", "_bound", "_derive", "keys")

    def __init__(self, numbers: NDArray[Any], streams: NDArray[Any], episodes: NDArray[Any], slots: NDArray[np.int64],
                 keys: NDArray[np.uint64]):
        self.keys, self._bound = keys, (numbers, streams, episodes, slots)
        addresses = {"numbers": numbers, "streams": streams, "episodes": episodes, "slots": slots, "keys": keys}
        self._block = np.array(DERIVE.filled(n=len(slots), **{name: each.ctypes.data for name, each in addresses.items()}), np.int64)
        self._address, self._derive = self._block.ctypes.data, entry.fastcall_ints(_DERIVE)

    def derive(self, seed: int) -> None:
        """Writes `keys` of what the arrays hold now; 0 <= seed < 2**64."""
        self._block[_SEED] = seed - (1 << 64) if seed >> 63 else seed
        self._derive(self._address, 0)


class SeedKeys(BoundKeys):
    """The keys of agents 0 to n - 1 of a seed, stream 0, episode 0. The memory is reused for each seed. Mutable.

    Attributes:
      numbers: [n] int64, the agents' numbers and slots.
      keys: [n, 2] uint64.
    """

    __slots__ = ("numbers",)

    def __init__(self, n: int):
        self.numbers: NDArray[np.int64] = np.arange(n, dtype=np.int64)
        zeros = np.zeros(n, np.int64)
        super().__init__(self.numbers, zeros, zeros, self.numbers, np.zeros((n, 2), np.uint64))


@lru_cache(maxsize=1)
def _checked_derive() -> Callable[..., int] | None:
    if not layout.is_known():
        return None
    context = _context(kernels=(linker.address(_DERIVE), 0, 0))
    return entry.fastcall_objects(_CHECKED_DERIVE, context.ctypes.data, keep=(context,))


def _context(**words: Any) -> NDArray[np.int64]:
    """The words that the compiled argument check reads."""
    dtypes = {kind: id(np.dtype(kind)) for kind in ("float32", "int64", "uint64", "bool")}
    return np.array(CHECK.filled(array_type=id(np.ndarray), **dtypes, float_type=id(float), none=id(None), **words), np.int64)


def _call(kernel: str, words: list[int]) -> None:
    block = np.array(words, np.int64)
    entry.fastcall_ints(kernel)(block.ctypes.data, 0)


def _described(thing: object) -> str:
    return f"{thing.dtype} {thing.shape}" if isinstance(thing, np.ndarray) else type(thing).__name__


def _check_keys(keys: object) -> None:
    good = isinstance(keys, np.ndarray) and keys.dtype == np.uint64 and keys.ndim == 2 and keys.shape[1] == 2
    if not good or not keys.flags.carray:  # type: ignore[attr-defined]
        raise InputError(f"noise keys: expected a writeable contiguous uint64 (n, 2) array, got {_described(keys)}")


def _slots(slots: ArrayLike, n: int, capacity: int) -> NDArray[np.int64]:
    found = np.asarray(slots)
    if found.shape != (n,) or (found.dtype.kind not in "iu" and n):
        raise InputError(f"noise slots: expected int64 ({n},), got {found.dtype} {found.shape}")
    outside = found[(found < 0) | (found >= capacity)]
    if outside.size:
        raise InputError(f"noise slots: expected 0 <= slot < {capacity}, got {outside[0]}")
    return np.ascontiguousarray(found, np.int64)


def _numbers(name: str, given: ArrayLike, n: int) -> NDArray[Any]:
    found = np.asarray(given)
    if (found.dtype.kind not in "iu" and n) or found.shape not in ((), (n,)):
        raise InputError(f"noise {name}: expected int64 or uint64 ({n},), got {found.dtype} {found.shape}")
    wide = np.uint64 if found.dtype.kind == "u" else np.int64
    return np.ascontiguousarray(np.broadcast_to(found.astype(wide), (n,)))
