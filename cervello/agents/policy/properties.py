"""What a policy is: its model, its inputs and outputs, its agents."""

from __future__ import annotations

from collections.abc import Mapping

from cervello.agents.policy.core import PolicyCore
from cervello.native import Model
from cervello.spaces import Spaces
from cervello.spec import AgentId, Array, Inferer, Specs, Wrapper


class PolicyProperties:
    """The properties of a `Policy`. All are read-only; a swap changes those of the model."""

    _core: PolicyCore

    @property
    def name(self) -> str:
        """The model's, or the one given to `load(name=…)`; errors begin with it."""
        return self._core.name

    @property
    def model(self) -> Model:
        """The current model; replaced by a swap."""
        return self._core.engine.model

    @property
    def metadata(self) -> Mapping[str, str]:
        """`metadata_props` of the model's file; see `Model.metadata`."""
        return self.model.metadata

    @property
    def inferer(self) -> Inferer:
        """The inferer: it runs the model and determines the number of rows per call."""
        return self._core.engine.inferer

    @property
    def wrappers(self) -> tuple[Wrapper, ...]:
        """The wrappers as given, outermost first."""
        return self._core.engine.wrappers

    @property
    def version(self) -> int:
        """1 at first; every swap adds 1."""
        return self._core.engine.version

    @property
    def inputs(self) -> Specs:
        """The caller's inputs: the model's inputs without those that wrappers supply."""
        return self._core.environment.visible_inputs(self._core.engine.inputs)

    @property
    def outputs(self) -> Specs:
        """The outputs that the caller gets."""
        return self._core.engine.outputs

    @property
    def constants(self) -> Mapping[str, Array]:
        """Outputs that depend on no input: arrays of the shapes in the file, by name."""
        return self.model.constants

    @property
    def spaces(self) -> Spaces | None:
        """The environment spaces that the policy was loaded for."""
        return self._core.environment.spaces

    @property
    def seed(self) -> int:
        """Seed of all noise, 0 ≤ seed < 2⁶⁴."""
        return self._core.seed

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """Active agents, oldest first."""
        return tuple(self._core.table.slots)

    def __len__(self) -> int:
        return len(self._core.table)

    def __bool__(self) -> bool:
        """Always True: `if policy:` asks whether there is a policy, not whether it has agents."""
        return True

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self._core.table

    def __repr__(self) -> str:
        return f"Policy({self.name!r}, agents={len(self)}, wrappers={list(self.wrappers)!r})"

    def _repr_html_(self) -> str:
        from cervello.pictures import notebook  # imported on use, to keep start-up short

        specs = [(what, spec.name, "×".join(map(str, spec.shape)) or "scalar", str(spec.dtype))
                 for what, own in (("input", self.inputs), ("output", self.outputs)) for spec in own.values()]
        return "".join([
            notebook.heading(self.name, f"version {self.version}"), notebook.table(("", "name", "row", "type"), specs),
            notebook.facts({"agents": f"{len(self):,}", "wrappers": ", ".join(map(repr, self.wrappers)) or "none",
                            "inferer": repr(self.inferer), "seed": self.seed, "spaces": "" if self.spaces is None else repr(self.spaces)})])
