"""The schema of a kernel's words: the single source for everything that must agree on them.

A step is [kernel, n_words, (space, offset) per operand, words …], see `abi`. A schema names operands and words in this order. The kernel
reads them by name (`codegen.records.reader`), `Lowering.emit` takes words by name, and the verifier checks them by name
(`memory.extents`). All schemas are in `schemas`.

Operands are "reads -> writes | scratch". Words are `name`, `name:kind` or `name:kind*count`, whose kinds are

    count      a number that does not depend on N and is at least 0 (the kind of a bare name)
    rows       a number of at least 0 that may grow with N
    stride     bytes that may grow with N, of either sign
    int        any number that does not depend on N
    bits       any word at all: a node's index, the bits of an element
    float      the bits of a float32
    weight     the address of a constant
    block      the address of a block, see `memory.extents.blocks`; `block?`: or 0
    function   the address of another compiled function
    jump       words to another step
    ...        parameters of a block, by the name `more`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cervello.errors import PlanError
from cervello.native.kernels.abi import STEP_OPERANDS

PREFIX: Final = "cervello.native.kernels."


@dataclass(frozen=True, slots=True)
class Field:
    """One name of a schema; count: the words it stands for, 0 for a single word."""

    name: str
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class Schema:
    """The names of a kernel's operands and words.

    Attributes:
      name: "module:name" of its first kernel.
      reads, writes, scratch: names of the operands, in the order of the kernel's words.
      fields: of the words after the operands.
      more: whether parameters of a block follow.
      first: index of the first word after the operands, from the start of the step.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    scratch: tuple[str, ...]
    fields: tuple[Field, ...]
    more: bool
    first: int

    @property
    def operands(self) -> tuple[str, ...]:
        return (*self.reads, *self.writes, *self.scratch)

    @property
    def n_words(self) -> int:
        """Words after the operands, without parameters of a block."""
        return sum(field.count or 1 for field in self.fields)

    @property
    def layout(self) -> dict[str, tuple[int, str, int]]:
        """(position, kind, count) by name, as `codegen.records.reader` takes them."""
        found = {name: (STEP_OPERANDS + 2 * i, "operand", 0) for i, name in enumerate(self.operands)}
        at = self.first
        for field in self.fields:
            found[field.name] = at, field.kind, field.count
            at += field.count or 1
        return found | {"more": (at, "address", 0)}

    def arrange(self, words: Mapping[str, Any]) -> list[Any]:
        """Words by name, in the kernel's order; parameters of a block, if any, as `more`.

        Raises:
          PlanError: a word is missing or unknown, or a name gets a wrong number of words.
        """
        names = [field.name for field in self.fields]
        if words.keys() - ({"more"} if self.more else set()) != set(names):
            raise PlanError(f"expected words {' '.join(names) or 'none'}, got {' '.join(words) or 'none'}")
        found: list[Any] = []
        for field in self.fields:
            word = words[field.name]
            if field.count and len(word) != field.count:
                raise PlanError(f"expected {field.count} words {field.name!r}, got {len(word)}")
            found += word if field.count else (word,)
        return [*found, *words.get("more", ())]


SCHEMAS: dict[str, Schema] = {}


def schema(references: str, operands: str, words: str = "") -> Schema:
    """The schema of the kernels "module:name …", which share it.

    Args:
      operands: "reads -> writes | scratch", names.
      words: as above.
    """
    reads, _, rest = operands.partition("->")
    writes, _, scratch = rest.partition("|")
    named = tuple(reads.split()), tuple(writes.split()), tuple(scratch.split())
    found = Schema(references.split()[0], *named, *_parse(words), STEP_OPERANDS + 2 * sum(map(len, named)))
    SCHEMAS.update((PREFIX + reference, found) for reference in references.split())
    return found


def record(name: str, words: str) -> Schema:
    """The schema of a separate group of words, such as the repeated records at the end of a kernel's words."""
    return Schema(name, (), (), (), *_parse(words), 0)


def _parse(words: str) -> tuple[tuple[Field, ...], bool]:
    """Fields, and whether parameters of a block follow."""
    listed = words.split()
    more = listed[-1:] == ["..."]
    fields = []
    for text in listed[:-1] if more else listed:
        named, _, count = text.partition("*")
        name, _, kind = named.partition(":")
        fields.append(Field(name, kind or "count", int(count or 0)))
    return tuple(fields), more
