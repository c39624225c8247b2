"""Draws actions from the distributions that a policy's tensors describe."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cervello.codegen import linker
from cervello.errors import ConfigurationError, WrapperError
from cervello.heads import Head
from cervello.native.execution.chained import Chained, Feed, Stage, noise_kernel
from cervello.spec import Array, FusedOp, PolicySpec, Specs, TensorSpec, View, Wrapper
from cervello.wrappers.base import Passive, check_name, without

_MASKS = {("b", 1), ("i", 1), ("u", 1), ("i", 4), ("u", 4), ("i", 8), ("u", 8), ("f", 4)}  # kinds and bytes that compiled code reads
_DEFAULTS = {"action": "action", "log_prob": "log_prob", "entropy": "entropy"}


class Sample(Passive):
    """Draws actions; deterministic rows take the mode. Adds outputs: the action, its log-probability, the distribution's entropy.

    With `cervello.load` any tensor of the file may be a source; a tensor that the file does not declare as an output stays hidden. For your
    own `Model`, name it in `Model.load(outputs=…)`.

    A mask that names an input is the inward column at this place in the stack, and the model gets it too. One that names an
    output is read from the policy. Any other name adds an optional input, int8 or bool, nonzero for allowed actions. The model never
    sees it; without it everything is allowed.

    The noise depends on the name of the action, and not on the place in the stack.

    Args:
      head: the distribution, see `cervello.heads`.
      action, log_prob, entropy: names of the outputs; None omits one. One that the head does not support is omitted if its name is
        the default.
      hide: whether the sources that are outputs are hidden from the caller.
      extra: names of further outputs, by the head's names: {"deterministic": "greedy"} for the rows that took the mode,
        {"pre_tanh": "u"} for the numbers before tanh of a `TanhGaussian`.

    Attributes:
      chained: the same for the executor's compiled call; None if only the hooks can do it.

    Raises:
      WrapperError: no head, or invalid names; at `attach`, what does not fit there.
    """

    def __init__(self, head: Head, action: str | None = "action", log_prob: str | None = "log_prob", entropy: str | None = "entropy",
                 hide: bool = False, extra: Mapping[str, str] | None = None):
        if not isinstance(head, Head):
            raise WrapperError(f"Sample: expected a head, as cervello.heads.Categorical('logits'), got {head!r}")
        try:
            head.check_methods()
        except ConfigurationError as error:
            raise WrapperError(f"Sample: {error}") from error
        self.head, self.hide = head, hide
        self.names: dict[str, str] = {}
        for what, name in (("action", action), ("log_prob", log_prob), ("entropy", entropy)):
            if name is None:
                continue
            if what in head.supports:
                self.names[what] = check_name("Sample", "output", name)
            elif name != _DEFAULTS[what]:
                raise WrapperError(f"Sample({head!r}): expected {what}=None, got {name!r}; the head supports {list(head.supports)} only")
        if extra is not None and not isinstance(extra, Mapping):
            raise WrapperError(f"Sample({head!r}): expected extra as {{what: name}}, got {extra!r}")
        for what, name in (extra or {}).items():
            if what not in head.extras:
                raise WrapperError(f"Sample({head!r}): expected extra among {list(head.extras)}, got {what!r}")
            self.names[what] = check_name("Sample", "output", name)
        if not self.names:
            raise WrapperError(f"Sample({head!r}): expected a name for at least one of {list(head.supports)}, got None for all")
        if len(set(self.names.values())) != len(self.names):
            raise WrapperError(f"Sample({head!r}): expected different names, got {list(self.names.values())}")
        # The site depends on names alone, so that the order of wrappers does not change the noise.
        self._site = zlib.crc32(f"Sample {self.names.get('action', head.tensors)}".encode()) | 0x80000000
        self._undeclared: frozenset[str] = frozenset()
        self._sources: dict[str, Array | None] = {}  # a constant's row, None for a column
        self._hidden: tuple[str, ...] = ()
        self._mask_is_input = self._mask_is_added = False
        self._width = 0
        self.chained: Chained | None = None

    def __repr__(self) -> str:
        options = [f"{what}={self.names.get(what)!r}" for what in self.head.supports if self.names.get(what) != _DEFAULTS[what]]
        extra = {what: name for what, name in self.names.items() if what not in _DEFAULTS}
        more = [*(["hide=True"] if self.hide else []), *([f"extra={extra!r}"] if extra else [])]
        return f"Sample({', '.join([repr(self.head), *options, *more])})"

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that it reads, including the mask."""
        return (*self.head.tensors, *(() if self.head.mask is None else (self.head.mask,)))

    def hiding(self, names: Iterable[str]) -> Sample:
        """The same wrapper, hiding outputs that only this wrapper reads."""
        other = copy.copy(self)
        other._undeclared = frozenset(names)
        return other

    def action_only(self) -> Sample:
        """The same wrapper, with the action as its only output and hidden sources; the draws do not change."""
        other = copy.copy(self)
        other.names, other.hide = {"action": self.names["action"]}, True
        return other

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        bound = copy.copy(self)
        given = {name: self._source(spec, name) for name in self.head.tensors}
        tensors, inputs, mask = Specs(list(given.values())), spec.inputs, self.head.mask
        try:
            added = {**self.head.specs(tensors), **self.head.extra_specs(tensors)}
            bound._width = self.head.noise_width(tensors) if self.head.noise else 0
            mask_width = 0 if mask is None else self.head.mask_width(tensors)
        except ConfigurationError as error:
            raise WrapperError(f"wrapper {self!r}: {error}") from error
        if mask is not None:
            bound._mask_is_input = mask in spec.inputs
            bound._mask_is_added = not bound._mask_is_input and mask not in spec.outputs and mask not in spec.constants
            if bound._mask_is_added:
                own = TensorSpec(mask, (mask_width,), np.dtype(np.int8), default=np.ones(mask_width, np.int8), is_mask=True)
                inputs = Specs([*inputs.values(), own])
            found = inputs[mask] if mask in inputs else self._source(spec, mask)
            if found.size != mask_width or (found.batch_axis != 0 and mask in inputs):
                raise WrapperError(f"wrapper {self!r}: expected a mask of {mask_width} elements with the batch on axis 0, got {found}")
            if mask not in inputs:
                given[mask] = found
        bound.reads_inputs = bound._mask_is_input or bound._mask_is_added
        for what, name in self.names.items():
            if name in spec.outputs:
                raise WrapperError(f"wrapper {self!r}: expected a new name for an output, got {name!r}, which there is already; give "
                                   f"another one, Sample(…, {what}='sampled_{what}'), or {what}=None")
        bound._sources = {name: None if name in spec.outputs and found.batch_axis == 0 else np.asarray(spec.constants.get(name, 0))
                          for name, found in given.items()}
        bound._hidden = tuple(name for name in self.tensors if name in spec.outputs and (self.hide or name in self._undeclared))
        outer = without(spec, outputs=bound._hidden)
        new = [replace(added[what], name=name) for what, name in self.names.items()]
        bound._trial_run(given)
        bound.chained = bound._as_chained(spec, given, inputs, new)
        return bound, replace(outer, inputs=inputs, outputs=Specs([*outer.outputs.values(), *new]))

    def fused_ops(self) -> Sequence[FusedOp] | None:
        return None if self.chained is None else ()

    def _as_chained(self, spec: PolicySpec, given: Mapping[str, TensorSpec], inputs: Specs, new: Sequence[TensorSpec]) -> Chained | None:
        """The graphs after the model's program; None if the head, or a tensor, needs the hooks."""
        stages = self.head.stages(Specs([each for name, each in given.items() if name != self.head.mask]), tuple(self.names))
        if stages is None:
            return None
        found = []
        for stage in stages:
            feeds = {name: self._feed(feed, spec, given, inputs, stage) for name, feed in stage.feeds.items()}
            complete = {name: feed for name, feed in feeds.items() if feed is not None}
            if len(complete) != len(feeds):
                return None
            results = {name: self.names[what] for name, what in stage.results.items() if what in self.names}
            found.append(replace(stage, feeds=complete, results=results))
        extra = (inputs[self.head.mask],) if self._mask_is_added and self.head.mask is not None else ()
        return Chained(tuple(found), extra, tuple(new), frozenset(self._hidden))

    def _feed(self, feed: Feed, spec: PolicySpec, given: Mapping[str, TensorSpec], inputs: Specs, stage: Stage) -> Feed | None:
        """A head's feed at this place in the stack; None if only the hooks can supply it."""
        if feed.kind == "noise":
            return replace(feed, words=(noise_kernel(str(self.head.noise)), self._site))
        if feed.kind == "allowed":
            return self._mask_feed(feed, given, inputs)
        if feed.kind != "output":
            return feed
        found, constant = given[feed.name], self._sources[feed.name]
        if stage.model is None:
            return feed if constant is None else None
        if constant is None:
            return feed if found.dtype == np.float32 else None
        if feed.name in spec.outputs:
            return replace(feed, kind="shared") if found.dtype == np.float32 else None
        with np.errstate(over="ignore"):  # a float64 may be too large for a float32
            return replace(feed, kind="row", row=np.array(constant, np.float32))

    def _mask_feed(self, feed: Feed, given: Mapping[str, TensorSpec], inputs: Specs) -> Feed | None:
        mask = str(self.head.mask)
        is_input = self.reads_inputs
        found = inputs[mask] if is_input else given[mask]
        flows = is_input or self._sources[mask] is None
        if not flows or (found.dtype.kind, found.dtype.itemsize) not in _MASKS or found.batch_axis != 0:
            return None
        return replace(feed, name=mask, is_input=is_input, dtype=found.dtype)

    def _trial_run(self, given: Mapping[str, TensorSpec]) -> None:
        """Decides for one synthetic row, so that compilation happens now and not at the first batch."""
        columns = {name: np.zeros((1, *spec.shape), spec.dtype) for name, spec in given.items()}
        noise = None
        if self.head.noise is not None:
            linker.address(f"cervello.noise.kernels:fill_{self.head.noise}")
            noise = np.zeros((1, self._width), np.float32)
        if self.head.mask is not None:
            columns[self.head.mask] = np.ones((1, self.head.mask_width(Specs(list(given.values())))), np.bool_)
        self.head.act(columns, noise, None, tuple(self.names))

    def _source(self, spec: PolicySpec, name: str) -> TensorSpec:
        found = spec.outputs.get(name)
        if found is not None:
            return found
        constant = spec.constants.get(name)
        if constant is None:
            raise WrapperError(f"wrapper {self!r}: expected a tensor among {[*spec.outputs, *spec.constants]}, got {name!r}; cervello.load "
                               "finds any tensor of a file by its name there, for a Model of your own name it in Model.load(outputs=…)")
        return TensorSpec(name, constant.shape, constant.dtype, None)

    def inward(self, view: View) -> None:
        mask = self.head.mask
        if mask is not None and self.reads_inputs:
            given = view.inputs.pop(mask) if self._mask_is_added else view.inputs[mask]
            view.scratch[self] = given != 0  # a copy: wrappers further in may change the column in place

    def outward(self, view: View) -> None:
        n_rows, outputs = view.n_rows, view.outputs
        columns = {}
        for name, constant in self._sources.items():
            shared = outputs.get(name, constant) if constant is not None else None
            columns[name] = outputs[name] if shared is None else np.broadcast_to(shared, (n_rows, *shared.shape))
        if self.head.mask is not None and self.reads_inputs:
            columns[self.head.mask] = view.scratch[self]
        noise: Any = None
        if self.head.noise is not None:
            noise = np.empty((n_rows, self._width), np.float32)
            streams = view.agents.streams
            fill = streams.fill_uniform if self.head.noise == "uniform" else streams.fill_normal
            fill(noise, view.slots, self._site, 1.0, view.deterministic)
        found = self.head.act(columns, noise, view.deterministic, tuple(self.names))
        for name in self._hidden:
            del outputs[name]
        for what, name in self.names.items():
            outputs[name] = found[what]
