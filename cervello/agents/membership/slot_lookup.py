"""From agent ids to slots. The last batch is remembered, since the same agents usually decide again in the same order."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.agents.membership.equal_ids import id_comparer
from cervello.agents.membership.ids import Ids, Subset, are_builtin, as_id_list, check_distinct, check_id_types
from cervello.errors import AgentError
from cervello.spec import AgentId, Array


class SlotLookup:
    """Slots by agent id. Mutable; an `AgentTable` changes it.

    Attributes:
      slots: by agent id.
      slots_version: grows with every change of `slots`.
      last: ids, their slots and `slots_version` at the last lookup; one tuple, so that threads never mix them.
      equal_ids: see `equal_ids.id_comparer`.
    """

    def __init__(self) -> None:
        self.slots: dict[AgentId, int] = {}
        self.slots_version = 0
        self.last: tuple[Any, Array, int] = (None, np.zeros(0, np.int64), -1)
        self.equal_ids = id_comparer()

    def slots_of(self, ids: Ids) -> Array:
        """[n] int64, read-only: slots of distinct active agents. The same agents in the same order again cost only a comparison.

        Raises:
          AgentError: an unknown agent, or one named twice.
        """
        kind = type(ids)
        if kind is Subset:
            return self.slots_of(ids.ids).take(ids.positions)  # type: ignore[union-attr]
        last, last_slots, version = self.last
        if version == self.slots_version and kind is type(last):
            if kind is np.ndarray:
                if ids.dtype == last.dtype and ids.shape == last.shape and ids.tobytes() == last.tobytes():  # type: ignore[union-attr]
                    return last_slots
            else:
                equal_ids = self.equal_ids(kind is tuple, 0, ids, last)
                if equal_ids == 2 or (equal_ids and ids == last):
                    return last_slots
        return self._look_up_and_cache(ids)

    def slots_of_active(self, ids: tuple[AgentId, ...]) -> Array:
        """As `slots_of`, for agents that the caller guarantees to be distinct and active."""
        last, slots, version = self.last
        if version == self.slots_version and (ids is last or (type(last) is tuple and self.equal_ids(1, 0, ids, last) == 2)):
            return slots
        version = self.slots_version
        slots = np.array(list(map(self.slots.__getitem__, ids)), np.int64)
        slots.flags.writeable = False  # as in `_look_up_and_cache`
        self.last = ids, slots, version
        return slots

    def _look_up_and_cache(self, ids: Ids, ending: bool = False) -> Array:
        version, kind = self.slots_version, type(ids)
        names = list(ids) if kind is list or kind is tuple else as_id_list(ids)
        are_all_builtin = are_builtin(names)  # computed once for the usual case
        if not are_all_builtin:
            names = as_id_list(names)
        slots = self.look_up(names, are_all_builtin, ending)
        # Only kinds whose equality means the same agents in the same order: views of dicts compare as sets, others may change.
        if kind is np.ndarray:
            self.last = ids.copy(), slots, version  # type: ignore[union-attr]
        elif kind is list or kind is tuple:
            self.last = names if kind is list else tuple(names), slots, version
        return slots

    def look_up(self, names: list[AgentId], are_all_builtin: bool = False, ending: bool = False) -> Array:
        """As `slots_of`, for agents that are not expected again in this order.

        Args:
          are_all_builtin: the type of every id is exactly int or str; False if unknown.
          ending: they are about to end, for the message.
        """
        try:
            found = list(map(self.slots.__getitem__, names))
        except (KeyError, TypeError):
            unknown = next((a for a in names if not _is_active(self.slots, a)), None)
            remedy = "it has ended already, or never begun" if ending else f"call begin_agent({unknown!r}) first"
            raise AgentError(f"agents: expected agents that have begun, got {unknown!r}; {remedy}") from None
        if not are_all_builtin:
            check_id_types(names)
        slots = np.array(found, np.int64)
        if len(found) > 1 and len(set(found)) != len(found):
            check_distinct("agents", names)  # raises
        slots.flags.writeable = False  # every wrapper gets it, and so does the next batch of the same agents
        return slots


def _is_active(slots: dict[AgentId, int], agent: Any) -> bool:
    try:
        return agent in slots
    except TypeError:
        return False
