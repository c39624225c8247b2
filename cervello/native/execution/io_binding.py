"""`IOBinding`: runs a program on fixed buffers in one compiled call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cervello.codegen import linker
from cervello.errors import ConfigurationError, InputError
from cervello.native.execution import thread_pool
from cervello.native.execution.arguments import check_names
from cervello.native.execution.context import ExecutionContext
from cervello.native.execution.noise_keys import RowNoise

if TYPE_CHECKING:
    from cervello.native.model import Model

Arrays = Mapping[str, Any]


class IOBinding:
    """A program bound to fixed buffers. Made by `Model.bind`. Used by one thread at a time.

    Attributes:
      n_rows: rows of the buffers.
    """

    __slots__ = ("_address", "_arrays", "_call", "_model", "_plan", "_run", "n_rows")

    def __init__(self, model: Model, inputs: Arrays, out: Arrays, seed: int | None, deterministic: bool, threads: int):
        check_names(model.name, model.spec.inputs, inputs, "model")
        check_names(model.name, model.spec.outputs, out, "model", "outputs ")
        if model.slow_nodes:
            raise ConfigurationError(f"model {model.name!r}, bind: expected every op on the planned tier, got {dict(model.slow_nodes)}")
        columns = [inputs[name] for name in model.spec.inputs]
        self.n_rows = model._rows(columns)
        if self.n_rows != 1 and not model.batched:
            raise ConfigurationError(f"model {model.name!r}, bind: expected 1 row (exported for one row), got {self.n_rows}")
        self._arrays = (*columns, *(out[name] for name in model.spec.outputs))
        self._model, self._run = model, ExecutionContext(model._ports, len(columns))
        self._plan = model.resolve(self.n_rows, threads)
        self._run.reserve(self._plan.arena_bytes)
        if model.random_nodes:
            RowNoise.of(self._run, self.n_rows).set_noise(self._run, model._checked_seed(seed, deterministic))
        status = self._run.call(0, self.n_rows, *self._arrays)
        if status and self._fits(columns):  # arrays that the compiled entry cannot read, for example with nine axes
            self._run.note(self._arrays)
        elif status:
            names = (*model.spec.inputs, *model.spec.outputs)
            name = names[-1 - status]
            spec = (model.spec.inputs.get(name) or model.spec.outputs[name])
            array = self._arrays[-1 - status]
            raise InputError(f"model {model.name!r}, bind, {name!r}: expected a C-contiguous, aligned {spec.dtype} array of shape "
                             f"{spec.batched(self.n_rows)}, got {getattr(array, 'dtype', type(array).__name__)} "
                             f"{np.shape(array)}, or one that overlaps another; copy it first")
        self._call, self._address = self._run.call, self._plan.address
        if self._plan.helpers:
            linker.link(thread_pool.REFERENCES)
            self._call = self._call_parallel

    def _fits(self, columns: list[Any]) -> bool:
        """Whether every array can be used without a copy."""
        try:
            columns_fitted, targets = self._model.fitted(columns, self._arrays[len(columns):], self.n_rows)
        except InputError:
            return False
        return all(one is other for one, other in zip((*columns_fitted, *targets), self._arrays, strict=True))

    def _call_parallel(self, address: int, first: int) -> int:
        self._model.execute(self._run, self._plan, self._run.call, (first,))
        return 0

    def __call__(self) -> None:
        """Runs the policy on the bound inputs and overwrites the bound outputs."""
        status = self._call(self._address, 0)
        if status:
            raise self._model.failure(status)
