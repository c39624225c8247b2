"""Shared interfaces: the shape of one agent's row, and the protocols that users may implement."""

from __future__ import annotations

import math
import sys
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cervello.errors import ConfigurationError

Array = np.ndarray[Any, Any]
AgentId = int | str
_FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a policy, for one agent.

    Attributes:
      name: as in the file, or as `rename=` has it.
      shape: one agent's row, without the batch axis; () is a scalar.
      dtype: element type; what numpy takes for one (`np.int64`, "float32") becomes a dtype.
      batch_axis: axis of the rows in a batch; 0 except for a few exporters. None: the value has no rows, all agents share it.
      default: the row used if the input is omitted; None means it is required.
      is_mask: whether it marks what is allowed: bools, integers and floats 0 and 1 are accepted then, whatever the dtype.
      open_axes: (axis of the row, symbol) for sizes that the file leaves open; `shape` has an assumed size for each, and agents
        may have others. Empty for nearly all policies.
      keeps_float64: whether float64 observations of this float32 input stay float64 until a wrapper has computed with them, and integers of
        32 bits and more become float64.

    Raises:
      ConfigurationError: the dtype is none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    batch_axis: int | None = 0
    default: Array | None = field(default=None, compare=False)
    open_axes: tuple[tuple[int, str], ...] = ()
    is_mask: bool = field(default=False, compare=False)
    keeps_float64: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if type(self.name) is str:  # interned, as literal keys are: the compiled argument check then finds it by identity
            object.__setattr__(self, "name", sys.intern(self.name))
        if not isinstance(self.dtype, np.dtype):
            object.__setattr__(self, "dtype", self._as_dtype(self.dtype))

    def _as_dtype(self, given: Any) -> np.dtype[Any]:
        wrong = ConfigurationError(f"TensorSpec {self.name!r}, dtype: expected a numpy dtype, got {given!r}; give np.dtype(np.float32), "
                                   "for example")
        if given is None:  # float64 for numpy
            raise wrong
        try:
            found: np.dtype[Any] = np.dtype(given)
        except (TypeError, ValueError, SyntaxError):
            raise wrong from None
        return found

    def batched(self, n_rows: int) -> tuple[int, ...]:
        """The shape of n_rows rows."""
        if self.batch_axis is None:
            return self.shape
        return (*self.shape[:self.batch_axis], n_rows, *self.shape[self.batch_axis:])

    @property
    def size(self) -> int:
        """Number of elements of a row."""
        return math.prod(self.shape)

    def row_shape(self, column: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one row of a column of this shape."""
        return column if self.batch_axis is None else (*column[:self.batch_axis], *column[self.batch_axis + 1:])

    def kept_dtype(self, given: np.dtype[Any]) -> np.dtype[Any]:
        """The type in which an array of type `given` is stored before the wrappers run."""
        if self.keeps_float64 and given.itemsize >= 4 and given.kind in "fiu" and given != self.dtype:
            return _FLOAT64
        return self.dtype

    @property
    def shape_remedy(self) -> str:
        """Remedy for an array of another shape."""
        if not self.open_axes:
            return "check the environment's observation_space"
        sizes = " and ".join(repr(symbol) for _, symbol in self.open_axes)
        return f"the file leaves {sizes} open and nothing else"

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether a row may have this shape: the spec's, except in open axes."""
        open_axes = {axis for axis, _ in self.open_axes}
        return len(shape) == len(self.shape) and all(axis in open_axes or size == own
                                                     for axis, (size, own) in enumerate(zip(shape, self.shape, strict=True)))

    def __str__(self) -> str:
        dims = [str(d) for d in self.shape]
        for axis, symbol in self.open_axes:
            dims[axis] = symbol if symbol.isidentifier() else "?"
        if self.batch_axis is None:
            return f"{self.name}: ({', '.join(dims)}{',' * (len(dims) == 1)}) {self.dtype}, shared by all rows"
        dims.insert(self.batch_axis, "N")
        return f"{self.name}: ({', '.join(dims)}) {self.dtype}"


class Specs(Mapping[str, TensorSpec]):
    """Specs by name, in the model's order. Immutable.

    Args:
      specs: in the model's order, names distinct.
    """

    def __init__(self, specs: Sequence[TensorSpec]):
        self._specs = {spec.name: spec for spec in specs}

    def __getitem__(self, name: str) -> TensorSpec:
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def keys(self) -> KeysView[str]:  # a dict's keys compare and iterate faster than a Mapping's own
        return self._specs.keys()

    def values(self) -> ValuesView[TensorSpec]:
        return self._specs.values()

    def items(self) -> ItemsView[str, TensorSpec]:
        return self._specs.items()

    def __repr__(self) -> str:
        return "{" + ", ".join(str(spec) for spec in self._specs.values()) + "}"


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """Inputs and outputs of a model or a policy; constants are outputs that depend on no input.

    Attributes:
      inputs, outputs: by name.
      constants: arrays by name.
    """

    inputs: Specs
    outputs: Specs
    constants: Mapping[str, Array]


class AgentState(Protocol):
    """The part of the agents' state that noise and wrappers may read, by slot."""

    @property
    def streams(self) -> Any:
        """The agents' noise (`cervello.noise.Streams`): keys and steps by slot."""

    @property
    def steps(self) -> Array:
        """[capacity] int64, decisions each agent has made in its episode."""


class View:
    """One batch inside the wrappers and the inferer. Row i of every array belongs to the same agent.

    Attributes:
      n_rows: rows in the batch.
      slots: [N] int64, the agents' rows in every slab and in `agents`.
      inputs: columns by name, [N, ...]; `inward` of wrappers adds, replaces and removes columns.
      outputs: columns by name. Before the run it may hold arrays to write to; the inferer fills it, `outward` of wrappers changes it.
      agents: state of the agents by slot.
      deterministic: [N] bool, or None if no row is deterministic.
      scratch: a wrapper's values between `inward` and `commit`, by a key of its own.
    """

    __slots__ = ("agents", "deterministic", "inputs", "n_rows", "outputs", "scratch", "slots")

    def __init__(self, n_rows: int, slots: Array, inputs: dict[str, Array], outputs: dict[str, Array], agents: AgentState,
                 deterministic: Array | None = None):
        self.n_rows = n_rows
        self.slots = slots
        self.inputs = inputs
        self.outputs = outputs
        self.agents = agents
        self.deterministic = deterministic
        self.scratch: dict[Any, Any] = {}


@dataclass(frozen=True, slots=True)
class FusedOp:
    """A wrapper's operation on one input or output, in a form that the executor runs inside its one compiled call.

    Attributes:
      kind: "gather" (input from a slab), "scatter" (output to a slab), "fill" (input from one row), "start" (1 at step 0), or "noise".
      port: name of the input or output.
      words: address and bytes per row of slab or row, and for a checked scatter the words of SCATTER in
        `native.kernels.abi`; for noise: kernel, site, bits of a float64 scale, width.
      hidden: the port is neither an input nor an output of the caller.
    """

    kind: str
    port: str
    words: tuple[int, ...] = ()
    hidden: bool = True


@runtime_checkable
class Inferer(Protocol):
    """Runs a model on columns and determines how many rows run at a time.

    `raw_inputs` and `raw_outputs` are the model's own; `inputs` and `outputs` are those left for the caller after wrappers (equal
    for a bare inferer). `begin_agent` and `end_agent` are hooks that containers pass through.

    A policy asks `select_batch_size` how many of the remaining rows run next, and passes so many to `infer_raw`, until all have run.
    """

    @property
    def raw_inputs(self) -> Specs:
        """The model's inputs."""

    @property
    def raw_outputs(self) -> Specs:
        """The model's outputs."""

    @property
    def inputs(self) -> Specs:
        """The caller's inputs: fewer than the model's if wrappers supply some."""

    @property
    def outputs(self) -> Specs:
        """The outputs that the caller gets."""

    def select_batch_size(self, max_rows: int) -> int:
        """How many of the next max_rows (≥ 1) rows to run at once: at least 1, at most max_rows."""

    def infer_raw(self, view: View) -> None:
        """Runs every row of view.inputs and fills view.outputs."""

    def begin_agent(self, slot: int) -> None:
        """An agent begins at a slot."""

    def end_agent(self, slot: int) -> None:
        """The agent at a slot ends."""


@runtime_checkable
class Wrapper(Protocol):
    """Changes columns between agents and inferer. State is held by the wrapper, one slot per agent.

    A wrapper given to a policy is attached first. `attach` receives the specs on the inferer's side and returns a wrapper bound to
    them with the specs on the caller's side. It should return a new wrapper, so that one description may serve many policies; one that
    returns itself serves one policy only, since the slots of two would be mixed up. A batch passes `inward`
    from the outermost wrapper to the innermost, runs, and passes `outward` back. `commit` is called only after the whole batch has
    succeeded, so state never changes for a failed one. `commit` must not fail; those of the library's own wrappers come last.

    When agents are restarted, their next episode begins at other slots before the last one ends. When `begin` raises, no agent has
    begun, and `end` is called on the wrappers whose `begin` has run. When `end` raises, it is still called on the others.
    """

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        """Attaches the wrapper to a stack.

        Args:
          spec: inputs and outputs of the inferer's side.
        Returns:
          a wrapper bound to it, and the inputs and outputs of the caller's side.
        Raises:
          WrapperError: it does not fit, with the reason.
        """

    def reserve(self, capacity: int) -> None:
        """Allocates slots below `capacity`."""

    def begin(self, slots: Array) -> None:
        """Begins agents at these slots, [n] int64, with the initial state."""

    def end(self, slots: Array) -> None:
        """Ends the agents at these slots, [n] int64."""

    def inward(self, view: View) -> None:
        """Converts the caller's inputs in `view` to the inferer's."""

    def outward(self, view: View) -> None:
        """Converts the inferer's outputs in `view` to the caller's."""

    def commit(self, view: View) -> None:
        """Stores the new state of the view's agents."""
