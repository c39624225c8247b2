"""Schemas of records of int64 words: names, kinds and order. Code that writes a record and code that reads it use the same schema.

Compiled code accesses words by name (`records`). Python code orders words given by name (`arrange`, `filled`) or looks up the index of a
word (`index`). A schema is a string of words `name`, `name:kind` or `name:kind*count`. The kinds are

    count      an integer ≥ 0 that does not depend on N (the default)
    rows       an integer ≥ 0 that may grow with N
    stride     bytes that may grow with N, of either sign
    int        any integer that does not depend on N
    bits       any word: a node's index, the bits of an element
    float      the bits of a float32
    float64    the bits of a float64
    weight     the address of a constant; `weight?` may also be 0
    block      the address of a block, see `native.memory.extents.blocks`; `block?` may also be 0
    function   the address of another compiled function
    jump       the distance to another step, in words

A last word `name...` stands for words of another schema that follow, under this name; `...` alone names them `more`.

The verifier checks the kinds of a step's words and of a block's parameters. In other records the default kind is not checked. This module
does not import numba, because that takes a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from cervello.errors import PlanError


@dataclass(frozen=True, slots=True)
class Field:
    """One name of a schema; count: length of a tuple of words, 0 for a single word."""

    name: str
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class Schema:
    """The words of a record, in order.

    Attributes:
      name: of the record; for a step, "module:name" of its first kernel.
      reads, writes, scratch: names of a step's operands, in the order of their words; () for other records.
      fields: the words after the operands.
      more: the name of words of another schema that follow; "" for none.
      first: index of the first word after the operands, from the start of the words.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    scratch: tuple[str, ...]
    fields: tuple[Field, ...]
    more: str
    first: int

    @property
    def operands(self) -> tuple[str, ...]:
        return (*self.reads, *self.writes, *self.scratch)

    @property
    def n_words(self) -> int:
        """The number of words after the operands, without those of another schema."""
        return sum(field.count or 1 for field in self.fields)

    @property
    def n_bytes(self) -> int:
        """The size of these words in bytes."""
        return 8 * self.n_words

    @property
    def layout(self) -> dict[str, tuple[int, str, int]]:
        """(position, kind, count) by name, for `records`."""
        start = self.first - 2 * len(self.operands)
        found = {name: (start + 2 * i, "operand", 0) for i, name in enumerate(self.operands)}
        at = self.first
        for field in self.fields:
            found[field.name] = at, field.kind, field.count
            at += field.count or 1
        return found | ({self.more: (at, "address", 0)} if self.more else {})

    @property
    def index(self) -> SimpleNamespace:
        """The index of each name's first word, as an attribute of that name."""
        return SimpleNamespace(**{name: position for name, (position, _, _) in self.layout.items()})

    def arrange(self, words: Mapping[str, Any]) -> list[Any]:
        """Orders words given by name; those of another schema come last.

        Raises:
          PlanError: a word is missing or unknown, or a tuple has a wrong length.
        """
        names = [field.name for field in self.fields]
        if words.keys() - ({self.more} if self.more else set()) != set(names):
            raise PlanError(f"expected words {' '.join(names) or 'none'}, got {' '.join(words) or 'none'}")
        found: list[Any] = []
        for field in self.fields:
            word = words[field.name]
            if field.count and len(word) != field.count:
                raise PlanError(f"expected {field.count} words {field.name!r}, got {len(word)}")
            found += word if field.count else (word,)
        return [*found, *words.get(self.more, ())]

    def filled(self, **words: Any) -> list[Any]:
        """Like `arrange`; missing words are 0."""
        return self.arrange({field.name: (0,) * field.count if field.count else 0 for field in self.fields} | words)


def record(name: str, words: str) -> Schema:
    """The schema of a record that is not a step."""
    return Schema(name, (), (), (), *parse(words), 0)


def parse(words: str) -> tuple[tuple[Field, ...], str]:
    """Parses a schema: its fields, and the name of words of another schema that follow."""
    listed = words.split()
    more = listed.pop().removesuffix("...") or "more" if words.endswith("...") else ""
    fields = []
    for text in listed:
        named, _, count = text.partition("*")
        name, _, kind = named.partition(":")
        fields.append(Field(name, kind or "count", int(count or 0)))
    return tuple(fields), more
