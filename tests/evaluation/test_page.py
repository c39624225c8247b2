"""The page of a report."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import offline_logs as logs

import cervello
from cervello import evaluation, heads


def test_the_verdict_comes_first_and_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    policies = {name: cervello.load(logs.logits_policy(logs.behaviour_weights(scale=scale), np.zeros(3)))
                for name, scale in (("near <1>", 0.3), ("far & wide", 60.0))}
    report = evaluation.evaluate(logs.walks(40), policies, head=heads.Categorical("logits"), estimators=["wis", "fqe"], gamma=0.9)
    report.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    body = page.split("<body>")[1]
    words = re.sub(r"<[^>]+>", "\n", body).split("\n")
    assert [each for each in words if each][:2] == ["Offline evaluation", report.headline.replace("&", "&amp;").replace("<", "&lt;")
                                                    .replace(">", "&gt;").replace("'", "&#x27;")]
    for element in ("script", "link", "img", "iframe", "object", "embed", "base"):
        assert f"<{element}" not in page.lower()
    assert not re.search(r"(src|href|action)\s*=|url\(|@import|\bon\w+\s*=", page)
    assert "&lt;1&gt;" in page
    for title in ("Estimated value", "Effective sample size by step", "Mean weight by step", "Tail of the weights"):
        assert title in page
    for name, each in report.items():
        for key, estimate in each.items():
            shown = "—" if estimate.value is None else f"{estimate.value:.5g}"
            escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            assert f'<tr><td>{escaped}</td><td>{key}</td><td class="number">{shown}</td>' in page
