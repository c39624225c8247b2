"""Corrupts one word or offset of real programs at a time; what the verifier lets through runs between pages without access.

As a script: `python mutants.py FAMILY [--long]`. It names what runs before it runs; the last line of a process that dies names the mutant
that the verifier should have refused. At the end it prints how many were refused and how many ran.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from cervello.errors import ExecutionError, PlanError
from cervello.native import Model
from cervello.native.graph.dims import affine, parts
from cervello.native.graph.tensors import Address, Jump, PackedWeight, Step
from cervello.native.kernels import abi
from cervello.native.memory.verifier import verify
from cervello.native.program.encode import Program

N_ROWS = (1, 7)


def wrong(word: Any, chance: random.Random) -> Any:
    """Another number than a word, near to it or not, that grows with N or not."""
    const, slope = parts(word)
    changes = [lambda c: c + 1, lambda c: c - 1, lambda c: c + 4, lambda c: c - 4, lambda c: 2 * c, lambda c: -c, lambda c: c + 64,
               lambda c: c // 2, lambda c: 0, lambda c: chance.randrange(-40, 5000)]
    while True:
        changed = chance.choice(changes)
        found = affine(changed(const), slope) if not slope or chance.random() < 0.2 else affine(const, changed(slope))
        if not slope and chance.random() < 0.1:
            found = affine(const, chance.choice((1, 4, -4)))
        if found != word:
            return found


def mutants(program: Program, count: int, chance: random.Random) -> Iterator[tuple[str, Program]]:
    """`count` programs with a word or an operand's offset changed; each holds until the next is asked for."""
    places = [(first, step) for first, step in zip(program.offsets, (s for s in program.steps if s.fallback is None), strict=True)]
    words = [(first, step, i) for first, step in places for i, word in enumerate(step.words)
             if not isinstance(word, (Address, Jump, PackedWeight))]
    offsets = [(first, step, i) for first, step in places for i in range(len(step.operands))]
    for _ in range(count if words else 0):
        const, slopes = program.const.copy(), program.slopes.copy()
        if offsets and chance.random() < 0.1:
            first, step, i = chance.choice(offsets)
            by = chance.choice((4, -4, 8, 64, -64))
            before = _move_operand(step, i, by)
            const[first + abi.STEP_OPERANDS + 2 * i + 1] += by
            yield f"{step.kernel}, operand {i} moved by {by} bytes", replace(program, const=const)
            step.reads, step.writes, step.scratch = before
            continue
        first, step, i = chance.choice(words)
        word = step.words[i]
        step.words[i] = new = wrong(word, chance)
        at = first + abi.STEP_OPERANDS + 2 * len(step.operands) + i
        const[at], slopes[at] = parts(new)
        yield f"{step.kernel}, word {i} of {len(step.words)}: {new} for {word}", replace(program, const=const, slopes=slopes)
        step.words[i] = word


def _move_operand(step: Step, i: int, by: int) -> Any:
    before = step.reads, step.writes, step.scratch
    tensors = list(step.operands)
    tensors[i] = replace(tensors[i], offset=tensors[i].offset + by)
    n, m = len(step.reads), len(step.reads) + len(step.writes)
    step.reads, step.writes, step.scratch = tuple(tensors[:n]), tuple(tensors[n:m]), tuple(tensors[m:])
    return before


def _run(family: str, long: bool) -> None:
    from guarded import execute_guarded
    from guarded_cases import ALL_FAMILIES
    from native_rows import columns

    refused = ran = 0
    for case in ALL_FAMILIES[family]:
        for width in (1, 5, 17, 33) if long else (5, 33):
            chance = random.Random(f"{case.name} {width}")
            model = Model.load(case.build(width))
            given = {n: columns(model, n, positive=case.positive, integers=case.integers) for n in N_ROWS}
            for what, program in mutants(model.program, 300 if long else max(2, 200 // len(ALL_FAMILIES[family])), chance):
                try:
                    verify(program.steps, program.layout, model.batched)
                except PlanError:
                    refused += 1
                    continue
                ran += 1
                print(f"{case.name}, width {width}: {what}", flush=True)
                for n_rows in N_ROWS if model.batched else (1,):
                    for at_end in (True, False):
                        with contextlib.suppress(ExecutionError):  # a status, such as an index outside its table
                            execute_guarded(model, given[n_rows], n_rows, at_end, program)
    print(f"refused {refused}, ran {ran}")


if __name__ == "__main__":
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parent))
    np.seterr(all="ignore")
    _run(next(argument for argument in sys.argv[1:] if argument != "--long"), "--long" in sys.argv)
