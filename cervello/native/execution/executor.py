"""`Executable`: runs a program on arrays. It resolves plans by number of rows, pools idle contexts, and splits batches into chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cervello.errors import CervelloError, ExecutionError, InputError
from cervello.native.execution import thread_pool
from cervello.native.execution.arguments import first_overlap, fitted
from cervello.native.execution.context import ExecutionContext, run_mixed
from cervello.native.kernels import abi
from cervello.native.memory import arena
from cervello.native.program.build import BuildResult
from cervello.native.program.chunking import compose, divide
from cervello.native.program.encode import Plan
from cervello.spec import PolicySpec, TensorSpec

Array = np.ndarray[Any, Any]
_CTX, _ARENA = abi.CTX, abi.SPACES + abi.ARENA


class Executable:
    """A program and its pool of execution contexts. Immutable except for the pool; threads may share it.

    Args:
      name: for error messages.
      built: the program and its specs.

    Attributes:
      idle: contexts that are not in use.
      divisible: whether one compiled call can run a batch in chunks, which are slices of its arrays.
    """

    def __init__(self, name: str, built: BuildResult):
        self.name, self._built = name, built
        self.spec: PolicySpec = built.spec
        self.program = built.program
        self._ports = (*self.spec.inputs.values(), *self.spec.outputs.values())
        self.idle: list[ExecutionContext] = []
        in_front = all(spec.batch_axis in (0, None) for spec in self._ports)
        self.divisible = self.program.wholly_planned and in_front

    @property
    def batched(self) -> bool:
        """Whether a step processes many rows; if not, the model was exported for one row and rows run one after another."""
        return self._built.batching.dynamic

    def resolve(self, n_rows: int, threads: int = 1, into: Plan | None = None) -> Plan:
        """The executable plan for n_rows rows; split into chunks to fit the cache or to share among threads.

        Args:
          threads: the most threads that share the rows.
          into: a plan whose memory is reused; it must not be running.
        """
        if not self.batched and n_rows > 1:
            return self.combine([(self.program.resolve(1), n_rows)], threads)
        return divide(self.program, n_rows, threads, into) if self.divisible else self.program.resolve(n_rows, into)

    def combine(self, parts: Sequence[tuple[Plan, int]], threads: int = 1) -> Plan:
        """One plan from `parts`: (plan, repetitions) for consecutive rows."""
        return compose(self.program, parts, threads if self.divisible else 1)

    def failure(self, status: int) -> ExecutionError:
        """The error of a compiled call that has failed, with the names of model and node.

        Args:
          status: what it returned, above 0, as in `Program.failure`.
        """
        error = self.program.failure(status)
        error.name_policy(self.name)
        return error

    def acquire(self) -> ExecutionContext:
        """An idle context, or a new one; return it with `release`."""
        try:
            return self.idle.pop()
        except IndexError:
            return ExecutionContext(self._ports, len(self.spec.inputs))

    def release(self, run: ExecutionContext) -> None:
        """Returns a context to the pool."""
        run.values.clear()
        self.idle.append(run)

    def run_rows(self, run: ExecutionContext, arrays: Sequence[Any], results: Sequence[Array], plan: Plan) -> None:
        """Runs a plan on checked or unchecked columns.

        Args:
          arrays, results: columns in the model's order; an array of another dtype or layout is copied.
        """
        if not (self.compiled(plan) and self.execute(run, plan, run.call, (plan.n_rows, *arrays, *results))):
            self._run_with_copies(run, arrays, results, plan)

    def compiled(self, plan: Plan) -> bool:
        """Whether a plan runs in one compiled call."""
        return self.divisible or (not plan.parts and self.program.wholly_planned)

    def execute(self, run: ExecutionContext, plan: Plan, call: Callable[..., int], given: Sequence[Any]) -> bool:
        """Runs a plan through `run.call` or `run.named`, with worker threads if the plan asks for them and some are idle.

        Callers that repeat one plan (`FastPath`, `IOBinding`, `Model.run` of a known size) call `run.named` or `run.call` directly, in the
        context's own arena, because borrowing an arena takes longer than a small policy runs.

        Args:
          given: arguments of the call after the plan's address.
        Returns:
          whether it ran; if not, an array cannot be used in place (it needs a copy or is wrong) and nothing was written.
        Raises:
          ExecutionError: a step failed.
        """
        workers = thread_pool.claim(plan) if plan.helpers else None
        if not workers:
            memory = arena.borrow(plan.arena_bytes)
            try:
                run.context[_ARENA] = memory.address
                status = call((plan.single_thread_plan or plan).address, *given)
            finally:
                run.context[_ARENA] = run.own
                arena.give_back(memory)
        else:
            status = self._execute_parallel(workers, run, plan, call, given)
        if status > 0:
            raise self.failure(status)
        return status == 0

    def _execute_parallel(self, workers: list[Any], run: ExecutionContext, plan: Plan, call: Callable[..., int],
                          given: Sequence[Any]) -> int:
        """Runs a plan whose chunks workers share; returns the status of `call`."""
        runs, memories = [run], []
        given = tuple(dict(names) if type(names) is dict else names for names in given)  # the caller cannot remove arrays from a copy
        try:
            runs += [self.acquire() for _ in workers]
            for other in runs:
                memory = arena.borrow(plan.arena_bytes)
                memories.append(memory)
                other.context[_ARENA] = memory.address
            return call(0, *given) or thread_pool.run_parallel(workers, runs, plan)
        finally:
            for other in runs:
                other.context[_ARENA] = other.own
            for memory in memories:
                arena.give_back(memory)
            for other in runs[1:]:
                self.release(other)
            thread_pool.give_back(workers)

    def fitted(self, arrays: Sequence[Any], results: Sequence[Array], n_rows: int) -> tuple[list[Array], list[Array]]:
        """Columns and results as the compiled entry accepts them, batched; arrays that it does not accept are copied.

        Args:
          arrays, results: [n_rows, …], in the order of the spec.
          n_rows: rows of the batch.
        Raises:
          InputError: an array does not match its spec, or results overlap.
        """
        columns = [fitted(self.name, spec, array, n_rows) for spec, array in zip(self.spec.inputs.values(), arrays, strict=True)]
        names = list(self.spec.outputs)
        if (pair := first_overlap(results)) is not None:
            raise InputError(f"policy {self.name!r}, out {names[pair[1]]!r}: expected memory of its own, got an array that overlaps "
                             f"{names[pair[0]]!r}; give every output its own")
        return columns, [self._target(r, spec, columns, n_rows) for r, spec in zip(results, self.spec.outputs.values(), strict=True)]

    def _run_with_copies(self, run: ExecutionContext, arrays: Sequence[Any], results: Sequence[Array], plan: Plan) -> None:
        """General path: arrays that need a copy, programs with fallback steps, and batch axes other than 0."""
        columns, targets = self.fitted(arrays, results, plan.n_rows)
        if self.compiled(plan):
            run.note((*columns, *targets))
            self.execute(run, plan, run.call, (0,))
        else:
            self._run_chunks(run, columns, targets, list(plan.chunks))
        for target, result in zip(targets, results, strict=True):
            if target is not result:
                result[...] = target

    def _run_chunks(self, run: ExecutionContext, columns: list[Array], targets: list[Array], plans: Sequence[Plan]) -> None:
        """Runs slices of the batch as separate arrays."""
        first = 0
        context, slots, flags = run.context, int(run.context[_CTX.slots]), int(run.context[_CTX.deterministic])
        for plan in plans:
            count = plan.n_rows
            run.reserve(plan.arena_bytes)
            # Kernels see a chunk as a separate batch: its row 0 draws the noise of row `first`.
            context[_CTX.row] = 0
            context[_CTX.slots], context[_CTX.deterministic] = slots and slots + first * 8, flags and flags + first
            chunk_arrays = [self._chunk_of(a, spec.batch_axis, first, count, len(plans) == 1)
                      for a, spec in zip((*columns, *targets), self._ports, strict=True)]
            if self.program.wholly_planned:
                run.note(chunk_arrays)
                status = run.call(plan.address, 0)
            else:
                try:
                    status = run_mixed(self.program, run, plan, chunk_arrays, len(columns))
                except CervelloError as error:
                    error.name_policy(self.name)
                    raise
            if status:
                raise self.failure(status)
            for chunk, target, spec in zip(chunk_arrays[len(columns):], targets, self.spec.outputs.values(), strict=True):
                if chunk is not target and spec.batch_axis is not None:
                    target[(slice(None),) * spec.batch_axis + (slice(first, first + count),)] = chunk
            first += count
        context[_CTX.slots], context[_CTX.deterministic] = slots, flags

    @staticmethod
    def _chunk_of(array: Array, axis: int | None, first: int, count: int, whole: bool) -> Array:
        if whole or axis is None:
            return array
        return np.ascontiguousarray(array[(slice(None),) * axis + (slice(first, first + count),)])

    def _target(self, result: Array, spec: TensorSpec, columns: Sequence[Array], n_rows: int) -> Array:
        """The array that an output is written to: the caller's, or a temporary that is copied to it afterwards."""
        if not isinstance(result, np.ndarray) or result.shape != spec.batched(n_rows) or not result.flags.writeable:
            raise InputError(f"policy {self.name!r}, out {spec.name!r}: expected an array {spec.batched(n_rows)} {spec.dtype} that can be "
                             f"written, got {np.shape(result)} {getattr(result, 'dtype', type(result).__name__)}")
        plain = type(result) is np.ndarray and result.dtype is spec.dtype and result.flags.c_contiguous and result.flags.aligned
        if plain and not any(np.may_share_memory(result, column) for column in columns):
            return result
        return np.empty(result.shape, spec.dtype)
