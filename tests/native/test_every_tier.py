"""Every op on every tier, in every float type and version that ONNX's schemas allow: right values, and rows that do not know each other."""

from __future__ import annotations

import native_tiers
import pytest
from native_tiers import TIERS, Form, forms, law_problem, ran_by, value_problem

from cervello.errors import CervelloError, ExecutionError

FEWEST = {"planned": 800, "numpy": 400, "reference": 500}  # forms that run, so that a change that refuses many is noticed


@pytest.fixture(scope="module")
def some_forms() -> list[Form]:
    return list(forms(every=False))


@pytest.mark.parametrize("tier", TIERS)
def test_values_agree_with_float64_within_their_types_precision(tier: str, some_forms: list[Form]) -> None:
    problems, n_run = [], 0
    for form in some_forms:
        if not ran_by(form, tier):
            continue
        try:
            problems.append(value_problem(form, tier))
            n_run += 1
        except ExecutionError as error:
            problems.append(f"{form.name}, {tier}: loads, then fails: {error}")
        except CervelloError:
            continue
    assert not list(filter(None, problems))
    assert n_run >= FEWEST[tier]


@pytest.mark.parametrize("tier", TIERS)
def test_a_row_alone_has_the_bits_it_has_among_others(tier: str, some_forms: list[Form]) -> None:
    problems = []
    for form in some_forms:
        if not ran_by(form, tier):
            continue
        try:
            problems.append(law_problem(form, tier))
        except CervelloError:
            continue
    problems = [problem for problem in problems if problem is not None]
    assert not list(filter(None, problems))
    assert len(problems) >= FEWEST[tier] // 4


def test_the_walk_meets_most_ops_of_onnx(some_forms: list[Form]) -> None:
    assert len({form.node.op_type for form in some_forms}) > 140
    assert {form.dtype.name for form in some_forms} == set(native_tiers.TOLERANCE)
