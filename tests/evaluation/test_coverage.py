"""Coverage of intervals, in short; docs/coverage.md has the long form."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from cervello.evaluation.certify import Check, certify
from cervello.evaluation.coverage import FAMILIES, HEAVY, coverage

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "coverage.md"
sys.path.insert(0, str(ROOT / "scripts"))

import coverage_study as study  # noqa: E402


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


def test_the_study_of_the_docs_holds_what_is_promised() -> None:
    rows = dict(re.findall(r"^\| (.+?) \| ([0-9.e+-]+)%? \|.*\| ok \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    found = {name: float(value) for name, value in rows.items()}
    expected = 3
    for n in ("100", "1,000"):
        for family in FAMILIES:
            for kind in ("bca", "student-t"):
                assert 93 <= found[f"{kind}: coverage of 95% intervals, {family}, n = {n}"] <= 97
                expected += 1
        for family in HEAVY:
            assert found[f"heavy tails called reliable, {family}, n = {n}"] < 5
            expected += 1
    for family in FAMILIES:
        for kind in ("hoeffding", "empirical-bernstein"):
            assert found[f"{kind}: coverage of 95% intervals, {family}, n = 100"] >= 95
            expected += 1
    assert all(value <= 1e-12 for name, value in found.items() if "bias by exact enumeration" in name)
    assert len(found) == expected


def as_written(text: str) -> str:
    """The page that the script writes for the numbers of a page."""
    pattern = r"^Written by `(.+)` on ([\d-]+) \(([\d,]+) data sets per row; (.+)\)\.$"
    command, date, runs, versions = re.search(pattern, text, re.MULTILINE).groups()
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (ok|FAILED) \|$", text, re.MULTILINE)
    assert len(rows) == 27
    checks = [Check(name, found, wanted, said == "ok") for name, found, wanted, said in rows]
    return study.page(checks, command, date, int(runs.replace(",", "")), versions)


def test_the_page_of_the_docs_is_what_the_script_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello.evaluation import certify as module

    committed = PAGE.read_text(encoding="utf-8")
    assert as_written(committed) == committed
    monkeypatch.setattr(module, "coverage", lambda kind, family, n, runs: coverage(kind, family, n, runs // 10))
    monkeypatch.setattr(module, "said_reliable", lambda family, n, runs: 0.004)
    study.main(["--runs", "20", "--worlds", "2", "--output", str(tmp_path / "coverage.md")])
    written = (tmp_path / "coverage.md").read_text(encoding="utf-8")
    assert as_written(written) == written
    assert study.versions() in written
    assert re.sub(r"[\d.]+", "0", re.sub("ok|FAILED|0e-0", "", written)).count("\n") == committed.count("\n")
    names = re.compile(r"^\| (?!check)(.+?) \|", re.MULTILINE)
    shape = [re.sub(r"\d+ decision", "N decision", each) for each in names.findall(committed)]
    assert [re.sub(r"\d+ decision", "N decision", each) for each in names.findall(written)] == shape
