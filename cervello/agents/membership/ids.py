"""Valid agent ids, and the numbers that key an agent's noise."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.errors import AgentError, InputError
from cervello.noise import agent_number
from cervello.spec import AgentId

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """Some agents of a larger set that is looked up as a whole, for callers that run changing subsets.

    Attributes:
      ids: the whole set, distinct active agents.
      positions: [n] int64, distinct positions in it, in the order of the rows.
    """

    ids: Sequence[AgentId]
    positions: Array

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[AgentId]:
        return iter([self.ids[position] for position in self.positions.tolist()])


Ids = Sequence[AgentId] | Array | Subset
_ID_TYPES = frozenset({int, str})
_SINGLE_TYPES = (str, bytes, bytearray, memoryview, int, np.generic)  # types that may be meant as one id, or that are no collection of ids


def as_id_list(ids: Iterable[AgentId] | Array, ordered: bool = True) -> list[AgentId]:
    """Ids as a list. Reads the argument once, so that iterators are accepted.

    Args:
      ordered: whether the order matters; a set is rejected then.
    Raises:
      AgentError: one id instead of many, an array that cannot hold ids, or a set where the order matters.
    """
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1 or (ids.dtype.kind not in "iuUO" and ids.size):
            raise AgentError(f"agents: expected a vector of ints or strings, got {ids.dtype} {ids.shape}")
        return _as_builtin(ids.tolist()) if ids.dtype.kind == "O" else ids.tolist()
    if isinstance(ids, _SINGLE_TYPES) or not isinstance(ids, Iterable):
        raise AgentError(f"agents: expected a sequence of ids, got {ids!r}; one agent is [{ids!r}]")
    if ordered and isinstance(ids, (set, frozenset)):
        raise AgentError("agents: expected a sequence of ids, got a set; row i belongs to ids[i], so give a list")
    return _as_builtin(list(ids))


def builtin_id(agent: Any) -> Any:
    """Converts an id of a subclass of int or str to int or str, so that no custom `__eq__` or `__hash__` runs while agents are looked up.
    Other objects are returned unchanged."""
    kind = type(agent)
    if kind is int or kind is str:
        return agent
    if isinstance(agent, str):
        return str.__str__(agent)
    if isinstance(agent, int) and kind is not bool:
        return int.__int__(agent)
    return int(agent) if isinstance(agent, np.integer) else agent


def _as_builtin(ids: list[Any]) -> list[Any]:
    return ids if are_builtin(ids) else [builtin_id(agent) for agent in ids]


def are_builtin(ids: Sequence[Any]) -> bool:
    """Whether the type of every id is exactly int or str."""
    return _ID_TYPES.issuperset(map(type, ids))


def is_id(agent: object) -> bool:
    """Whether this is of a valid kind of id."""
    return type(agent) in _ID_TYPES or (isinstance(agent, (int, str, np.integer)) and not isinstance(agent, bool))


def check_id_types(ids: Sequence[Any]) -> None:
    """Raises AgentError unless all are ints or strings: 1.0 and True are equal to 1 but are not valid ids."""
    if not are_builtin(ids):
        invalid = [agent for agent in ids if not is_id(agent)]
        if invalid:
            raise AgentError(f"agents: expected ints or strings, got {invalid[0]!r}")


def noise_number(agent: Any) -> int:
    """The number that keys an agent's noise.

    Raises:
      AgentError: this cannot be an agent's id.
    """
    if not is_id(agent):
        raise AgentError(f"agent id: expected an int (0 ≤ id < 2⁶³) or a string, got {agent!r}")
    if not isinstance(agent, str) and not 0 <= agent < 1 << 63:
        raise AgentError(f"agent id: expected 0 ≤ id < 2⁶³, got {agent}")
    return agent_number(agent if isinstance(agent, str) else int(agent))


def noise_numbers(ids: Sequence[Any]) -> Array:
    """[n] uint64, `noise_number` for many: ints in one step, strings one by one.

    Raises:
      AgentError: one of them cannot be an agent's id.
    """
    if set(map(type, ids)) == {int}:
        try:
            found = np.array(ids, np.int64)
        except OverflowError:
            pass  # the loop below finds and names it
        else:
            if found.min() >= 0:
                return found.view(np.uint64)
    return np.array([noise_number(agent) for agent in ids], np.uint64)


def first_duplicate(ids: Iterable[AgentId]) -> AgentId | None:
    """The first id that occurs twice."""
    seen: set[AgentId] = set()
    for agent in ids:
        if agent in seen:
            return agent
        seen.add(agent)
    return None


def check_distinct(what: str, ids: Collection[AgentId]) -> None:
    """Raises AgentError if an id occurs twice, or cannot be hashed and so is none; the message begins with `what`."""
    try:
        are_distinct = len(set(ids)) == len(ids)
    except TypeError:
        check_id_types(list(ids))
        raise
    if not are_distinct:
        raise AgentError(f"{what}: expected distinct agents, got {first_duplicate(ids)!r} twice; name each once")


def broadcast(what: str, value: int | Sequence[int] | Array, n: int) -> Array:
    """[n] int64, streams or episodes of n agents.

    Raises:
      InputError: neither one number nor n, or a number out of range.
    """
    if type(value) is int and 0 <= value < 1 << 63:
        same = np.empty(n, np.int64)
        same.fill(value)
        return same
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "i" and len(value) == n and value.min(initial=0) >= 0:
        return value.astype(np.int64)
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value.item()
    values = list(value) if isinstance(value, (Sequence, np.ndarray)) else [value] * n
    if len(values) != n:
        raise InputError(f"{what}: expected one number or {n}, got {len(values)}")
    for number in values:
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < 1 << 63:
            raise InputError(f"{what}: expected 0 ≤ {what} < 2⁶³, got {number!r}")
    return np.array([int(number) for number in values], np.int64)


def is_per_agent(value: object) -> bool:
    """Whether streams or episodes are given per agent."""
    return isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim > 0)
