"""`cervello evaluate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import offline_logs as logs
import pytest

from cervello import recording


@pytest.fixture
def played(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A log, the policy that played, and another one."""
    log = tmp_path / "play.log"
    with recording.Writer(log) as writer:
        for e in logs.walks(30):
            handle = writer.begin(observation=e.observations[:1])
            for t in range(len(e)):
                writer.step(handle, e.observations[t + 1:t + 2], e.actions[t:t + 1], e.rewards[t:t + 1], terminated=e.terminations[t:t + 1],
                            log_prob=e.log_prob[t:t + 1])
    files = []
    for name, scale in (("old", 0.3), ("new", 0.5)):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3)))
        files.append(path)
    return log, files[0], files[1]


def test_the_verdict_comes_first_and_every_estimate_has_an_interval(played: tuple[Path, ...], cervello: Callable[..., Any]) -> None:
    log, old, new = played
    said = cervello("evaluate", log, old, new, "--head", "categorical:logits", "--estimators", "wis,dr")
    assert said.status == 0
    assert said.out.split(":")[0] in ("reliable", "weak", "unsupported")
    assert sum("…" in line for line in said.out.splitlines()) == 4
    assert "note:" in said.err
    assert cervello("evaluate", log, old, "-q").err == ""  # logits are found by their name


def test_json_and_a_page(played: tuple[Path, ...], cervello: Callable[..., Any], tmp_path: Path) -> None:
    log, old, new = played
    page = tmp_path / "report.html"
    said = cervello("evaluate", log, old, new, "--gamma", 0.9, "--horizon", 4, "--json", "--report", page)
    found = json.loads(said.out)
    assert set(found["policies"]) == {str(old), str(new)}
    assert (found["gamma"], found["horizon"]) == (0.9, 4)
    assert found["policies"][str(old)]["estimates"]["wis"]["interval"][0] < found["policies"][str(old)]["estimates"]["wis"]["value"]
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_policy_that_logged_may_be_named(played: tuple[Path, ...], cervello: Callable[..., Any]) -> None:
    log, old, _ = played
    found = json.loads(cervello("evaluate", log, old, "--behavior", old, "--json").out)
    assert found["policies"][str(old)]["diagnostics"]["mean_weight"][-1] == 1


@pytest.mark.parametrize(("arguments", "words"), [
    ((), "expected DATASET"), (("play.log",), "POLICY"), (("none.log", "OLD"), "none.log"),
    (("LOG", "OLD", "--estimators", "ips"), "'ips'"),
    (("LOG", "OLD", "--head", "normal:mean"), "categorical:LOGITS"), (("LOG", "OLD", "--level", 95), "level"),
])
def test_what_makes_no_sense_is_refused_in_one_line(played: tuple[Path, ...], cervello: Callable[..., Any], arguments: tuple[Any, ...],
                                                   words: str) -> None:
    log, old, _ = played
    said = cervello("evaluate", *({"LOG": log, "OLD": old}.get(each, each) for each in arguments))
    assert said.status == 2
    assert words in said.err
    assert said.err.count("\n") == 1


def test_certification_prints_its_table(cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello.evaluation import certify

    real = certify.certify
    monkeypatch.setattr(certify, "certify", lambda progress: [c for c in real(progress, worlds=1, runs=10) if "bias" in c.name])
    monkeypatch.setattr(certify, "FAMILIES", {})
    monkeypatch.setattr(certify, "HEAVY", {})
    said = cervello("evaluate", "--certify")
    assert said.status == 0
    assert said.out.count("ok") == 3
