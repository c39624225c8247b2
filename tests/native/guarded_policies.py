"""Runs policies with wrappers between pages without access: arena, hidden columns, slabs, noise keys and step counters.

As a script: `python guarded_policies.py`. Arena and hidden columns are whole lines of 64 bytes, so they adjoin a page exactly, like the
other arrays. It names each stack before it runs, so that the last line tells what faulted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]

from guarded import Guarded  # noqa: E402  (beside this file)
from stacks import STACKS, model  # noqa: E402

import cervello  # noqa: E402
from cervello.agents.membership import slot_lookup, table  # noqa: E402
from cervello.native.execution.context import ExecutionContext  # noqa: E402
from cervello.native.kernels import abi  # noqa: E402
from cervello.native.memory import arena  # noqa: E402
from cervello.wrappers import slab  # noqa: E402

_SIZES = (1, 7, 64)


class _Numpy:
    """numpy, with new arrays between pages without access."""

    def __init__(self, memory: Guarded):
        self._memory = memory

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def zeros(self, shape: Any, dtype: Any = np.float64) -> Any:
        found = self._memory.empty(shape if isinstance(shape, tuple) else (shape,), np.dtype(dtype))
        found[...] = 0
        return found


def _guard(memory: Guarded) -> None:
    """From here on this process takes its memory from `memory`."""
    def grow(self: Any, n_bytes: int) -> None:
        self._memory = memory.take(-(-n_bytes // 64) * 64)
        self.address, self.capacity = self._memory.ctypes.data, n_bytes

    def reserve(self: Any, n_bytes: int) -> None:
        if n_bytes > self.capacity:
            self._arena = memory.take(-(-n_bytes // 64) * 64)
            self.context[abi.SPACES + abi.ARENA] = self.own = self._arena.ctypes.data
            self._start, self.capacity = 0, n_bytes

    def place(self: Any, n_rows: int) -> None:
        self._columns = [memory.take(int(self._record(port)[abi.ARG.row_bytes]) * n_rows) for port in self._hidden]
        for port, column in zip(self._hidden, self._columns, strict=True):
            self._record(port)[abi.ARG.base] = column.ctypes.data

    patched: Any = arena.Arena
    patched.grow = grow
    run: Any = ExecutionContext
    run.reserve, run.allocate_hidden = reserve, place
    for module in (slab, slot_lookup, table):
        module.np = _Numpy(memory)  # type: ignore[attr-defined]


def _answers(arguments: Any, wrappers: Any) -> list[Any]:
    """What a policy gives three times to 1, 7 and 64 agents."""
    policy = cervello.Policy(model(*arguments), wrappers=wrappers, seed=3)
    found = []
    for n_rows in _SIZES:
        ids = list(range(1000 * n_rows, 1000 * n_rows + n_rows))
        policy.begin_agents(ids)
        chance = np.random.default_rng(n_rows)
        for _ in range(3):
            given = {name: (chance.random(spec.batched(n_rows)) * 3).astype(spec.dtype) for name, spec in policy.inputs.items()}
            found.append({name: np.array(array) for name, array in policy.infer_batch(ids, given).items()})
    return found


def main() -> None:
    expected = {name: _answers(arguments, wrappers) for name, (arguments, wrappers) in STACKS.items()}
    for at_end in (True, False):
        arena._idle.clear()
        memory = Guarded(at_end)
        _guard(memory)
        for name, (arguments, wrappers) in STACKS.items():
            print(f"{name}, {'end' if at_end else 'beginning'} watched", flush=True)
            model(*arguments).idle.clear()
            for found, plain in zip(_answers(arguments, wrappers), expected[name], strict=True):
                for key, array in found.items():
                    np.testing.assert_array_equal(array, plain[key], err_msg=f"{name}, {key}")
            memory.check()


if __name__ == "__main__":
    main()
