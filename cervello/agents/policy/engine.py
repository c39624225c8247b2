"""`Engine`: a model, its inferer and its wrappers, as one immutable object that a policy swaps as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.agents.membership.in_place_restart import InitialRows
from cervello.agents.membership.lock import ExclusiveLock
from cervello.agents.membership.table import AgentTable
from cervello.agents.policy.actions import Actions
from cervello.agents.policy.failing_agent import name_agent
from cervello.agents.policy.open_sizes import OpenSizes, decide_in_groups
from cervello.agents.policy.results import check_no_extra_outputs, check_out, copy_to_out
from cervello.agents.policy.selected import run_selected
from cervello.batcher.open_pad import is_ragged
from cervello.batcher.rows import OneRow, find_non_leading_axes
from cervello.errors import ExecutionError, InputError, UnsupportedError
from cervello.inferers import InfererConfig, ModelInferer, choose
from cervello.native import Model
from cervello.native.execution.arguments import bind_outputs, check_names, fitted
from cervello.spec import Array, Inferer, View, Wrapper
from cervello.wrappers import Stack
from cervello.wrappers.column_checks import check_columns
from cervello.wrappers.suggest import mark_masks


class Engine:
    """One version of a policy. Immutable: a running batch keeps the engine it began with.

    Attributes:
      inferer_choice: configuration that the inferer was created from.
      stack: the attached wrappers.
      fast_path: a single compiled call, wrappers included; None if unavailable.
      deadline_path: runs batches with a deadline; None if unavailable.
      custom: whether the inferer is not one of the library's.
      optional: whether some input may be omitted.
      one_row: one agent's observation as columns.
      sizes: state of observations of open sizes; None for nearly all policies.
      version: 1 for the first; every swap adds 1.
      initial_rows: the slabs' rows that restarts read, as `Membership` last found them; None if they must be looked up.
    Raises:
      UnsupportedError: outputs whose shapes depend on data, which cannot be assigned to agents.
    """

    __slots__ = ("_keys", "_masks", "_reads_inputs", "custom", "deadline_path", "fast_path", "inferer", "inferer_choice", "initial_rows",
                 "inputs", "model", "name", "non_leading_axes", "one_row", "optional", "outputs", "sizes", "stack", "threads", "version",
                 "wrappers")

    def __init__(self, model: Model, name: str, inferer_choice: str | InfererConfig | Inferer, wrappers: Sequence[Wrapper], threads: int,
                 version: int = 1,
                 stack: Stack | None = None, before: Stack | None = None):
        if model.dynamic_outputs:
            kept = [*model.outputs, *model.constants]
            remedy = f"; leave them out with outputs={kept}, or run" if kept else "; run"
            raise UnsupportedError(f"policy {name!r}: expected outputs whose shapes are known ahead, got {list(model.dynamic_outputs)}, "
                                   f"whose shapes depend on data{remedy} the file with cervello.Model")
        self.model, self.name, self.inferer_choice, self.wrappers = model, name, inferer_choice, tuple(wrappers)
        self.threads, self.version = threads, version
        self.inferer = choose(inferer_choice, model, threads)
        self.stack = stack = Stack(self.wrappers, model.spec, before) if stack is None else stack
        spec = stack.spec
        self.inputs, self.outputs, self.non_leading_axes = mark_masks(spec.inputs), spec.outputs, find_non_leading_axes(spec.outputs)
        self.optional = any(each.default is not None for each in spec.inputs.values())
        self._keys = frozenset(spec.inputs)
        self._masks = [(name, each) for name, each in self.inputs.items() if each.is_mask]  # accepted in more types than the model's
        self.one_row = OneRow(spec.inputs)
        self.custom = not isinstance(self.inferer, ModelInferer)
        # A custom wrapper may read the caller's inputs and needs arrays that fit; others leave that to the compiled argument check.
        self._reads_inputs = self.custom or stack.reads_inputs
        own = self.inferer if isinstance(self.inferer, ModelInferer) and stack.has_fused_ops else None
        chained = None if own is None else stack.chained()
        self.fast_path = None if own is None or chained is None else own.fast_path(stack.fused_ops, chained, Actions)
        # A batch that may end early determines only at run time for how many rows a head would have to run.
        self.deadline_path = None if own is None or chained is None or chained.stages else own.deadline_path(stack.fused_ops)
        self.sizes = OpenSizes(self, self._resized) if model.open_dims else None
        self.initial_rows: InitialRows | None = None

    def _resized(self, model: Model, stack: Stack) -> Engine:
        """The same engine for a model of other sizes."""
        return Engine(model, self.name, self.inferer_choice, self.wrappers, self.threads, self.version, stack)

    def as_version(self, version: int, name: str) -> Engine:
        """The same engine under another version and name."""
        return Engine(self.model, name, self.inferer_choice, self.wrappers, self.threads, version, self.stack)

    def invalidate_slabs(self) -> None:
        """Invalidates cached slab addresses."""
        self.initial_rows = None
        for path in (self.fast_path, self.deadline_path):
            if path is not None:
                path.invalidate()

    def decide(self, table: AgentTable, lock: ExclusiveLock, slots: Array, inputs: Mapping[str, Any], deterministic: bool | Array,
               out: Mapping[str, Array] | None) -> Actions:
        """The general path: checks all inputs, then runs wrappers and inferer one after the other. No lock is held while they run."""
        engine = self
        if self.sizes is not None and isinstance(inputs, Mapping) and inputs.keys() == self._keys:
            if any(map(is_ragged, inputs.values())):
                return decide_in_groups(self, self.sizes, table, lock, slots, inputs, deterministic, out)
            engine = self.sizes.for_columns(inputs)
        view, results = engine.run(table, slots, inputs, deterministic, out)
        if view is not None:
            with lock.state_lock:
                engine.store(table, view)
            engine.report()
        return self.actions(results)

    def run(self, table: AgentTable, slots: Array, inputs: Mapping[str, Any], deterministic: bool | Array,
            out: Mapping[str, Array] | None) -> tuple[View | None, dict[str, Array]]:
        """Runs a batch without storing state.

        Returns:
          the argument of `store`, None without rows; and columns by output name.
        """
        n_rows = len(slots)
        if not (type(inputs) is dict or isinstance(inputs, Mapping)) or not (out is None or isinstance(out, Mapping)):
            raise InputError(f"policy {self.name!r}: expected arrays by name, inputs as {{name: column}} and out as {{name: array}}, got "
                             f"{type(inputs).__name__} and {type(out).__name__}")
        if inputs.keys() != self._keys:
            check_names(self.name, self.inputs, inputs)
        columns = dict(inputs)
        flags = None if deterministic is False else self.flags(deterministic, n_rows)
        if n_rows == 0:
            for name, column in columns.items():
                fitted(self.name, self.inputs[name], column, 0)
            return None, bind_outputs(self.name, self.outputs, 0, out)
        if out is not None:
            check_out(self.name, self.outputs, n_rows, out)
        if self._reads_inputs or self._masks:
            for name, spec in self.inputs.items() if self._reads_inputs else self._masks:
                columns[name] = fitted(self.name, spec, columns[name], n_rows)
        results = {} if out is None else dict(out)
        view = View(n_rows, slots, columns, results, table, flags)
        self.stack.inward(view)
        if isinstance(self.inferer, ModelInferer):
            try:
                self.inferer.infer_raw(view)
            except ExecutionError as error:
                name_agent(error, self.inferer, view, table)
                raise
        else:
            run_selected(self.name, self.inferer, view)
            check_columns(f"inferer {self.inferer!r}", "output", self.inferer.raw_outputs, view.outputs, n_rows,
                          "infer_raw must fill view.outputs")
        self.stack.outward(view)
        if self.custom or self.stack.custom:
            check_no_extra_outputs(self.name, self.outputs, results)
        if out is not None:
            copy_to_out(results, out)
        return view, results

    def store(self, table: AgentTable, view: View | None) -> None:
        """Stores the new state of a batch that has run; the caller holds the lock."""
        if view is not None:
            self.stack.commit(view)
            table.advance(view.slots, view.n_rows)

    def report(self) -> None:
        """Lets wrappers report on a finished batch; no lock is held."""
        self.stack.report(f"policy {self.name!r}")

    def actions(self, results: Mapping[str, Array]) -> Actions:
        """Results with the version that decided."""
        actions = Actions(results)
        if self.version != 1:
            actions.version = self.version
        return actions

    def fast_path_flags(self, deterministic: bool | Array, n_rows: int) -> Any:
        """`flags` in the format of the fast path: True for every row."""
        return True if deterministic is True else self.flags(deterministic, n_rows)

    def flags(self, deterministic: bool | Array, n_rows: int) -> Array | None:
        """[N] bool; None if no row is deterministic."""
        if isinstance(deterministic, (bool, np.bool_)):
            return np.ones(n_rows, np.bool_) if deterministic else None
        flags: Array | None
        try:
            flags = np.ascontiguousarray(deterministic)
        except ValueError:
            flags = None
        if flags is None or flags.shape != (n_rows,) or flags.dtype != np.bool_:
            got = "a ragged sequence" if flags is None else f"{flags.shape} {flags.dtype}"
            raise InputError(f"policy {self.name!r}, deterministic: expected a bool or ({n_rows},) bools, got {got}")
        return flags
