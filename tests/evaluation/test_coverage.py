"""Coverage of intervals, in short; docs/coverage.md has the long form."""

from __future__ import annotations

import pytest

from cervello.evaluation.certify import certify
from cervello.evaluation.coverage import FAMILIES, coverage


@pytest.mark.parametrize("family", FAMILIES)
def test_intervals_hold_the_truth_as_often_as_they_say(family: str) -> None:
    assert 0.925 < coverage("student-t", family, 1000, 1500) < 0.97
    assert 0.90 < coverage("bca", family, 100, 100) <= 1
    for kind in ("hoeffding", "empirical-bernstein"):
        assert coverage(kind, family, 100, 60) >= 0.95


def test_certification_says_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello.evaluation import certify as module

    monkeypatch.setattr(module, "FAMILIES", {"bandit": FAMILIES["bandit"]})
    seen = []
    checks = certify(lambda done, total: seen.append((done, total)), worlds=2, runs=20)
    assert len(seen) == len(checks)
    assert [c.passed for c in checks if "bias" in c.name] == [True] * 3
    table = module.table(checks)
    assert table.count("\n") == len(checks) + 2
