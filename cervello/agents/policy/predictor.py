"""Decisions without agents: the caller holds each row's state, as in Stable-Baselines3's `predict`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.agents.membership.lock import ExclusiveLock
from cervello.agents.membership.table import AgentTable
from cervello.agents.policy.engine import Engine
from cervello.array_like import as_numpy
from cervello.errors import ConfigurationError, ExecutionError, InputError
from cervello.inferers.nonfinite import NonFiniteState
from cervello.noise import BoundKeys, agent_number, derive_keys
from cervello.spec import Array, Wrapper
from cervello.wrappers import Clip, Fill, Guard, Image, Normalize, Sample

# Rows of predict are agents of a name whose noise no caller's agent shares.
_FIRST_NUMBER = agent_number("cervello.predict")
WITHOUT_STATE = (Clip, Fill, Guard, Image, Normalize)  # wrappers without state and noise


class PredictState:
    """State of the rows of a `predict`: opaque, immutable, reusable, picklable.

    Attributes:
      policy: the state's layout in the policy that returned it, as (origin, seed, names and shapes).
      stream: number of the call of `predict` that began without a state.
      episodes: [N] int64, episodes of each row since then.
      steps: [N] int64, decisions of each row in its episode.
      memory: wrappers' state by name, [N, …].
    """

    __slots__ = ("episodes", "memory", "policy", "steps", "stream")

    def __init__(self, policy: tuple[Any, ...], stream: int, episodes: Array, steps: Array, memory: Mapping[str, Array]):
        self.policy, self.stream, self.episodes, self.steps, self.memory = policy, stream, episodes, steps, memory

    def __len__(self) -> int:
        return len(self.steps)

    def __reduce__(self) -> tuple[Any, ...]:
        return PredictState, (self.policy, self.stream, self.episodes, self.steps, dict(self.memory))

    def __repr__(self) -> str:
        return f"PredictState(rows={len(self)})"


def _read_only(array: Array) -> Array:
    """The array, made read-only."""
    array.flags.writeable = False
    return array


def _needed(wrappers: Sequence[Wrapper], output: str | None) -> Sequence[Wrapper]:
    """Wrappers that return at least one output: an outermost `Sample` whose action is needed returns nothing else. None: all outputs."""
    if output is not None and wrappers and type(wrappers[0]) is Sample and wrappers[0].names.get("action") == output:
        return (wrappers[0].action_only(), *wrappers[1:])
    return wrappers


class Predictor:
    """Runs rows without agents, on its own slots and slabs. One call at a time; other threads wait.

    Args:
      engine: of the policy; its model, inferer and wrappers are cloned.
      origin: hashes of the graph and the weights that the policy was loaded with.
      seed: of all noise.
      output: the only output needed; others may be missing in the result of `run`. None: all of them.

    Raises:
      ConfigurationError: a custom wrapper or inferer, which cannot be cloned.
    """

    def __init__(self, engine: Engine, origin: str, seed: int, output: str | None):
        if engine.stack.custom or engine.custom:
            raise ConfigurationError(f"policy {engine.name!r}, predict: expected the library's wrappers and inferer, got custom ones, "
                                     "whose state predict cannot return; begin agents and use infer_batch")
        self.source = engine  # its origin; the policy's engine differs after a swap
        self._engine = Engine(engine.model, engine.name, engine.inferer_choice, _needed(engine.wrappers, output), engine.threads,
                              engine.version)
        self._table, self._exclusive = AgentTable(seed), ExclusiveLock(engine.name)
        self._lock = threading.Lock()
        self._seed = seed
        stack = self._engine.stack
        self._slabs = stack.slabs()
        draws = bool(engine.model.random_nodes)
        self.stateful = draws or any(not isinstance(w, WITHOUT_STATE) and not (isinstance(w, Sample) and w.head.noise is None)
                                     for w in stack.inner_first)
        shapes = tuple(sorted((name, slab.spec.shape, slab.spec.dtype.str) for name, slab in self._slabs.items()))
        names = tuple(type(wrapper).__name__ for wrapper in stack.inner_first)
        specs = tuple(map(str, engine.model.inputs.values())), tuple(map(str, engine.model.outputs.values()))
        self._layout = (origin, seed, *specs, names, shapes)
        stack.reserve(self._table.capacity)
        self._resize(0)

    def _resize(self, n_rows: int) -> None:
        """Makes the columns of so many rows; the table has room for them."""
        self._last: PredictState | None = None  # content of the slots, as returned to the caller
        self._streams: Array = np.zeros(n_rows, np.int64)
        self._zeros, self._ones = _read_only(np.zeros(n_rows, np.int64)), _read_only(np.ones(n_rows, np.int64))
        self._numbers: Array = np.uint64(_FIRST_NUMBER) + np.arange(n_rows, dtype=np.uint64) | np.uint64(1 << 63)
        slots = _read_only(np.arange(n_rows, dtype=np.int64))
        self._steps: Array = self._table.steps[:n_rows]  # the table moves its arrays only for more rows than ever before
        self._first_keys = BoundKeys(self._numbers, self._streams, self._zeros, slots, self._table.keys)
        self._slots: Array = slots

    def run(self, columns: Mapping[str, Any], n_rows: int, state: Any, starts: Any, deterministic: bool, stream: int,
            ) -> tuple[Mapping[str, Array], PredictState | None]:
        """Decides for rows.

        Args:
          columns: [N, …] by input.
          state: returned by the last call, or None: every row begins an episode.
          starts: [N] bool, rows that begin another episode; None for none.
          stream: of the noise, if `state` is None.
        Returns:
          outputs by name, and the new state; None for a policy without state and noise.
        Raises:
          InputError: a state or flags that do not fit; nothing has changed then.
        """
        if not self.stateful:
            if state is not None:
                self._refuse("None, since the policy remembers nothing", state)
            with self._lock:
                self._use_rows(n_rows)
                return self._decide(columns, n_rows, False), None  # no noise is needed
        if state is not None:
            self._check(state, n_rows)
        fresh = None if state is None or starts is None else self._flags(starts, n_rows)
        with self._lock:
            slots = self._use_rows(n_rows)
            last, self._last = self._last, None
            if state is None:
                episodes = self._zeros
                self._streams.fill(stream)
                self._first_keys.derive(self._seed)
                self._steps.fill(0)
                self._begin_slabs(slots)
            else:
                stream, episodes = state.stream, state.episodes
                if state is not last or (fresh is not None and fresh.any()):
                    episodes = self._load_state(slots, state, fresh)
            results = self._decide(columns, n_rows, deterministic)
            steps = self._ones if state is None else self._steps.copy()
            kept = {}
            for name, slab in self._slabs.items():
                kept[name] = np.empty((n_rows, *slab.spec.shape), slab.spec.dtype)
                slab.take(slots, kept[name])
            after = self._last = PredictState(self._layout, stream, episodes, steps, kept)
            return results, after

    def _load_state(self, slots: Array, state: PredictState, fresh: Array | None) -> Array:
        """Loads the rows of a state, with initial state for rows that begin; returns their episodes."""
        episodes, steps = state.episodes, state.steps
        if fresh is not None and fresh.any():
            episodes, steps = episodes + fresh, np.where(fresh, 0, steps)
        self._streams.fill(state.stream)
        derive_keys(self._numbers, self._streams, episodes, self._seed, slots, self._table.keys)
        self._steps[:] = steps
        self._begin_slabs(slots)
        old = slots if fresh is None else slots[~fresh]
        for name, rows in state.memory.items():
            self._slabs[name].put(old, rows if fresh is None else rows[~fresh])
        return episodes

    def _begin_slabs(self, slots: Array) -> None:
        for slab in self._slabs.values():
            slab.begin(slots)

    def _use_rows(self, n_rows: int) -> Array:
        """[N] int64, the slots 0 to N - 1, allocated."""
        if n_rows > self._table.capacity:
            self._slots = self._slots[:0]  # after an interrupt in here, the columns are made anew
            self._engine.invalidate_slabs()
            self._engine.stack.reserve(n_rows)
            self._table.reserve(n_rows)
        if len(self._slots) != n_rows:
            self._resize(n_rows)
        return self._slots

    def _decide(self, columns: Mapping[str, Any], n_rows: int, deterministic: bool) -> Mapping[str, Array]:
        slots, table, engine = self._slots, self._table, self._engine
        if engine.fast_path is not None:
            try:
                results = engine.fast_path.infer(n_rows, columns, None, slots, table.steps, table.keys, True if deterministic else None)
            except NonFiniteState as found:
                engine.report()
                return found.outputs
            except ExecutionError:
                results = None  # nothing has happened; it fails again below, where the error names the row
            if results is not None:
                return results  # type: ignore[no-any-return]
        return engine.decide(table, self._exclusive, slots, columns, deterministic, None)

    def _check(self, state: Any, n_rows: int) -> None:
        if not isinstance(state, PredictState) or state.policy != self._layout:
            self._refuse("None or a state that this policy's predict gave", state)
        if len(state) != n_rows:
            self._refuse(f"a state of {n_rows} rows, as many as there are observations", state)

    def _flags(self, starts: Any, n_rows: int) -> Array:
        where = f"policy {self._engine.name!r}, predict, episode_start"
        flags = as_numpy(where, starts)
        if flags.shape != (n_rows,) and not (flags.shape == () and n_rows == 1):
            raise InputError(f"{where}: expected ({n_rows},) bools, got {flags.shape} "
                             f"{flags.dtype}")
        return flags.reshape(n_rows).astype(np.bool_)

    def _refuse(self, expected: str, state: Any) -> None:
        raise InputError(f"policy {self._engine.name!r}, predict, state: expected {expected}, got {state!r:.100}; pass what the last call "
                         "returned, or None to begin anew")
