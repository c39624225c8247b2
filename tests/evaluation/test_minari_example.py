"""The example with a policy of Stable-Baselines3 that plays into a Minari dataset. Skipped by name where a library is not installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cervello

for library in ("minari", "jax", "torch", "stable_baselines3"):
    pytest.importorskip(library)
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "evaluate_minari.py"


def test_candidates_evaluated_on_another_librarys_dataset_are_worth_what_they_play(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, EXAMPLE, "600"], capture_output=True, text=True, timeout=300, cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)})
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(\w+): offline (\S+) \((\S+) to (\S+)\), by play (\S+) \((\S+) to (\S+)\), off by (\S+), (\w+)$", done.stdout,
                       re.MULTILINE)
    assert [row[0] for row in found] == ["early", "later", "latest"], done.stdout
    for name, *numbers, _ in found:
        offline, low, high, truth, truth_low, truth_high, off = map(float, numbers)
        assert off == pytest.approx(abs(offline - truth), abs=0.0015)
        slack = 0.5 * (high - low)  # three intervals of 95% at once, so one half more
        assert low - slack < truth_high, name
        assert high + slack > truth_low, name
    truths = {row[0]: float(row[4]) for row in found}
    assert truths["latest"] > truths["early"] + 0.05
    best = re.search(r"^swapped in: (\w+), version 2$", done.stdout, re.MULTILINE)
    assert best, done.stdout
    assert truths[best[1]] > truths["early"]
