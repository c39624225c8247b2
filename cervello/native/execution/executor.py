"""What runs a program on arrays: plans for numbers of rows, runs that are idle, batches in pieces and on threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cervello.errors import InputError
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
_ARENA = abi.CTX_SPACES + abi.ARENA


class Executable:
    """A program and what runs it. Immutable but for the pool of idle runs; threads may share it.

    Args:
      name: for errors.
      built: the program and its specs.

    Attributes:
      idle: runs that nobody uses just now.
      divisible: whether a batch may run in pieces: stretches of its arrays, in one compiled call.
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
        """Whether many rows run at once; else the model was exported for one row and rows run one after another."""
        return self._built.batching.free

    def resolve(self, n_rows: int, threads: int = 1, into: Plan | None = None) -> Plan:
        """The executable plan for n_rows rows; in pieces where cache or threads like it.

        Args:
          threads: that may share the rows.
          into: a plan whose memory may be used again; nobody runs it.
        """
        if not self.batched and n_rows > 1:
            return self.combine([(self.program.resolve(1), n_rows)], threads)
        return divide(self.program, n_rows, threads, into) if self.divisible else self.program.resolve(n_rows, into)

    def combine(self, parts: Sequence[tuple[Plan, int]], threads: int = 1) -> Plan:
        """One plan of `parts`, plans for consecutive rows, each with the number of times it runs."""
        return compose(self.program, parts, threads if self.divisible else 1)

    def acquire(self) -> ExecutionContext:
        """An idle run, or a new one; give it back with `release`."""
        try:
            return self.idle.pop()
        except IndexError:
            return ExecutionContext(self._ports, len(self.spec.inputs))

    def release(self, run: ExecutionContext) -> None:
        """Takes the context of a run back, to be lent again."""
        run.values.clear()
        self.idle.append(run)

    def run_rows(self, run: ExecutionContext, arrays: Sequence[Any], results: Sequence[Array], plan: Plan) -> None:
        """Runs a plan on checked or unchecked columns.

        Args:
          arrays, results: columns in the model's order; those that do not fit as they are, are copied.
        """
        if not (self.compiled(plan) and self.execute(run, plan, run.call, (plan.n_rows, *arrays, *results))):
            self._run_slowly(run, arrays, results, plan)

    def compiled(self, plan: Plan) -> bool:
        """Whether a plan runs in one compiled call."""
        return self.divisible or (not plan.parts and self.program.wholly_planned)

    def execute(self, run: ExecutionContext, plan: Plan, call: Callable[..., int], given: Sequence[Any]) -> bool:
        """Runs a plan through `run.call` or `run.named`, with help when the plan asks for it and there is some.

        What runs the same plan again and again (`FastPath`, `IOBinding`, `Model.run` of a known size) calls `run.named` or `run.call`
        itself, in the run's own arena: to borrow one takes longer than a small policy runs.

        Args:
          given: what the call takes after the plan's address.
        Returns:
          whether it ran; if not, an array does not fit as it is, and nothing has happened.
        Raises:
          ExecutionError: a step failed.
        """
        workers = thread_pool.claim(plan) if plan.helpers else None
        if not workers:
            memory = arena.borrow(plan.arena_bytes)
            try:
                run.context[_ARENA] = memory.address
                status = call((plan.alone or plan).address, *given)
            finally:
                run.context[_ARENA] = run.own
                arena.give_back(memory)
        else:
            status = self._execute_shared(workers, run, plan, call, given)
        if status > 0:
            raise self.program.failure(status)
        return status == 0

    def _execute_shared(self, workers: list[Any], run: ExecutionContext, plan: Plan, call: Callable[..., int], given: Sequence[Any]) -> int:
        """A status, as `call` gives it, of a plan whose pieces workers share."""
        runs, memories = [run], []
        given = tuple(dict(names) if type(names) is dict else names for names in given)  # nobody else takes arrays out of these
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
        """Columns and results that pass the door, in their shapes; copies of those that would not.

        Args:
          arrays, results: [n_rows, …], in the order of the spec.
          n_rows: rows of the batch.
        Raises:
          InputError: an array that does not fit, or results that overlap.
        """
        columns = [fitted(self.name, spec, array, n_rows) for spec, array in zip(self.spec.inputs.values(), arrays, strict=True)]
        names = list(self.spec.outputs)
        if (pair := first_overlap(results)) is not None:
            raise InputError(f"policy {self.name!r}, out {names[pair[1]]!r}: expected memory of its own, got an array that overlaps "
                             f"{names[pair[0]]!r}; give every output its own")
        return columns, [self._target(r, spec, columns, n_rows) for r, spec in zip(results, self.spec.outputs.values(), strict=True)]

    def _run_slowly(self, run: ExecutionContext, arrays: Sequence[Any], results: Sequence[Array], plan: Plan) -> None:
        """The way of arrays that must be copied first, and of programs with slower tiers or batches on another axis."""
        columns, targets = self.fitted(arrays, results, plan.n_rows)
        if self.compiled(plan):
            run.note((*columns, *targets))
            self.execute(run, plan, run.call, (0,))
        else:
            self._run_pieces(run, columns, targets, list(plan.pieces))
        for target, result in zip(targets, results, strict=True):
            if target is not result:
                result[...] = target

    def _run_pieces(self, run: ExecutionContext, columns: list[Array], targets: list[Array], plans: Sequence[Plan]) -> None:
        """Runs slices of the batch as arrays of their own."""
        first = 0
        context, slots, flags = run.context, int(run.context[abi.CTX_SLOTS]), int(run.context[abi.CTX_DETERMINISTIC])
        for plan in plans:
            count = plan.n_rows
            run.reserve(plan.arena_bytes)
            # A piece is a batch of its own for the kernels: row 0 of it draws for row `first`.
            context[abi.CTX_ROW] = 0
            context[abi.CTX_SLOTS], context[abi.CTX_DETERMINISTIC] = slots and slots + first * 8, flags and flags + first
            pieces = [self._piece(a, spec.batch_axis, first, count, len(plans) == 1)
                      for a, spec in zip((*columns, *targets), self._ports, strict=True)]
            if self.program.wholly_planned:
                run.note(pieces)
                status = run.call(plan.address, 0)
            else:
                status = run_mixed(self.program, run, plan, pieces, len(columns))
            if status:
                raise self.program.failure(status)
            for piece, target, spec in zip(pieces[len(columns):], targets, self.spec.outputs.values(), strict=True):
                if piece is not target and spec.batch_axis is not None:
                    target[(slice(None),) * spec.batch_axis + (slice(first, first + count),)] = piece
            first += count
        context[abi.CTX_SLOTS], context[abi.CTX_DETERMINISTIC] = slots, flags

    @staticmethod
    def _piece(array: Array, axis: int | None, first: int, count: int, whole: bool) -> Array:
        if whole or axis is None:
            return array
        return np.ascontiguousarray(array[(slice(None),) * axis + (slice(first, first + count),)])

    def _target(self, result: Array, spec: TensorSpec, columns: Sequence[Array], n_rows: int) -> Array:
        """Where to write an output: the array for it, or another that is then copied to it."""
        if not isinstance(result, np.ndarray) or result.shape != spec.batched(n_rows) or not result.flags.writeable:
            raise InputError(f"policy {self.name!r}, out {spec.name!r}: expected an array {spec.batched(n_rows)} {spec.dtype} that can be "
                             f"written, got {np.shape(result)} {getattr(result, 'dtype', type(result).__name__)}")
        plain = type(result) is np.ndarray and result.dtype is spec.dtype and result.flags.c_contiguous and result.flags.aligned
        if plain and not any(np.may_share_memory(result, column) for column in columns):
            return result
        return np.empty(result.shape, spec.dtype)
