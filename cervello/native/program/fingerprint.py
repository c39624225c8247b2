"""A hash of a program that is equal on every machine and in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cervello.native.graph.tensors import PackedWeight, Space, Tensor
from cervello.native.program.encode import Program
from cervello.spec import PolicySpec


def fingerprint(spec: PolicySpec, program: Program, hashes: Mapping[int, str]) -> str:
    """A hash of specs, steps and constants.

    Args:
      hashes: content hashes of constants, by the id of their arrays.
    """
    digest = hashlib.sha256(repr((spec.inputs, spec.outputs)).encode())
    for text in _steps(program, hashes):
        digest.update(text.encode())
    for name, value in sorted(spec.constants.items()):
        digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _steps(program: Program, hashes: Mapping[int, str]) -> Iterator[str]:
    """One text per step: kernel, operands, attributes; constants by content hash."""
    for step in program.steps:
        operands = [_operand(tensor, program, hashes) for tensor in step.operands]
        words = [hashes[id(word.array)] if isinstance(word, PackedWeight) else repr(word) for word in step.words]
        host = [_constant(operand) for operand in step.fallback.operands] if step.fallback is not None else []
        yield repr((step.kernel, step.op, step.node, operands, words, host))


def _operand(tensor: Tensor, program: Program, hashes: Mapping[int, str]) -> tuple[Any, ...]:
    buffer = tensor.buffer
    place: Any = buffer.index
    if buffer.space is Space.CONSTANT:
        place = hashes[id(buffer.data)]
    elif buffer.space is Space.ARENA:
        place = program.layout.index[id(buffer)]
    return buffer.space.name, place, repr((tensor.offset, tensor.shape, tensor.strides)), str(tensor.dtype)


def _constant(operand: Any) -> str:
    return f"{operand.dtype} {operand.shape} {operand.tobytes().hex()}" if isinstance(operand, np.ndarray) else ""
