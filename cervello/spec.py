"""What everyone agrees on: the shape of one agent's row, and the protocols that users may implement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

Array = np.ndarray[Any, Any]
AgentId = int | str


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a policy, as one agent sees it.

    Attributes:
      shape: one agent's row, without the batch axis; () is a scalar.
      dtype: element type.
      batch_axis: where the rows lie in a batch; 0 but for a few exporters. None: the value has no rows, all agents share it.
      default: the row used when the input is left out; None means it must be given.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    batch_axis: int | None = 0
    default: Array | None = field(default=None, compare=False)

    def batched(self, n_rows: int) -> tuple[int, ...]:
        """The shape of n_rows rows."""
        if self.batch_axis is None:
            return self.shape
        return (*self.shape[:self.batch_axis], n_rows, *self.shape[self.batch_axis:])

    def __str__(self) -> str:
        if self.batch_axis is None:
            return f"{self.name}: {self.shape} {self.dtype}, shared by all rows"
        dims = [str(d) for d in self.shape]
        dims.insert(self.batch_axis, "N")
        return f"{self.name}: ({', '.join(dims)}) {self.dtype}"


class Specs(Mapping[str, TensorSpec]):
    """Specs by name, in the model's order. Immutable."""

    def __init__(self, specs: Sequence[TensorSpec]):
        self._specs = {spec.name: spec for spec in specs}

    def __getitem__(self, name: str) -> TensorSpec:
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def __repr__(self) -> str:
        return "{" + ", ".join(str(spec) for spec in self._specs.values()) + "}"


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """What a model or a policy takes and gives; constants are outputs that no input reaches."""

    inputs: Specs
    outputs: Specs
    constants: Mapping[str, Array]


@dataclass(slots=True)
class AgentRows:
    """Which agents the rows of a batch belong to.

    Attributes:
      slots: [N] int64, the agents' places in every slab.
      table: state that noise and wrappers read by slot (`cervello.agents.table.AgentTable`).
    """

    slots: Array
    table: Any


@dataclass(slots=True)
class View:
    """One batch on its way through the wrappers and the inferer. Row i of every array belongs to the same agent.

    Attributes:
      n_rows: rows in the batch.
      inputs: columns by name, [N, ...]; wrappers inward add and replace.
      outputs: columns by name, filled by the inferer; wrappers outward add, replace and remove.
      rows: whose rows they are.
      deterministic: [N] bool, or None when every row may draw.
      scratch: what a wrapper keeps from inward to outward and commit, by wrapper number.
    """

    n_rows: int
    inputs: dict[str, Array]
    outputs: dict[str, Array]
    rows: AgentRows
    deterministic: Array | None = None
    scratch: dict[int, Any] = field(default_factory=dict)


@runtime_checkable
class Inferer(Protocol):
    """Runs a model on columns: how many rows at a time is its whole character.

    `raw_inputs` and `raw_outputs` are the model's own; `inputs` and `outputs` are what remains for a caller after wrappers (equal
    for a bare inferer). `begin_agent` and `end_agent` are hooks that containers pass through.
    """

    @property
    def raw_inputs(self) -> Specs: ...

    @property
    def raw_outputs(self) -> Specs: ...

    @property
    def inputs(self) -> Specs: ...

    @property
    def outputs(self) -> Specs: ...

    def select_batch_size(self, max_rows: int) -> int:
        """How many of the next max_rows (≥ 1) rows to run at once: at least 1, at most max_rows."""

    def infer_raw(self, view: View) -> None:
        """Runs every row of view.inputs and fills view.outputs."""

    def begin_agent(self, slot: int) -> None: ...

    def end_agent(self, slot: int) -> None: ...


@runtime_checkable
class Wrapper(Protocol):
    """Changes what flows between agents and inferer. State lives in the wrapper, a slot per agent.

    A stack is attached once: `attach` receives the specs on the inferer's side and returns those on the caller's side. A batch
    passes `inward` from the outermost wrapper to the innermost, runs, and passes `outward` back; `commit` is called only when the
    whole batch has succeeded, so state never changes for a failed one.
    """

    def attach(self, spec: PolicySpec, number: int) -> PolicySpec:
        """Joins a stack; `number` is this wrapper's place, 0 next to the inferer. Raises WrapperError when it does not fit."""

    def reserve(self, capacity: int) -> None:
        """Makes room for slots below `capacity`."""

    def begin(self, slots: Array) -> None:
        """Agents begin at these slots: their state is the initial one."""

    def end(self, slots: Array) -> None:
        """Agents end."""

    def inward(self, view: View) -> None:
        """Turns the caller's inputs into the inferer's."""

    def outward(self, view: View) -> None:
        """Turns the inferer's outputs into the caller's."""

    def commit(self, view: View) -> None:
        """Stores the new state of the view's agents."""
