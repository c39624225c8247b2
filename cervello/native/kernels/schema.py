"""Schemas of steps. A step is [kernel, n_words, (space, offset) per operand, words …], see `abi`.

Kernels read operands and words by name (`codegen.records.reader`), `Lowering.emit` takes words by name, and the verifier checks them by
name (`memory.extents`). Operands are "reads -> writes | scratch"; words are in the notation of `codegen.schema`. All schemas are in
`schemas`.
"""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import Schema, parse
from cervello.native.kernels.abi import STEP_OPERANDS

PREFIX: Final = "cervello.native.kernels."
SCHEMAS: dict[str, Schema] = {}


def schema(references: str, operands: str, words: str = "") -> Schema:
    """Registers one schema for kernels "module:name …".

    Args:
      operands: "reads -> writes | scratch", names.
      words: in the notation of `codegen.schema`; `...` stands for the parameters of a block.
    """
    reads, _, rest = operands.partition("->")
    writes, _, scratch = rest.partition("|")
    named = tuple(reads.split()), tuple(writes.split()), tuple(scratch.split())
    found = Schema(references.split()[0], *named, *parse(words), STEP_OPERANDS + 2 * sum(map(len, named)))
    SCHEMAS.update((PREFIX + reference, found) for reference in references.split())
    return found
