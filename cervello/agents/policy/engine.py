"""What decides: a model, its inferer and the wrappers around them, as one immutable thing that a policy swaps as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.agents.membership.lock import ExclusiveLock
from cervello.agents.membership.renewal import InitialRows
from cervello.agents.membership.table import AgentTable
from cervello.agents.policy.actions import Actions
from cervello.agents.policy.open_sizes import OpenSizes, decide_in_groups
from cervello.agents.policy.results import check_nothing_more, check_out, hand_over
from cervello.agents.policy.selected import run_selected
from cervello.batcher.open_pad import is_ragged
from cervello.batcher.rows import OneRow, find_non_leading_axes
from cervello.errors import InputError, UnsupportedError
from cervello.inferers import InfererConfig, ModelInferer, choose
from cervello.native import Model
from cervello.native.execution.arguments import bind_outputs, check_names, fitted
from cervello.spec import Array, Inferer, View, Wrapper
from cervello.wrappers import Stack
from cervello.wrappers.placement import check_flow
from cervello.wrappers.suggest import marked


class Engine:
    """One version of a policy. Immutable: a batch that runs keeps the engine it began with.

    Attributes:
      choice: what the inferer was made from.
      stack: the wrappers, attached.
      fast_path: the short way, when there is one: a single compiled call, wrappers included.
      deadline_path: the way of batches that are over in time, when there is one.
      custom: whether the inferer is not one of the library's.
      optional: whether some input may be left out.
      one_row: one agent's observation as columns.
      sizes: where observations may differ in size; None for nearly all policies.
      version: 1 for the first; every swap counts one more.
      initial_rows: what restarts read of the slabs, as `Membership` found it last; None when it must look.
    Raises:
      UnsupportedError: outputs whose shapes depend on data, which agents would not get.
    """

    __slots__ = (
        "_keys",
        "_looks",
        "_masks",
        "choice",
        "custom",
        "deadline_path",
        "fast_path",
        "inferer",
        "initial_rows",
        "inputs",
        "model",
        "name",
        "non_leading_axes",
        "one_row",
        "optional",
        "outputs",
        "sizes",
        "stack",
        "threads",
        "version",
        "wrappers",
    )

    def __init__(self, model: Model, name: str, choice: str | InfererConfig | Inferer, wrappers: Sequence[Wrapper], threads: int,
                 version: int = 1,
                 stack: Stack | None = None, before: Stack | None = None):
        if model.dynamic_outputs:
            kept = [*model.outputs, *model.constants]
            rest = f"; leave them out with outputs={kept}, or run" if kept else "; run"
            raise UnsupportedError(f"policy {name!r}: expected outputs whose shapes are known ahead, got {list(model.dynamic_outputs)}, "
                                   f"whose shapes depend on data{rest} the file with cervello.Model")
        self.model, self.name, self.choice, self.wrappers = model, name, choice, tuple(wrappers)
        self.threads, self.version = threads, version
        self.inferer = choose(choice, model, threads)
        self.stack = stack = Stack(self.wrappers, model.spec, before) if stack is None else stack
        spec = stack.spec
        self.inputs, self.outputs, self.non_leading_axes = marked(spec.inputs), spec.outputs, find_non_leading_axes(spec.outputs)
        self.optional = any(each.default is not None for each in spec.inputs.values())
        self._keys = frozenset(spec.inputs)
        self._masks = [(name, each) for name, each in self.inputs.items() if each.is_mask]  # taken in more types than the model takes
        self.one_row = OneRow(spec.inputs)
        self.custom = not isinstance(self.inferer, ModelInferer)
        # A wrapper that may look at what the caller gives needs arrays that fit; the library's own leave that to the compiled door.
        self._looks = self.custom or stack.looks
        own = self.inferer if isinstance(self.inferer, ModelInferer) and stack.movable else None
        chained = None if own is None else stack.chained()
        self.fast_path = None if own is None or chained is None else own.fast_path(stack.fused_ops, chained, Actions)
        # A batch that may end early knows only then for how many rows a head would have to run.
        self.deadline_path = None if own is None or chained is None or chained.stages else own.deadline_path(stack.fused_ops)
        self.sizes = OpenSizes(self, self._of_size) if model.open_dims else None
        self.initial_rows: InitialRows | None = None

    def _of_size(self, model: Model, stack: Stack) -> Engine:
        """The same for a model of other sizes."""
        return Engine(model, self.name, self.choice, self.wrappers, self.threads, self.version, stack)

    def as_version(self, version: int, name: str) -> Engine:
        """The same under another number and name."""
        return Engine(self.model, name, self.choice, self.wrappers, self.threads, version, self.stack)

    def forget_slabs(self) -> None:
        """Wrappers' slabs may have moved."""
        self.initial_rows = None
        for way in (self.fast_path, self.deadline_path):
            if way is not None:
                way.forget()

    def decide(self, table: AgentTable, turn: ExclusiveLock, slots: Array, inputs: Mapping[str, Any], deterministic: bool | Array,
               out: Mapping[str, Array] | None) -> Actions:
        """The long way: everything checked, wrappers and inferer one after the other. No lock is held while they run."""
        engine = self
        if self.sizes is not None and isinstance(inputs, Mapping) and inputs.keys() == self._keys:
            if any(map(is_ragged, inputs.values())):
                return decide_in_groups(self, self.sizes, table, turn, slots, inputs, deterministic, out)
            engine = self.sizes.for_columns(inputs)
        view, results = engine.run(table, slots, inputs, deterministic, out)
        if view is not None:
            with turn.lock:
                engine.store(table, view)
            engine.report()
        return self.actions(results)

    def run(self, table: AgentTable, slots: Array, inputs: Mapping[str, Any], deterministic: bool | Array,
            out: Mapping[str, Array] | None) -> tuple[View | None, dict[str, Array]]:
        """Runs a batch and stores nothing.

        Returns:
          what `store` takes, None without rows; and columns by output name.
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
        if self._looks or self._masks:
            for name, spec in self.inputs.items() if self._looks else self._masks:
                columns[name] = fitted(self.name, spec, columns[name], n_rows)
        results = {} if out is None else dict(out)
        view = View(n_rows, slots, columns, results, table, flags)
        self.stack.inward(view)
        if self.custom:
            run_selected(self.name, self.inferer, view)
        else:
            self.inferer.infer_raw(view)
        if self.custom:
            check_flow(f"inferer {self.inferer!r}", "output", self.inferer.raw_outputs, view.outputs, n_rows,
                       "infer_raw must fill view.outputs")
        self.stack.outward(view)
        if self.custom or self.stack.custom:
            check_nothing_more(self.name, self.outputs, results)
        if out is not None:
            hand_over(results, out)
        return view, results

    def store(self, table: AgentTable, view: View | None) -> None:
        """Stores the new state of a batch that has run; the caller holds the lock."""
        if view is not None:
            self.stack.commit(view)
            table.advance(view.slots, view.n_rows)

    def report(self) -> None:
        """Wrappers say what they noticed in a batch that is over; no lock is held."""
        self.stack.report(f"policy {self.name!r}")

    def actions(self, results: Mapping[str, Array]) -> Actions:
        """Results, with the version that decided."""
        actions = Actions(results)
        if self.version != 1:
            actions.version = self.version
        return actions

    def fast_path_flags(self, deterministic: bool | Array, n_rows: int) -> Any:
        """`flags` as the short way takes them: True for every row."""
        return True if deterministic is True else self.flags(deterministic, n_rows)

    def flags(self, deterministic: bool | Array, n_rows: int) -> Array | None:
        """[N] bool, or None when every row may draw."""
        if isinstance(deterministic, (bool, np.bool_)):
            return np.ones(n_rows, np.bool_) if deterministic else None
        flags: Array | None
        try:
            flags = np.ascontiguousarray(deterministic)
        except ValueError:
            flags = None
        if flags is None or flags.shape != (n_rows,) or flags.dtype != np.bool_:
            got = "something ragged" if flags is None else f"{flags.shape} {flags.dtype}"
            raise InputError(f"policy {self.name!r}, deterministic: expected a bool or ({n_rows},) bools, got {got}")
        return flags
