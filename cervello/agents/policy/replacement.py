"""Replaces a model by another one between two decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from cervello.agents.policy.core import Measured, PolicyCore
from cervello.agents.policy.engine import Engine
from cervello.agents.policy.membership import begin_in_inferer, slots_with_hooks
from cervello.errors import CervelloError, ConfigurationError
from cervello.inferers import InfererConfig, ModelInferer
from cervello.native import Model
from cervello.native.frontend.importer import Source
from cervello.spec import Inferer, Specs, Wrapper

_WARMED = 16  # number of batch sizes, most recently used, whose plans are made before the swap


def replace_model(core: PolicyCore, new: Model | Source, wrappers: Sequence[Wrapper] | None,
                  inferer: str | InfererConfig | Inferer | None) -> None:
    """As `Policy.replace`."""
    core.lock.check_outside()
    with core.error_context:
        if wrappers is not None and (isinstance(wrappers, str) or not isinstance(wrappers, Sequence)):
            raise ConfigurationError(f"replace, wrappers: expected a list of wrappers, got {wrappers!r}; put it in a list")
        model = new if isinstance(new, Model) else core.model.loaded(new)
        with core.lock.swapping:
            _swap(core, successor(core.engine, model, wrappers, inferer))


def update_weights(core: PolicyCore, weights: Mapping[str, Any]) -> None:
    """As `Policy.update_weights`."""
    core.lock.check_outside()
    with core.lock.swapping:
        _swap(core, successor(core.engine, core.model.updated(weights), None, None))


def _swap(core: PolicyCore, new: Engine) -> None:
    swap_listeners = list(core.swap_listeners)
    measured: Measured | None = None
    measure = next((listener.measure for listener in swap_listeners if listener.measure is not None), None)
    if measure is not None:  # before it goes live, on this thread
        with suppress(CervelloError):  # it may reject synthetic observations
            measured = measure(core, new)

    def change() -> None:
        old, slots = core.engine, list(core.table.slots.values())
        begin_in_inferer(new.inferer, slots)
        if new.stack is not old.stack:
            new.stack.transfer_state(old.stack)
            new.stack.reserve(core.table.capacity)
        core.use(new)
        for listener in swap_listeners:
            listener.on_swap(new.version, None if listener.measure is None else measured)
        for slot in slots_with_hooks(old.inferer, slots):
            with suppress(Exception):  # it no longer decides; errors of its end do not matter
                old.inferer.end_agent(slot)

    core.membership.exclusive(change)


def successor(old: Engine, model: Model, wrappers: Sequence[Wrapper] | None, inferer: str | InfererConfig | Inferer | None) -> Engine:
    """The next engine of a policy, complete and warm; the old one continues to decide meanwhile.

    Args:
      wrappers: with other parameters; None keeps the current ones with their state.
      inferer: None to choose as before.
    Raises:
      ConfigurationError, WrapperError: the model's inputs or outputs differ, or the wrappers cannot take over the state.
    """
    check_same(old, model)
    inferer_choice = old.inferer_choice if inferer is None else inferer
    if inferer is None and not isinstance(inferer_choice, (str, InfererConfig)):
        if isinstance(inferer_choice, ModelInferer):
            raise ConfigurationError(f"policy {old.name!r}, replace: expected inferer=, got none; {type(inferer_choice).__name__} belongs "
                                     "to the old model and cannot run another")
        raise ConfigurationError(f"policy {old.name!r}, replace: expected inferer= for the new model, got none; {inferer_choice!r} is a "
                                 "custom inferer, which the library cannot create")
    new = Engine(model, old.name, inferer_choice, old.wrappers if wrappers is None else wrappers, old.threads, old.version + 1,
                 old.stack if wrappers is None else None, old.stack)
    for side, now, was in (("inputs", new.inputs, old.inputs), ("outputs", new.outputs, old.outputs)):
        _check_specs(f"policy {old.name!r}, replace, {side} with the new wrappers", now, was)
    if new.stack is not old.stack:
        new.stack.check_state_fits(old.stack)
    if isinstance(new.inferer, ModelInferer):
        for n_rows in getattr(old.inferer, "kept", ())[-_WARMED:]:
            new.inferer.plan(n_rows)
    return new


def check_same(old: Engine, model: Model) -> None:
    """Raises ConfigurationError unless a model's inputs and outputs equal those of the old one: counts, names, order, shapes, types, axes.
    """
    was = old.model
    for side, now, before in (("inputs", model.inputs, was.inputs), ("outputs", model.outputs, was.outputs)):
        _check_specs(f"policy {old.name!r}, replace, {side}", now, before)
    constants = [{name: (value.shape, value.dtype) for name, value in each.constants.items()} for each in (model, was)]
    if constants[0] != constants[1]:
        raise ConfigurationError(f"policy {old.name!r}, replace, constants: expected {constants[1]}, got {constants[0]}; load it as a "
                                 "separate policy")


def _check_specs(where: str, now: Specs, was: Specs) -> None:
    found, expected = ([str(spec) for spec in specs.values()] for specs in (now, was))
    if found != expected:
        new, missing = [s for s in found if s not in expected], [s for s in expected if s not in found]
        raise ConfigurationError(f"{where}: expected {missing or expected}, got {new or found}; agents cannot continue with a model of "
                                 "other inputs or outputs, load it as a separate policy")
